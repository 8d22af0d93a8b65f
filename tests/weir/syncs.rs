//! The syncs are real. A kill never tests one, since the system writes on after it; so the collector's system calls
//! are traced, and their order is held against what the journal promises of a power cut.

use std::collections::HashMap;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::{Collector, Setup, eventually};

/// One system call of one thread. Places are lines of the trace.
struct Call {
    name: String,
    /// Its arguments, as strace prints them: with the path of each file and the addresses of each socket.
    text: String,
    begun: usize,
    ended: usize,
}

impl Call {
    fn is(&self, name: &str, text: &str) -> bool {
        self.name == name && self.text.contains(text)
    }

    /// Whether it sends this over a socket.
    fn sends(&self, text: &str) -> bool {
        self.text.contains("<TCP:") && self.text.contains(text)
    }
}

/// What a collector asked of the system, in the order of its ends; what failed is left out.
struct Trace(Vec<Call>);

impl Trace {
    fn parse(text: &str) -> Self {
        let mut calls = Vec::new();
        let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
        for (place, line) in text.lines().enumerate() {
            let (thread, line) = line.split_once(' ').unwrap();
            let line = line.trim_start();
            if let Some(start) = line.strip_suffix(" <unfinished ...>") {
                unfinished.insert(thread, (place, start));
                continue;
            }
            let (begun, start, rest) = match line.split_once(" resumed>") {
                Some((_, rest)) if line.starts_with("<... ") => {
                    let Some((begun, start)) = unfinished.remove(thread) else { continue };
                    (begun, start, rest)
                }
                _ => (place, line, ""),
            };
            let whole = format!("{start}{rest}");
            let Some(((name, text), result)) =
                whole.rsplit_once(" = ").and_then(|(call, result)| Some((call.split_once('(')?, result)))
            else {
                continue;
            };
            if !result.starts_with('-') && !result.starts_with('?') {
                let (name, text) = (name.to_owned(), text.to_owned());
                calls.push(Call { name, text, begun, ended: place });
            }
        }
        Self(calls)
    }

    /// The first call like this that begins behind a place.
    #[track_caller]
    fn next(&self, after: usize, what: &str, like: impl Fn(&Call) -> bool) -> &Call {
        let found =
            self.0.iter().filter(|call| call.begun > after && like(call)).min_by_key(|call| call.begun);
        found.unwrap_or_else(|| panic!("{what} is not in the trace behind line {}", after + 1))
    }

    fn all(&self, like: impl Fn(&Call) -> bool) -> Vec<&Call> {
        self.0.iter().filter(|call| like(call)).collect()
    }
}

/// A collector whose system calls are written to a file, and a server that it feeds.
struct Traced {
    server: Collector,
    setup: Setup,
    folder: TempDir,
}

