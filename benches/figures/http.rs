//! Just enough of HTTP/1 to ask operations listeners and ClickHouse, and to send batches at a pace.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// How long an answer may take; an insert of 100,000 rows takes less than a second.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks once, on a connection of its own; gives the body. Anything but 200 is a failure.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let answer = once(address, &format!("GET {path} HTTP/1.0\r\n\r\n"), b"")?;
    String::from_utf8(answer).context("not text")
}

/// Sends a body once; gives that of the answer.
pub(crate) fn post(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let head = format!("POST {path} HTTP/1.0\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    once(address, &head, body)
}

fn once(address: SocketAddr, head: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = end_of_head(&answer).context("an answer without an end of its head")?;
    let content = answer.split_off(end);
    if status(&answer) != Some(200) {
        bail!("{}{}", String::from_utf8_lossy(&answer), String::from_utf8_lossy(&content));
    }
    Ok(content)
}

fn end_of_head(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4)
}

fn status(head: &[u8]) -> Option<u16> {
    std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()
}

/// A connection that is kept, for one request after another.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a whole request and reads its answer, which must be 200.
    pub(crate) fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        loop {
            let mut bytes = [0; 1024];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                bail!("the connection was closed before the answer");
            }
            self.buffer.extend_from_slice(&bytes[..count]);
            let Some(end) = end_of_head(&self.buffer) else { continue };
            let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("an answer without its length")?.parse()?;
            if self.buffer.len() < end + length {
                continue;
            }
            if status(&self.buffer) != Some(200) {
                bail!("{}", String::from_utf8_lossy(&self.buffer));
            }
            return Ok(());
        }
    }
}

/// A request for events, whole.
pub(crate) fn request(address: SocketAddr, body: &str) -> Vec<u8> {
    format!(
        "POST /api/events HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
