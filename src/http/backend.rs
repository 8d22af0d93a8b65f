//! `POST /api/v1/events`, from a backend's key to its 201:
//!
//! ```text
//! key ─► rate limit ─► body ─► inflate ─► payload ─► ids ─► rows ─► journal ═► 201
//! ```
//!
//! The key comes first: nobody without one makes us read or inflate anything. Refusals are `{"detail": "…"}`, and all
//! or nothing of a request is stored.
//!
//! An event's id is the one that it has, else one derived from the request's `Idempotency-Key`: the UUID v5 of that
//! header, a line feed and the event's index, within the API key's id. Neither changes when a request is sent again,
//! so its copies are dropped as those of the public API are, and its answer names the same ids. Without either an id
//! is made, which no copy can have.
//!
//! Each event may tell another user agent, and to read one never seen before takes long beside all the rest. So other
//! requests are let in between them, and what backends tell is remembered apart from what browsers say of themselves:
//! whoever makes up user agents delays nobody and pushes nothing out but what other backends told.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use http::{HeaderName, StatusCode};
use serde::Serialize;
use thiserror::Error;
use tokio::task::yield_now;
use uuid::Uuid;

use super::answer::{Answer, json};
use super::body::RequestBody;
use super::cors;
use super::events::Intake;
use super::keep;
use super::rejection::{Form, Rejection};
use super::routes::Head;
use crate::api_key::Scope;
use crate::enrich::{Agent, UserAgents, Visitor, enrich, new_event_id};
use crate::event::{Source, Timestamp};
use crate::metrics::count_rejected;
use crate::payload::backend::{BackendError, BackendEvent, Decoded, Shape, decode};
use crate::project::{ApiAccess, ApiKeyError};
use crate::retry::Retry;
use crate::row::EventRow;

pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest `Idempotency-Key`, in characters.
const LONGEST_IDEMPOTENCY_KEY: usize = 255;

/// User agents never seen before that are read in one go, at 10 µs each: 50 where they are made to be slow.
const UNSEEN_AT_ONCE: usize = 16;

/// Why the `Idempotency-Key` header cannot be used.
#[derive(Debug, Error)]
pub(super) enum IdempotencyKeyError {
    #[error(
        "the Idempotency-Key header is empty, too long or not printable; expected 1 to {LONGEST_IDEMPOTENCY_KEY} \
         printable ASCII characters"
    )]
    Malformed,
    #[error("the Idempotency-Key header is given twice; expected it once")]
    Repeated,
}

impl IdempotencyKeyError {
    /// The stable word for it.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Malformed | Self::Repeated => "invalid_idempotency_key",
        }
    }

    /// A header that was refused once is refused again.
    pub(super) const fn retry(&self) -> Retry {
        match self {
            Self::Malformed | Self::Repeated => Retry::Never,
        }
    }
}

/// What a request's events derive their ids from where they have none.
#[derive(Clone, Copy)]
struct Idempotency<'a> {
    api_key: Uuid,
    text: &'a str,
}

impl<'a> Idempotency<'a> {
    fn of(headers: &'a HeaderMap, api_key: Uuid) -> Result<Option<Self>, IdempotencyKeyError> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(IdempotencyKeyError::Repeated);
        }
        let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
        let text = str::from_utf8(value.as_bytes()).map_err(|_| IdempotencyKeyError::Malformed)?;
        if !(1..=LONGEST_IDEMPOTENCY_KEY).contains(&text.len()) || !text.as_bytes().iter().all(is_printable) {
            return Err(IdempotencyKeyError::Malformed);
        }
        Ok(Some(Self { api_key, text }))
    }

    /// The id of the event at this place.
    fn id(self, index: usize) -> Uuid {
        Uuid::new_v5(&self.api_key, format!("{}\n{index}", self.text).as_bytes())
    }
}

/// A request's events on the way to their rows.
struct Batch<'a> {
    events: &'a [BackendEvent<'a>],
    /// The ids that are stored, one for each event.
    ids: Vec<Uuid>,
    /// What the user agents say that the events tell of, one for each event.
    agents: Vec<Option<Arc<Agent>>>,
    project: Uuid,
    received_at: Timestamp,
}