impl Traced {
    fn new() -> Self {
        let server = Collector::start();
        server.admin_sql("ALTER TABLE weir.events ADD CONSTRAINT no_poison CHECK type != 'poison'");
        let setup =
            Setup::new().without_demo().without_port().on_server(server.setup(), server.engine_port());
        let setup = setup.with(&["--segment-age", "200ms"]);
        Self { server, setup, folder: TempDir::new().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    fn start(&self) -> Collector {
        self.setup.clone().traced(&self.file()).start()
    }

    /// Stops the collector, and reads what it did.
    #[track_caller]
    fn stop(&self, collector: Collector) -> Trace {
        let pid = collector.pid().to_string();
        let (status, _) = collector.stop();
        assert_eq!(status.code(), Some(0));
        let text = eventually("the end of the trace", || {
            let text = std::fs::read(self.file()).ok()?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut ends = text.lines().filter(|line| line.ends_with("+++ exited with 0 +++"));
            ends.any(|line| line.split(' ').next() == Some(&pid)).then_some(text)
        });
        Trace::parse(&text)
    }

    /// The journal's directory, as a trace names what is open.
    fn directory(&self) -> String {
        format!("<{}>", self.setup.data_dir().join("journal").display())
    }
}

/// The segment that a write or sync goes to, as a trace names it.
fn segment(call: &Call) -> String {
    let end = [".segment>", ".parted>"].iter().find_map(|end| Some(call.text.find(end)? + end.len()));
    let end = end.unwrap_or_else(|| panic!("no segment in {}", call.text));
    let start = call.text[..end].rfind('<').unwrap();
    call.text[start..end].to_owned()
}

fn event(kind: &str, mark: &str) -> String {
    format!(
        r#"{{"type":"{kind}","visitorId":"v_1","projectKey":"pk_live_demo","url":"https://a.test/{mark}"}}"#
    )
}

/// Sends events over one connection; gives the connection's port and what marks each event, in their order.
fn send(collector: &Collector, client: usize, events: usize) -> (u16, Vec<String>) {
    let mut connection = collector.client();
    let mut marks = Vec::new();
    for index in 0..events {
        let mark = format!("mark-{client}-{index}-");
        let body = event("traced", &mark);
        let answer = connection.send("POST", "/api/events", &[], body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        marks.push(mark);
    }
    (connection.local_port(), marks)
}

#[test]
fn no_200_is_written_before_the_sync_that_covers_it() {
    let traced = Traced::new();
    let collector = traced.start();
    let sent: Vec<(u16, Vec<String>)> = std::thread::scope(|scope| {
        let collector = &collector;
        let clients: Vec<_> = (0..4).map(|client| scope.spawn(move || send(collector, client, 40))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    collector.await_loaded();
    traced.server.await_events(160);
    let trace = traced.stop(collector);
    let directory = traced.directory();
    for (port, marks) in sent {
        let answers =
            trace.all(|call| call.sends(&format!("127.0.0.1:{port}]")) && call.sends("HTTP/1.1 200"));
        assert_eq!(answers.len(), marks.len(), "answers to port {port}");
        for (answer, mark) in answers.into_iter().zip(marks) {
            let written = trace.next(0, &mark, |call| call.is("pwrite64", &mark));
            let file = segment(written);
            let synced = trace.next(written.ended, "its sync", |call| call.is("fdatasync", &file));
            assert!(synced.ended < answer.begun, "{mark} was answered before it was synced");
            let head = trace
                .next(0, "the head", |call| call.is("pwrite64", &file) && call.is("pwrite64", "WEIRSEG"));
            let synced = trace.next(head.ended, "the head's sync", |call| call.is("fdatasync", &file));
            let named = trace.next(head.begun, "its name's sync", |call| call.is("fsync", &directory));
            assert!(
                synced.ended < answer.begun && named.ended < answer.begun,
                "{mark}: a head is not synced"
            );
        }
    }
}

#[test]
fn the_directory_is_synced_after_a_rename_and_an_unlink() {
    let traced = Traced::new();
    let collector = traced.start();
    let body =
        r#"{"projectKey":"pk_live_demo","events":[{"type":"good","url":"/"},{"type":"poison","url":"/"}]}"#;
    assert_eq!(collector.post(body).status, 200);
    collector.await_loaded();
    traced.server.await_events(1);
    let trace = traced.stop(collector);
    let directory = traced.directory();
    let journal = directory.trim_matches(['<', '>']);
    let changes = trace.all(|call| call.name.starts_with("rename") && call.text.contains(journal));
    assert_eq!(changes.len(), 1, "one segment is parted");
    let synced = trace.next(changes[0].ended, "the sync of a rename", |call| call.is("fsync", &directory));
    // The whole segment was refused before; the next INSERT has another token.
    let insert =
        trace.next(changes[0].ended, "an INSERT of a part", |call| call.sends("insert_deduplication_token"));
    assert!(synced.ended < insert.begun, "rows went out under another token before the new name was synced");
    let removals = trace.all(|call| call.name.starts_with("unlink") && call.text.contains(journal));
    assert!(!removals.is_empty(), "no segment was removed");
    for removed in removals {
        trace.next(removed.ended, "the sync of an unlink", |call| call.is("fsync", &directory));
    }
}

#[test]
fn a_segment_that_was_left_is_cut_and_synced_before_it_is_sent() {
    let traced = Traced::new();
    let killed = traced.setup.clone().env("WEIR_FAILPOINT", "half_written:3").start();
    for _ in 0..2 {
        assert_eq!(killed.post(event("left", "behind")).status, 200);
    }
    let torn = killed.client().send("POST", "/api/events", &[], event("left", "torn").as_bytes());
    assert!(torn.is_err(), "{torn:?}");
    drop(killed);
    let collector = traced.start();
    collector.await_loaded();
    traced.server.await_events(2);
    let trace = traced.stop(collector);
    // It is parted first: what is left may have been sent with what is cut off.
    let cut = trace.next(0, "the cut", |call| call.is("ftruncate", ".parted>"));
    let file = segment(cut);
    let synced = trace.next(cut.ended, "the sync of the cut", |call| call.is("fdatasync", &file));
    let insert = trace.next(0, "the INSERT", |call| call.sends("insert_deduplication_token"));
    assert!(synced.ended < insert.begun, "rows went out before their tail was cut for good");
    let found = trace.next(0, "the directory's sync", |call| call.is("fsync", &traced.directory()));
    assert!(found.ended < insert.begun, "rows went out before what start-up found was synced");
}
