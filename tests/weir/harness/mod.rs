//! What the tests start and talk to: real collectors, each with a real engine on ports and a folder of its own.

mod client;
mod collector;
mod disk;
mod figures;
mod findings;
mod load;
mod log;
mod proxy;
mod random;

pub use client::{Answer, Client};
pub use collector::{Collector, Setup, engine_password, signal_process, weir};
pub use figures::Figures;
pub use findings::Findings;
pub use load::{Load, assert_exactly_once};
pub use log::Log;
pub use proxy::Proxy;
pub use random::Random;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How many kills there are to be, given how many in the short run.
pub fn kills(few: usize) -> usize {
    if std::env::var_os("WEIR_TEST_SOAK").is_some() { few * 10 } else { few }
}

/// A port that nobody has now, nor gets by chance before the one that it is meant for: the system hands out others,
/// from 32,768 on.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 200).unwrap() * 100;
    let all = std::iter::repeat_with(|| 10_240 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000);
    let mut free = all.take(20_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a free port")
}

/// Asks again and again until there is an answer; fails with what was waited for after half a minute.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited half a minute for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
