//! `GET /weir.js`: the script in the coding that its client prefers, with what browsers and caches need to keep it.
//!
//! It is open to every page alike, hence `*` where other answers echo `Origin`: a cache would have to keep a copy for
//! each page's origin otherwise, and a browser does not check the integrity of what a page may not read.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;

use super::accept::{Coding, preferred};
use super::answer::Answer;
use super::cors;
use crate::snippet::script;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// How long the answer of a path may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// An hour: the script changes with the binary.
    Hour,
    /// A year: the path names the bytes.
    Year,
}

impl Lifetime {
    const fn cache_control(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Hour => "public, max-age=3600, stale-while-revalidate=86400",
            Self::Year => "public, max-age=31536000, immutable",
        })
    }
}

/// Answers `GET` and `HEAD`, of which hyper leaves out the body.
pub(super) fn answer(request: &HeaderMap, lifetime: Lifetime) -> Answer {
    let script = script();
    let (variant, coding) =
        match preferred(request.get_all(ACCEPT_ENCODING).iter().map(HeaderValue::as_bytes)) {
            Coding::Brotli => (&script.brotli, Some("br")),
            Coding::Gzip => (&script.gzip, Some("gzip")),
            Coding::Identity => (&script.plain, None),
        };
    let mut answer = Response::new(Full::default());
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, lifetime.cache_control());
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, cors::EVERYONE);
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(etag) = HeaderValue::from_str(&variant.etag) {
        headers.insert(ETAG, etag);
    }
    if is_known(request, &variant.etag) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return answer;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    *answer.body_mut() = Full::new(Bytes::from_static(variant.body));
    answer
}

/// Whether the client has the variant with this entity tag already. A cache that changed the answer on its way may
/// have weakened the tag.
fn is_known(request: &HeaderMap, etag: &str) -> bool {
    let lists = request.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
    lists.flat_map(|list| list.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).any(|tag| {
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
        tag == b"*" || tag == etag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_is_found_in_any_list() {
        let mut headers = HeaderMap::new();
        assert!(!is_known(&headers, "\"a\""));
        for (list, known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("*", true),
            ("\"b\", \"a\"", true),
            ("\"b\",W/\"a\" ,\"c\"", true),
            ("", false),
            ("a", false),
            ("\"A\"", false),
            ("\"b\"", false),
            ("\"a", false),
            ("w/\"a\"", false),
            ("\"aa\"", false),
        ] {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(list));
            assert_eq!(is_known(&headers, "\"a\""), known, "{list}");
        }
        headers.append(IF_NONE_MATCH, HeaderValue::from_static("\"a\""));
        assert!(is_known(&headers, "\"a\""), "in a second header");
    }
}
