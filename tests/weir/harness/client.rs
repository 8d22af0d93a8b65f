//! A plain HTTP/1.1 client that sends exactly what it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One connection, kept open between requests.
pub struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// How an answer's body is marked off.
enum Framing {
    Length(usize),
    Chunked,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// `error.code` of a refusal.
    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no code in {self:?}")).to_owned()
    }

    /// Status and what matters of the body: `200 {"received":1}`, `400 missing_field url`, `404 not_found`; with a
    /// complaint where a refusal does not look as the contract has it.
    pub fn gist(&self) -> String {
        let Self { status, body, .. } = self;
        if *status == 200 {
            return format!("200 {body}");
        }
        let Ok(json) = serde_json::from_str::<serde_json::Value>(body) else {
            return format!("{status} and no JSON: {body:?}");
        };
        let text = |field: &str| json["error"][field].as_str().unwrap_or_default();
        let (code, message, field) = (text("code"), text("message"), text("field"));
        let mut gist = format!("{status} {code} {field}").trim_end().to_owned();
        if message.is_empty() || !message.contains(field) {
            gist = format!("{gist}, with a message that does not name the field: {message:?}");
        }
        if self.header("content-type") != Some("application/json") {
            gist.push_str(", not sent as application/json");
        }
        if self.header("cache-control").is_some_and(|value| value.contains("no-store")) {
            gist.push_str(", with Cache-Control: no-store");
        }
        if status / 100 == 4 && *status != 429 && self.header("retry-after").is_some() {
            gist.push_str(", with Retry-After");
        }
        gist
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// The port of this side.
    pub fn local_port(&self) -> u16 {
        self.stream.get_ref().local_addr().unwrap().port()
    }

    /// Sends a request with a body of known length.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut request = Vec::with_capacity(1_024 + body.len());
        write!(request, "{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address)?;
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        write!(request, "Content-Length: {}\r\n\r\n", body.len())?;
        request.extend_from_slice(body);
        self.write(&request)?;
        if method == "HEAD" { self.read_head().map(|(answer, _)| answer) } else { self.read_answer() }
    }

    /// Sends bytes as they are, and reads nothing.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Whether the other side has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([]))
    }

    /// Sends bytes as they are, and reads one answer.
    pub fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<Answer> {
        self.write(bytes)?;
        self.read_answer()
    }

    /// Gets a path; its body, which may be no text, stands beside the answer.
    pub fn fetch(&mut self, path: &str, headers: &[(&str, &str)]) -> std::io::Result<(Answer, Vec<u8>)> {
        let mut request = Vec::new();
        write!(request, "GET {path} HTTP/1.1\r\nHost: {}\r\n", self.address)?;
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        request.extend_from_slice(b"\r\n");
        self.write(&request)?;
        let (answer, framing) = self.read_head()?;
        let body = self.read_body(&framing)?;
        Ok((answer, body))
    }

    pub fn read_answer(&mut self) -> std::io::Result<Answer> {
        let (mut answer, framing) = self.read_head()?;
        let body = self.read_body(&framing)?;
        answer.body = String::from_utf8(body).map_err(std::io::Error::other)?;
        Ok(answer)
    }

    fn read_body(&mut self, framing: &Framing) -> std::io::Result<Vec<u8>> {
        match framing {
            Framing::Length(length) => self.read_bytes(*length),
            Framing::Chunked => self.read_chunks(),
        }
    }

    fn read_head(&mut self) -> std::io::Result<(Answer, Framing)> {
        let status_line = self.read_line()?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no status in {status_line:?}")))?;
        let mut headers = Vec::new();
        let mut framing = Framing::Length(0);
        loop {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            let name = name.to_ascii_lowercase();
            if name == "content-length" {
                framing = Framing::Length(value.parse().map_err(std::io::Error::other)?);
            } else if name == "transfer-encoding" {
                framing = Framing::Chunked;
            }
            headers.push((name, value.to_owned()));
        }
        Ok((Answer { status, headers, body: String::new() }, framing))
    }

    fn read_bytes(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn read_chunks(&mut self) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.read_line()?, 16).map_err(std::io::Error::other)?;
            body.extend(self.read_bytes(length)?);
            self.read_line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    fn read_line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
