//! One request after the other to a collector's `POST /api/v1/events`, each until there is an answer that settles it.
//!
//! Only a `201` that counts the events confirms them: whatever else answers in the collector's place settles nothing.
//! What passes by itself is waited for: a limit of requests, a collector that is away, busy, or starting. Patience ends
//! when a request has not been taken for so long.

use std::io::{self, Write as _};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use httpdate::parse_http_date;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::to_string;
use thiserror::Error;
use tokio::time::{sleep, timeout};

use super::line::Origin;
use super::window::RequestLimits;
use crate::clickhouse::{Connector, connector};
use crate::loader::Backoff;

const AGENT: &str = concat!("weir-import/", env!("CARGO_PKG_VERSION"));

/// What a collector takes in a request, unless it is told otherwise, is 1,000 events and 5 MiB of JSON. Requests are
/// what is limited by the minute, so each carries what it can.
const REQUEST: RequestLimits = RequestLimits { events: 1_000, bytes: 4 * 1024 * 1024 };

/// A collector that has not answered by then is asked again.
const ANSWER_TIME: Duration = Duration::from_mins(1);

/// The longest answer: 1,000 events take some 200 KB.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What settles a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its events are on the collector's disk.
    Taken,
    /// None of them is.
    Refused(Refusal),
    /// It, or the event in it, is over a limit.
    TooLarge(String),
    /// It holds more events than the collector takes at once, which are so many.
    TooMany(usize),
}

/// Why a request is rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The events at fault, by their places in the request, each with what is wrong with it. The collector names a
    /// few of them, or none where something else is wrong.
    pub(super) events: Vec<(usize, String)>,
    /// All that the collector says.
    pub(super) detail: String,
}

/// Why no request will be taken any more.
#[derive(Debug, Error)]
pub(super) enum SendError {
    #[error("the collector does not take the key: {0}")]
    Key(String),
    #[error("the key may not send events: {0}")]
    Forbidden(String),
    #[error("{url} answers {status}: that is no address of a collector that takes imports{hint}")]
    NotACollector { url: Uri, status: StatusCode, hint: String },
    #[error("no request was taken for {}: {problem}", humantime::format_duration(*patience))]
    Patience { patience: Duration, problem: String },
}

/// Why a request has to be sent again.
struct Again {
    problem: String,
    /// As long as the collector asks for.
    wait: Option<Duration>,
}

/// What one attempt has come to.
enum Attempt {
    Settled(Verdict),
    Again(Again),
}

pub(super) struct Sender {
    /// What the collector takes in a request, as far as it is known.
    pub(super) limits: RequestLimits,
    client: Client<Connector, Full<Bytes>>,
    url: Uri,
    key: HeaderValue,
    patience: Duration,
}

/// What a refusal says.
#[derive(Default, Deserialize)]
struct Detail {
    detail: String,
}

/// What matters of a confirmation.
#[derive(Deserialize)]
struct Confirmation {
    success: bool,
    events_received: usize,
}

impl Sender {
    pub(super) fn new(url: Uri, mut key: HeaderValue, patience: Duration) -> Self {
        key.set_sensitive(true);
        let client = Client::builder(TokioExecutor::new()).build(connector());
        Self { limits: REQUEST, client, url, key, patience }
    }

    /// Sends a body in gzip that holds so many events, until it is settled. `waiting` is told of what holds it up.
    pub(super) async fn send(
        &self,
        body: &Bytes,
        events: usize,
        mut waiting: impl FnMut(&str),
    ) -> Result<Verdict, SendError> {
        // An input may have paused since the request before.
        let begun = Instant::now();
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let Again { problem, wait } = match self.attempt(body, events).await? {
                Attempt::Settled(verdict) => return Ok(verdict),
                Attempt::Again(again) => again,
            };
            // However soon: what asks for no pause at all would be asked without end.
            let pause = wait.map_or_else(|| backoff.pause(), |wait| wait.max(FIRST_PAUSE));
            if begun.elapsed().saturating_add(pause) > self.patience {
                return Err(SendError::Patience { patience: self.patience, problem });
            }
            waiting(&problem);
            sleep(pause).await;
        }
    }

    async fn attempt(&self, body: &Bytes, events: usize) -> Result<Attempt, SendError> {
        let again = |problem: String| Ok(Attempt::Again(Again { problem, wait: None }));
        let answered = timeout(ANSWER_TIME, async {
            let answer = self.client.request(self.request(body)).await.map_err(|error| shown(&error))?;
            let (head, body) = answer.into_parts();
            let body = read(body).await?;
            Ok::<_, String>((Response::from_parts(head, ()), body))
        });
        match answered.await {
            Ok(Ok((answer, body))) => self.judge(&answer, &body, events),
            Ok(Err(problem)) => again(format!("the collector cannot be reached: {problem}")),
            Err(_elapsed) => again("the collector does not answer".to_owned()),
        }
    }

    fn request(&self, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.insert("x-api-key", self.key.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        request
    }

    fn judge(&self, answer: &Response<()>, body: &[u8], events: usize) -> Result<Attempt, SendError> {
        let said = serde_json::from_slice::<Detail>(body);
        // What is not in the collector's own words comes from something in front of it.
        let is_ours = said.is_ok();
        let detail = said.unwrap_or_default().detail;
        let settled = |verdict| Ok(Attempt::Settled(verdict));
        let status = answer.status();
        let wait = wait_told(answer.headers(), SystemTime::now());
        match status.as_u16() {
            201 => {
                let confirmed: Option<Confirmation> = serde_json::from_slice(body).ok();
                if confirmed.is_some_and(|known| known.success && known.events_received == events) {
                    return settled(Verdict::Taken);
                }
            }
            400 if is_ours => {
                if let Some(limit) = most_events(&detail).filter(|limit| *limit < events) {
                    return settled(Verdict::TooMany(limit));
                }
                return settled(Verdict::Refused(Refusal { events: named(&detail, events), detail }));
            }
            401 if is_ours => return Err(SendError::Key(detail)),
            403 if is_ours => return Err(SendError::Forbidden(detail)),
            413 => {
                let detail = if is_ours { detail } else { "it is too large".to_owned() };
                return settled(Verdict::TooLarge(detail));
            }
            408 | 425 | 429 | 500 | 502..=504 => {
                let detail = if is_ours { format!(": {detail}") } else { String::new() };
                return Ok(Attempt::Again(Again { problem: format!("{status}{detail}"), wait }));
            }
            _ => {}
        }
        let hint = match answer.headers().get(http::header::LOCATION).map(HeaderValue::to_str) {
            Some(Ok(elsewhere)) => format!("; it points to {elsewhere}"),
            _ => String::new(),
        };
        Err(SendError::NotACollector { url: self.url.clone(), status, hint })
    }
}

