//! One request to a platform, and its answer: no redirects, no more of the answer than is needed, and no longer than
//! anybody would wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::timeout;

use super::Integration;
use super::platform::{Outgoing, Reply, Verdict};
use super::queue::LONGEST_DELAY;
use crate::clickhouse::{Connector, connector};
use crate::event::Timestamp;

/// For the whole of a request and its answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// As much of an answer as is read, in bytes: what a platform says of 1,000 events.
const ANSWER: usize = 1024 * 1024;

/// Longer than this nobody is waited for.
const LONGEST_RETRY_AFTER: Duration = LONGEST_DELAY;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The way to the platforms and back: a test has one of its own. What is asked, for how long, and what an answer means
/// is not decided there.
pub(super) trait Network: Send + Sync {
    /// Carries a request to the host of its URL, and as much of the answer back as is read. Fails with why there is no
    /// answer, for operators, without the URL: it may hold a secret.
    fn carry(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Vec<u8>>, String>>;
}

/// HTTP over TCP, and TLS where the URL says so.
struct Internet(Client<Connector, Full<Bytes>>);

impl Network for Internet {
    fn carry(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Vec<u8>>, String>> {
        Box::pin(async {
            let answer = self.0.request(request.map(Full::new)).await.map_err(|error| unreachable(&error))?;
            let (head, body) = answer.into_parts();
            Ok(Response::from_parts(head, read(body).await))
        })
    }
}

/// Sends requests.
pub(super) struct Sender(Arc<dyn Network>);

/// What came of a request.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) verdict: Verdict,
    /// What the platform asks to be waited for.
    pub(super) retry_after: Option<Duration>,
}

impl Sender {
    /// Over the internet; the requests share their connections.
    pub(super) fn new() -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector());
        Self::over(Arc::new(Internet(client)))
    }

    pub(super) fn over(network: Arc<dyn Network>) -> Self {
        Self(network)
    }

    /// Sends a request that tells of so many events.
    pub(super) async fn send(
        &self,
        integration: &Integration,
        outgoing: Outgoing,
        events: usize,
        now: Timestamp,
    ) -> Sent {
        match timeout(TIMEOUT, self.ask(integration, outgoing, events, now)).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(problem)) => Sent { verdict: Verdict::Retry(problem), retry_after: None },
            Err(_) => {
                let problem = format!("did not answer within {} s", TIMEOUT.as_secs());
                Sent { verdict: Verdict::Retry(problem), retry_after: None }
            }
        }
    }

    /// Fails with why there is no answer. The URL may hold a secret, so no message has it.
    async fn ask(
        &self,
        integration: &Integration,
        outgoing: Outgoing,
        events: usize,
        now: Timestamp,
    ) -> Result<Sent, String> {
        let mut request = Request::new(Bytes::from(outgoing.body));
        *request.method_mut() = Method::POST;
        let uri = format!("{}{}", integration.base_url, outgoing.path).parse();
        *request.uri_mut() = uri.map_err(|_| "its settings make no URL".to_owned())?;
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        request.headers_mut().insert(USER_AGENT, AGENT);
        request.headers_mut().extend(outgoing.headers.into_iter().map(|(name, value)| (Some(name), value)));
        let (head, body) = self.0.carry(request).await?.into_parts();
        let verdict = integration.platform.read(&Reply { status: head.status, body: &body }, events);
        let verdict = without_secrets(verdict, integration);
        Ok(Sent { verdict, retry_after: retry_after(&head.headers, now) })
    }
}

/// As much of a body as there is, and as is read: what it says of the events is the platform's to judge.
async fn read(mut body: Incoming) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        if read.len() >= ANSWER {
            break;
        }
    }
    read
}

/// A verdict whose texts repeat no secret of the integration, as a platform may.
fn without_secrets(verdict: Verdict, integration: &Integration) -> Verdict {
    let secrets: Vec<&str> = (integration.platform.settings().iter())
        .filter(|setting| setting.secret)
        .map(|setting| integration.setting(setting.key))
        .filter(|secret| !secret.is_empty())
        .collect();
    let hide = |text: String| secrets.iter().fold(text, |text, secret| text.replace(secret, "…"));
    match verdict {
        Verdict::Taken => Verdict::Taken,
        Verdict::Each(each) => Verdict::Each(each.into_iter().map(|one| one.map_err(hide)).collect()),
        Verdict::Retry(why) => Verdict::Retry(hide(why)),
        Verdict::Throttled(why) => Verdict::Throttled(hide(why)),
        Verdict::Unauthorized(why) => Verdict::Unauthorized(hide(why)),
        Verdict::Refused(why) => Verdict::Refused(hide(why)),
        Verdict::Gone(why) => Verdict::Gone(hide(why)),
    }
}

fn unreachable(error: &hyper_util::client::legacy::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(cause) = source.source() {
        source = cause;
    }
    format!("cannot be reached: {source}")
}

/// `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        // HTTP's dates end in GMT, which RFC 2822 knows as an obsolete zone.
        let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
        let millis = date.unix_timestamp().saturating_mul(1_000).saturating_sub(now.as_millis());
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_may_ask_for_seconds_or_for_a_moment() {
        let now = Timestamp::from_millis(1_445_412_480_000);
        let cases = [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Wed, 21 Oct 2015 07:29:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("99999999999", Some(86_400)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
