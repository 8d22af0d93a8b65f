//! One client's connection, from its first byte to the last one that is thrown away.
//!
//! hyper reads and writes; around each request stand, from the outside in: the figures, CORS, the net that catches
//! panics, the wait for the disk, the routes. They are a few lines here and no layers of a framework: boxing bodies and
//! copying futures from layer to layer took more time than their work. What hyper leaves to us is the end:
//!
//! - A head that came too slowly is answered 408 instead of being cut off.
//! - An answer given while the client is still sending says `Connection: close`, our half of the connection is
//!   closed, and what still comes in is thrown away for a while. Closing at once would make the kernel send a
//!   reset, which can overtake the answer: the client would report a broken connection and try again.

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONNECTION, HeaderValue, ORIGIN};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Collected, Full};
use httpdate::fmt_http_date;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::answer::{Answer, Taken};
use super::body::RequestBody;
use super::listener::{ListenerSettings, raised};
use super::pace::{LastWaker, Pace, PacedSocket, overdue};
use super::rejection::{Form, Rejection};
use super::routes::{Apis, Routes, form};
use super::{cors, events};
use crate::metrics::figures;

/// The largest head; what hyper buffers of a body at a time is bounded by it as well.
const MAX_HEAD: usize = 64 * 1024;

/// A client that is silent for this long after a refusal has stopped sending.
const SILENCE: Duration = Duration::from_secs(2);

/// Serves one client until either side closes, or until `stop` turns true and the request in flight is answered.
pub(super) async fn serve<A: Apis>(
    stream: TcpStream,
    peer: SocketAddr,
    routes: Arc<Routes<A>>,
    settings: Arc<ListenerSettings>,
    stop: watch::Receiver<bool>,
) {
    let pace = Arc::new(Pace::new(settings.header_timeout, settings.idle_timeout));
    let service = service(routes, peer, &pace, settings.body_timeout);
    let socket = TokioIo::new(PacedSocket::new(stream, Arc::clone(&pace)));
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        // A client that has closed its half after the request (`nc -N`) still waits for the answer.
        .half_close(true)
        .max_buf_size(MAX_HEAD)
        .serve_connection(socket, service);
    let end = run(&mut connection, &pace, stop).await;
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner().into_stream();
    match end {
        End::Closed(Err(error)) if error.is_parse() => {
            // hyper has answered it, without a body; 414 is counted as 431.
            figures().requests.count(if error.is_parse_too_large() { 431 } else { 400 });
        }
        End::Closed(_) if pace.is_body_unread() => {}
        End::Closed(_) => return,
        End::Overdue if pace.is_idle() && parts.read_buf.is_empty() => return,
        End::Overdue => answer_slow_head(&mut stream, &parts.read_buf, settings.header_timeout).await,
    }
    linger(&mut stream, &settings).await;
}

/// What surrounds each request.
fn service<A: Apis>(
    routes: Arc<Routes<A>>,
    peer: SocketAddr,
    pace: &Arc<Pace>,
    body_timeout: Duration,
) -> impl HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible, Future: Send> + Send {
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let started = pace.look();
        let (head, incoming) = request.into_parts();
        let origin = head.headers.get(ORIGIN).cloned();
        let form = form(head.uri.path());
        let body = RequestBody::new(incoming, Arc::clone(pace), body_timeout);
        // Boxed, since it ends when the events are with the journal: what they needed until then would else lie in the
        // memory of each connection, 4 KB of it, and be out of the cache when the next request comes. That took 0.16
        // of a request's CPU.
        let taking = Box::pin(Arc::clone(&routes).take(Box::new(head), body, peer));
        let pace = Arc::clone(pace);
        async move {
            let answer = async {
                let mut begun = match taking.await {
                    Taken::Answered(answer) => return answer,
                    Taken::Begun(begun) => begun,
                };
                events::answer_begun(&mut begun, &pace).await
            };
            let answer = AssertUnwindSafe(answer).catch_unwind().await;
            let mut answer = answer.unwrap_or_else(|panic| refusal_of_panic(panic).told_to(form));
            cors::allow(answer.headers_mut(), origin);
            if pace.is_body_unread() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            figures().requests.count(answer.status().as_u16());
            figures().request_seconds.record(pace.look().saturating_sub(started));
            pace.answered();
            Ok::<_, Infallible>(answer)
        }
    })
}

/// How serving a connection ended.
enum End {
    /// By hyper: the client left, one side asked for it, or what came was not HTTP.
    Closed(hyper::Result<()>),
    /// By us: the client had its time.
    Overdue,
}

async fn run<S>(
    connection: &mut http1::Connection<TokioIo<PacedSocket>, S>,
    pace: &Pace,
    mut stop: watch::Receiver<bool>,
) -> End
where
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible>,
{
    let flag = stop.clone();
    let mut stopped = pin!(raised(&mut stop));
    let mut waker = LastWaker::default();
    let mut late = pin!(overdue(pace));
    let mut connection = Pin::new(connection);
    let mut stopping = false;
    // In this order: an answer that is written once the shutdown is known says `Connection: close`, and a head that
    // arrives as its time ends counts as arrived.
    poll_fn(|cx| {
        let may_be_raised = !waker.is_known(cx) || !matches!(flag.has_changed(), Ok(false));
        if !stopping && may_be_raised && stopped.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(closed) = connection.as_mut().poll(cx) {
            return Poll::Ready(End::Closed(closed));
        }
        late.as_mut().poll(cx).map(|()| End::Overdue)
    })
    .await
}

