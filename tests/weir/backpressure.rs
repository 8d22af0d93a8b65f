//! ClickHouse away under load: the backlog grows on disk and not in memory, in few large segments, and drains oldest
//! first while new events keep coming.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::harness::{Collector, Setup, eventually, signal_process};

const MIB: u64 = 1024 * 1024;

/// The age at which a segment is sealed while ClickHouse takes them.
const SEGMENT_AGE: Duration = Duration::from_millis(50);

/// So many times as long ClickHouse stays away, at least.
const AGES: u32 = 100;

/// By how much the collector's memory may grow while that much is kept, and is loaded. It is what a segment's reading
/// and one INSERT take, and nothing that grows with the backlog.
const GROWTH: u64 = 16 * MIB;

/// Sends numbered events from one connection, so that they come in their order.
struct Sender<'a> {
    collector: &'a Collector,
    sent: AtomicUsize,
    stop: AtomicBool,
    /// Bytes of an event's data.
    size: AtomicUsize,
}

impl<'a> Sender<'a> {
    const BATCH: usize = 20;

    fn new(collector: &'a Collector, size: usize) -> Self {
        let (sent, stop, size) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(size));
        Self { collector, sent, stop, size }
    }

    fn run(&self) {
        let mut client = self.collector.client();
        while !self.stop.load(Ordering::Relaxed) {
            let size = self.size.load(Ordering::Relaxed);
            let first = self.sent.load(Ordering::Relaxed);
            let mut events = String::new();
            for number in first..first + Self::BATCH {
                let comma = if events.is_empty() { "" } else { "," };
                let (id, filling) = (Uuid::now_v7(), "x".repeat(size));
                let event = format!(
                    r#"{{"type":"n","url":"/{number}","eventId":"{id}","data":{{"x":"{filling}"}}}}"#
                );
                write!(events, "{comma}{event}").unwrap();
            }
            let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{events}]}}"#);
            let answer = client.send("POST", "/api/events", &[], body.as_bytes()).unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"received":20}"#));
            self.sent.fetch_add(Self::BATCH, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

/// Ends the sending also when a test fails: its scope would wait for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How ClickHouse goes away.
#[derive(Clone, Copy)]
enum Absence {
    /// Its process dies, and is started again.
    Killed,
    /// It takes connections and answers nobody, and goes on as if nothing had been.
    Stopped,
}

/// ClickHouse while it is away.
enum Away {
    Killed(Setup),
    Stopped(Frozen, Collector),
}

/// Stopped processes. They go on also when a test fails, and end like others.
struct Frozen([u32; 2]);

impl Frozen {
    fn stop(pids: [u32; 2]) -> Self {
        for pid in pids {
            signal_process(pid, "STOP");
        }
        Self(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in self.0.into_iter().rev() {
            signal_process(pid, "CONT");
        }
    }
}

impl Away {
    #[track_caller]
    fn begin(server: Collector, how: Absence) -> Self {
        match how {
            Absence::Killed => Self::Killed(server.kill()),
            Absence::Stopped => {
                // Its keeper first, who would take it for dead.
                let pids = [server.pid(), server.engine_pid().expect("an engine")];
                Self::Stopped(Frozen::stop(pids), server)
            }
        }
    }

    #[track_caller]
    fn end(self) -> Collector {
        match self {
            Self::Killed(setup) => setup.start(),
            Self::Stopped(frozen, server) => {
                drop(frozen);
                server
            }
        }
    }
}

/// How many events are stored, and the highest number among them.
fn stored(server: &Collector) -> Option<(usize, usize)> {
    let counts = server.try_sql("SELECT count(), max(toUInt64(substring(url, 2))) FROM weir.events").ok()?;
    let (count, last) = counts.split_once('\t')?;
    Some((count.parse().unwrap(), last.parse().unwrap()))
}

/// Whether `/readyz` gives the backlog's age as a reason, held against the age itself, which the figures show.
#[track_caller]
fn check_degraded(collector: &Collector) -> bool {
    let age = || collector.figures().value("weir_journal_oldest_seconds");
    let before = age();
    let answer = collector.operations("/readyz");
    let after = age();
    assert_eq!(answer.status, 200, "{answer:?}");
    let is_told = answer.body.contains("segments wait for clickhouse");
    // The figure is up to a second old, and the test may be held up anywhere.
    assert!(!is_told || after > 2.0, "told at {after} s: {answer:?}");
    assert!(is_told || before < 5.0, "not told at {before} s: {answer:?}");
    is_told
}

/// Has ClickHouse go away under load, and come back when so many bytes wait on disk.
#[track_caller]
fn assert_costs_disk_and_no_memory_and_drains_in_order(how: Absence, backlog: u64) {
    let server = Collector::start();
    let setup = Setup::new().without_demo().on_server(server.setup(), server.engine_port());
    // One segment at a time, so that the order can be seen; sealed by age as long as ClickHouse is there.
    let limits = ["--segment-size", "16MiB", "--load-concurrency", "1", "--degraded-after", "3s"];
    let age = format!("{}ms", SEGMENT_AGE.as_millis());
    let collector = setup.with(&limits).with(&["--segment-age", &age]).start();
    let sender = Sender::new(&collector, 40_000);
    std::thread::scope(|scope| {
        scope.spawn(|| sender.run());
        let _stop = Stop(&sender.stop);
        // Whatever is made once is made: buffers, connections, what the allocator keeps.
        eventually("a collector that is warm", || {
            stored(&server).filter(|(count, _)| *count >= 600).map(|_| ())
        });
        let warm = collector.resident_memory();
        let inserts = || collector.figures().count("weir_inserts_total{outcome=\"done\"}");
        let inserts_before = inserts();

        let away = Away::begin(server, how);
        let begun = Instant::now();
        let mut told = false;
        eventually("a backlog", || {
            told |= check_degraded(&collector);
            (collector.figures().count("weir_journal_bytes") >= backlog).then_some(())
        });
        // Less at once from now on, so that it can be caught up with.
        sender.size.store(100, Ordering::Relaxed);
        eventually("a long absence that is told", || {
            told |= check_degraded(&collector);
            (told && begun.elapsed() > SEGMENT_AGE * AGES).then_some(())
        });
        let grown = collector.peak_memory().saturating_sub(warm);
        assert!(grown < GROWTH, "{grown} bytes more in memory");
        let missed = sender.sent();
        let bytes = collector.figures().count("weir_journal_bytes");
        let ages = begun.elapsed().as_millis() / SEGMENT_AGE.as_millis();
        // The one that waits, the one that grew until the first did, full ones, and the open one.
        let segments = collector.setup().segments().len() as u64;
        assert!(segments <= bytes / (15 * MIB) + 3, "{segments} segments for {bytes} bytes");
        assert!(ages >= u128::from(AGES), "{ages} times the age");

        let server = away.end();
        eventually("everything of the absence", || {
            // At any moment, what is stored is all that came before some moment.
            let (count, last) = stored(&server)?;
            assert_eq!(count, last + 1, "later events are stored before earlier ones");
            (count > missed).then_some(())
        });
        let done = inserts() - inserts_before;
        sender.stop.store(true, Ordering::Relaxed);
        let grown = collector.peak_memory().saturating_sub(warm);
        eprintln!(
            "{bytes} bytes and {segments} segments in {ages} times the age, {done} inserts, {grown} bytes more than {warm} in memory, {} events came while it drained",
            sender.sent() - missed
        );
        assert!(grown < GROWTH, "{grown} bytes more in memory");
        assert!(u128::from(done) * 2 < ages, "{done} inserts for an absence of {ages} times the age");
        collector.await_loaded();
        let sent = sender.sent();
        assert!(sent > missed, "nothing came while it drained");
        assert_eq!(stored(&server), Some((sent, sent - 1)));
        assert_eq!(server.sql("SELECT uniqExact(event_id) FROM weir.events"), sent.to_string());
        assert!(!collector.operations("/readyz").body.contains("segments wait"));
    });
}

#[test]
fn an_engine_that_dies_costs_disk_and_no_memory_and_what_waits_drains_in_order() {
    assert_costs_disk_and_no_memory_and_drains_in_order(Absence::Killed, 6 * GROWTH);
}

#[test]
fn an_engine_that_hangs_costs_disk_and_no_memory_and_what_waits_drains_in_order() {
    assert_costs_disk_and_no_memory_and_drains_in_order(Absence::Stopped, 3 * GROWTH);
}
