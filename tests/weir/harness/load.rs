//! Clients that send events without pause, note which were promised to them, and send again those that were not.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Answer, Client, Collector, Random};

/// Between two requests of a client, and before it tries again.
const PACE: Duration = Duration::from_millis(3);

/// Where the clients send to: a collector in its n-th life.
#[derive(Clone)]
struct Target(Arc<Mutex<(usize, Option<SocketAddr>)>>);

/// What has become of one event.
pub struct Sent {
    pub id: Uuid,
    /// It was answered 200.
    pub acknowledged: bool,
    /// Collectors' lives in which it was sent.
    pub lives: usize,
}

/// Running clients.
pub struct Load {
    target: Target,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Sent>>>,
}

impl Load {
    /// Starts this many clients, which wait until they are [told](Self::aim) where to send.
    pub fn start(clients: usize, random: &mut Random) -> Self {
        let target = Target(Arc::new(Mutex::new((0, None))));
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients).map(|_| {
            let (target, stop, random) = (target.clone(), stop.clone(), random.branch());
            std::thread::spawn(move || Sender { target, stop, random, client: None }.run())
        });
        let clients = clients.collect();
        Self { target, stop, clients }
    }

    /// A collector's life begins.
    pub fn aim(&self, collector: &Collector) {
        let mut target = self.target.0.lock().unwrap();
        *target = (target.0 + 1, Some(collector.listen));
    }

    /// The collector is about to die: whoever is not sending already waits for the next one.
    pub fn hold(&self) {
        self.target.0.lock().unwrap().1 = None;
    }

    /// Lets the clients finish what they are at; what they send again must be taken now.
    pub fn finish(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().expect("no client fails")).collect()
    }
}

struct Sender {
    target: Target,
    stop: Arc<AtomicBool>,
    random: Random,
    client: Option<(usize, Client)>,
}

impl Sender {
    fn run(mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let (ids, body) = self.request();
            let (acknowledged, lives) = self.send(&body, ids.len());
            sent.extend(ids.into_iter().map(|id| Sent { id, acknowledged, lives }));
            std::thread::sleep(PACE);
        }
        sent
    }

    /// One event in the snippet's format, or a batch. Ids of either kind, with and without a time of their own:
    /// whatever an event lacks, its sorting key must be the same each time it is sent.
    fn request(&mut self) -> (Vec<Uuid>, String) {
        let single = self.random.below(2) == 0;
        let count = if single { 1 } else { 1 + self.random.below(20) };
        let mut ids = Vec::new();
        let mut events = Vec::new();
        for _ in 0..count {
            let id = if self.random.below(2) == 0 { Uuid::now_v7() } else { Uuid::new_v4() };
            let mut event = format!(r#""type":"load","url":"https://a.test/{id}","eventId":"{id}""#);
            if self.random.below(2) == 0 {
                write!(event, r#","timestamp":"2026-0{}-01T10:00:00Z""#, 1 + self.random.below(9)).unwrap();
            }
            ids.push(id);
            events.push(event);
        }
        let body = if single {
            format!(r#"{{"projectKey":"pk_live_demo","visitorId":"v_1",{}}}"#, events[0])
        } else {
            format!(r#"{{"projectKey":"pk_live_demo","events":[{{{}}}]}}"#, events.join("},{"))
        };
        (ids, body)
    }

    /// Sends a request until it is answered 200, or until this client gives up, which it does now and then.
    fn send(&mut self, body: &str, events: usize) -> (bool, usize) {
        let patient = self.random.below(4) > 0;
        let mut lives = BTreeSet::new();
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let (life, address) = *self.target.0.lock().unwrap();
            if let Some(address) = address {
                lives.insert(life);
                match self.attempt(life, address, body) {
                    Ok(answer) if answer.status == 200 => {
                        assert_eq!(answer.json()["received"], events, "{answer:?}");
                        return (true, lives.len());
                    }
                    Ok(answer) => {
                        assert_eq!(answer.status, 503, "{answer:?}");
                        assert!(answer.header("retry-after").is_some(), "{answer:?}");
                    }
                    Err(_) => self.client = None,
                }
            }
            let stopping = self.stop.load(Ordering::Relaxed);
            if (!patient && !lives.is_empty()) || (stopping && lives.is_empty()) {
                return (false, lives.len());
            }
            assert!(Instant::now() < deadline, "a client was refused for a minute");
            std::thread::sleep(PACE);
        }
    }

    fn attempt(&mut self, life: usize, address: SocketAddr, body: &str) -> std::io::Result<Answer> {
        let mut client = match self.client.take() {
            Some((earlier, client)) if earlier == life => client,
            _ => Client::connect(address)?,
        };
        let answer = client.send("POST", "/api/events", &[], body.as_bytes())?;
        if answer.header("connection") != Some("close") {
            self.client = Some((life, client));
        }
        Ok(answer)
    }
}

/// Holds what was sent against what is stored, once the journal is empty.
///
/// An event is one row, plainly counted, unless its sending crossed a restart: the collector before may have stored
/// it without a chance to say so, and the one after does not know its id. Then it is one row under `FINAL`.
#[track_caller]
pub fn assert_exactly_once(store: &Collector, sent: &[Sent]) {
    let listed = store.sql("SELECT event_id, count() FROM weir.events GROUP BY event_id");
    let mut stored: HashMap<Uuid, usize> = HashMap::new();
    for line in listed.lines() {
        let (id, count) = line.split_once('\t').unwrap();
        stored.insert(id.parse().unwrap(), count.parse().unwrap());
    }
    let rows: usize = stored.values().sum();
    for Sent { id, acknowledged, lives } in sent {
        let count = stored.remove(id).unwrap_or(0);
        assert!(!acknowledged || count > 0, "{id} was acknowledged and is not stored");
        assert!(count <= *lives, "{id} is stored {count} times and was sent in {lives} lives");
    }
    assert!(stored.is_empty(), "{} events are stored that nobody sent", stored.len());
    let count = |table: &str| store.sql(&format!("SELECT count(), uniqExact(event_id) FROM {table}"));
    let merged = count("weir.events FINAL");
    let (counted, distinct) = merged.split_once('\t').unwrap();
    assert_eq!(counted, distinct, "FINAL shows an event twice");
    let crossed = sent.iter().filter(|sent| sent.lives > 1).count();
    let acknowledged = sent.iter().filter(|sent| sent.acknowledged).count();
    eprintln!(
        "{} events sent, {acknowledged} acknowledged, {crossed} sent across a restart; {rows} rows, {distinct} distinct",
        sent.len()
    );
    assert!(acknowledged > 0, "nothing was acknowledged");
}
