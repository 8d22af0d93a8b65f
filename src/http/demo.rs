//! The demo page of the operations listener, and the rows that it asks for.
//!
//! The page includes the script from the public listener exactly as a site would, shows every event as it is made,
//! and asks `GET /demo/rows?ids=…` until each of them is a row. It is one file without dependencies; its policy lets
//! run what carries the nonce of this very answer, and lets it speak to us and to the public listener alone.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::BoxFuture;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::answer::{Answer, json, text};
use super::rejection::Rejection;
use super::routes::PublicPaths;
use crate::retry::Retry;
use crate::snippet::escaped;

const PAGE: &str = include_str!("demo.html");

/// Rows asked for at once.
const MAX_IDS: usize = 100;
/// `0190a000-0000-7000-8000-000000000001`: no other way of writing one is read.
const ID_CHARACTERS: usize = 36;

/// An event as the table has it, with what the collector has added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is the column of its name")]
pub struct DemoRow {
    pub event_id: String,
    pub r#type: String,
    pub url: String,
    pub visitor_id: String,
    pub user_id: String,
    pub browser: String,
    pub os: String,
    pub device: String,
    /// In RFC 3339, with milliseconds.
    pub received_at: String,
    /// JSON.
    pub properties: String,
}

/// Why there are no rows to show at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DemoError {
    /// The demo project is not there yet.
    #[error("the demo project is not there yet; it is made when the collector has started")]
    Starting,
    /// ClickHouse cannot say.
    #[error("clickhouse does not answer, events wait in the journal: {0}")]
    Away(String),
}

impl DemoError {
    /// The stable name of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Starting => "demo_starting",
            Self::Away(_) => "clickhouse_unavailable",
        }
    }

    /// The page asks again.
    pub const fn retry(&self) -> Retry {
        Retry::After(std::time::Duration::from_secs(1))
    }
}

/// What stands behind the page.
pub trait Demonstrated: Send + Sync + 'static {
    /// Those rows of the demo project that have these ids, each once. Ends in less time than an answer may take.
    fn rows<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<DemoRow>, DemoError>>;
}

/// The page.
pub struct DemoPage {
    /// Public key of the project it sends to.
    pub project_key: &'static str,
    /// The public listener, with its real port.
    pub listen: SocketAddr,
    /// Where that one has its script and takes events.
    pub paths: PublicPaths,
}

#[derive(Serialize)]
struct Rows {
    rows: Vec<DemoRow>,
}

impl DemoPage {
    /// `GET /demo`.
    pub(super) fn answer(&self, request: &HeaderMap) -> Answer {
        // 122 random bits, which nobody can guess before the answer is there.
        let nonce = Uuid::new_v4().simple().to_string();
        let collector = self.collector(request);
        let mut page = PAGE.to_owned();
        for (place, value) in [
            ("{nonce}", nonce.as_str()),
            ("{script}", &format!("{collector}{}", self.paths.script)),
            ("{endpoint}", &format!("{collector}{}", self.paths.events)),
            ("{project key}", self.project_key),
        ] {
            page = page.replace(place, &escaped(value));
        }
        // Policies have no words for the addresses of IPv6.
        let reached = if collector.contains('[') { "http:" } else { collector.as_str() };
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
             connect-src 'self' {reached}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        );
        let mut answer = private(text(StatusCode::OK, "text/html; charset=utf-8", page));
        match HeaderValue::try_from(policy) {
            Ok(policy) => answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy),
            Err(_) => return Rejection::internal().into(),
        };
        answer.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        answer
    }

    /// Where the browser reaches the public listener. Bound to one address, it is there; bound to all of them, it is
    /// where the browser has found us, at its own port.
    fn collector(&self, request: &HeaderMap) -> String {
        let asked = request.get(HOST).and_then(|host| host.to_str().ok()).and_then(host_name);
        match asked {
            Some(host) if self.listen.ip().is_unspecified() => {
                format!("http://{host}:{}", self.listen.port())
            }
            _ => format!("http://{}", reachable(self.listen)),
        }
    }
}

/// `GET /demo/rows?ids=…`.
pub(super) async fn rows(query: Option<&str>, demonstrated: &dyn Demonstrated) -> Answer {
    let ids = match parse_ids(query) {
        Ok(ids) => ids,
        Err(refusal) => return private(refusal.into()),
    };
    private(match demonstrated.rows(&ids).await {
        Ok(rows) => json(StatusCode::OK, &Rows { rows }),
        Err(error) => {
            let refusal = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), error.to_string());
            refusal.when(error.retry()).into()
        }
    })
}

