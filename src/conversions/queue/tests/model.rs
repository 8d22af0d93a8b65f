//! The queue against a trivial model, through generated histories with starts in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::unreadable::{foreign, rewrite};
use super::*;
use crate::row::{Layout, Value};

const NAMES: [&str; 3] = [META, GA4, "shop/webhook/one"];

#[derive(Clone, Debug)]
enum Op {
    /// A request: of each conversion the integration, the id, and whether it is denied.
    Accept(Vec<(usize, u8, bool)>),
    /// The conversions at these places of what waits for an integration are settled, in one go.
    Settle(usize, Vec<(usize, End)>),
    Replay(Option<usize>),
    /// Another version has written the conversion at this place of what waits for an integration.
    Spoil(usize, usize),
    /// So many rows have reached the journal.
    Forget(usize),
    Advance(i64),
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Sent,
    Retry(i64),
    Paused,
    Dead,
}

fn op() -> impl Strategy<Value = Op> {
    let conversion = (0..NAMES.len(), 0_u8..12, prop::bool::weighted(0.1));
    let end =
        prop_oneof![Just(End::Sent), (0_i64..5_000).prop_map(End::Retry), Just(End::Paused), Just(End::Dead)];
    prop_oneof![
        6 => prop::collection::vec(conversion, 1..6).prop_map(Op::Accept),
        6 => (0..NAMES.len(), prop::collection::vec((0_usize..6, end), 1..4)).prop_map(|(a, b)| Op::Settle(a, b)),
        1 => prop::option::of(0..NAMES.len()).prop_map(Op::Replay),
        1 => (0..NAMES.len(), 0_usize..6).prop_map(|(a, b)| Op::Spoil(a, b)),
        2 => (1_usize..8).prop_map(Op::Forget),
        2 => (1_i64..4_000).prop_map(Op::Advance),
        2 => Just(Op::Reopen),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Item {
    id: u8,
    due: i64,
    arrival: usize,
    attempts: u32,
    spoiled: bool,
}

#[derive(Default)]
struct Model {
    now: i64,
    arrivals: usize,
    waiting: BTreeMap<&'static str, Vec<Item>>,
    /// In the order of arrival.
    dead: BTreeMap<&'static str, Vec<Item>>,
    seen: BTreeMap<(&'static str, u8), i64>,
    /// Integration, id, and status; that of a row of `conversions` is empty.
    outbox: Vec<(String, String, String)>,
}

/// In milliseconds.
const REMEMBER: i64 = 10_000;
const MOST: usize = 12;

impl Model {
    fn tell(&mut self, name: &str, id: u8, status: &str) {
        self.outbox.push((name.to_owned(), id.to_string(), status.to_owned()));
    }

    fn enqueue(&mut self, name: &'static str, id: u8) {
        let item = Item { id, due: self.now, arrival: self.arrivals, attempts: 0, spoiled: false };
        self.arrivals += 1;
        self.waiting.entry(name).or_default().push(item);
        self.tell(name, id, "queued");
    }

    fn accept(&mut self, request: &[(usize, u8, bool)]) -> Result<Vec<Accepted>, QueueError> {
        let mut fresh = BTreeSet::new();
        let mut accepted = Vec::new();
        for (name, id, denied) in request {
            let seen = self.seen.get(&(NAMES[*name], *id)).is_some_and(|until| *until > self.now);
            accepted.push(match denied {
                true => Accepted::Denied,
                false if seen || !fresh.insert((*name, *id)) => Accepted::Repeated,
                false => Accepted::Queued,
            });
        }
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        if waiting + fresh.len() > MOST && accepted.iter().any(|accepted| *accepted != Accepted::Repeated) {
            return Err(QueueError::Full);
        }
        for ((name, id, _), accepted) in request.iter().zip(&accepted) {
            let name = NAMES[*name];
            match accepted {
                Accepted::Queued => {
                    self.seen.insert((name, *id), self.now + REMEMBER);
                    self.tell(name, *id, "");
                    self.enqueue(name, *id);
                }
                Accepted::Denied => {
                    self.tell(name, *id, "");
                    self.tell(name, *id, "consent_denied");
                }
                Accepted::Repeated => {}
            }
        }
        Ok(accepted)
    }

    /// What waits, in the order in which it is to be sent.
    fn queue(&self, name: &str) -> Vec<Item> {
        let mut items = self.waiting.get(name).cloned().unwrap_or_default();
        items.sort_by_key(|item| (item.due, item.arrival));
        items
    }

    fn settle(&mut self, name: &'static str, arrival: usize, end: End) {
        let items = self.waiting.entry(name).or_default();
        let Some(place) = items.iter().position(|item| item.arrival == arrival) else { return };
        items[place].attempts += 1;
        self.end(name, place, end);
    }

    fn end(&mut self, name: &'static str, place: usize, end: End) {
        let items = self.waiting.entry(name).or_default();
        let id = items[place].id;
        let status = match end {
            End::Sent => {
                items.remove(place);
                "sent"
            }
            End::Retry(later) => {
                items[place].due = self.now + later;
                "retrying"
            }
            End::Paused => "paused",
            End::Dead => {
                let item = items.remove(place);
                let dead = self.dead.entry(name).or_default();
                dead.push(item);
                dead.sort_by_key(|item| item.arrival);
                "dead"
            }
        };
        self.tell(name, id, status);
    }
}

struct Run {
    folder: tempfile::TempDir,
    clock: Clock,
    queue: Queue,
    model: Model,
}

impl Run {
    fn settings() -> QueueSettings {
        QueueSettings {
            max_events: MOST as u64,
            remember: Duration::from_millis(REMEMBER.cast_unsigned()),
            ..QueueSettings::default()
        }
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_millis(0));
        let queue = Queue::open(folder.path(), &Self::settings(), &clock).unwrap();
        Self { folder, clock, queue, model: Model::default() }
    }

    async fn apply(&mut self, op: &Op) {
        match op {
            Op::Accept(request) => {
                let incoming = request.iter().map(|(name, id, is_denied)| {
                    let make = if *is_denied { denied } else { incoming };
                    make(NAMES[*name], &id.to_string())
                });
                let accepted = self.queue.accept(incoming.collect()).await;
                assert_eq!(accepted, self.model.accept(request));
            }
            Op::Settle(name, ends) => self.settle(NAMES[*name], ends).await,
            Op::Replay(name) => {
                let only = name.map(|name| NAMES[name]);
                let mut replayed = 0;
                let mut names = NAMES;
                names.sort_unstable();
                for name in names.into_iter().filter(|name| only.is_none_or(|only| only == *name)) {
                    let letters = self.model.dead.remove(name).unwrap_or_default();
                    let (stay, go): (Vec<_>, Vec<_>) = letters.into_iter().partition(|item| item.spoiled);
                    replayed += go.len();
                    for item in go {
                        self.model.seen.insert((name, item.id), self.model.now + REMEMBER);
                        self.model.enqueue(name, item.id);
                    }
                    self.model.dead.insert(name, stay);
                }
                assert_eq!(self.queue.replay(only).await, Ok(replayed));
            }
            Op::Spoil(name, place) => self.spoil(NAMES[*name], *place).await,
            Op::Forget(most) => {
                let rows = self.queue.take_outbox(*most, usize::MAX).await.unwrap();
                if let Some(last) = rows.last() {
                    self.queue.forget_outbox(last.number).await.unwrap();
                }
                self.model.outbox.drain(..rows.len());
            }
            Op::Advance(millis) => {
                self.model.now += millis;
                self.clock.set(Timestamp::from_millis(self.model.now));
            }
            Op::Reopen => self.reopen(),
        }
    }

    fn reopen(&mut self) {
        self.queue.close();
        self.queue = Queue::open(self.folder.path(), &Self::settings(), &self.clock).unwrap();
    }

    /// It is seen when it is looked at next.
    async fn spoil(&mut self, name: &'static str, place: usize) {
        let Some(item) = self.model.queue(name).get(place).cloned() else { return };
        let waiting = self.queue.due(name, Timestamp::MAX, ALL, &BTreeSet::new()).await.unwrap();
        self.queue.close();
        rewrite(self.folder.path(), name, waiting[place].key, foreign(&item.id.to_string()).as_bytes());
        self.reopen();
        let items = self.model.waiting.entry(name).or_default();
        let place = items.iter().position(|other| other.arrival == item.arrival).unwrap();
        items[place].spoiled = true;
        self.model.end(name, place, End::Dead);
        assert_eq!(due(&self.queue, name, Timestamp::MAX).await.len(), waiting.len() - 1);
    }

    async fn settle(&mut self, name: &'static str, ends: &[(usize, End)]) {
        let waiting = self.queue.due(name, Timestamp::MAX, ALL, &BTreeSet::new()).await.unwrap();
        let items = self.model.queue(name);
        let mut all = Vec::new();
        let mut places = BTreeSet::new();
        for (place, end) in ends.iter().filter(|(place, _)| *place < items.len()) {
            if !places.insert(place) {
                continue;
            }
            let outcome = match end {
                End::Sent => Outcome::Sent,
                End::Retry(later) => Outcome::Retry { due: Timestamp::from_millis(self.model.now + later) },
                End::Paused => Outcome::Paused,
                End::Dead => Outcome::Dead,
            };
            all.push((waiting[*place].key, settled(outcome, waiting[*place].attempts + 1)));
            self.model.settle(name, items[*place].arrival, *end);
        }
        self.queue.settle(name, all).await.unwrap();
    }

    async fn compare(&self) {
        let mut counts = Vec::new();
        for name in NAMES {
            let expected = self.model.queue(name);
            let waiting = self.queue.due(name, Timestamp::MAX, ALL, &BTreeSet::new()).await.unwrap();
            let seen: Vec<_> = waiting
                .iter()
                .map(|one| (one.conversion.id.clone(), one.due.as_millis(), one.attempts))
                .collect();
            let wanted: Vec<_> =
                expected.iter().map(|item| (item.id.to_string(), item.due, item.attempts)).collect();
            assert_eq!(seen, wanted, "{name}");
            let ready = expected.iter().filter(|item| item.due <= self.model.now).count();
            assert_eq!(due(&self.queue, name, self.clock.now()).await.len(), ready);
            let letters = self.queue.dead(name, 100).await.unwrap();
            let ids: Vec<_> = letters.iter().map(|letter| letter.id.clone()).collect();
            let dead = self.model.dead.get(name).map_or(&[][..], Vec::as_slice);
            assert_eq!(ids, dead.iter().map(|item| item.id.to_string()).collect::<Vec<_>>());
            if !expected.is_empty() || !dead.is_empty() {
                counts.push((name.to_owned(), expected.len() as u64, dead.len() as u64));
            }
        }
        counts.sort();
        let counted = self.queue.counts().await.unwrap();
        let counted: Vec<_> =
            counted.into_iter().map(|count| (count.integration, count.waiting, count.dead)).collect();
        assert_eq!(counted, counts);
        let rows = self.queue.take_outbox(10_000, usize::MAX).await.unwrap();
        assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), self.model.outbox);
        self.check_account().await;
    }

    /// What is counted along the way is what a start would count.
    async fn check_account(&self) {
        let bytes = |waiting: &[Waiting]| -> u64 {
            waiting.iter().map(|one| serde_json::to_vec(&one.conversion).unwrap().len() as u64).sum()
        };
        let mut expected = 0;
        for name in NAMES {
            expected += bytes(&self.queue.due(name, Timestamp::MAX, ALL, &BTreeSet::new()).await.unwrap());
            for letter in self.queue.dead(name, 100).await.unwrap() {
                let json = serde_json::to_string(&conversion(name, &letter.id)).unwrap();
                let is_spoiled = letter.why.starts_with("does not read");
                expected += if is_spoiled { foreign(&letter.id) } else { json }.len() as u64;
            }
        }
        for row in self.queue.take_outbox(10_000, usize::MAX).await.unwrap() {
            expected += row.row.len() as u64;
        }
        assert_eq!(self.queue.0.file.account().unwrap().bytes, expected);
    }
}

/// Integration, id and status of a row.
fn told(row: &OutboxRow) -> (String, String, String) {
    let layout = Layout::parse(&row.table.header()).unwrap();
    let values = layout.values(&row.row).unwrap();
    let text = |name: &str| match layout.position(name).map(|place| &values[place]) {
        Some(Value::Bytes(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
        _ => String::new(),
    };
    (text("integration"), text("conversion_id"), text("status"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_queue_does_what_the_model_does(ops in prop::collection::vec(op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new();
            for op in &ops {
                run.apply(op).await;
                run.compare().await;
            }
            run.apply(&Op::Reopen).await;
            run.compare().await;
        });
    }
}
