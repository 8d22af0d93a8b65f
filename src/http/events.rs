//! `POST /api/events`, the path of an event from its bytes to its 200:
//!
//! ```text
//! body ─► inflate ─► payload ─► project ─► visitor ─► rows ─► journal ═► 200 {"received": n}
//! ```
//!
//! A client over its limit is refused before its body is looked at, a project over its own as soon as it is known.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use futures_util::TryFutureExt as _;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use super::answer::{Answer, Taken, json, text};
use super::body::RequestBody;
use super::cors;
use super::keep::{self, Begun, DURABLE_WITHIN, with_entry};
use super::limits::{Limited, RateLimits, RejectedCap};
use super::pace::Pace;
use super::rejection::Rejection;
use super::routes::{Apis, Head};
use crate::clock::Clock;
use crate::conversions::Forwarder;
use crate::enrich::{AddressMode, TrustedProxies, UserAgents, Visitor, client_address, enrich};
use crate::event::{PayloadLimits, Source, Timestamp};
use crate::journal::{Entry, Journal};
use crate::metrics::count_rejected;
use crate::payload::{self, Decoded, PayloadError};
use crate::project::{ApiKeys, Project, Projects};
use crate::recent::RecentEvents;
use crate::row::{RejectedRow, Table};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Everything that the APIs work with.
pub struct Intake {
    pub(crate) limits: PayloadLimits,
    pub(crate) clock: Clock,
    pub(crate) projects: Projects,
    pub(crate) api_keys: ApiKeys,
    /// What browsers say of themselves.
    pub(crate) agents: UserAgents,
    /// What backends tell of browsers.
    pub(crate) backend_agents: UserAgents,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) address: AddressMode,
    pub(crate) recent: RecentEvents,
    pub(crate) journal: Journal,
    pub(crate) rejected: RejectedCap,
    pub(crate) rate_limits: RateLimits,
    pub(crate) forwarder: Forwarder,
}

/// What nearly every answer is, with all of its headers: to put them together took 1,400 instructions, a copy takes 400.
static RECEIVED_ONE: LazyLock<Answer> = LazyLock::new(|| {
    let mut answer = text(StatusCode::OK, "application/json", r#"{"received":1}"#);
    // Any origin keeps the place of the real one.
    cors::allow(answer.headers_mut(), Some(HeaderValue::from_static("null")));
    answer
});

#[derive(Serialize)]
struct Received<'a> {
    received: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<RejectedEvent<'a>>,
}

#[derive(Serialize)]
struct RejectedEvent<'a> {
    index: usize,
    field: &'a str,
    message: &'a str,
}

/// What a batch's events share on the way to their rows.
struct Batch<'a> {
    decoded: &'a Decoded<'a>,
    project: Uuid,
    visitor: Option<Visitor<'a>>,
    received_at: Timestamp,
    rejected: &'a RejectedCap,
}

impl keep::Batch for Batch<'_> {
    fn project(&self) -> Uuid {
        self.project
    }

    fn received_at(&self) -> Timestamp {
        self.received_at
    }

    fn events(&self) -> usize {
        self.decoded.events.len()
    }

    fn repeatable_id(&self, index: usize) -> Option<Uuid> {
        self.decoded.events[index].event_id
    }

    fn encode(&self, index: usize, rows: &mut Vec<u8>) {
        let Self { decoded, project, visitor, received_at, .. } = self;
        let event = &decoded.events[index];
        enrich(event, *project, decoded.source, visitor.as_ref(), decoded.sent_at, *received_at).encode(rows);
    }

    fn encode_rest(&self, entry: &mut Entry) {
        entry.record(Table::RejectedEvents, self.received_at, |rows| {
            let mut count = 0;
            for rejected in &self.decoded.rejected {
                if !self.rejected.admits(self.project) {
                    continue;
                }
                RejectedRow {
                    received_at: self.received_at,
                    project_id: self.project,
                    source: self.decoded.source.as_str(),
                    event: rejected.event,
                    reason: rejected.code,
                    message: &rejected.message,
                }
                .encode(rows);
                count += 1;
            }
            count
        });
    }
}

impl Apis for Intake {
    fn events(&self, head: Head, body: RequestBody, peer: SocketAddr) -> impl Future<Output = Taken> + Send {
        self.take(head, body, peer.ip()).unwrap_or_else(|refusal| Taken::Answered(refusal.into()))
    }

    async fn backend_events(&self, head: Head, body: RequestBody) -> Answer {
        self.answer_backend(head, body).await
    }

    async fn conversions(&self, head: Head, body: RequestBody) -> Answer {
        self.answer_conversions(head, body).await
    }
}