impl<'a> Batch<'a> {
    fn new(
        events: &'a [BackendEvent<'a>],
        agents: Vec<Option<Arc<Agent>>>,
        project: Uuid,
        received_at: Timestamp,
    ) -> Self {
        let id = |sent: &BackendEvent<'_>| sent.event.event_id.unwrap_or_else(|| new_event_id(received_at));
        Self { events, ids: events.iter().map(id).collect(), agents, project, received_at }
    }
}

/// What the user agents say that events tell of.
async fn read_agents(events: &[BackendEvent<'_>], agents: &UserAgents) -> Vec<Option<Arc<Agent>>> {
    let mut read = Vec::with_capacity(events.len());
    let mut unseen = 0;
    for BackendEvent { user_agent, .. } in events {
        if user_agent.is_empty() {
            read.push(None);
            continue;
        }
        let known = agents.known(user_agent);
        if known.is_none() {
            unseen += 1;
            if unseen % UNSEEN_AT_ONCE == 0 {
                yield_now().await;
            }
        }
        read.push(known.or_else(|| Some(agents.learn(user_agent))));
    }
    read
}

impl keep::Batch for Batch<'_> {
    fn project(&self) -> Uuid {
        self.project
    }

    fn received_at(&self) -> Timestamp {
        self.received_at
    }

    fn events(&self) -> usize {
        self.events.len()
    }

    fn repeatable_id(&self, index: usize) -> Option<Uuid> {
        self.events[index].event.event_id
    }

    fn encode(&self, index: usize, rows: &mut Vec<u8>) {
        let BackendEvent { event, source, source_id, metadata, user_agent } = &self.events[index];
        let agent = self.agents[index].clone();
        let visitor = agent.map(|agent| Visitor::told(user_agent, agent));
        let row = enrich(event, self.project, Source::Api, visitor.as_ref(), None, self.received_at);
        EventRow { event_id: self.ids[index], api_source: source, source_id, metadata, ..row }.encode(rows);
    }
}

#[derive(Serialize)]
struct Stored<'a> {
    success: bool,
    events_received: usize,
    events: Vec<StoredEvent<'a>>,
}

#[derive(Serialize)]
struct StoredEvent<'a> {
    id: Uuid,
    tenant_id: Uuid,
    source: &'a str,
    event_type: &'a str,
    received_at: &'a str,
}

#[derive(Serialize)]
struct Ingested {
    ingested: usize,
}

impl Intake {
    /// Answers a backend.
    pub(super) async fn answer_backend(&self, head: Head, body: RequestBody) -> Answer {
        match self.take_backend(head, body).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.told_to(Form::Backends),
        }
    }

    async fn take_backend(&self, head: Head, mut body: RequestBody) -> Result<Answer, Rejection> {
        let access = self.find_access(&head.headers).await?;
        let standing = match self.rate_limits.api_key(access.key_id, access.requests_per_minute) {
            Ok(standing) => standing,
            Err(limited) => {
                body.skip(&head.headers).await;
                return Err(limited.into());
            }
        };
        let mut answer = match self.store_backend(&access, &head.headers, body).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.told_to(Form::Backends),
        };
        standing.write(answer.headers_mut());
        Ok(answer)
    }

    /// What the request's API key stands for.
    async fn find_access(&self, headers: &HeaderMap) -> Result<Arc<ApiAccess>, ApiKeyError> {
        let mut keys = headers.get_all(API_KEY).iter();
        // Of two, neither is the one that is meant.
        let presented = keys.next().filter(|_| keys.next().is_none()).map(HeaderValue::as_bytes);
        self.api_keys.find(presented, Scope::Events, cors::origin(headers)).await
    }

    async fn store_backend(
        &self,
        access: &ApiAccess,
        headers: &HeaderMap,
        mut body: RequestBody,
    ) -> Result<Answer, Rejection> {
        let idempotency = Idempotency::of(headers, access.key_id)?;
        let pace = body.pace();
        let body = self.read(headers, &mut body).await?;
        let received_at = self.clock.now();
        let Decoded { shape, mut events } = decode(&body, &self.limits).inspect_err(count)?;
        if let Some(idempotency) = idempotency {
            for (index, sent) in events.iter_mut().enumerate() {
                sent.event.event_id.get_or_insert_with(|| idempotency.id(index));
            }
        }
        let agents = read_agents(&events, &self.backend_agents).await;
        let batch = Batch::new(&events, agents, access.project, received_at);
        self.keep(&batch, &pace).await?;
        Ok(answer(shape, &batch))
    }
}

fn count(error: &BackendError) {
    for code in error.codes() {
        count_rejected(code);
    }
}

