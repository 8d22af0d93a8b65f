//! Stands between a collector and its ClickHouse, and breaks what passes when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A TCP proxy on a port of its own.
pub struct Proxy {
    port: u16,
    rules: Arc<Rules>,
}

/// A fault that hits so many INSERTs.
#[derive(Default)]
struct Fault {
    left: AtomicUsize,
    done: AtomicUsize,
}

#[derive(Default)]
struct Rules {
    lose: Fault,
    cut: Fault,
    refuse: Fault,
    mislead: Fault,
    /// What the misled are told.
    page: Mutex<&'static str>,
    cut_answer: Fault,
    /// Milliseconds before each piece of an INSERT is passed on.
    delay: AtomicU64,
}

impl Proxy {
    /// A proxy that passes everything on to this port.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let rules = Arc::new(Rules::default());
        let shared = rules.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let upstream = SocketAddr::from(([127, 0, 0, 1], upstream));
                if let Ok(server) = TcpStream::connect(upstream) {
                    pass(client, server, &shared);
                }
            }
        });
        Self { port, rules }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Loses the answers to the next INSERTs: ClickHouse has done them, and the connection breaks.
    pub fn lose_answers(&self, count: usize) {
        self.rules.lose.begin(count);
    }

    /// Answers to INSERTs lost so far.
    pub fn lost(&self) -> usize {
        self.rules.lose.done()
    }

    /// Cuts the next INSERTs off in the middle.
    pub fn cut_inserts(&self, count: usize) {
        self.rules.cut.begin(count);
    }

    /// INSERTs cut off so far.
    pub fn cuts(&self) -> usize {
        self.rules.cut.done()
    }

    /// Answers the next INSERTs with a 500 of its own.
    pub fn refuse_inserts(&self, count: usize) {
        self.rules.refuse.begin(count);
    }

    /// INSERTs answered with 500 so far.
    pub fn refused(&self) -> usize {
        self.rules.refuse.done()
    }

    /// Answers the next INSERTs with a 200 of its own and this page, at once.
    pub fn mislead_inserts(&self, count: usize, page: &'static str) {
        *self.rules.page.lock().unwrap() = page;
        self.rules.mislead.begin(count);
    }

    /// INSERTs answered with a false 200 so far.
    pub fn misled(&self) -> usize {
        self.rules.mislead.done()
    }

    /// Cuts the answers to the next INSERTs off in the middle.
    pub fn cut_answers(&self, count: usize) {
        self.rules.cut_answer.begin(count);
    }

    /// Answers to INSERTs cut off so far.
    pub fn answers_cut(&self) -> usize {
        self.rules.cut_answer.done()
    }

    /// Waits before each piece of an INSERT is passed on.
    pub fn slow_down(&self, milliseconds: u64) {
        self.rules.delay.store(milliseconds, Ordering::SeqCst);
    }
}

impl Fault {
    fn begin(&self, count: usize) {
        self.left.store(count, Ordering::SeqCst);
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    fn hits(&self) -> bool {
        let hits = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        self.done.fetch_add(usize::from(hits.is_ok()), Ordering::SeqCst);
        hits.is_ok()
    }
}

fn pass(client: TcpStream, server: TcpStream, rules: &Arc<Rules>) {
    // Whether the request under way is an INSERT. Its answer comes when it is done, not before.
    let inserting = Arc::new(AtomicBool::new(false));
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (insert, there) = (inserting.clone(), rules.clone());
    std::thread::spawn(move || {
        let _ = pass_requests(&from, &to, &insert, &there);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to, rules) = (server, client, rules.clone());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if inserting.swap(false, Ordering::SeqCst) {
                if rules.lose.hits() {
                    break;
                }
                if rules.cut_answer.hits() {
                    let _ = to.write_all(&buffer[..length / 2]);
                    break;
                }
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // Both ways: the other thread's read ends as well.
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

fn pass_requests(
    mut client: &TcpStream,
    mut server: &TcpStream,
    inserting: &AtomicBool,
    rules: &Rules,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while let length @ 1.. = client.read(&mut buffer)? {
        let head = String::from_utf8_lossy(&buffer[..length.min(4096)]);
        if head.starts_with("POST ") && head.contains("INSERT") {
            if rules.refuse.hits() {
                let page = "<html><h1>500 Internal Server Error</h1></html>";
                return answer(client, "500 Internal Server Error", page);
            }
            if rules.mislead.hits() {
                let page = *rules.page.lock().unwrap();
                return answer(client, "200 OK", page);
            }
            if rules.cut.hits() {
                // Behind the head, if there is more.
                let behind = buffer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
                let end = usize::midpoint(behind.min(length), length);
                server.write_all(&buffer[..end])?;
                client.shutdown(Shutdown::Both)?;
                return server.shutdown(Shutdown::Both);
            }
            inserting.store(true, Ordering::SeqCst);
        }
        if inserting.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(rules.delay.load(Ordering::SeqCst)));
        }
        server.write_all(&buffer[..length])?;
    }
    Ok(())
}

/// As a load balancer does whose ClickHouse has gone.
fn answer(mut client: &TcpStream, status: &str, page: &str) -> std::io::Result<()> {
    let length = page.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nConnection: close");
    write!(client, "{head}\r\nContent-Length: {length}\r\n\r\n{page}")?;
    // The rest of the request, so that the answer is not lost to a reset.
    std::io::copy(&mut client, &mut std::io::sink()).map(drop)
}
