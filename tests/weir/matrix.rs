//! The crash matrix: a collector is killed at each step between an event and its row, by the fail points in the code
//! (`src/failpoint.rs`), and started again. Plainly counted, without `FINAL`, each acknowledged event is stored once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use crate::conversions::kills;
use crate::harness::{Client, Collector, Findings, Setup, free_port};
use crate::readme::{ROOT, run};

/// What is sent while a collector is on its way to a fail point.
#[derive(Clone, Copy)]
enum Traffic {
    /// One event after the other.
    Singles,
    /// A few batches of some 600 KiB: an INSERT of several pieces.
    Large,
    /// A few batches with an event that the table refuses.
    Poisoned,
}

use Traffic::{Large, Poisoned, Singles};

/// The fail points of a collector's lives, one after the other, and what it is sent in them.
const DEATHS: &[(&[&str], Traffic)] = &[
    // The writer. A second segment is made when something is acknowledged already.
    (&["created:2"], Singles),
    (&["begun:2"], Singles),
    (&["half_written:5"], Singles),
    (&["half_written:5"], Large),
    (&["written:5"], Singles),
    (&["synced:5"], Singles),
    (&["sealing"], Singles),
    (&["sealing"], Large),
    // The loader.
    (&["piece_sent:2"], Large),
    (&["piece_sent"], Singles),
    (&["confirmed"], Singles),
    (&["confirmed", "confirmed", "piece_sent:2"], Large),
    (&["removed"], Singles),
    // A segment that is parted, each time a little further.
    (&["renamed"], Poisoned),
    (&["part_loaded"], Poisoned),
    (&["renamed", "part_loaded", "part_loaded", "parted", "refused_kept", "confirmed", "removed"], Poisoned),
    (&["piece_sent:3", "parted", "parted"], Poisoned),
    // Start-up: with a torn tail, a file without a head, segments in every state.
    (&["half_written:5", "cut", "cut"], Singles),
    (&["created:2", "recovered", "recovered"], Singles),
    (&["part_loaded", "recovered", "cut", "refused_kept"], Poisoned),
];

/// Collectors at once.
const LANES: usize = 4;

/// Events by what the client knows of them.
#[derive(Default)]
struct Noted {
    acknowledged: BTreeSet<Uuid>,
    /// No answer came.
    in_flight: BTreeSet<Uuid>,
    /// Those among either that the table refuses.
    poison: BTreeSet<Uuid>,
}

/// A client that sends until it is stopped, each event once.
struct Sender {
    stop: Arc<AtomicBool>,
    client: Option<JoinHandle<Noted>>,
}

impl Sender {
    fn start(kind: &str, traffic: Traffic, address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, kind) = (stop.clone(), kind.to_owned());
        let client = std::thread::spawn(move || {
            let mut noted = Noted::default();
            let mut left = match traffic {
                Singles => usize::MAX,
                Large => 6,
                Poisoned => 2,
            };
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
                let Some(mut client) = Client::connect(address).ok().filter(|_| left > 0) else { continue };
                left -= 1;
                noted.send(&mut client, &kind, traffic);
            }
            noted
        });
        Self { stop, client: Some(client) }
    }

    fn finish(mut self) -> Noted {
        self.stop.store(true, Ordering::Relaxed);
        self.client.take().unwrap().join().expect("the client does not fail")
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Noted {
    fn send(&mut self, client: &mut Client, kind: &str, traffic: Traffic) {
        let (events, filling) = match traffic {
            Singles => (1, 0),
            Large => (60, 10_000),
            // More than is kept of a refused event.
            Poisoned => (20, 5_000),
        };
        let ids: Vec<Uuid> = (0..events).map(|_| Uuid::now_v7()).collect();
        let poison = ids.get(12);
        let event = |id: &Uuid| {
            let url = if poison == Some(id) && matches!(traffic, Poisoned) { "/poison" } else { "/" };
            let data = "x".repeat(filling);
            format!(r#"{{"type":"{kind}","url":"{url}","eventId":"{id}","data":{{"filling":"{data}"}}}}"#)
        };
        let all: Vec<String> = ids.iter().map(event).collect();
        let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{}]}}"#, all.join(","));
        match client.send("POST", "/api/events", &[], body.as_bytes()) {
            Ok(answer) if answer.status == 200 => self.acknowledged.extend(&ids),
            // Refused: nothing of it may be stored.
            Ok(answer) => return assert_eq!(answer.status, 503, "{answer:?}"),
            Err(_) => self.in_flight.extend(&ids),
        }
        self.poison.extend(poison.filter(|_| matches!(traffic, Poisoned)));
    }

    fn add(&mut self, more: Self) {
        self.acknowledged.extend(more.acknowledged);
        self.in_flight.extend(more.in_flight);
        self.poison.extend(more.poison);
    }

    /// Holds what a query lists, one id a line, against those that have to be there and those that may be.
    fn compare(&self, findings: &mut Findings, case: &str, listed: &str, poison: bool) {
        let mut stored: BTreeMap<Uuid, usize> = BTreeMap::new();
        for id in listed.lines() {
            *stored.entry(id.parse().unwrap()).or_default() += 1;
        }
        let of_kind = |id: &&Uuid| self.poison.contains(*id) == poison;
        let lost = self.acknowledged.iter().filter(of_kind).filter(|id| !stored.contains_key(id)).count();
        let repeated = stored.values().filter(|count| **count > 1).count();
        let known =
            |id: &Uuid| of_kind(&id) && (self.acknowledged.contains(id) || self.in_flight.contains(id));
        let never_taken = stored.keys().filter(|id| !known(id)).count();
        findings.check(
            format!("{case}: lost, repeated, never taken"),
            (lost, repeated, never_taken),
            (0, 0, 0),
        );
    }
}

