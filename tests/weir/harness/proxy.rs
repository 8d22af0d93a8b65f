//! Stands between a collector and its ClickHouse, and breaks what passes when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A TCP proxy on a port of its own.
pub struct Proxy {
    port: u16,
    rules: Arc<Rules>,
}

#[derive(Default)]
struct Rules {
    /// Answers to INSERTs that are still to be lost.
    lose: AtomicUsize,
    /// Answers to INSERTs that were lost.
    lost: AtomicUsize,
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
        self.rules.lose.store(count, Ordering::SeqCst);
    }

    /// Answers to INSERTs lost so far.
    pub fn lost(&self) -> usize {
        self.rules.lost.load(Ordering::SeqCst)
    }
}

fn pass(client: TcpStream, server: TcpStream, rules: &Arc<Rules>) {
    // Whether the request under way is an INSERT. Its answer comes when it is done, not before.
    let inserting = Arc::new(AtomicBool::new(false));
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let insert = inserting.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let head = String::from_utf8_lossy(&buffer[..length.min(4096)]);
            if head.starts_with("POST ") && head.contains("INSERT") {
                insert.store(true, Ordering::SeqCst);
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to, rules) = (server, client, rules.clone());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if inserting.swap(false, Ordering::SeqCst) && rules.loses_this_one() {
                break;
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

impl Rules {
    fn loses_this_one(&self) -> bool {
        let loses =
            self.lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        self.lost.fetch_add(usize::from(loses), Ordering::SeqCst);
        loses
    }
}
