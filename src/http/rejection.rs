//! Refusals as clients see them. Every module says what went wrong in its own words, with a stable code; here, and
//! nowhere else, that becomes a status:
//!
//! ```json
//! {"error": {"code": "body_too_large", "message": "…", "field": "events[2].url"}}
//! ```
//!
//! Backends are told the message alone, as `{"detail": "…"}`, or as `{"error": "…"}` where they send conversions.
//!
//! Each error enum is matched in full, without a catch-all, so that a new variant does not compile until somebody
//! has decided what it means to a client.

use std::time::Duration;

use http::StatusCode;
use http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::answer::{Answer, json};
use super::backend::IdempotencyKeyError;
use super::body::BodyError;
use super::limits::{Limited, Standing};
use crate::conversions::queue::QueueError;
use crate::conversions::wire::WireError;
use crate::journal::JournalError;
use crate::payload::backend::BackendError;
use crate::payload::inflate::InflateError;
use crate::payload::{EVENT_TOO_LARGE, PayloadError, Rejected};
use crate::project::{ApiKeyError, ProjectError};
use crate::retry::Retry;

/// Why a request is refused, and what its client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status of the answer.
    pub status: StatusCode,
    /// What went wrong as a stable word that programs can compare.
    pub code: &'static str,
    /// What was wrong, where, and what was expected: one sentence for people.
    pub message: String,
    /// The place in the body, as `events[2].url`.
    pub field: Option<String>,
    /// Sent as `Retry-After`, in whole seconds and at least 1.
    pub retry_after: Option<Duration>,
    /// Sent as `Allow`: the methods that the path does answer.
    allow: Option<Box<str>>,
    /// Sent as `RateLimit` and `RateLimit-Policy`.
    standing: Option<Standing>,
}

impl Rejection {
    /// A refusal without a field and without `Retry-After`.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            field: None,
            retry_after: None,
            allow: None,
            standing: None,
        }
    }

    /// The same, pointing at a place in the body.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same, with `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The refusal of a request none of whose events is valid, `first` being the first of them. A lone event that is
    /// too large is a body that is too large.
    pub(super) fn of_event(first: &Rejected<'_>, batch: bool) -> Self {
        let too_large = !batch && first.code == EVENT_TOO_LARGE;
        let status = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        let refusal = Self::new(status, first.code, first.message.clone());
        let field = first.path(batch);
        if field.is_empty() { refusal } else { refusal.at(field) }
    }

    /// The same, with `Retry-After` where it can succeed later.
    pub(super) fn when(self, retry: Retry) -> Self {
        match retry {
            Retry::Never => self,
            Retry::After(wait) => self.retry_after(wait),
        }
    }

    /// 404; `known` names what the listener does answer.
    pub(super) fn not_found(known: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("no such path; known here: {known}"))
    }

    /// 405 with `Allow`.
    pub(super) fn method_not_allowed(allow: String) -> Self {
        let message = format!("this path does not answer that method, only {allow}");
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        Self { allow: Some(allow.into()), ..refusal }
    }

    /// 408 for a head that did not arrive in time.
    pub(super) fn head_too_slow(limit: Duration) -> Self {
        let message = format!("the request's headers did not arrive within {} s", limit.as_secs_f64());
        Self::new(StatusCode::REQUEST_TIMEOUT, "headers_too_slow", message)
    }

    /// 500 for a defect of ours; its cause goes to the log, not to the client.
    pub(super) fn internal() -> Self {
        let message = "the collector failed on this request; the cause is in its log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<BodyError> for Rejection {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            BodyError::BrokenOff(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<Limited> for Rejection {
    fn from(limited: Limited) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, limited.code(), limited.to_string());
        Self { standing: Some(limited.standing()), ..refusal.when(limited.retry()) }
    }
}

impl From<InflateError> for Rejection {
    fn from(error: InflateError) -> Self {
        let status = match error {
            InflateError::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            InflateError::Damaged(_) | InflateError::Window(_) => StatusCode::BAD_REQUEST,
            InflateError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<PayloadError> for Rejection {
    fn from(error: PayloadError) -> Self {
        let refusal = Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string());
        Self { field: error.field().map(str::to_owned), ..refusal }
    }
}

impl From<ProjectError> for Rejection {
    fn from(error: ProjectError) -> Self {
        let status = match error {
            ProjectError::Unknown => StatusCode::UNAUTHORIZED,
            ProjectError::Disabled | ProjectError::OriginNotAllowed => StatusCode::FORBIDDEN,
            ProjectError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.code(), error.to_string()).when(error.retry())
    }
}

impl From<ApiKeyError> for Rejection {
    fn from(error: ApiKeyError) -> Self {
        let (status, message) = match error {
            // Nobody is told whether there is such a key.
            ApiKeyError::Missing => (StatusCode::UNAUTHORIZED, "Invalid or missing API key".to_owned()),
            ApiKeyError::Scope | ApiKeyError::OriginNotAllowed => (StatusCode::FORBIDDEN, error.to_string()),
            ApiKeyError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        };
        Self::new(status, error.code(), message).when(error.retry())
    }
}

impl From<IdempotencyKeyError> for Rejection {
    fn from(error: IdempotencyKeyError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()).when(error.retry())
    }
}

impl From<BackendError> for Rejection {
    fn from(error: BackendError) -> Self {
        let status = match error {
            BackendError::Body(_) | BackendError::Events(_) => StatusCode::BAD_REQUEST,
            BackendError::EventTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.code(), error.to_string()).when(error.retry())
    }
}

impl From<WireError> for Rejection {
    fn from(error: WireError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()).when(error.retry())
    }
}

