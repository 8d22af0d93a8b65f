//! A shop on loopback, and a network in which its name stands for whatever a test says.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::fetch::Network;

/// An address of the open internet.
pub(in super::super) const PUBLIC: &str = "93.184.216.34";

/// What the shop sends for a path.
#[derive(Clone)]
pub(in super::super) enum Reply {
    /// This, and what is asked for next over the same connection.
    Whole(Vec<u8>),
    /// This, and the connection's end.
    Last(Vec<u8>),
    /// This, and then nothing while the connection stands.
    Stall(Vec<u8>),
}

/// The shop, and the network that leads to it.
pub(in super::super) struct Shop {
    server: SocketAddr,
    replies: Mutex<HashMap<String, Reply>>,
    requests: Mutex<Vec<String>>,
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    resolved: Mutex<Vec<String>>,
    connected: Mutex<Vec<SocketAddr>>,
}

/// An answer with this status, these header lines and this body.
pub(in super::super) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Reply {
    let head =
        format!("HTTP/1.1 {status}\r\n{}\r\nContent-Length: {}\r\n\r\n", headers.join("\r\n"), body.len());
    Reply::Whole([head.as_bytes(), body].concat())
}

/// An HTML page.
pub(in super::super) fn html(body: &str) -> Reply {
    answer("200 OK", &["Content-Type: text/html; charset=utf-8"], body.as_bytes())
}

pub(in super::super) fn redirect(to: &str) -> Reply {
    answer("302 Found", &[&format!("Location: {to}")], b"")
}

/// A page with one product of this price.
pub(in super::super) fn product(price: &str) -> String {
    format!(
        r#"<!doctype html><script type="application/ld+json">{{"@context":"https://schema.org","@type":"Product",
        "name":"Shirt","offers":{{"@type":"Offer","price":"{price}","priceCurrency":"EUR"}}}}</script>"#
    )
}

impl Shop {
    /// Opens a shop that answers so, at [`PUBLIC`] as `shop.example`. Other paths are not found, other names unknown.
    pub(in super::super) async fn open(replies: impl IntoIterator<Item = (&str, Reply)>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let shop = Arc::new(Self {
            server: listener.local_addr().expect("it is bound"),
            replies: Mutex::new(replies.into_iter().map(|(path, reply)| (path.to_owned(), reply)).collect()),
            requests: Mutex::default(),
            names: Mutex::default(),
            resolved: Mutex::default(),
            connected: Mutex::default(),
        });
        shop.name("shop.example", &[&[PUBLIC]]);
        let serving = Arc::clone(&shop);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        shop
    }

    /// Has a name stand for these addresses; the last answer is given ever after.
    pub(in super::super) fn name(&self, host: &str, answers: &[&[&str]]) {
        let address = |text: &&str| text.parse().unwrap_or_else(|_| panic!("{text} is no address"));
        let answers = answers.iter().map(|answer| answer.iter().map(address).collect()).collect();
        self.names.lock().unwrap().insert(host.to_owned(), answers);
    }

    /// The requests that came, without their last line break.
    pub(in super::super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The names that were asked for.
    pub(in super::super) fn resolved(&self) -> Vec<String> {
        self.resolved.lock().unwrap().clone()
    }

    /// The addresses that were connected to.
    pub(in super::super) fn connected(&self) -> Vec<String> {
        self.connected.lock().unwrap().iter().map(SocketAddr::to_string).collect()
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        // The client may have had enough before all is sent.
        while let Some(reply) = self.reply(&mut stream).await {
            match reply {
                Reply::Whole(bytes) if stream.write_all(&bytes).await.is_ok() => {}
                Reply::Whole(_) => return,
                Reply::Last(bytes) => return stream.write_all(&bytes).await.unwrap_or_default(),
                Reply::Stall(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.read_u8().await;
                    return;
                }
            }
        }
    }

    /// Reads a request; `None` where none comes.
    async fn reply(&self, stream: &mut TcpStream) -> Option<Reply> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.ok()?;
            // The first of a TLS handshake, which this server cannot do.
            if byte == 0x16 && request.is_empty() {
                self.requests.lock().unwrap().push("TLS".to_owned());
                return None;
            }
            request.push(byte);
        }
        let request = String::from_utf8(request).expect("a request is text");
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        self.requests.lock().unwrap().push(request.trim_end().to_owned());
        let reply = self.replies.lock().unwrap().get(&path).cloned();
        Some(reply.unwrap_or_else(|| answer("404 Not Found", &["Content-Type: text/html"], b"none")))
    }
}

impl Network for Shop {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.resolved.lock().unwrap().push(host.to_owned());
        let mut names = self.names.lock().unwrap();
        let answer = names.get_mut(host).map(|answers| match answers.len() {
            1 => answers[0].clone(),
            _ => answers.remove(0),
        });
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.connected.lock().unwrap().push(address);
        Box::pin(TcpStream::connect(self.server))
    }
}
