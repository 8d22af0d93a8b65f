//! The journal against a trivial model, through generated histories: requests one by one and in groups, sealing,
//! loading, failing disks, and power cuts at every step that keep any part of what was not synced.
//!
//! The model is a few sets of texts. Whatever happened, the backlog of a new start holds, each once, every
//! acknowledged text that was not deleted, and besides those only texts whose requests were under way or failed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// Requests with so many records each; the first is written alone, the others in one group.
    Append { requests: Vec<Vec<usize>>, next_month: bool },
    /// Loads the oldest segment.
    Load(Outcome),
    /// The disk fails once, after so many steps of a kind.
    Fail(Step, usize),
    /// The process ends in peace and starts again: what was open is sealed.
    Restart,
    /// The process is killed after so many steps of a group of requests and a load; the machine goes on.
    Kill { steps: usize, requests: Vec<Vec<usize>>, outcome: Outcome },
    /// The machine stops after so many steps of a group of requests and a load, and again after so many of the
    /// start that follows. `picks` says what of the rest is kept.
    PowerCut(PowerCut),
}

#[derive(Clone, Debug)]
struct PowerCut {
    steps: usize,
    requests: Vec<Vec<usize>>,
    outcome: Outcome,
    start_steps: Option<usize>,
    picks: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Confirmed,
    /// Rows go out under other tokens, then all are confirmed.
    Parted,
    /// ClickHouse has it, but the answer was lost.
    Unanswered,
}

fn requests() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(1_usize..120, 1..4), 1..5)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![Outcome::Confirmed, Outcome::Parted, Outcome::Unanswered])
}

fn op() -> impl Strategy<Value = Op> {
    let steps =
        [Step::Create, Step::Write, Step::Sync, Step::Cut, Step::Rename, Step::Remove, Step::SyncDirectory];
    let picks = prop::collection::vec(any::<u16>(), 1..12);
    prop_oneof![
        6 => (requests(), prop::bool::weighted(0.1))
            .prop_map(|(requests, next_month)| Op::Append { requests, next_month }),
        4 => outcome().prop_map(Op::Load),
        2 => (prop::sample::select(steps.to_vec()), 0_usize..4).prop_map(|(step, after)| Op::Fail(step, after)),
        1 => Just(Op::Restart),
        2 => (0_usize..14, requests(), outcome())
            .prop_map(|(steps, requests, outcome)| Op::Kill { steps, requests, outcome }),
        4 => (0_usize..14, requests(), outcome(), prop::option::of(0_usize..5), picks)
            .prop_map(|(steps, requests, outcome, start_steps, picks)| {
                Op::PowerCut(PowerCut { steps, requests, outcome, start_steps, picks })
            }),
    ]
}

/// Three or four records in a segment, and mostly room for more than that.
fn tiny() -> JournalSettings {
    JournalSettings {
        segment_bytes: SegmentHead::bytes() + 400,
        segment_rows: 4,
        room_bytes: 4 * 3 * RECORD,
        ..settings()
    }
}

#[derive(Default)]
struct Model {
    texts: usize,
    month: i64,
    acknowledged: BTreeSet<String>,
    /// Not acknowledged, but perhaps on disk.
    in_flight: BTreeSet<String>,
    /// In segments whose deletion was begun: they may be gone.
    deleting: BTreeSet<String>,
    /// In segments that are deleted for good: they never come back.
    deleted: BTreeSet<String>,
    /// What each segment held when it was sent as it is, by its id: its token.
    sent: BTreeMap<u64, Vec<String>>,
    /// Segments of which rows were sent under other tokens.
    parted: BTreeSet<u64>,
}

struct Run {
    model: Model,
    directory: MemoryDirectory,
    journal: Journal,
}

