//! Fetching a page, so that nobody can have us fetch anything else ([`guard`](super::guard)):
//!
//! ```text
//! url ─► checked ─► resolved ─► every address checked ─► connected to one of them ─► answer ─► page
//!          ▲                                                                            │
//!          └──────────────────────────── redirect, three at most ───────────────────────┘
//! ```
//!
//! A name is resolved once for each connection, and every request has a connection of its own: what was checked is
//! what is talked to. No proxy is asked, no cookie kept, no credentials sent.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderMap};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;
use url::{Host, Url};

use super::guard::{check_url, is_global};
use super::offer::Page;
use crate::payload::inflate::{ContentEncodings, InflateError};

/// Bytes of a page, before and after its encoding is undone.
pub(super) const LARGEST_PAGE: usize = 2 * 1024 * 1024;
const MOST_REDIRECTS: usize = 3;
/// Addresses of a host that are tried, and how long each.
const MOST_TRIES: usize = 3;
const TRY: Duration = Duration::from_millis(1_500);

const AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// Why there is no page. Nothing of the URL is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum FetchError {
    #[error("the url is no http or https one, or leads from https to http")]
    Scheme,
    #[error("the url has credentials")]
    Credentials,
    #[error("the url has another port than 80 and 443")]
    Port,
    #[error("the url is too long")]
    LongUrl,
    #[error("the host is not listed")]
    Host,
    #[error("the host has no address")]
    Unresolved,
    #[error("the host has an address that is not of the open internet")]
    Address,
    #[error("the connection failed")]
    Connection,
    #[error("over {MOST_REDIRECTS} redirects")]
    Redirects,
    #[error("a redirect leads nowhere")]
    Location,
    #[error("the status was {0}; expected 200")]
    Status(u16),
    #[error("the page is no html")]
    ContentType,
    #[error("the page has over {LARGEST_PAGE} bytes")]
    TooLarge,
    #[error("the page's encoding is not known, or damaged")]
    Encoding,
    #[error("the page took too long")]
    TimedOut,
    #[error("too many pages are fetched at the moment")]
    Busy,
    #[error("the host has not answered in time lately")]
    Silent,
}

impl FetchError {
    /// The stable word for it.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Scheme => "scheme",
            Self::Credentials => "credentials",
            Self::Port => "port",
            Self::LongUrl => "long_url",
            Self::Host => "host_not_listed",
            Self::Unresolved => "unresolved",
            Self::Address => "address",
            Self::Connection => "connection",
            Self::Redirects => "redirects",
            Self::Location => "location",
            Self::Status(_) => "status",
            Self::ContentType => "content_type",
            Self::TooLarge => "too_large",
            Self::Encoding => "encoding",
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::Silent => "silent",
        }
    }
}

/// How names and addresses are reached. What may be reached is not decided here, so that no test can loosen it: a
/// test's network answers with whatever addresses it likes, and those that pass lead to its own server.
pub trait Network: Send + Sync + 'static {
    /// The addresses of a host's name.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;

    /// A connection to an address that has passed.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// The system's resolver and network.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }
}

/// Makes connections, and only to addresses that may be talked to.
#[derive(Clone)]
struct Connector(Arc<dyn Network>);

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, FetchError> {
        let port = match (uri.port_u16(), uri.scheme_str()) {
            (Some(port), _) => port,
            (None, Some("https")) => 443,
            (None, _) => 80,
        };
        let host = Host::parse(uri.host().unwrap_or_default()).map_err(|_| FetchError::Host)?;
        let addresses = match host {
            Host::Domain(name) => self.0.resolve(&name).await.map_err(|_| FetchError::Unresolved)?,
            Host::Ipv4(address) => vec![address.into()],
            Host::Ipv6(address) => vec![address.into()],
        };
        if addresses.is_empty() {
            return Err(FetchError::Unresolved);
        }
        // One is enough: a shop's name has no business with our network.
        if !addresses.iter().copied().all(is_global) {
            return Err(FetchError::Address);
        }
        for address in addresses.into_iter().take(MOST_TRIES) {
            if let Ok(Ok(stream)) = timeout(TRY, self.0.connect((address, port).into())).await {
                return Ok(TokioIo::new(stream));
            }
        }
        Err(FetchError::Connection)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = FetchError;
    type Future = BoxFuture<'static, Result<TokioIo<TcpStream>, FetchError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Fetches pages.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<Connector>, Empty<Bytes>>,
    time_limit: Duration,
}

