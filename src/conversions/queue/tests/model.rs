//! The queue against a trivial model, through generated histories with starts in between.

mod expected;

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::expected::{MOST, Model, REMEMBER, SET, START};
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
    /// So many dead letters are deleted, of an integration or of all.
    DiscardDead(Option<usize>, usize),
    /// All of an id is deleted, of an integration or of all.
    Discard(Option<usize>, u8),
    /// Another version has written the conversion at this place of what waits for an integration.
    Spoil(usize, usize),
    /// So many rows have reached the journal.
    Forget(usize),
    Advance(i64),
    /// The machine's clock is set, by so much.
    Correct(i64),
    Reopen,
    /// It is set back by so much while the queue is closed.
    ReopenEarlier(i64),
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
        1 => (prop::option::of(0..NAMES.len()), 0_usize..3).prop_map(|(a, b)| Op::DiscardDead(a, b)),
        1 => (prop::option::of(0..NAMES.len()), 0_u8..12).prop_map(|(a, b)| Op::Discard(a, b)),
        1 => (0..NAMES.len(), 0_usize..6).prop_map(|(a, b)| Op::Spoil(a, b)),
        2 => (1_usize..8).prop_map(Op::Forget),
        2 => (1_i64..4_000).prop_map(Op::Advance),
        1 => (-10_i64..10).prop_map(|change| Op::Correct(change * SET)),
        2 => Just(Op::Reopen),
        1 => (1_i64..10).prop_map(|change| Op::ReopenEarlier(change * SET)),
    ]
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
        let clock = Clock::manual(Timestamp::from_millis(START));
        let queue = Queue::open(folder.path(), &Self::settings(), &clock).unwrap();
        Self { folder, clock, queue, model: Model { now: START, ..Model::default() } }
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
                let replayed = self.model.replay(only);
                assert_eq!(self.queue.replay(only).await, Ok(replayed));
            }
            Op::DiscardDead(name, most) => {
                let only = name.map(|name| NAMES[name]);
                let gone = self.model.discard_dead(only, *most);
                assert_eq!(self.queue.discard_dead(only, *most).await, Ok(gone));
            }
            Op::Discard(name, id) => {
                let only = name.map(|name| NAMES[name]);
                let gone = self.model.discard(only, *id);
                assert_eq!(self.queue.discard(only, &id.to_string()).await, Ok(gone));
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
                self.clock.set(self.model.clock());
            }
            Op::Correct(change) => {
                // The first transaction says from what time on it goes on evenly.
                self.write_nothing().await;
                self.model.ahead -= change;
                self.clock.correct(self.model.clock());
            }
            Op::Reopen => self.reopen(),
            Op::ReopenEarlier(change) => {
                self.write_nothing().await;
                self.model.ahead += change;
                self.queue.close();
                self.clock.set(self.model.clock());
                self.reopen();
            }
        }
    }

    async fn write_nothing(&self) {
        self.queue.settle(META, vec![(Key::MAX, settled(Outcome::Sent, 1))]).await.unwrap();
    }

    fn reopen(&mut self) {
        self.queue.close();
        self.queue = Queue::open(self.folder.path(), &Self::settings(), &self.clock).unwrap();
        let (ahead, before) = (self.queue.0.steady.ahead(), self.model.ahead);
        // What has passed since the last transaction was no time for a clock that had been set back.
        assert!(ahead == before || (0..before).contains(&ahead), "{ahead} ms ahead, {before} before");
        self.model.now += ahead - before;
        self.model.ahead = ahead;
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
                End::Retry(later) => Outcome::Retry { due: self.model.clock().shifted(*later) },
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
            let wanted: Vec<_> = expected
                .iter()
                .map(|item| (item.id.to_string(), item.due - self.model.ahead, item.attempts))
                .collect();
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