impl Run {
    fn append(&mut self, requests: &[Vec<usize>]) {
        let received_at = JANUARY.shifted(self.model.month * 31 * 86_400_000);
        let mut entries = Vec::new();
        let mut sent = Vec::new();
        for lengths in requests {
            let mut entry = Entry::new();
            let mut texts = Vec::new();
            for length in lengths {
                self.model.texts += 1;
                let text = format!("{:01$}", self.model.texts, length);
                entry.record(Table::ALL[length % 2], received_at, |out| {
                    out.extend_from_slice(text.as_bytes());
                    1
                });
                texts.push(text);
            }
            entries.push(entry);
            sent.push(texts);
        }
        let answers = append_grouped(&self.directory, &self.journal, &entries);
        for (texts, answer) in sent.into_iter().zip(answers) {
            match answer {
                Ok(()) => self.model.acknowledged.extend(texts),
                Err(JournalError::Failed) => self.model.in_flight.extend(texts),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Does what the loader does with the oldest segment; an error of the disk leaves it for later.
    fn load(&mut self, outcome: Outcome) {
        let backlog = self.journal.backlog().clone();
        let Some(mut segment) = take_waiting(&backlog) else { return };
        let loaded = self.load_segment(&backlog, &mut segment, outcome);
        if !matches!(loaded, Ok(true)) {
            backlog.give_back(segment);
        }
    }

    fn load_segment(
        &mut self,
        backlog: &Backlog,
        segment: &mut Segment,
        outcome: Outcome,
    ) -> io::Result<bool> {
        if segment.unsettled {
            let mut reader = backlog.read(segment)?.expect("a sound head");
            backlog.settle(segment, &mut reader)?;
            if segment.state == SegmentState::Parted {
                self.model.parted.insert(reader.head().id);
            }
        }
        let Some(reader) = backlog.read(segment).or_else(gone)? else {
            // An earlier attempt has removed it.
            backlog.delete(segment)?;
            return Ok(true);
        };
        let id = reader.head().id;
        let texts = texts(backlog, segment);
        if segment.state == SegmentState::Whole {
            assert!(
                !self.model.parted.contains(&id),
                "rows are out under other tokens: it must not go as it is"
            );
            let sent = self.model.sent.entry(id).or_insert_with(|| texts.clone());
            assert_eq!(*sent, texts, "the same segment goes out with the same rows");
        }
        match outcome {
            Outcome::Unanswered => return Ok(false),
            Outcome::Parted => {
                backlog.part(segment)?;
                self.model.parted.insert(id);
            }
            Outcome::Confirmed => {}
        }
        self.model.deleting.extend(texts.iter().cloned());
        backlog.delete(segment)?;
        self.model.deleted.extend(texts);
        Ok(true)
    }

    fn restart(&mut self) {
        self.journal.close();
        self.start(&self.directory.clone());
    }

    /// Lets a group of requests and a load get so many steps far.
    fn stop(&mut self, steps: usize, requests: &[Vec<usize>], outcome: Outcome) {
        self.directory.stop_after(steps);
        self.append(requests);
        self.load(outcome);
        self.journal.close();
        self.directory.check();
    }

    fn power_cut(&mut self, cut: &PowerCut) {
        let PowerCut { steps, requests, outcome, start_steps, picks } = cut;
        self.stop(*steps, requests, *outcome);
        let mut picks = picks.iter().cycle();
        let mut pick = |ways: usize| usize::from(*picks.next().unwrap()) % ways;
        let mut directory = self.directory.crash(&mut pick);
        if let Some(start_steps) = *start_steps {
            directory.stop_after(start_steps);
            if let Ok(journal) = Journal::open(Arc::new(directory.clone()), &tiny(), &Clock::manual(JANUARY))
            {
                (self.journal, self.directory) = (journal, directory.clone());
                self.load(Outcome::Confirmed);
                self.journal.close();
            }
            directory = directory.crash(&mut pick);
        }
        self.start(&directory);
    }

    /// Starts on what is left, however often the disk fails, and compares it with the model.
    fn start(&mut self, directory: &MemoryDirectory) {
        let clock = Clock::manual(JANUARY);
        let start = || Journal::open(Arc::new(directory.clone()), &tiny(), &clock).ok();
        self.journal = std::iter::repeat_with(start).flatten().next().unwrap();
        self.directory = directory.clone();
        let contents = contents(self.journal.backlog()).concat();
        let found: BTreeSet<_> = contents.iter().cloned().collect();
        assert_eq!(found.len(), contents.len(), "each once: {contents:?}");
        let model = &self.model;
        for text in &model.acknowledged {
            assert!(
                found.contains(text) || model.deleting.contains(text),
                "{text} was acknowledged and is lost"
            );
        }
        for text in &found {
            assert!(!model.deleted.contains(text), "{text} was deleted and comes back");
            assert!(
                model.acknowledged.contains(text) || model.in_flight.contains(text),
                "nobody sent {text}"
            );
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Append { requests, next_month } => {
                self.model.month += i64::from(*next_month);
                self.append(requests);
            }
            Op::Load(outcome) => self.load(*outcome),
            Op::Fail(step, after) => self.directory.fail(*step, *after, 1, io::ErrorKind::StorageFull),
            Op::Restart => self.restart(),
            Op::Kill { steps, requests, outcome } => {
                self.stop(*steps, requests, *outcome);
                self.directory.resume();
                self.start(&self.directory.clone());
            }
            Op::PowerCut(cut) => self.power_cut(cut),
        }
    }
}

fn gone(error: io::Error) -> io::Result<Option<SegmentReader>> {
    if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) }
}

proptest! {
    #[test]
    fn the_journal_keeps_what_it_acknowledged(ops in prop::collection::vec(op(), 1..25)) {
        let directory = MemoryDirectory::default();
        let journal = open(&directory, &tiny());
        let mut run = Run { model: Model::default(), directory, journal };
        for op in &ops {
            run.step(op);
        }
        run.restart();
        while !run.journal.backlog().is_empty() {
            run.load(Outcome::Confirmed);
        }
        let model = &run.model;
        let lost: Vec<_> = model.acknowledged.difference(&model.deleted).collect();
        prop_assert!(lost.iter().all(|text| model.deleting.contains(*text)), "{:?}", lost);
        run.directory.check();
        prop_assert_eq!(run.journal.backlog().bytes(), 0);
    }
}
