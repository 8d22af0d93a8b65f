//! Answers in a collector's place as a test tells it to, for what a real one does only in trouble.

use std::io::Read as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What a request is answered with.
pub(super) enum Reply {
    /// As a collector does that has taken it.
    Take,
    /// A status, headers, and the detail.
    Refuse(u16, &'static [(&'static str, &'static str)], String),
    /// A status and whatever body.
    Raw(u16, &'static str),
    /// None: the connection breaks, after the events were taken.
    Lose,
}

#[derive(Clone, Default)]
pub(super) struct Seen {
    /// Events in each request.
    pub(super) sizes: Vec<usize>,
    /// Taken events, each with the source of its request.
    pub(super) taken: Vec<(String, Value)>,
}

pub(super) struct Server {
    pub(super) url: String,
    seen: Arc<Mutex<Seen>>,
}

type Script = Box<dyn FnMut(usize, &Value) -> Reply + Send>;

impl Server {
    /// Answers each request by its number, from 0, and its body.
    pub(super) async fn start(script: impl FnMut(usize, &Value) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let shared = seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, seen) = (script.clone(), shared.clone());
                let service = service_fn(move |request| answer(request, script.clone(), seen.clone()));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, seen }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// The taken events' `data.n`.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.seen().taken.iter().map(|(_, event)| event["data"]["n"].as_u64().unwrap()).collect()
    }

    /// The taken events' ids.
    pub(super) fn ids(&self) -> Vec<String> {
        self.seen().taken.iter().map(|(_, event)| event["id"].as_str().unwrap().to_owned()).collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/api/v1/events"));
    assert!(request.headers()["x-api-key"].as_bytes().starts_with(b"weir_sk_"));
    assert_eq!(request.headers()["content-encoding"], "gzip");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert!(body.len() <= 1024 * 1024, "a collector would refuse {} bytes", body.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    let events = body["events"].as_array().unwrap();
    let mut seen = seen.lock().unwrap();
    let reply = script.lock().unwrap()(seen.sizes.len(), &body);
    seen.sizes.push(events.len());
    if matches!(reply, Reply::Take | Reply::Lose) {
        let source = body["source"].as_str().unwrap();
        seen.taken.extend(events.iter().map(|event| (source.to_owned(), event.clone())));
    }
    let (status, headers, text) = match reply {
        Reply::Take => (201, &[][..], json!({"success": true, "events_received": events.len()}).to_string()),
        Reply::Refuse(status, headers, detail) => (status, headers, json!({"detail": detail}).to_string()),
        Reply::Raw(status, text) => (status, &[][..], text.to_owned()),
        Reply::Lose => return Err(std::io::Error::other("lost")),
    };
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    Ok(answer.body(Full::new(text.into())).unwrap())
}
