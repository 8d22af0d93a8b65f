//! What is counted: each stage of an event's way alone, and the whole of it.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use http::HeaderMap;
use uuid::Uuid;
use weir::clock::Clock;
use weir::event::Timestamp;
use weir::http::{Answer, RateLimitSettings, RateLimits, Rejection};
use weir::journal::Journal;
use weir::payload::inflate::ContentEncodings;
use weir_benches::bodies::{PAGE, PROJECT_KEY, RECEIVED_AT_MS, batch, batch_with_ids, full_page, gzip};
use weir_benches::intake::{Intake, full_window, journal, segment_rows};
use weir_benches::memory::{Gate, Memory};

/// Calls of a stage that are counted, each for itself: odd, so that one of them is the middle.
pub(super) const CALLS: usize = 65;

/// Rounds of so many calls: in all but the last one buffers grow and caches fill.
const ROUNDS: usize = 3;

/// A body that stages are tried with, made anew where it has ids.
struct Body {
    name: &'static str,
    events: u64,
    make: fn(&Stages) -> String,
}

const BODIES: [Body; 4] = [
    Body { name: "a page", events: 1, make: |_| PAGE.to_owned() },
    Body { name: "a page with id", events: 1, make: |stages| full_page(stages.new_ids(1)) },
    Body { name: "a batch", events: 100, make: |_| batch(100) },
    Body { name: "a batch with ids", events: 100, make: |stages| batch_with_ids(100, stages.new_ids(100)) },
];

/// Runs the stages, and says on standard output in which order.
pub(super) struct Stages {
    /// Only the one of this name.
    only: Option<String>,
    /// Whether the calls of this round are counted.
    counting: Cell<bool>,
    ids: Cell<u64>,
}

/// Valgrind counts what happens in here, and writes it down at the end of each call.
#[inline(never)]
pub(super) fn counted(once: &mut dyn FnMut()) {
    once();
    // Or the call would be a jump, and its return nobody's.
    black_box(());
}

impl Stages {
    pub(super) fn run(only: Option<String>) {
        let stages = Self { only, counting: Cell::new(false), ids: Cell::new(1) };
        let mut intake = Intake::with_window(full_window());
        stages.before_the_row(&intake);
        stages.limits();
        stages.rows(&intake);
        stages.claims();
        stages.whole_paths(&mut intake);
        stages.hand_over(&mut intake);
        stages.segment(&mut intake);
    }

    fn before_the_row(&self, intake: &Intake) {
        let gzipped = gzip(&batch(100));
        let encodings = ContentEncodings::parse([b"gzip".as_slice()]).expect("gzip is known");
        self.stage("inflate a batch", 100, || {
            self.call(|| encodings.inflate(black_box(&gzipped), 1 << 20).expect("a sound body").len());
        });
        for Body { name, events, make } in BODIES {
            let name = format!("decode {name}");
            let body = make(self);
            self.stage(&name, events, || {
                self.call(|| drop(black_box(intake.decode(black_box(body.as_bytes())))));
            });
        }
        self.stage("project of a known key", 1, || {
            self.call(|| intake.project(black_box(PROJECT_KEY)));
        });
        self.stage("visitor of a known browser", 1, || {
            self.call(|| drop(black_box(intake.visitor())));
        });
    }

    /// What a backend's request costs by its limit, and all that one over it costs but for its key: the answer included.
    fn limits(&self) {
        let clock = Clock::manual(Timestamp::from_millis(RECEIVED_AT_MS));
        let limits = RateLimits::new(&RateLimitSettings::default(), &clock);
        let request = |id| limits.api_key(black_box(Uuid::from_u128(id)), None);
        self.stage("limit of a key", 1, || {
            self.call(|| request(1).expect("a request within the limit").write(&mut HeaderMap::new()));
        });
        while request(2).is_ok() {}
        self.stage("refusal over a limit (429)", 1, || {
            self.call(|| drop(black_box(Answer::from(Rejection::from(request(2).expect_err("over it"))))));
        });
    }

    fn rows(&self, intake: &Intake) {
        let project = Uuid::from_u128(1);
        let visitor = intake.visitor();
        let mut rows = Vec::new();
        for Body { name, events, make } in BODIES {
            let name = format!("rows of {name}");
            let body = make(self);
            let decoded = intake.decode(body.as_bytes());
            self.stage(&name, events, || {
                rows.clear();
                self.call(|| intake.rows(black_box(&decoded), project, Some(&visitor), &mut rows));
            });
        }
    }

    fn claims(&self) {
        let recent = full_window();
        self.stage("reserve 100 ids", 100, || {
            let first = u128::from(self.new_ids(100));
            let reservation = self.call(|| {
                let mut reservation = recent.reservation(100);
                for id in first..first + 100 {
                    black_box(reservation.claim(Uuid::from_u128(1), Uuid::from_u128(id)));
                }
                reservation
            });
            reservation.settle(true);
        });
    }

    fn whole_paths(&self, intake: &mut Intake) {
        for Body { name, events, make } in BODIES {
            let name = format!("whole path of {name}");
            let (journal, gate) = held_journal(intake);
            let mut taken = Vec::with_capacity(ROUNDS * CALLS);
            self.stage(&name, events, || {
                let body = make(self);
                taken.push(self.call(|| intake.append(black_box(body.as_bytes()), &journal)));
            });
            gate.open();
            journal.close();
            intake.finish(taken);
        }
    }

    fn hand_over(&self, intake: &mut Intake) {
        for Body { name, events, make } in BODIES {
            let name = format!("hand over {name}");
            let (journal, gate) = held_journal(intake);
            let body = make(self);
            let (entry, _) = intake.record(body.as_bytes());
            let mut appending = Vec::with_capacity(ROUNDS * CALLS);
            self.stage(&name, events, || appending.push(self.call(|| journal.append(entry))));
            gate.open();
            journal.close();
        }
    }

    fn segment(&self, intake: &mut Intake) {
        let journal = journal(Memory::new(true));
        let taken: Vec<_> = (0..500).map(|_| intake.append(PAGE.as_bytes(), &journal)).collect();
        journal.close();
        intake.finish(taken);
        self.stage("read a segment of pages", segment_rows(&journal), || {
            self.call(|| black_box(segment_rows(&journal)));
        });
    }

    /// The first of so many numbers that no event has had.
    fn new_ids(&self, count: u64) -> u64 {
        self.ids.replace(self.ids.get() + count)
    }

    fn stage(&self, name: &str, events: u64, mut once: impl FnMut()) {
        if self.only.as_deref().is_some_and(|only| only != name) {
            return;
        }
        println!("{events} {name}");
        for round in 1..=ROUNDS {
            self.counting.set(round == ROUNDS);
            (0..CALLS).for_each(|_| once());
        }
    }

    fn call<T>(&self, once: impl FnOnce() -> T) -> T {
        let (mut once, mut result) = (Some(once), None);
        let mut run = || result = once.take().map(|once| once());
        if self.counting.get() {
            counted(&mut run);
        } else {
            run();
        }
        result.expect("it has run")
    }
}

/// A journal whose writer waits for its disk until the gate is opened: what is handed over gathers, and no other thread
/// is in the way of counting it. It is to be closed before anything else happens: then the heap, too, is as it was.
fn held_journal(intake: &mut Intake) -> (Journal, Arc<Gate>) {
    let directory = Memory::new(false);
    let gate = directory.gate();
    let journal = journal(directory);
    gate.close();
    let (entry, _) = intake.record(PAGE.as_bytes());
    // The writer answers nobody.
    drop(journal.append(entry));
    gate.wait_for_arrival();
    (journal, gate)
}
