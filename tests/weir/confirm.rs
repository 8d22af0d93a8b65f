//! What stands between a collector and ClickHouse may answer 200 as well: it confirms nothing.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;
use weir::clickhouse::{Class, ClickHouseError, ClickHouseSettings, Insert, RowSource, Store, Timeouts};
use weir::event::Timestamp;

use crate::harness::{Collector, Findings, Load, Proxy, Random, Setup, assert_exactly_once, eventually};

const PAGE: &str = "<html><h1>maintenance</h1></html>";
const RETRIED: &str = "weir_inserts_total{outcome=\"retried\"}";

/// A collector behind a proxy, and clients that keep it busy while the proxy does what it is told to.
#[track_caller]
fn assert_nothing_lost(name: &str, trouble: impl Fn(&Proxy)) {
    let server = Collector::start();
    let proxy = Proxy::start(server.engine_port());
    let setup = Setup::new().without_demo().on_server(server.setup(), proxy.port());
    let collector = setup.with(&["--parked-pause", "500ms"]).start();
    let mut random = Random::seeded(name);
    let load = Load::start(2, &mut random);
    load.aim(&collector);
    let before = collector.figures().count(RETRIED);
    trouble(&proxy);
    let sent = load.finish();
    assert!(sent.iter().all(|sent| sent.acknowledged && sent.lives == 1));
    collector.await_loaded();
    assert_exactly_once(&server, &sent);
    let retried = collector.figures().count(RETRIED) - before;
    assert!(retried >= 6, "{retried} inserts retried");
}

#[test]
fn a_200_from_something_else_loses_nothing() {
    assert_nothing_lost("false confirmations", |proxy| {
        for (round, page) in [PAGE, "", "Ok.\n"].into_iter().enumerate() {
            proxy.mislead_inserts(2, page);
            eventually("misled inserts", || (proxy.misled() == 2 * (round + 1)).then_some(()));
        }
    });
}

#[test]
fn inserts_and_answers_cut_in_the_middle_lose_nothing() {
    assert_nothing_lost("cut in the middle", |proxy| {
        proxy.cut_inserts(3);
        eventually("cut inserts", || (proxy.cuts() == 3).then_some(()));
        proxy.cut_answers(3);
        eventually("cut answers", || (proxy.answers_cut() == 3).then_some(()));
    });
}

/// Has this done for each connection that comes, in a thread; gives a store that connects there.
fn store(each: impl Fn(TcpStream) -> io::Result<()> + Send + 'static) -> Store {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the process.
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let _ = each(client);
        }
    });
    let (user, database) = ("weir".to_owned(), "weir".to_owned());
    let timeouts = Timeouts { insert: Duration::from_secs(20), ..Timeouts::default() };
    Store::new(&ClickHouseSettings { url, user, password: "secret".into(), database, timeouts })
}

/// Gives this answer to whatever is asked, as soon as it is asked, and reads no more: what is longer than the sockets
/// hold cannot have been sent when the answer is seen.
fn answering(answer: &str) -> Store {
    let answer = answer.to_owned();
    let answered = Mutex::new(Vec::new());
    store(move |mut client| {
        let _ = client.read(&mut [0; 1024])?;
        client.write_all(answer.as_bytes())?;
        answered.lock().unwrap().push(client);
        Ok(())
    })
}

