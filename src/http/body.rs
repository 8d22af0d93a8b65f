//! A request's body: read whole, under a cap and a deadline.
//!
//! [`RequestBody`] tells its connection when it has been read to its end. A connection whose body was left unread
//! closes after the answer, and lingers so that the client sees it; so a handler may refuse early by just
//! returning.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::header::{EXPECT, HeaderMap};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::task::yield_now;

use super::pace::Pace;
use crate::retry::Retry;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It says, or turned out, to be over the cap.
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The cap in bytes.
        limit: usize,
    },
    /// It was still arriving when its time was over, however steadily.
    #[error("the body did not arrive within {} s", limit.as_secs_f64())]
    TooSlow {
        /// The time it had.
        limit: Duration,
    },
    /// The client went away, or the chunked encoding is damaged.
    #[error("the body broke off or is not framed as HTTP says: {0}")]
    BrokenOff(#[source] hyper::Error),
}

impl BodyError {
    /// A stable word for the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "body_too_large",
            Self::TooSlow { .. } => "body_too_slow",
            Self::BrokenOff(_) => "body_broken_off",
        }
    }

    /// Whether sending the same again can succeed.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::TooLarge { .. } => Retry::Never,
            Self::TooSlow { .. } | Self::BrokenOff(_) => Retry::After(Duration::from_secs(1)),
        }
    }
}

/// The largest body that is thrown away to keep its connection.
const SCRAP: u64 = 64 * 1024;

/// How often [`RequestBody::skip`] looks: hyper reads of a body only what it was asked for before, and gives the end of
/// one in pieces by itself.
const LOOKS: usize = 4;

/// The body of a request that may still be on its way.
pub struct RequestBody {
    incoming: Incoming,
    pace: Arc<Pace>,
    timeout: Duration,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, pace: Arc<Pace>, timeout: Duration) -> Self {
        pace.serving(!incoming.is_end_stream());
        Self { incoming, pace, timeout }
    }

    /// The whole body, at most `limit` bytes as they travel, within the listener's body timeout.
    ///
    /// A `Content-Length` over the limit is refused before a byte is read (nor is `100 Continue` sent), a chunked
    /// body as soon as it exceeds it. A body that came in one piece is not copied. What was read once is gone.
    pub async fn collect(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        if self.incoming.size_hint().lower() > limit as u64 {
            return Err(BodyError::TooLarge { limit });
        }
        let (pace, allowed) = (self.pace(), self.timeout);
        let gathering = pin!(self.gather(limit));
        let body = pace.within(allowed, gathering).await;
        let body = body.ok_or(BodyError::TooSlow { limit: allowed })??;
        pace.body_read();
        Ok(body)
    }

    /// Throws away a small body that has come with its head, so that a request can be refused without looking at it and
    /// its connection stays. Waits for nothing that is still on its way, and gives no leave to a client that by its
    /// headers waits for it: the connection is then closed as ever.
    pub(super) async fn skip(&mut self, headers: &HeaderMap) {
        if headers.contains_key(EXPECT) || self.incoming.size_hint().lower() > SCRAP {
            return;
        }
        for _ in 0..LOOKS {
            match self.piece().now_or_never() {
                Some(Ok(Some(_))) => {}
                Some(Ok(None)) => return self.pace.body_read(),
                Some(Err(_)) => return,
                None => yield_now().await,
            }
        }
    }

    /// The clock of the connection that it comes from.
    pub(super) fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.pace)
    }

    async fn gather(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        let declared = self.incoming.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let first = self.piece().await?.unwrap_or_default();
        if first.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if self.incoming.is_end_stream() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(declared.unwrap_or(first.len()));
        whole.extend_from_slice(&first);
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > limit {
                return Err(BodyError::TooLarge { limit });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The next bytes; `None` at the end. Trailers are passed over.
    async fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        while !self.incoming.is_end_stream()
            && let Some(frame) = self.incoming.frame().await
        {
            if let Ok(data) = frame.map_err(BodyError::BrokenOff)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