impl Intake {
    async fn take(&self, head: Head, mut body: RequestBody, peer: IpAddr) -> Result<Taken, Rejection> {
        let headers = &head.headers;
        if let Err(limited) = self.rate_limits.address(|| self.client(headers, peer)) {
            // What few requests come to is boxed, since all of them have room for the rest: with this, the other ones and
            // the boxed head it is 880 bytes instead of 3,600.
            Box::pin(body.skip(headers)).await;
            return Err(limited.into());
        }
        let pace = body.pace();
        let bytes = self.read(headers, &mut body).await?;
        let received_at = self.clock.now();
        let decoded = match payload::decode(&bytes, &self.limits) {
            Ok(decoded) => decoded,
            Err(error) => {
                let keeping = Box::pin(self.keep_refusal(&error, &bytes, headers, received_at));
                let kept = pace.within(DURABLE_WITHIN, keeping).await;
                // Whatever became of it, but for a project that may not even be told what was wrong.
                return Err(kept.and_then(Result::err).map_or_else(|| error.into(), Rejection::from));
            }
        };
        let project = self.find_project(&decoded.project_key, headers).await?;
        self.rate_limits.project(project)?;
        let visitor = (decoded.source == Source::Snippet).then(|| self.visitor(headers, peer));
        let batch = Batch { decoded: &decoded, project, visitor, received_at, rejected: &self.rejected };
        let begun = self.begin(&batch);
        if decoded.rejected.is_empty() && begun.is_alone() {
            return Ok(Taken::Begun(begun));
        }
        match Box::pin(self.keep_begun(begun, &batch, &pace)).await {
            // Nothing of it is acknowledged, so its own faults are the better answer.
            Err(error) if !decoded.events.is_empty() => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        for rejected in &decoded.rejected {
            count_rejected(rejected.code);
        }
        if decoded.events.is_empty()
            && let Some(first) = decoded.rejected.first()
        {
            return Err(Rejection::of_event(first, decoded.batch));
        }
        let rejected = decoded.rejected.iter().map(|rejected| RejectedEvent {
            index: rejected.index,
            field: rejected.field,
            message: &rejected.message,
        });
        Ok(answer(decoded.events.len(), rejected.collect()).into())
    }

    async fn find_project(&self, key: &str, headers: &HeaderMap) -> Result<Uuid, Rejection> {
        // A hit needs no future.
        let project = match self.projects.cached(key) {
            Some(known) => known?,
            None => Box::pin(self.projects.find(key)).await?,
        };
        admit(&project, headers)?;
        Ok(project.id)
    }

    fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let hops = || headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        client_address(peer, hops, &self.trusted_proxies)
    }

    fn visitor<'a>(&self, headers: &'a HeaderMap, peer: IpAddr) -> Visitor<'a> {
        let client = self.client(headers, peer);
        let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Visitor::new(client, self.address, agent, &self.agents)
    }

    /// Keeps a body that was refused as a whole, where its project can be told and would have admitted the request. It
    /// counts against the project's limit like any other.
    async fn keep_refusal(
        &self,
        error: &PayloadError,
        body: &[u8],
        headers: &HeaderMap,
        received_at: Timestamp,
    ) -> Result<(), Limited> {
        let project = match error.project_key() {
            Some(key) => self.find_project(key, headers).await.ok(),
            None => None,
        };
        if let Some(project) = project {
            self.rate_limits.project(project)?;
        }
        count_rejected(error.code());
        let Some(project) = project.filter(|project| self.rejected.admits(*project)) else { return Ok(()) };
        let message = error.to_string();
        let row = RejectedRow {
            received_at,
            project_id: project,
            // Which of the two formats it was meant to be is just what could not be told.
            source: "",
            event: body,
            reason: error.code(),
            message: &message,
        };
        let appending = with_entry(|entry| {
            entry.record(Table::RejectedEvents, received_at, |rows| {
                row.encode(rows);
                1
            });
            self.journal.append(entry)
        });
        if let Err(error) = appending.await {
            tracing::debug!(%error, "could not keep a refused body");
        }
        Ok(())
    }
}

fn admit(project: &Project, headers: &HeaderMap) -> Result<(), Rejection> {
    Ok(project.admit(|| cors::origin(headers))?)
}

/// Answers a batch of which nothing was rejected, once it is durable.
pub(super) async fn answer_begun(begun: &mut Begun, pace: &Pace) -> Answer {
    match begun.finish(pace).await {
        Ok(received) => answer(received, Vec::new()),
        Err(error) => Rejection::from(error).into(),
    }
}

fn answer(received: usize, rejected: Vec<RejectedEvent<'_>>) -> Answer {
    if received == 1 && rejected.is_empty() {
        return RECEIVED_ONE.clone();
    }
    json(StatusCode::OK, &Received { received, rejected })
}