impl From<QueueError> for Rejection {
    fn from(error: QueueError) -> Self {
        let status = match error {
            QueueError::Full | QueueError::Failed | QueueError::Closed => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.code(), error.to_string()).when(error.retry())
    }
}

impl From<JournalError> for Rejection {
    fn from(error: JournalError) -> Self {
        let status = match error {
            JournalError::Full | JournalError::Overloaded | JournalError::Failed | JournalError::Closed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, error.code(), error.to_string()).when(error.retry())
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    error: PublicError<'a>,
}

#[derive(Serialize)]
struct PublicError<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

#[derive(Serialize)]
struct Detail<'a> {
    detail: &'a str,
}

#[derive(Serialize)]
struct PlainError<'a> {
    error: &'a str,
}

/// The API in whose form a refusal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Public,
    Backends,
    Conversions,
}

impl From<Rejection> for Answer {
    fn from(refusal: Rejection) -> Self {
        refusal.told_to(Form::Public)
    }
}

impl Rejection {
    /// The refusal as clients of this API know refusals.
    pub(super) fn told_to(self, form: Form) -> Answer {
        let Self { code, message, field, .. } = &self;
        match form {
            Form::Public => {
                self.answer(&Wire { error: PublicError { code, message, field: field.as_deref() } })
            }
            Form::Backends => self.answer(&Detail { detail: message }),
            Form::Conversions => self.answer(&PlainError { error: message }),
        }
    }

    fn answer(&self, body: &impl Serialize) -> Answer {
        // At debug level only: anybody can cause these, as often as they like.
        tracing::debug!(
            status = self.status.as_u16(),
            code = self.code,
            field = self.field,
            "refused: {}",
            self.message
        );
        let mut answer = json(self.status, body);
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(standing) = self.standing {
            standing.write(answer.headers_mut());
        }
        if let Some(methods) = self.allow.as_ref().and_then(|methods| HeaderValue::from_str(methods).ok()) {
            answer.headers_mut().insert(ALLOW, methods);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn body(answer: Answer) -> String {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_field_is_named_where_there_is_one() {
        let plain = Rejection::new(StatusCode::BAD_REQUEST, "bad", "not \"good\"");
        let answer = Answer::from(plain.clone());
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(body(answer).await, r#"{"error":{"code":"bad","message":"not \"good\""}}"#);
        let pointing = body(plain.at("events[2].url").into()).await;
        let expected = r#"{"error":{"code":"bad","message":"not \"good\"","field":"events[2].url"}}"#;
        assert_eq!(pointing, expected);
    }

    #[tokio::test]
    async fn backends_are_told_the_same_as_a_detail() {
        let cases = [
            (Rejection::from(JournalError::Full), 503, true),
            (ApiKeyError::Unavailable.into(), 503, true),
            (ApiKeyError::Missing.into(), 401, false),
            (ApiKeyError::Scope.into(), 403, false),
            (ApiKeyError::OriginNotAllowed.into(), 403, false),
            (InflateError::Unsupported.into(), 415, false),
            (Rejection::method_not_allowed("POST".to_owned()), 405, false),
        ];
        for (refusal, status, again) in cases {
            let expected = serde_json::json!({ "detail": refusal.message }).to_string();
            let answer = refusal.told_to(Form::Backends);
            assert_eq!(
                (answer.status().as_u16(), answer.headers().contains_key(RETRY_AFTER)),
                (status, again)
            );
            assert_eq!(answer.headers().contains_key(ALLOW), status == 405);
            assert_eq!(body(answer).await, expected);
        }
        let unknown = Rejection::from(ApiKeyError::Missing).told_to(Form::Backends);
        assert_eq!(body(unknown).await, r#"{"detail":"Invalid or missing API key"}"#);
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (wait, sent) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (30_000, "30")] {
            let refusal = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "busy")
                .retry_after(Duration::from_millis(wait));
            assert_eq!(Answer::from(refusal).headers()["retry-after"], sent, "{wait} ms");
        }
    }
}
