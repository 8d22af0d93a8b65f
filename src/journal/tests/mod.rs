//! What the journal promises, against a directory in memory that loses, tears and refuses what it is given.

mod change;
mod commit;
mod damage;
mod failure;
mod memory;
mod model;
mod recovery;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use self::memory::{MemoryDirectory, Step};
use super::*;
use crate::event::Timestamp;
use crate::row::Table;

const JANUARY: Timestamp = Timestamp::from_millis(1_769_903_999_999);
const FEBRUARY: Timestamp = Timestamp::from_millis(1_769_904_000_000);

/// Bytes of a record whose rows have at most 8.
const RECORD: u64 = 56;

/// Nothing is sealed by age.
fn settings() -> JournalSettings {
    JournalSettings { segment_age: Duration::from_hours(1), ..JournalSettings::default() }
}

fn sealed_at_once() -> JournalSettings {
    JournalSettings { segment_age: Duration::ZERO, ..settings() }
}

fn open(directory: &MemoryDirectory, settings: &JournalSettings) -> Journal {
    Journal::open(Arc::new(directory.clone()), settings, &Clock::manual(JANUARY)).unwrap()
}

/// An entry of one record with one row, whose bytes are `text`.
fn entry(text: &str) -> Entry {
    entry_at(text, JANUARY)
}

fn entry_at(text: &str, received_at: Timestamp) -> Entry {
    let mut entry = Entry::new();
    entry.record(Table::Events, received_at, |out| {
        out.extend_from_slice(text.as_bytes());
        1
    });
    entry
}

/// Waits for a future on this thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn append(journal: &Journal, text: &str) -> Result<(), JournalError> {
    wait(journal.append(&entry(text)))
}

type Appending<'a> = Pin<Box<dyn Future<Output = Result<(), JournalError>> + 'a>>;

/// Begins to append: the entry has gathered, or is refused at once.
fn begin<'a>(journal: &'a Journal, entry: &'a Entry) -> (Appending<'a>, Poll<Result<(), JournalError>>) {
    let mut appending: Appending<'a> = Box::pin(journal.append(entry));
    let first = appending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    (appending, first)
}

/// Appends the first entry alone and the others in one group; gives their answers.
fn append_grouped(
    directory: &MemoryDirectory,
    journal: &Journal,
    entries: &[Entry],
) -> Vec<Result<(), JournalError>> {
    directory.hold();
    let mut begun = vec![begin(journal, &entries[0])];
    if begun[0].1.is_pending() {
        directory.until_held();
    }
    begun.extend(entries[1..].iter().map(|entry| begin(journal, entry)));
    directory.release();
    let answer = |(appending, first)| match first {
        Poll::Ready(answer) => answer,
        Poll::Pending => wait(appending),
    };
    begun.into_iter().map(answer).collect()
}

/// The oldest waiting segment, if one waits.
fn take_waiting(backlog: &Backlog) -> Option<Segment> {
    match Box::pin(backlog.take()).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(segment) => Some(segment),
        Poll::Pending => None,
    }
}

/// The texts of a segment's records, as they stand between the damage.
fn texts(backlog: &Backlog, segment: &Segment) -> Vec<String> {
    let mut reader = backlog.read(segment).unwrap().expect("a sound head");
    let mut texts = Vec::new();
    loop {
        match reader.next_item().unwrap() {
            Item::Record(_, rows) => texts.push(String::from_utf8(rows.to_vec()).unwrap()),
            Item::Damage { .. } => {}
            Item::End { .. } => return texts,
        }
    }
}

/// The texts in every waiting segment.
fn contents(backlog: &Backlog) -> Vec<Vec<String>> {
    let segments: Vec<_> = std::iter::from_fn(|| take_waiting(backlog)).collect();
    let contents = segments.iter().map(|segment| texts(backlog, segment)).collect();
    for segment in segments {
        backlog.give_back(segment);
    }
    contents
}

/// Reads what a directory holds as the start of a collector does, without a writer.
fn recovered(directory: &MemoryDirectory) -> Backlog {
    let backlog = Backlog::new(Arc::new(directory.clone()), Box::new(|| {}));
    recover(directory, &backlog, JANUARY).unwrap();
    backlog
}

fn name(number: u64) -> String {
    format!("{number:016}.segment")
}

fn count(directory: &MemoryDirectory, step: Step) -> usize {
    directory.taken().iter().filter(|taken| **taken == step).count()
}