#[allow(clippy::needless_pass_by_value, reason = "who catches a panic hands it over")]
fn refusal_of_panic(panic: Box<dyn Any + Send>) -> Rejection {
    let text = panic.downcast_ref::<&str>().copied();
    let cause = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    tracing::error!(cause, "a request ended in a panic and was answered 500: this is a defect of Weir");
    figures().panics.increment(1);
    Rejection::internal()
}

/// Tells a client whose head is overdue, with what CORS needs of the head that did come.
async fn answer_slow_head(stream: &mut TcpStream, head: &[u8], limit: Duration) {
    let mut answer = Rejection::head_too_slow(limit).told_to(form_in(head));
    cors::allow(answer.headers_mut(), origin_in(head));
    figures().requests.count(answer.status().as_u16());
    let text = on_the_wire(answer).await;
    // A client that does not read this either has nothing to complain about.
    let _ = timeout(SILENCE, stream.write_all(&text)).await;
}

/// In which form a head that has not ended is answered, by its request line if all of that has come.
fn form_in(head: &[u8]) -> Form {
    let mut lines = head.split(|byte| *byte == b'\n');
    let (Some(line), Some(_)) = (lines.next(), lines.next()) else { return Form::Public };
    let target = line.split(|byte| *byte == b' ').nth(1).and_then(|target| Uri::try_from(target).ok());
    target.map_or(Form::Public, |target| form(target.path()))
}

/// The `Origin` among the lines of a head that has not ended.
fn origin_in(head: &[u8]) -> Option<HeaderValue> {
    let whole = &head[..head.iter().rposition(|byte| *byte == b'\n')?];
    whole.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        name.eq_ignore_ascii_case(b"origin").then(|| HeaderValue::from_bytes(value.trim_ascii()).ok())?
    })
}

/// An answer as HTTP/1.1 that ends its connection: hyper only answers heads that it has read.
async fn on_the_wire(answer: Answer) -> Vec<u8> {
    let (head, body) = answer.into_parts();
    let Ok(body) = body.collect().await.map(Collected::to_bytes);
    let (status, length, date) = (head.status, body.len(), fmt_http_date(SystemTime::now()));
    let mut wire =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\ndate: {date}\r\n")
            .into_bytes();
    for (name, value) in &head.headers {
        wire.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    wire.extend_from_slice(&[b"\r\n", &body[..]].concat());
    wire
}

/// Closes our half, and throws away what still comes until the client closes its own, falls silent, or has had
/// its share.
async fn linger(stream: &mut TcpStream, settings: &ListenerSettings) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let discard = async {
        let mut scrap = vec![0; 16 * 1024];
        let mut left = settings.linger_bytes;
        while left > 0 {
            match timeout(SILENCE, stream.read(&mut scrap)).await {
                Ok(Ok(read @ 1..)) => left = left.saturating_sub(read),
                Ok(Ok(0) | Err(_)) | Err(_) => return,
            }
        }
    };
    let _ = timeout(settings.linger_timeout, discard).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_an_answer_is_told_by_a_whole_request_line() {
        for (head, expected) in [
            ("", false),
            ("POST /api/v1/events HTTP/1.1\r", false),
            ("POST /api/v1/events HTTP/1.1\r\n", true),
            ("POST /api/v1/events?a=1 HTTP/1.1\r\nX-API-Key: weir", true),
            ("POST http://a.example/api/v1/events HTTP/1.1\r\n", true),
            ("POST /api/events HTTP/1.1\r\nReferer: /api/v1/events \r\n", false),
            ("POST /api/v1/events/x HTTP/1.1\r\n", false),
            ("POST\r\n /api/v1/events ", false),
        ] {
            let expected = if expected { Form::Backends } else { Form::Public };
            assert_eq!(form_in(head.as_bytes()), expected, "{head:?}");
        }
    }

    #[test]
    fn an_origin_is_found_in_whole_lines_only() {
        let cases: [(&[u8], Option<&str>); 6] = [
            (b"", None),
            (b"GET / HTTP/1.1\r\n", None),
            (b"GET / HTTP/1.1\r\nOrigin: https://a.example\r\nHo", Some("https://a.example")),
            (b"GET / HTTP/1.1\r\nORIGIN:null\r\n", Some("null")),
            (b"GET / HTTP/1.1\r\nOrigin: https://a.exam", None),
            (b"GET / HTTP/1.1\r\nX-Origin: https://a.example\r\n", None),
        ];
        for (head, expected) in cases {
            let found = origin_in(head);
            assert_eq!(found.as_ref().map(|origin| origin.to_str().unwrap()), expected, "{head:?}");
        }
    }
}
