//! What handlers give back: a whole answer in memory.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::keep::Begun;

/// An answer with its whole body, so that it goes out with a `Content-Length` in one write.
pub type Answer = Response<Full<Bytes>>;

/// What a handler has made of a request.
pub enum Taken {
    /// Nothing is left to do.
    Answered(Answer),
    /// Its events are on their way to the disk, and nothing else of it is needed any more.
    Begun(Begun),
}

impl From<Answer> for Taken {
    fn from(answer: Answer) -> Self {
        Self::Answered(answer)
    }
}

/// An answer whose body is `value` as JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    // Our own types always serialize; an empty body would still carry the status.
    text(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

/// An answer of any type.
pub(super) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
