//! How bytes get to ClickHouse: connections, with TLS where the URL asks for it, and requests whose body is given
//! piece by piece.
//!
//! Inserts go over connections of their own, since the `clickhouse` crate keeps an answer's headers to itself, and
//! they alone tell ClickHouse's confirmation from the page of whatever else answers 200.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body::{Body, Frame};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client, ResponseFuture};
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::sync::mpsc;
use url::Url;

use super::{ClickHouseError, ClickHouseSettings, Password};

/// ClickHouse closes a connection that has been idle for 3 seconds, by default in older versions.
const IDLE: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_mins(1);

const AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// What makes connections, for all our clients alike.
pub(crate) type Connector = HttpsConnector<HttpConnector>;

pub(crate) fn connector() -> Connector {
    let mut tcp = HttpConnector::new();
    tcp.set_keepalive(Some(KEEPALIVE));
    // The last bytes of a body would wait for the acknowledgement of those before.
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    HttpsConnectorBuilder::new().with_tls_config(tls()).https_or_http().enable_http1().wrap_connector(tcp)
}

/// TLS as all our clients speak it: they trust whom the system does.
pub(crate) fn tls() -> ClientConfig {
    let versions = || {
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks every version")
    };
    let trusting = versions().with_native_roots().unwrap_or_else(|error| {
        // As in a container without them; only https needs any, and says so when it connects.
        tracing::debug!(%error, "the system trusts no certificate authority");
        versions().with_root_certificates(RootCertStore::empty())
    });
    trusting.with_no_client_auth()
}

/// What makes clients over these connections.
pub(super) fn pool() -> Builder {
    let mut pool = Client::builder(TokioExecutor::new());
    pool.pool_idle_timeout(IDLE);
    pool
}

/// Where requests go, and as whom. Clones share their connections.
#[derive(Clone)]
pub(super) struct Requests {
    client: Client<Connector, PieceBody>,
    url: String,
    user: String,
    password: Password,
}

impl Requests {
    pub(super) fn new(settings: &ClickHouseSettings, connector: Connector) -> Self {
        let ClickHouseSettings { url, user, password, .. } = settings.clone();
        Self { client: pool().build(connector), url, user, password }
    }

    /// A request with these parameters, whose body is what is given to the other half. Nothing is sent before the
    /// answer is waited for.
    pub(super) fn post<'a>(
        &self,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Pieces, ResponseFuture), ClickHouseError> {
        let unusable =
            |what: &str, error: String| ClickHouseError::Network(format!("the {what} is unusable: {error}"));
        let mut url = Url::parse(&self.url).map_err(|error| unusable("url", error.to_string()))?;
        url.query_pairs_mut().clear().extend_pairs(parameters);
        let text =
            |what, text: &str| HeaderValue::try_from(text).map_err(|error| unusable(what, error.to_string()));
        let mut password = text("password", self.password.reveal())?;
        password.set_sensitive(true);
        let (pieces, body) = body();
        let request = Request::post(url.as_str())
            .header(header::USER_AGENT, AGENT)
            .header("X-ClickHouse-User", text("user", &self.user)?)
            .header("X-ClickHouse-Key", password)
            .body(body)
            .map_err(|error| unusable("url", error.to_string()))?;
        Ok((pieces, self.client.request(request)))
    }
}

/// The half of a body that pieces are given to, one ahead of the connection. Dropping it aborts the request: only
/// [`end`](Self::end) makes it whole, and so nothing that goes wrong, nor a caller that goes away, can.
pub(super) struct Pieces(mpsc::Sender<Piece>);

enum Piece {
    Data(Bytes),
    End,
}

/// The connection takes nothing more: it is broken, or what is at its other end has answered.
#[derive(Debug, Error)]
#[error("the connection is closed")]
pub(super) struct Closed;

impl Pieces {
    /// Gives a piece, once the connection has taken the one before.
    pub(super) async fn send(&self, data: Bytes) -> Result<(), Closed> {
        self.0.send(Piece::Data(data)).await.map_err(|_| Closed)
    }

    /// Says that this is all.
    pub(super) async fn end(self) -> Result<(), Closed> {
        self.0.send(Piece::End).await.map_err(|_| Closed)
    }
}

/// The half of a body that the connection takes pieces from.
pub(super) struct PieceBody(Option<mpsc::Receiver<Piece>>);

/// A body has not come to its end, so the connection is closed in the middle of the request.
#[derive(Debug, Error)]
#[error("the request was given up")]
pub(super) struct Aborted;

fn body() -> (Pieces, PieceBody) {
    let (sender, receiver) = mpsc::channel(1);
    (Pieces(sender), PieceBody(Some(receiver)))
}

impl Body for PieceBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let Some(receiver) = &mut self.0 else { return Poll::Ready(None) };
        match ready!(receiver.poll_recv(context)) {
            Some(Piece::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Piece::End) => {
                self.0 = None;
                Poll::Ready(None)
            }
            None => Poll::Ready(Some(Err(Aborted))),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn only_an_end_that_was_given_makes_a_body_whole() {
        for whole in [true, false] {
            let (pieces, body) = body();
            let reading = tokio::spawn(body.collect());
            for piece in ["a", "b", "c"] {
                pieces.send(piece.into()).await.expect("it is read");
            }
            if whole {
                pieces.end().await.expect("it is read");
            } else {
                drop(pieces);
            }
            match reading.await.expect("no panic") {
                Ok(read) => assert!(whole && read.to_bytes() == "abc"),
                Err(Aborted) => assert!(!whole),
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_nobody_takes_holds_one_piece() {
        let (pieces, body) = body();
        pieces.send("a".into()).await.expect("there is room for one");
        let second = tokio::time::timeout(Duration::from_millis(20), pieces.send("b".into()));
        assert!(second.await.is_err(), "a second piece found room");
        drop(body);
        assert!(pieces.send("c".into()).await.is_err());
    }
}
