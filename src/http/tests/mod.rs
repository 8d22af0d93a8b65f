//! The listener over real sockets, spoken to byte by byte: an HTTP client would hide what is tested here.

mod early;
mod limits;
mod operations;
mod protocol;
mod shutdown;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;

use super::*;

/// Longer than anything here takes: a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(200);

/// The cap on bodies of the API under test.
const BODY_LIMIT: usize = 64 * 1024;

/// An API that reads its body and says how long it was, or does what the query string asks for.
struct Probe {
    entered: mpsc::Sender<()>,
    gate: watch::Receiver<bool>,
}

impl Apis for Probe {
    async fn events(&self, head: Head, mut body: RequestBody, _peer: SocketAddr) -> Taken {
        match head.uri.query() {
            Some("panic") => panic!("as the test asked for"),
            Some("refuse") => {
                let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                let refusal = Rejection::new(status, "unsupported", "unread").retry_after(PATIENCE);
                return Answer::from(refusal).into();
            }
            Some("wait") => {
                self.entered.send(()).unwrap();
                let _ = self.gate.clone().wait_for(|open| *open).await;
            }
            Some("large") => return json(StatusCode::OK, &"x".repeat(32 * 1024 * 1024)).into(),
            _ => {}
        }
        let answer: Answer = match body.collect(BODY_LIMIT).await {
            Ok(body) => json(StatusCode::OK, &serde_json::json!({ "read": body.len() })),
            Err(error) => Rejection::from(error).into(),
        };
        answer.into()
    }

    async fn backend_events(&self, _head: Head, _body: RequestBody) -> Answer {
        json(StatusCode::CREATED, &"a backend's")
    }

    async fn conversions(&self, _head: Head, _body: RequestBody) -> Answer {
        json(StatusCode::OK, &"conversions")
    }
}

/// A listener on a free port of the loopback interface, shut down when it is dropped.
struct Server {
    address: SocketAddr,
    entered: mpsc::Receiver<()>,
    gate: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    fn start(adjust: impl FnOnce(&mut ListenerSettings)) -> Self {
        let mut settings = ListenerSettings {
            address: ([127, 0, 0, 1], 0).into(),
            threads: 1,
            drain_timeout: SHORT,
            ..ListenerSettings::default()
        };
        adjust(&mut settings);
        let listener = Listener::bind(settings).unwrap();
        let address = listener.local_addr();
        let (entering, entered) = mpsc::channel();
        let (gate, gated) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let probe = Probe { entered: entering, gate: gated };
        let running = Some(std::thread::spawn(move || listener.run(probe, &stopped)));
        Self { address, entered, gate, stop, running }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Waits for the listener to have ended by itself.
    fn join(&mut self) -> io::Result<()> {
        self.running.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if self.running.is_some() && !std::thread::panicking() {
            self.join().unwrap();
        }
    }
}

/// The other end of a connection.
struct Client(BufReader<TcpStream>);

/// An answer as it was read.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// Reads one answer with the body that its `Content-Length` promises.
    fn reply(&mut self) -> Reply {
        self.reply_to("POST")
    }

    fn reply_to(&mut self, method: &str) -> Reply {
        let status = self.line().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        let mut headers = HashMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            let double = headers.insert(name.to_lowercase(), value.to_owned());
            assert_eq!(double, None, "{name} is sent twice");
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        self.0.read_exact(&mut body).unwrap();
        Reply { status, headers, body: String::from_utf8(body).unwrap() }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "the connection ended in a head, after {line:?}");
        line.trim_end().to_owned()
    }

    /// Whether the server closes without another byte.
    fn is_closed(&mut self) -> bool {
        self.0.read(&mut [0]).unwrap() == 0
    }

    /// Whether something, or the end, arrives within `time`.
    fn hears_within(&mut self, time: Duration) -> bool {
        self.stream().set_read_timeout(Some(time)).unwrap();
        let heard = match self.0.fill_buf() {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => panic!("{error}"),
        };
        self.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        heard
    }
}

impl Reply {
    /// The code of the error in the body.
    fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{self:?}");
        body["error"]["code"].as_str().unwrap().to_owned()
    }

    /// What a page needs to read the answer, sent with `Origin: https://shop.example`.
    fn assert_readable_by_a_page(&self) {
        assert_eq!(self.headers["access-control-allow-origin"], "https://shop.example", "{self:?}");
        assert_eq!(self.headers["access-control-allow-credentials"], "true", "{self:?}");
        assert_eq!(
            self.headers["access-control-expose-headers"], "retry-after, ratelimit, ratelimit-policy",
            "{self:?}"
        );
        assert!(self.headers["vary"].split(", ").any(|name| name == "origin"), "{self:?}");
        assert_eq!(self.headers.get("cache-control"), None, "{self:?}");
    }

    fn closes(&self) -> bool {
        self.headers.get("connection").is_some_and(|connection| connection == "close")
    }
}

/// A head as a page sends it, with further header lines.
fn head(method: &str, target: &str, more: &[&str]) -> String {
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://shop.example\r\n");
    more.iter().fold(request, |request, line| request + line + "\r\n") + "\r\n"
}

/// A whole `POST /api/events`.
fn post(body: &str) -> String {
    head("POST", "/api/events", &[&format!("Content-Length: {}", body.len())]) + body
}
