//! What operators are told of conversions on the private listener, and what they can do: `weir conversions` asks here.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, json};
use super::rejection::Rejection;
use super::routes::Route;
use crate::conversions::queue::QueueError;
use crate::conversions::{Forwarder, IntegrationReport};
use crate::metrics::show_integration;

/// Dead letters that one answer shows at most.
const MOST_DEAD: usize = 10_000;

/// Dead letters that one request deletes at most.
pub const MOST_DISCARDED: usize = 10_000;

/// In the place of an integration's name: all there are. No integration is called so.
pub const ALL_INTEGRATIONS: &str = "*";

/// What `/conversions` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversionsReport {
    /// Every integration that there is, or of which the queue holds something.
    pub integrations: Vec<IntegrationReport>,
}

/// What `/conversions/dead` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadReport {
    /// By integration, oldest first.
    pub dead: Vec<DeadLetterReport>,
}

/// A conversion that will not be sent unless it is replayed. Nothing of who did it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterReport {
    /// The integration.
    pub integration: String,
    /// The id by which the platform would know it; one that is made up where that cannot be read.
    pub id: String,
    /// Its event type.
    pub event_type: String,
    /// When it happened, in RFC 3339; `null` where that cannot be read.
    pub occurred_at: Option<String>,
    /// How often it was sent.
    pub attempts: u32,
    /// Why it is dead.
    pub why: String,
    /// Since when, in RFC 3339.
    pub since: String,
}

/// What is said of whatever changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedReport {
    /// Dead letters that are sent again, integrations that were paused, or conversions that were deleted.
    pub changed: usize,
}

#[derive(Clone, Copy)]
pub(super) enum Endpoint {
    Status,
    Dead,
    Replay,
    Resume,
    Discard,
    DiscardDead,
}

pub(super) static ROUTES: [Route<Endpoint>; 6] = [
    ("/conversions", Method::GET, Endpoint::Status),
    // No page of another origin can have a browser send a DELETE unasked, as it can a POST.
    ("/conversions", Method::DELETE, Endpoint::Discard),
    ("/conversions/dead", Method::GET, Endpoint::Dead),
    ("/conversions/dead", Method::DELETE, Endpoint::DiscardDead),
    ("/conversions/replay", Method::POST, Endpoint::Replay),
    ("/conversions/resume", Method::POST, Endpoint::Resume),
];

/// Answers an operator; `query` may hold `integration=NAME`, the only one that is meant, and `id=…` of a conversion.
pub(super) async fn answer(endpoint: Endpoint, query: Option<&str>, forwarder: &Forwarder) -> Answer {
    let parameter = |name| {
        let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let (integration, id) = (parameter("integration"), parameter("id"));
    let integration = integration.as_deref();
    let answered = match endpoint {
        Endpoint::Status => forwarder
            .report()
            .await
            .map(|integrations| json(StatusCode::OK, &ConversionsReport { integrations })),
        Endpoint::Dead => dead(forwarder, integration).await,
        Endpoint::Replay => forwarder
            .queue()
            .replay(integration)
            .await
            .map(|changed| json(StatusCode::OK, &ChangedReport { changed })),
        Endpoint::Resume => {
            Ok(json(StatusCode::OK, &ChangedReport { changed: forwarder.resume(integration) }))
        }
        Endpoint::Discard => {
            let Some(id) = id.filter(|id| !id.is_empty()) else {
                return unnamed("id=…, that of the conversion to delete");
            };
            let discarded = forwarder.queue().discard(integration, &id).await;
            discarded_report(forwarder, discarded).await
        }
        Endpoint::DiscardDead => {
            let Some(meant) = integration.filter(|meant| !meant.is_empty()) else {
                return unnamed("integration=NAME, whose dead letters to delete, or * for all");
            };
            let only = Some(meant).filter(|meant| *meant != ALL_INTEGRATIONS);
            let discarded = forwarder.queue().discard_dead(only, MOST_DISCARDED).await;
            discarded_report(forwarder, discarded).await
        }
    };
    answered.unwrap_or_else(|error| Rejection::from(error).into())
}

/// Nothing is deleted by accident.
fn unnamed(expected: &str) -> Answer {
    let message = format!("the query does not say what to delete; expected {expected}");
    Rejection::new(StatusCode::BAD_REQUEST, "nothing_named", message).into()
}

async fn discarded_report(
    forwarder: &Forwarder,
    discarded: Result<BTreeMap<String, usize>, QueueError>,
) -> Result<Answer, QueueError> {
    let discarded = discarded?;
    let left = forwarder.report().await?;
    for name in discarded.keys().filter(|name| !left.iter().any(|report| report.integration == **name)) {
        // Nobody shows anything of it any more.
        show_integration(name, 0, 0, false);
    }
    Ok(json(StatusCode::OK, &ChangedReport { changed: discarded.values().sum() }))
}

async fn dead(forwarder: &Forwarder, integration: Option<&str>) -> Result<Answer, QueueError> {
    let names = match integration {
        Some(name) => vec![name.to_owned()],
        None => forwarder.report().await?.into_iter().map(|report| report.integration).collect(),
    };
    let mut letters = Vec::new();
    for name in names {
        letters.extend(forwarder.queue().dead(&name, MOST_DEAD - letters.len()).await?);
    }
    let dead = letters.into_iter().map(|letter| DeadLetterReport {
        integration: letter.integration,
        id: letter.id,
        event_type: letter.event_type,
        occurred_at: letter.occurred_at.map(|moment| moment.to_string()),
        attempts: letter.attempts,
        why: letter.why,
        since: letter.at.to_string(),
    });
    Ok(json(StatusCode::OK, &DeadReport { dead: dead.collect() }))
}
