//! What Google's answers mean: an id of the request, results, or errors by their gRPC codes, in an answer of status 200
//! too.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::answer::{saying, told, unreadable};
use super::super::{Reply, Verdict, by_status};

/// Errors by which it says that it has the conversion: our earlier request has come through.
const HAS_IT: &[&str] = &["CLICK_CONVERSION_ALREADY_EXISTS", "ORDER_ID_ALREADY_IN_USE"];

/// Errors that pass by themselves: the click or the conversion action is only some hours old.
const TOO_EARLY: &[&str] = &["TOO_RECENT_EVENT", "TOO_RECENT_CONVERSION_ACTION"];

/// gRPC's codes by their names.
const CODES: &[(&str, i64)] = &[
    ("CANCELLED", 1),
    ("UNKNOWN", 2),
    ("INVALID_ARGUMENT", 3),
    ("DEADLINE_EXCEEDED", 4),
    ("NOT_FOUND", 5),
    ("ALREADY_EXISTS", 6),
    ("PERMISSION_DENIED", 7),
    ("RESOURCE_EXHAUSTED", 8),
    ("FAILED_PRECONDITION", 9),
    ("ABORTED", 10),
    ("OUT_OF_RANGE", 11),
    ("UNIMPLEMENTED", 12),
    ("INTERNAL", 13),
    ("UNAVAILABLE", 14),
    ("DATA_LOSS", 15),
    ("UNAUTHENTICATED", 16),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    request_id: Option<String>,
    results: Option<Vec<Map<String, Value>>>,
    partial_failure_error: Option<Failure>,
    error: Option<Failure>,
}

/// gRPC's status, in whose place HTTP's is given by `code` where there is a `status`.
#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    errors: Vec<GoogleAdsError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GoogleAdsError {
    /// The kind of error and the error, such as `{"conversionUploadError": "EXPIRED_EVENT"}`.
    #[serde(default)]
    error_code: Map<String, Value>,
    #[serde(default)]
    message: String,
}

pub(super) fn read(answer: &Reply<'_>, events: usize) -> Verdict {
    let Ok(body) = serde_json::from_slice::<Answer>(answer.body) else {
        return unreadable(answer);
    };
    if let Some(error) = body.error {
        return error.verdict(answer);
    }
    if !answer.status.is_success() {
        return by_status(answer.status);
    }
    let results = body.results.unwrap_or_default();
    match body.partial_failure_error {
        Some(failure) => failure.of_some(answer, &results, events),
        None if body.request_id.is_some() => Verdict::Taken,
        None if results.is_empty() => unreadable(answer),
        None => of_each(&results, events, "it gave no result and no reason"),
    }
}

/// Results in order: an empty one is that of an event it has not taken.
fn of_each(results: &[Map<String, Value>], events: usize, why: &str) -> Verdict {
    if results.len() != events {
        return Verdict::Refused(format!(
            "answered with {} results for {events} events: {why}",
            results.len()
        ));
    }
    if results.iter().all(|result| !result.is_empty()) {
        return Verdict::Taken;
    }
    let each = results.iter().map(|result| if result.is_empty() { Err(why.to_owned()) } else { Ok(()) });
    Verdict::Each(each.collect())
}

impl Failure {
    /// Of the request as a whole.
    fn verdict(&self, answer: &Reply<'_>) -> Verdict {
        let said = self.said();
        match self.grpc_code() {
            Some(7 | 16) => Verdict::Unauthorized(said),
            Some(8) => Verdict::Throttled(said),
            Some(1 | 2 | 4 | 10 | 13 | 14) => Verdict::Retry(said),
            Some(_) => Verdict::Refused(said),
            None => saying(unreadable(answer), said),
        }
    }

    /// Of some of its events, those without a result.
    fn of_some(&self, answer: &Reply<'_>, results: &[Map<String, Value>], events: usize) -> Verdict {
        if self.is_only(HAS_IT) {
            return Verdict::Taken;
        }
        match self.verdict(answer) {
            Verdict::Refused(said) if self.is_only(TOO_EARLY) => Verdict::Retry(said),
            Verdict::Refused(said) if results.iter().any(|result| !result.is_empty()) => {
                of_each(results, events, &said)
            }
            whole => whole,
        }
    }

    fn grpc_code(&self) -> Option<i64> {
        let by_name = CODES.iter().find(|(name, _)| *name == self.status).map(|&(_, code)| code);
        by_name.or_else(|| (1..=16).contains(&self.code).then_some(self.code))
    }

    /// The errors' own names, such as `EXPIRED_EVENT`.
    fn names(&self) -> impl Iterator<Item = &str> {
        let errors = self.details.iter().flat_map(|detail| &detail.errors);
        errors.flat_map(|error| error.error_code.values().filter_map(Value::as_str))
    }

    fn is_only(&self, names: &[&str]) -> bool {
        let mut own = self.names().peekable();
        own.peek().is_some() && own.all(|name| names.contains(&name))
    }

    fn said(&self) -> String {
        let first =
            self.details.iter().flat_map(|detail| &detail.errors).find(|error| !error.message.is_empty());
        let message = first.map_or(&self.message, |error| &error.message);
        match self.names().next() {
            Some(name) => told(name, message),
            None if self.status.is_empty() => told(&format!("code {}", self.code), message),
            None => told(&self.status, message),
        }
    }
}
