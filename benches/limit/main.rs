//! The limit that hyper sets: servers that do as little as a collector could, for Weir to be measured beside.
//!
//! `limit` reads the whole body and answers a fixed 200; `limit-json` decodes the body into borrowed fields as well. One
//! thread, no promise, no disk. `limit-kept` answers when the body is on disk, and does nothing else with it. The address
//! goes to standard output.

mod kept;

use std::convert::Infallible;
use std::hint::black_box;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use kept::Kept;

/// A bare server on a free port of 127.0.0.1
#[derive(Parser)]
struct Arguments {
    /// What is done with a body
    mode: Mode,

    /// Where bodies are kept
    #[arg(required_if_eq("mode", "limit-kept"))]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// It is read
    Limit,
    /// It is read and decoded
    LimitJson,
    /// It is read and kept in the file
    LimitKept,
}

/// A batch as a server sends it, with the fields that a collector needs and nothing copied.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "decoding them is the work")]
struct Batch<'a> {
    project_key: &'a str,
    user_id: Option<&'a str>,
    #[serde(borrow)]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "decoding them is the work")]
struct Event<'a> {
    r#type: &'a str,
    url: &'a str,
    visitor_id: Option<&'a str>,
    timestamp: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { mode, file } = Arguments::parse();
    let kept = file.as_deref().map(Kept::begin).transpose()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        // A client that goes away is none of our business.
        match mode {
            Mode::Limit => {
                let connection = http1::Builder::new().serve_connection(stream, service_fn(read));
                tokio::spawn(async { drop(connection.await) });
            }
            Mode::LimitJson => {
                let connection = http1::Builder::new().serve_connection(stream, service_fn(decode));
                tokio::spawn(async { drop(connection.await) });
            }
            Mode::LimitKept => {
                let Some(kept) = kept.clone() else { continue };
                let service = service_fn(move |request| keep(request, Arc::clone(&kept)));
                let connection = http1::Builder::new().serve_connection(stream, service);
                tokio::spawn(async { drop(connection.await) });
            }
        }
    }
}

async fn read(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return Ok(bad_request());
        }
    }
    Ok(received(br#"{"received":1}"#))
}

async fn decode(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let Ok(body) = request.into_body().collect().await else { return Ok(bad_request()) };
    let body = body.to_bytes();
    match serde_json::from_slice::<Batch>(&body) {
        Ok(batch) => {
            black_box(&batch);
            Ok(received(br#"{"received":1}"#))
        }
        Err(_) => Ok(bad_request()),
    }
}

async fn keep(request: Request<Incoming>, kept: Arc<Kept>) -> Result<Response<Full<Bytes>>, Infallible> {
    let Ok(body) = request.into_body().collect().await else { return Ok(bad_request()) };
    let durable = kept.add(&body.to_bytes());
    Ok(if durable.await.is_ok() { received(br#"{"received":1}"#) } else { bad_request() })
}

fn received(body: &'static [u8]) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(body)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn bad_request() -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
}