fn parse_ids(query: Option<&str>) -> Result<Vec<Uuid>, Rejection> {
    let refused = |problem: &dyn Display| {
        let expected = format!("expected ?ids= and 1 to {MAX_IDS} UUIDs with commas between them");
        Rejection::new(StatusCode::BAD_REQUEST, "invalid_ids", format!("ids {problem}; {expected}")).at("ids")
    };
    let list = query.and_then(|query| query.strip_prefix("ids=")).ok_or_else(|| refused(&"are missing"))?;
    let mut ids = Vec::new();
    for (index, id) in list.split(',').enumerate() {
        if index == MAX_IDS {
            return Err(refused(&"are too many"));
        }
        let parsed = Uuid::try_parse(id).ok().filter(|_| id.len() == ID_CHARACTERS);
        ids.push(parsed.ok_or_else(|| refused(&format!("[{index}] is no UUID")))?);
    }
    Ok(ids)
}

/// An answer for the one who asked, now, and as what it says it is.
fn private(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The host in a `Host` header, without the port; none where it is anything that no address bar would send.
fn host_name(header: &str) -> Option<&str> {
    let host = match header.find(']') {
        Some(end) => header.get(..=end)?,
        None => header.split(':').next()?,
    };
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    let is_address = |text: &str| {
        text.strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .is_some_and(|text| text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()))
    };
    (is_name(host) || is_address(host)).then_some(host)
}

/// Where a listener is reached from the machine that it runs on.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_comes_from_where_the_browser_reaches_the_public_listener() {
        for (listen, host, expected) in [
            ("127.0.0.1:8080", "localhost:8081", "http://127.0.0.1:8080"),
            ("192.0.2.7:80", "localhost:8081", "http://192.0.2.7:80"),
            ("[::1]:8080", "localhost:8081", "http://[::1]:8080"),
            ("0.0.0.0:8080", "localhost:8081", "http://localhost:8080"),
            ("0.0.0.0:8080", "build-7.example", "http://build-7.example:8080"),
            ("[::]:8080", "[2001:db8::1]:8081", "http://[2001:db8::1]:8080"),
            ("0.0.0.0:8080", "", "http://127.0.0.1:8080"),
            ("[::]:8080", "", "http://[::1]:8080"),
            ("0.0.0.0:8080", "a;script-src *", "http://127.0.0.1:8080"),
            ("0.0.0.0:8080", "\"><script>", "http://127.0.0.1:8080"),
            ("0.0.0.0:8080", "[\"]:1", "http://127.0.0.1:8080"),
            ("0.0.0.0:8080", "]", "http://127.0.0.1:8080"),
        ] {
            let page = DemoPage {
                project_key: "pk",
                listen: listen.parse().unwrap(),
                paths: PublicPaths::default(),
            };
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(page.collector(&headers), expected, "{listen} {host}");
        }
    }

    #[test]
    fn every_place_of_the_page_is_filled_and_nothing_leaves_its_attribute() {
        let paths = PublicPaths { script: "/a\"b.js".to_owned(), events: "/<e>".to_owned() };
        let page = DemoPage { project_key: "pk'1", listen: "127.0.0.1:8080".parse().unwrap(), paths };
        let headers = HeaderMap::new();
        let answer = page.answer(&headers);
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        let html = body(answer);
        for text in [
            "src=\"http://127.0.0.1:8080/a&quot;b.js\"",
            "data-endpoint=\"http://127.0.0.1:8080/&lt;e&gt;\"",
            "data-project-key=\"pk&#39;1\"",
        ] {
            assert!(html.contains(text), "{text} in\n{html}");
        }
        for element in ["<script", "<style"] {
            for tag in html.split(element).skip(1) {
                let tag = tag.split('>').next().unwrap();
                assert!(tag.contains(&format!("nonce=\"{nonce}\"")), "{element}{tag}");
            }
        }
        assert!(!html.contains("{nonce}") && !html.contains("{script}") && !html.contains("{endpoint}"));
        assert_ne!(body(page.answer(&headers)), html, "each answer has a nonce of its own");
    }

    #[test]
    fn ids_are_uuids_and_few() {
        let id = "0190a000-0000-7000-8000-00000000000A";
        let many = |count: usize| format!("ids={}", vec![id; count].join(","));
        for (query, count) in [
            (Some(many(1)), Some(1)),
            (Some(many(MAX_IDS)), Some(MAX_IDS)),
            (Some(many(MAX_IDS + 1)), None),
            (None, None),
            (Some(String::new()), None),
            (Some("ids=".to_owned()), None),
            (Some(format!("ids={id},")), None),
            (Some(format!("ids={}", id.replace('-', ""))), None),
            (Some(format!("ids={{{id}}}")), None),
            (Some(format!("ids=urn:uuid:{id}")), None),
            (Some(format!("ids={id}&ids={id}")), None),
            (Some("ids=' OR 1".to_owned()), None),
            (Some(format!("id={id}")), None),
        ] {
            let parsed = parse_ids(query.as_deref()).map(|ids| ids.len()).map_err(|refusal| refusal.code);
            assert_eq!(parsed, count.ok_or("invalid_ids"), "{query:?}");
        }
    }

    fn body(answer: Answer) -> String {
        use http_body_util::BodyExt as _;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }
}