/// Lets a collector die at these points, one life after the other, and then live.
fn die(server: &Collector, kind: &str, points: &[&str], traffic: Traffic) -> Noted {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listen = address.to_string();
    let setup = Setup::new().without_demo().without_port().on_server(server.setup(), server.engine_port());
    let setup = setup.with(&["--listen", &listen, "--segment-age", "200ms"]);
    let mut noted = Noted::default();
    for point in points {
        let starting = setup.clone().env("WEIR_FAILPOINT", point).spawn();
        let sender = Sender::start(kind, traffic, address);
        let (code, said) = starting.await_end();
        assert_eq!(code, None, "it was not killed at {point}:\n{said}");
        noted.add(sender.finish());
    }
    let collector = setup.start();
    let sender = Sender::start(kind, traffic, address);
    std::thread::sleep(Duration::from_millis(100));
    noted.add(sender.finish());
    collector.await_loaded();
    noted
}

#[test]
fn a_collector_that_dies_at_any_step_loses_and_repeats_nothing() {
    let server = Collector::start();
    server.admin_sql("ALTER TABLE weir.events ADD CONSTRAINT no_poison CHECK url != '/poison'");
    let kind = |index| format!("death_{index}");
    // Most of a life is waiting.
    let lives = |lane: usize| {
        let own = DEATHS.iter().enumerate().filter(move |(index, _)| index % LANES == lane);
        own.map(|(index, (points, traffic))| (index, die(&server, &kind(index), points, *traffic))).collect()
    };
    let ended: Vec<(usize, Noted)> = std::thread::scope(|scope| {
        let lives = &lives;
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || -> Vec<_> { lives(lane) })).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    let mut findings = Findings::default();
    for (index, noted) in ended {
        let kind = kind(index);
        let points = DEATHS[index].0;
        let case = format!("{kind} at {}", points.join(", "));
        let (acknowledged, in_flight) = (noted.acknowledged.len(), noted.in_flight.len());
        eprintln!("{case}: {acknowledged} acknowledged, {in_flight} in flight");
        findings.holds(format!("{case}: something was acknowledged"), acknowledged > 0);
        let stored = server.sql(&format!("SELECT event_id FROM weir.events WHERE type = '{kind}'"));
        noted.compare(&mut findings, &case, &stored, false);
        // No whole JSON is left of them.
        let refused = r#"SELECT extract(event, '"event_id":"([^"]*)"') FROM weir.rejected_events"#;
        let refused = format!(r#"{refused} WHERE extract(event, '"type":"([^"]*)"') = '{kind}'"#);
        noted.compare(&mut findings, &format!("{case}: refused"), &server.sql(&refused), true);
    }
    findings.report();
}

/// The names that the files of a folder give to fail points.
fn points(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            points(&path, found);
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for call in text.split("failpoint::reach").skip(1) {
            found.extend(call.split('"').nth(1).map(str::to_owned));
        }
    }
}

#[test]
fn the_matrix_has_every_fail_point() {
    let mut there = BTreeSet::new();
    points(&Path::new(ROOT).join("src"), &mut there);
    let tried = DEATHS.iter().flat_map(|(points, _)| *points).chain(&kills::DEATHS);
    let tried: BTreeSet<String> = tried.map(|point| point.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(tried, there);
}

#[test]
fn a_release_build_has_no_fail_point() {
    run("cargo build --release --locked", TempDir::new().unwrap().path());
    let binary = fs::read(Path::new(ROOT).join("target/release/weir")).unwrap();
    let variable = b"WEIR_FAILPOINT";
    let found = binary.windows(variable.len()).any(|bytes| bytes == variable);
    assert!(!found, "the released binary can be told to die");
}
