//! Why an event, or a whole body, is refused: a [`Problem`] and the field it lies in.

use thiserror::Error;

use crate::retry::Retry;

/// The code of an event that is over its limit: for a body that is one event the same as a body over its own.
pub const EVENT_TOO_LARGE: &str = "event_too_large";

/// What is wrong, and what was expected. Its text goes on from the name of a field: "`url` is missing; …". It
/// never repeats what a client sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Problem {
    #[error("is not JSON: {detail}; expected {expected}")]
    InvalidJson { detail: String, expected: &'static str },
    #[error("is {found}; expected {expected}")]
    WrongType { found: &'static str, expected: &'static str },
    #[error("is missing; expected {expected}")]
    MissingField { expected: &'static str },
    #[error("is empty; expected {expected}")]
    EmptyField { expected: &'static str },
    #[error("is given twice; expected it once")]
    DuplicateField,
    #[error("escapes half of a surrogate pair; expected Unicode text")]
    InvalidText,
    #[error("has over {limit} {unit}; expected no more")]
    TooLong { limit: usize, unit: &'static str },
    #[error("is not absolute; expected a full URL such as https://example.com/pricing")]
    InvalidUrl,
    #[error("is not a moment between 1900 and 2299; expected RFC 3339 such as 2025-01-15T10:30:00Z")]
    InvalidTimestamp,
    #[error("is not a UUID; expected one such as 67e55044-10b1-426f-9247-bb680e5fe0c8, not all zeros")]
    InvalidEventId,
    #[error("is no known source; expected \"snippet\" or \"sdk\"")]
    InvalidSource,
    #[error("is nested deeper than {limit} levels; expected no more")]
    TooDeep { limit: usize },
    #[error("has over {limit} bytes of JSON; expected no more")]
    EventTooLarge { limit: usize },
    #[error("holds no event; expected at least one")]
    NoEvents,
    #[error("holds over {limit} events; expected no more")]
    TooManyEvents { limit: usize },
}

impl Problem {
    /// The stable word for it; the table in [`payload`](crate::payload) lists them.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::InvalidJson { .. } => "invalid_json",
            Self::WrongType { .. } => "wrong_type",
            Self::MissingField { .. } => "missing_field",
            Self::EmptyField { .. } => "empty_field",
            Self::DuplicateField => "duplicate_field",
            Self::InvalidText => "invalid_text",
            Self::TooLong { .. } => "too_long",
            Self::InvalidUrl => "invalid_url",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::InvalidEventId => "invalid_event_id",
            Self::InvalidSource => "invalid_source",
            Self::TooDeep { .. } => "too_deep",
            Self::EventTooLarge { .. } => EVENT_TOO_LARGE,
            Self::NoEvents => "no_events",
            Self::TooManyEvents { .. } => "too_many_events",
        }
    }
}

/// A problem and the field it lies in; the field's name is empty where the whole event or body is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) field: &'static str,
    pub(super) problem: Problem,
}

/// The whole body is refused, because it cannot be read or what all of its events share is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{} {problem}", if .field.is_empty() { "the body" } else { .field })]
pub struct PayloadError {
    field: &'static str,
    problem: Problem,
    project_key: Option<String>,
}

impl PayloadError {
    pub(super) fn new(fault: Fault, project_key: Option<&str>) -> Self {
        let Fault { field, problem } = fault;
        Self { field, problem, project_key: project_key.map(str::to_owned) }
    }

    /// The stable word for what is wrong.
    pub const fn code(&self) -> &'static str {
        self.problem.code()
    }

    /// A body that was refused once is refused again.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }

    /// The top-level field that is wrong; `None` where the body as a whole is.
    pub const fn field(&self) -> Option<&'static str> {
        if self.field.is_empty() { None } else { Some(self.field) }
    }

    /// The body's project key, where it could still be read: its project's operator may want to see the refusal.
    pub fn project_key(&self) -> Option<&str> {
        self.project_key.as_deref()
    }
}