const INSERT: Insert<'_> = Insert { table: "events", token: "t", query_id: "weir-1" };

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_the_middle_of_the_rows_confirms_nothing() {
    let mut findings = Findings::default();
    // More than the sockets between us hold, and nothing that compresses well.
    let mut random = Random::seeded("rows that do not compress");
    let mut piece = Vec::new();
    piece.extend((0..64 * 1024).flat_map(|_| random.below(u64::MAX).to_le_bytes()));
    let rows = vec![Bytes::from(piece); 40];
    let ours = "X-ClickHouse-Query-Id: weir-1\r\nContent-Length: 0\r\n";
    let page = format!("Content-Length: {}\r\n\r\n{PAGE}", PAGE.len());
    for (answer, code) in [
        (format!("200 OK\r\n{ours}\r\n"), "clickhouse_unreadable"),
        (format!("200 OK\r\n{ours}Connection: close\r\n\r\n"), "clickhouse_unreadable"),
        (format!("200 OK\r\n{page}"), "clickhouse_unreadable"),
        ("200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(), "clickhouse_unreadable"),
        (format!("503 Service Unavailable\r\n{page}"), "clickhouse_refused"),
    ] {
        let store = answering(&format!("HTTP/1.1 {answer}"));
        let error = store.insert(&INSERT, rows.clone().into_iter()).await.expect_err(&answer);
        findings.check(format!("{answer}: {error}"), (error.code(), error.class()), (code, Class::Retry));
    }
    findings.report();
}

/// Gives one piece, waits until it has come, and fails.
struct Breaking {
    piece: Option<Bytes>,
    come: Receiver<()>,
}

impl RowSource for Breaking {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(piece) = self.piece.take() {
            return Ok(Some(piece));
        }
        while self.come.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        Err(io::Error::other("the disk"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_break_off_leave_a_request_without_an_end() {
    let (come, coming) = channel();
    let (ended, end) = channel();
    let store = store(move |mut client| {
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            request.extend_from_slice(&buffer[..length]);
            // The block of the piece is there: its method and its sizes are those of nothing else.
            if request.windows(5).any(|bytes| bytes == [0x82, 14, 0, 0, 0]) {
                let _ = come.send(());
            }
        }
        let _ = ended.send(request);
        Ok(())
    });
    let source = Breaking { piece: Some("rows".into()), come: coming };
    let error = store.insert(&INSERT, source).await.expect_err("it breaks");
    assert!(matches!(error, ClickHouseError::Source(_)), "{error}");
    let request = end.recv_timeout(Duration::from_secs(10)).expect("the connection is closed");
    let text = String::from_utf8_lossy(&request);
    assert!(text.contains("\r\nx-clickhouse-user: weir\r\nx-clickhouse-key: secret\r\n"), "{text}");
    assert!(text.contains("&query_id=weir-1&insert_deduplication_token=t&decompress=1&"), "{text}");
    assert!(!request.ends_with(b"\r\n0\r\n\r\n"), "the request looks whole: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_rows_is_not_that_there_are_none() {
    let mut findings = Findings::default();
    let wanted: HashSet<_> = [(Uuid::from_u128(1), Uuid::from_u128(2))].into();
    let moment = Timestamp::EPOCH;
    for body in ["", PAGE, "\0", "\0\0", "Ok.\n", "0"] {
        for (headers, end) in [("", "content-length"), ("X-ClickHouse-Query-Id: a\r\n", "close")] {
            let length = format!("Content-Length: {}\r\n", body.len());
            let length = if end == "close" { "Connection: close\r\n" } else { &length };
            let answer = format!("HTTP/1.1 200 OK\r\n{headers}{length}\r\n{body}");
            let store = store(move |mut client| {
                let _ = client.read(&mut [0; 4096])?;
                client.write_all(answer.as_bytes())
            });
            let stored = store.stored_event_ids(moment, moment, &wanted).await;
            findings.holds(format!("stored {body:?} {end}: {stored:?}"), stored.is_err());
            let refused = store.refused_event_ids(moment, moment, &wanted).await;
            findings.holds(format!("refused {body:?} {end}: {refused:?}"), refused.is_err());
            let ended = store.end_queries("weir-").await;
            findings.holds(format!("ended {body:?} {end}: {ended:?}"), ended.is_err());
            let version = store.version().await;
            findings.holds(format!("version {body:?} {end}: {version:?}"), version.is_err());
            let checked = store.check_tables().await;
            findings.holds(format!("tables {body:?} {end}: {checked:?}"), checked.is_err());
        }
    }
    findings.report();
}
