//! What operators are told of conversions on the private listener, and what they can do: `weir conversions` asks here.

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, json};
use super::rejection::Rejection;
use super::routes::Route;
use crate::conversions::queue::QueueError;
use crate::conversions::{Forwarder, IntegrationReport};

/// Dead letters that one answer shows at most.
const MOST_DEAD: usize = 10_000;

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

/// What `/conversions/replay` and `/conversions/resume` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedReport {
    /// Dead letters that are sent again, or integrations that were paused.
    pub changed: usize,
}

#[derive(Clone, Copy)]
pub(super) enum Endpoint {
    Status,
    Dead,
    Replay,
    Resume,
}

pub(super) static ROUTES: [Route<Endpoint>; 4] = [
    ("/conversions", Method::GET, Endpoint::Status),
    ("/conversions/dead", Method::GET, Endpoint::Dead),
    ("/conversions/replay", Method::POST, Endpoint::Replay),
    ("/conversions/resume", Method::POST, Endpoint::Resume),
];

/// Answers an operator; `query` may hold `integration=NAME`, the only one that is meant.
pub(super) async fn answer(endpoint: Endpoint, query: Option<&str>, forwarder: &Forwarder) -> Answer {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let integration =
        pairs.into_iter().find(|(key, _)| key == "integration").map(|(_, name)| name.into_owned());
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
    };
    answered.unwrap_or_else(|error| Rejection::from(error).into())
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