fn answer(shape: Shape, batch: &Batch<'_>) -> Answer {
    let count = batch.events.len();
    if shape == Shape::Array {
        return json(StatusCode::CREATED, &Ingested { ingested: count });
    }
    let received_at = in_seconds(batch.received_at);
    let events = batch.events.iter().zip(&batch.ids).map(|(sent, id)| StoredEvent {
        id: *id,
        tenant_id: batch.project,
        source: &sent.source,
        event_type: &sent.event.kind,
        received_at: &received_at,
    });
    let answer = Stored { success: true, events_received: count, events: events.collect() };
    json(StatusCode::CREATED, &answer)
}

/// RFC 3339 in UTC without a fraction.
fn in_seconds(moment: Timestamp) -> String {
    let mut text = moment.to_string();
    text.truncate(text.len() - ".000Z".len());
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::event::PayloadLimits;

    const API_KEY_ID: Uuid = Uuid::from_u128(1);

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn an_idempotency_key_is_one_header_of_printable_characters() {
        for good in ["a", "8e03978e-40d5-43dd-bc93-6894a57f9324", "\"quoted\"", "a b~!", &"x".repeat(255)] {
            let headers = headers(&[good.as_bytes()]);
            let read = Idempotency::of(&headers, API_KEY_ID).unwrap().unwrap();
            assert_eq!(read.text, good);
        }
        assert!(Idempotency::of(&headers(&[]), API_KEY_ID).unwrap().is_none());
        let long = [b'x'; 256];
        let bad: [&[&[u8]]; 5] = [&[b""], &[&long], &[b"a\tb"], &["ä".as_bytes()], &[b"\xff"]];
        for values in bad {
            let error = Idempotency::of(&headers(values), API_KEY_ID).err().expect("refused").to_string();
            assert!(error.contains("1 to 255 printable ASCII characters"), "{values:?}: {error}");
        }
        let twice = headers(&[b"a", b"a"]);
        assert!(matches!(Idempotency::of(&twice, API_KEY_ID), Err(IdempotencyKeyError::Repeated)));
    }

    #[test]
    fn derived_ids_depend_on_key_header_and_index_and_on_nothing_else() {
        let id = |key: u128, text: &'static str, index| {
            Idempotency { api_key: Uuid::from_u128(key), text }.id(index)
        };
        let expected = Uuid::new_v5(&API_KEY_ID, b"order-7\n0");
        assert_eq!(id(1, "order-7", 0), expected);
        assert_eq!((expected.get_version_num(), id(1, "order-7", 0)), (5, expected));
        for other in [id(2, "order-7", 0), id(1, "order-7", 1), id(1, "order-", 70), id(1, "order-70", 0)] {
            assert_ne!(other, expected);
        }
        // No key and index look like another key and index.
        assert_ne!(id(1, "a", 11), id(1, "a1", 1));
    }

    #[tokio::test]
    async fn made_up_user_agents_let_other_requests_in_between() {
        let agents = UserAgents::new(10_000).unwrap();
        let event = |n| {
            format!(r#"{{"source":"s","event_type":"t","data":{{"user_agent":"Mozilla/5.0 Made/{n}.0"}}}}"#)
        };
        let body = format!("[{}]", (0..1_000).map(event).collect::<Vec<_>>().join(","));
        let Decoded { events, .. } = decode(body.as_bytes(), &PayloadLimits::default()).unwrap();
        let done = Cell::new(false);
        let turns = async {
            let mut turns = 0;
            while !done.get() {
                turns += 1;
                yield_now().await;
            }
            turns
        };
        let read = async {
            let read = read_agents(&events, &agents).await;
            done.set(true);
            read
        };
        let (read, turns) = tokio::join!(read, turns);
        assert!(turns >= 1_000 / UNSEEN_AT_ONCE - 1, "another request had {turns} turns");
        assert!(read.iter().flatten().all(|agent| agent.browser.is_empty()) && read.len() == 1_000);
        // Those that are known take no time.
        let known = read_agents(&events, &agents).now_or_never().expect("it does not wait");
        assert!(known.iter().zip(&read).all(|(known, read)| known == read));
    }

    #[test]
    fn the_time_of_receipt_is_told_in_whole_seconds() {
        let told = in_seconds(Timestamp::from_millis(1_772_366_400_999));
        assert_eq!(told, "2026-03-01T12:00:00Z");
    }
}
