//! Asking a running collector on its operations listener.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A collector that does not answer by then never will.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same where it is to change something, for which it takes five minutes at most.
const CHANGE_PATIENCE: Duration = Duration::from_secs(310);

/// The longest answer: some 100,000 segments.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Connect(#[from] io::Error),
    #[error("it answers no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("its answer breaks off, or is longer than expected: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("it could not do all of that now, since it takes too long or its queue fails: ask again")]
    Unavailable,
    #[error("it answers with status {0}: is it a collector of another version?")]
    Status(StatusCode),
    #[error("its answer is not that of a collector: {0}")]
    Shape(#[from] serde_json::Error),
    #[error("it does not answer within {} seconds", .0.as_secs())]
    Timeout(Duration),
}

/// Sends a request without a body, and reads the answer.
pub(super) async fn ask<T: DeserializeOwned>(
    address: SocketAddr,
    method: Method,
    path: &str,
) -> Result<T, AskError> {
    let patience = if method.is_safe() { PATIENCE } else { CHANGE_PATIENCE };
    timeout(patience, converse(address, method, path))
        .await
        .map_err(|_elapsed| AskError::Timeout(patience))?
}

async fn converse<T: DeserializeOwned>(
    address: SocketAddr,
    method: Method,
    path: &str,
) -> Result<T, AskError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with the answer; what goes wrong is told there.
    tokio::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(io::Error::other)?;
    let host = address.to_string().parse().map_err(io::Error::other)?;
    request.headers_mut().insert(HOST, host);
    let answer = sender.send_request(request).await?;
    if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        return Err(AskError::Unavailable);
    }
    if answer.status() != StatusCode::OK {
        return Err(AskError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await.map_err(AskError::Body)?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}
