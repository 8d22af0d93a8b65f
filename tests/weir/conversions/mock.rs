//! A platform on loopback: it answers as a test has it answer, and keeps what it was told, and when.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Told {
    pub at: Instant,
    /// With its query.
    pub path: String,
    pub body: Value,
}

impl Told {
    /// The ids of its events, as Meta's requests have them.
    pub fn ids(&self) -> Vec<String> {
        let events = self.body["data"].as_array().cloned().unwrap_or_default();
        events.iter().map(|event| event["event_id"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status and body, with these header lines.
    Answer(u16, String, Vec<String>),
    /// The same, after a while.
    Late(Duration, u16, String),
    /// The connection is cut.
    Cut,
}

impl Reply {
    pub fn of(status: u16, body: &str) -> Self {
        Self::Answer(status, body.to_owned(), Vec::new())
    }

    /// What Meta says when it has taken everything.
    pub fn taken(told: &Told) -> Self {
        Self::of(200, &format!(r#"{{"events_received":{}}}"#, told.ids().len()))
    }
}

type Script = Box<dyn FnMut(&Told) -> Reply + Send>;

/// The platform. It stays for as long as the test runs.
#[derive(Clone)]
pub struct Mock {
    pub address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    script: Arc<Mutex<Script>>,
}

impl Mock {
    /// One that answers as `script` says.
    pub fn start(script: impl FnMut(&Told) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script: Script = Box::new(script);
        let mock = Self { address, told: Arc::default(), script: Arc::new(Mutex::new(script)) };
        let serving = mock.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.converse(stream));
            }
        });
        mock
    }

    /// Answers otherwise from now on.
    pub fn answer(&self, script: impl FnMut(&Told) -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// Everything that it was told so far.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn converse(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let path = line.split(' ').nth(1)?.to_owned();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok()?;
                let Some((name, value)) = line.trim_end().split_once(':') else { break };
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let told = Told { at: Instant::now(), path, body };
            let reply = (self.script.lock().unwrap())(&told);
            self.told.lock().unwrap().push(told);
            let (status, body, lines) = match reply {
                Reply::Cut => return None,
                Reply::Answer(status, body, lines) => (status, body, lines),
                Reply::Late(wait, status, body) => {
                    thread::sleep(wait);
                    (status, body, Vec::new())
                }
            };
            let length = format!("Content-Length: {}", body.len());
            let lines = [vec![format!("HTTP/1.1 {status} x"), length], lines].concat().join("\r\n");
            let head = format!("{lines}\r\n\r\n");
            stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).ok()?;
        }
    }
}
