//! `POST /tracking/ingest`, from a backend's key to its 200 or 207:
//!
//! ```text
//! key ─► rate limit ─► body ─► inflate ─► wire ─► integration ─► consent ─► identity ─► queue ═► 200
//! ```
//!
//! What is wrong with an event is said of that event, and the others are taken. Refusals of a whole request are
//! `{"error": "…"}`.

use std::borrow::Cow;
use std::sync::Arc;

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Serialize;

use super::answer::{Answer, json};
use super::body::RequestBody;
use super::cors;
use super::events::Intake;
use super::keep::{DURABLE_WITHIN, with_entry};
use super::rejection::{Form, Rejection};
use super::routes::Head;
use crate::api_key::Scope;
use crate::conversions::queue::{Accepted, Incoming, QueueError};
use crate::conversions::wire::{self, SentEvent};
use crate::conversions::{Conversion, Fault, Integration, platform};
use crate::event::Timestamp;
use crate::metrics::{count_conversions, count_rejected};
use crate::project::{ApiAccess, ApiKeyError};
use crate::row::{RejectedRow, Table};

/// The code of an event that is refused, in `rejected_events` and in the figures.
const INVALID: &str = "invalid_conversion";

/// What `rejected_events` calls who sent it.
const SOURCE: &str = "conversions";

#[derive(Serialize)]
struct Processed {
    processed: usize,
    errors: Vec<EventError>,
}

#[derive(Serialize)]
struct EventError {
    index: usize,
    message: String,
}

/// A request's events on the way to the queue.
struct Batch<'a> {
    access: &'a ApiAccess,
    received_at: Timestamp,
    incoming: Vec<Incoming>,
    errors: Vec<EventError>,
    processed: usize,
}

impl Intake {
    /// Answers a backend that sends conversions.
    pub(super) async fn answer_conversions(&self, head: Head, body: RequestBody) -> Answer {
        match self.take_conversions(head, body).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.told_to(Form::Conversions),
        }
    }

    async fn take_conversions(&self, head: Head, mut body: RequestBody) -> Result<Answer, Rejection> {
        let access = self.find_sender(&head.headers).await?;
        // The contract knows no usual limit for these: a full queue is one.
        let limit = access.requests_per_minute;
        let standing =
            match limit.map(|limit| self.rate_limits.api_key(access.key_id, Some(limit))).transpose() {
                Ok(standing) => standing,
                Err(limited) => {
                    body.skip(&head.headers).await;
                    return Err(limited.into());
                }
            };
        let mut answer = match self.queue_conversions(&access, &head.headers, body).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.told_to(Form::Conversions),
        };
        if let Some(standing) = standing {
            standing.write(answer.headers_mut());
        }
        Ok(answer)
    }

    /// What the request's key stands for. One of another scope is told what an unknown one is: here it opens nothing.
    async fn find_sender(&self, headers: &HeaderMap) -> Result<Arc<ApiAccess>, ApiKeyError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        // Of two, neither is the one that is meant.
        let presented = values.next().filter(|_| values.next().is_none()).and_then(bearer);
        let found = self.api_keys.find(presented, Scope::Conversions, cors::origin(headers)).await;
        found.map_err(|error| if error == ApiKeyError::Scope { ApiKeyError::Missing } else { error })
    }

    async fn queue_conversions(
        &self,
        access: &ApiAccess,
        headers: &HeaderMap,
        mut body: RequestBody,
    ) -> Result<Answer, Rejection> {
        let pace = body.pace();
        let body = self.read(headers, &mut body).await?;
        let events = wire::read(&body).inspect_err(|error| count_rejected(error.code()))?;
        let mut batch = Batch {
            access,
            received_at: self.clock.now(),
            incoming: Vec::with_capacity(events.len()),
            errors: Vec::new(),
            processed: 0,
        };
        for (index, event) in events.into_iter().enumerate() {
            let taken = match event {
                Ok(event) => self.route(&event, &mut batch),
                Err(rejected) => Err(rejected.fault),
            };
            match taken {
                Ok(()) => batch.processed += 1,
                Err(fault) => batch.errors.push(EventError { index, message: fault.to_string() }),
            }
        }
        let Batch { incoming, errors, processed, received_at, .. } = batch;
        if !incoming.is_empty() {
            let names: Vec<String> =
                incoming.iter().map(|incoming| integration_of(incoming).to_owned()).collect();
            let accepted = pace.within(DURABLE_WITHIN, self.forwarder.accept(incoming)).await;
            let accepted = accepted.unwrap_or(Err(QueueError::Failed))?;
            for (name, accepted) in names.iter().zip(accepted) {
                count_conversions(name, word(accepted), 1);
            }
        }
        // Best effort, and only for a request that is not sent again as a whole.
        let _ = pace.within(DURABLE_WITHIN, self.note_refused(access, &errors, received_at)).await;
        let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
        Ok(json(status, &Processed { processed, errors }))
    }

    /// Finds where an event goes, and adds what is queued there; all of it or nothing.
    fn route(&self, event: &SentEvent, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let Some(platform) = platform::find(&event.platform) else {
            return Err(Fault::at("platform", format!("expected one of {}", platform::names())));
        };
        let integrations = self.forwarder.integrations(&batch.access.project_name, platform.name());
        if integrations.is_empty() {
            let problem = format!("No active integration found for platform: {}", event.platform);
            return Err(Fault { field: Cow::Borrowed(""), problem: problem.into() });
        }
        let id = wire::conversion_id(event, batch.access.key_id, platform.name());
        let mut incoming = Vec::with_capacity(integrations.len());
        for integration in &integrations {
            incoming.push(admit(event, &id, integration, batch)?);
        }
        batch.incoming.append(&mut incoming);
        Ok(())
    }

    /// Keeps why events were refused, where an operator can query it; nothing of the events, which hold plain text.
    async fn note_refused(&self, access: &ApiAccess, errors: &[EventError], received_at: Timestamp) {
        let mut rows = Vec::new();
        let mut count = 0;
        for error in errors {
            count_rejected(INVALID);
            if !self.rejected.admits(access.project) {
                continue;
            }
            RejectedRow {
                received_at,
                project_id: access.project,
                source: SOURCE,
                event: b"",
                reason: INVALID,
                message: &error.message,
            }
            .encode(&mut rows);
            count += 1;
        }
        if count == 0 {
            return;
        }
        let appending = with_entry(|entry| {
            entry.record(Table::RejectedEvents, received_at, |out| {
                out.extend_from_slice(&rows);
                count
            });
            self.journal.append(entry)
        });
        if let Err(error) = appending.await {
            tracing::debug!(%error, "could not keep why conversions were refused");
        }
    }
}