/// A request's body, in gzip.
pub(super) fn encode<'a>(origin: &Origin, events: impl Iterator<Item = &'a str>) -> io::Result<Bytes> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    write!(out, r#"{{"source":{}"#, to_string(&origin.source)?)?;
    if let Some(id) = &origin.source_id {
        write!(out, r#","source_id":{}"#, to_string(id)?)?;
    }
    let mut before = r#","events":["#;
    for event in events {
        out.write_all(before.as_bytes())?;
        out.write_all(event.as_bytes())?;
        before = ",";
    }
    out.write_all(b"]}")?;
    Ok(out.finish()?.into())
}

async fn read(body: Incoming) -> Result<Bytes, String> {
    let whole = Limited::new(body, LONGEST_ANSWER).collect().await;
    Ok(whole.map_err(|error| format!("its answer breaks off: {error}"))?.to_bytes())
}

/// What has caused an error, or the error itself: the outer one says only in which part of the client it arose.
fn shown(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

/// How long an answer asks to wait: so many seconds, or until a moment by its own clock, which `now` stands in for.
fn wait_told(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let told = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = told.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = parse_http_date(told).ok()?;
    let sent = headers.get(DATE).and_then(|date| parse_http_date(date.to_str().ok()?).ok());
    Some(until.duration_since(sent.unwrap_or(now)).unwrap_or_default())
}

/// The events that a collector takes at once, where that is what it says: `events holds over 500 events; …`.
fn most_events(detail: &str) -> Option<usize> {
    let (_, rest) = detail.split_once("events holds over ")?;
    rest.split_once(" events")?.0.parse().ok().filter(|limit| *limit > 0)
}

/// The events that a refusal names: `events[3].data is missing; … | events[7] has over … | and 3 more`.
fn named(detail: &str, events: usize) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for piece in detail.split(" | ") {
        let Some((_, rest)) = piece.split_once("events[") else { continue };
        let Some((index, reason)) = rest.split_once(']') else { continue };
        let Ok(index) = index.parse() else { continue };
        if index < events && found.iter().all(|(known, _)| *known != index) {
            let reason = reason.strip_prefix('.').unwrap_or(reason.trim_start());
            found.push((index, reason.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_events_and_what_is_wrong_with_each() {
        let all = "nothing is stored, since 22 of 30 events are not valid: events[1].data is missing; expected an \
                   object | events[3] has over 65536 bytes of JSON; expected no more | and 20 more";
        let expected = [
            (1, "data is missing; expected an object".to_owned()),
            (3, "has over 65536 bytes of JSON; expected no more".to_owned()),
        ];
        assert_eq!(named(all, 30), expected);
        assert_eq!(named(all, 2), expected[..1], "there is no such event in the request");
        for none in ["", "source is missing", "events is empty", "events[x].data", "events[", "events[-1]"] {
            assert_eq!(named(none, 30), [], "{none}");
        }
        assert_eq!(named("events[0].a | events[0].b", 1).len(), 1);
    }

    #[test]
    fn a_collector_says_how_many_events_it_takes() {
        for (detail, expected) in [
            ("events holds over 500 events; expected no more", Some(500)),
            ("the body: events holds over 1 events; expected no more", Some(1)),
            ("events holds over 0 events; expected no more", None),
            ("events holds over many events", None),
            ("events holds over 500", None),
            ("events[3].data has over 500 bytes", None),
        ] {
            assert_eq!(most_events(detail), expected, "{detail}");
        }
    }

    #[test]
    fn a_wait_is_told_in_seconds_or_by_a_date() {
        let now = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (told, date, expected) in [
            ("7", None, Some(7)),
            (" 0 ", None, Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", None, Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", None, Some(30)),
            ("Sun Nov  6 08:50:07 1994", None, Some(30)),
            // A clock that is 2 hours ahead.
            ("Sun, 06 Nov 1994 10:50:07 GMT", Some("Sun, 06 Nov 1994 10:50:02 GMT"), Some(5)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some("today"), Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", None, Some(0)),
            ("-1", None, None),
            ("soon", None, None),
            ("", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, told.parse().unwrap());
            headers.extend(date.map(|date| (DATE, date.parse().unwrap())));
            assert_eq!(wait_told(&headers, now), expected.map(Duration::from_secs), "{told}, {date:?}");
        }
        assert_eq!(wait_told(&HeaderMap::new(), now), None);
    }
}