impl Fetcher {
    pub(super) fn new(network: Arc<dyn Network>, time_limit: Duration) -> Self {
        let connector = HttpsConnector::from((Connector(network), crate::clickhouse::tls()));
        let client = Client::builder(TokioExecutor::new())
            // A connection that is used again would go where the name led before.
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .http1_max_buf_size(64 * 1024)
            .build(connector);
        Self { client, time_limit }
    }

    /// What a page of one of these hosts says.
    pub(super) async fn fetch(&self, url: Url, hosts: &[String]) -> Result<Page, FetchError> {
        timeout(self.time_limit, self.follow(url, hosts)).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn follow(&self, mut url: Url, hosts: &[String]) -> Result<Page, FetchError> {
        for _ in 0..=MOST_REDIRECTS {
            check_url(&url, hosts)?;
            let answer = self.request(&url).await?;
            let status = answer.status().as_u16();
            match status {
                200 => return read(answer, url).await,
                301 | 302 | 303 | 307 | 308 => url = redirected(&url, answer.headers())?,
                _ => return Err(FetchError::Status(status)),
            }
        }
        Err(FetchError::Redirects)
    }

    async fn request(&self, url: &Url) -> Result<Response<Incoming>, FetchError> {
        let request = Request::get(url.as_str())
            .header(header::USER_AGENT, AGENT)
            .header(header::ACCEPT, "text/html")
            .header(header::ACCEPT_ENCODING, "gzip, br")
            .body(Empty::new())
            .map_err(|_| FetchError::Location)?;
        self.client.request(request).await.map_err(|error| refusal(&error))
    }
}

/// Why the connector did not connect, from within hyper's error.
fn refusal(error: &(dyn Error + 'static)) -> FetchError {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    let mut ours = chain.filter_map(|error| error.downcast_ref::<FetchError>());
    ours.next().copied().unwrap_or(FetchError::Connection)
}

fn redirected(from: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let next = location.and_then(|location| from.join(location).ok()).ok_or(FetchError::Location)?;
    // What comes without encryption, anybody on the way can have written.
    if from.scheme() == "https" && next.scheme() == "http" { Err(FetchError::Scheme) } else { Ok(next) }
}

async fn read(answer: Response<Incoming>, url: Url) -> Result<Page, FetchError> {
    let (head, body) = answer.into_parts();
    if !is_html(&head.headers) {
        return Err(FetchError::ContentType);
    }
    let encodings = head.headers.get_all(header::CONTENT_ENCODING).iter().map(http::HeaderValue::as_bytes);
    let encodings = ContentEncodings::parse(encodings).map_err(|_| FetchError::Encoding)?;
    let body = Limited::new(body, LARGEST_PAGE).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { FetchError::TooLarge } else { FetchError::Connection }
    })?;
    // Up to 2 MiB are inflated and parsed, which would hold up the other tasks of a thread.
    let page = tokio::task::spawn_blocking(move || {
        let body = body.to_bytes();
        let html = encodings.inflate(&body, LARGEST_PAGE).map_err(|error| match error {
            InflateError::TooLarge { .. } => FetchError::TooLarge,
            _ => FetchError::Encoding,
        })?;
        Ok(Page::read(&html, &url))
    });
    page.await.unwrap_or(Err(FetchError::Connection))
}

fn is_html(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else {
        return false;
    };
    let essence = kind.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|html| essence.eq_ignore_ascii_case(html))
}

#[cfg(test)]
mod tests;