/// The key in `Authorization: Bearer <key>`.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, key) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
}

fn integration_of(incoming: &Incoming) -> &str {
    let (Incoming::Queue { conversion, .. } | Incoming::Denied { conversion, .. }) = incoming;
    &conversion.integration
}

const fn word(accepted: Accepted) -> &'static str {
    match accepted {
        Accepted::Queued => "queued",
        Accepted::Repeated => "repeated",
        Accepted::Denied => "consent_denied",
    }
}

/// An event as it is queued for an integration; its identifiers are digests from here on.
fn admit(
    event: &SentEvent,
    id: &str,
    integration: &Integration,
    batch: &Batch<'_>,
) -> Result<Incoming, Fault> {
    let received_at = batch.received_at;
    let decided = integration.consent.decide(&event.consent, integration.platform.limited_use());
    let mut consent = decided.unwrap_or_default();
    consent.limited_use |= integration.limited_data_use;
    let country = integration.default_country_code.as_deref();
    let conversion = Conversion {
        id: id.to_owned(),
        project_id: batch.access.project,
        integration: integration.name.clone(),
        event_type: event.event_type.clone(),
        // Nobody takes an event of the future.
        occurred_at: event.timestamp.unwrap_or(received_at).min(received_at),
        received_at,
        source_url: event.source_url.clone(),
        identity: event.identity(&integration.platform.identity(), country),
        custom: event.custom.clone(),
        consent,
    };
    let name = integration.platform.name();
    Ok(match decided {
        Ok(_) => {
            platform::check(integration, &conversion)?;
            Incoming::Queue { platform: name, conversion }
        }
        Err(denied) => Incoming::Denied { platform: name, conversion, why: denied.code() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_presented_as_bearer_in_any_case() {
        let cases: [(&'static str, Option<&[u8]>); 7] = [
            ("Bearer weir_sk_1", Some(b"weir_sk_1")),
            ("bearer weir_sk_1", Some(b"weir_sk_1")),
            ("BEARER   weir_sk_1 ", Some(b"weir_sk_1")),
            ("weir_sk_1", None),
            ("Basic weir_sk_1", None),
            ("Bearer", None),
            ("Bearerweir_sk_1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bearer(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }
}
