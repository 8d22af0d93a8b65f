//! CORS: any page may call, since who may send for a project is decided by its key and its allowed origins.
//!
//! It stands on every answer, because a page that cannot read a refusal sees a network error in its place. `OPTIONS`
//! is answered here for every path. Credentials are allowed only because a beacon always sends them; no cookie is
//! set or read. The script alone is open to every page by itself, for reasons of its own: see `script.rs`.
//!
//! By hand, because tower-http's layer took 7,100 of a request's 48,900 instructions.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http_body_util::Full;

use super::answer::Answer;

/// How long a browser may remember a preflight: a day; none remembers it for longer.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("86400");

/// The headers that the APIs read, for who asks about none.
const KNOWN_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, content-encoding, x-api-key, idempotency-key");

/// The headers that a page may read, next to those that it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after, ratelimit, ratelimit-policy");

/// The origin of every page alike.
pub(super) const EVERYONE: HeaderValue = HeaderValue::from_static("*");

/// What a preflight is told, whatever it asks about: 200, and that the headers it names may be sent.
pub(super) fn preflight(request: &HeaderMap) -> Answer {
    let mut answer = Answer::new(Full::default());
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,POST,OPTIONS"));
    let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or(KNOWN_HEADERS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    answer
}

/// The page that a request says it comes from; what is no text is on no list.
pub(super) fn origin(request: &HeaderMap) -> Option<&str> {
    request.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"))
}

/// Lets the page at `origin`, which may be `null`, read an answer, when it may come back, and how it stands with its
/// limits. An answer to every page stays as it is.
pub(super) fn allow(answer: &mut HeaderMap, origin: Option<HeaderValue>) {
    if let Some(allowed) = answer.get_mut(ACCESS_CONTROL_ALLOW_ORIGIN) {
        // It has all the others too.
        match origin {
            _ if *allowed == EVERYONE => {}
            Some(origin) => *allowed = origin,
            None => drop(answer.remove(ACCESS_CONTROL_ALLOW_ORIGIN)),
        }
        return;
    }
    if let Some(origin) = origin {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    // What is cached for one page is not for another, nor a preflight for other headers.
    answer.insert(VARY, HeaderValue::from_static("origin, access-control-request-headers"));
}
