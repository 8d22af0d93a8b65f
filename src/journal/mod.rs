//! The journal: where an event becomes durable, and what stands between the world and ClickHouse.
//!
//! It promises that [`Journal::append`] answers `Ok` only after the records and everything needed to find them
//! again are on disk, that whatever was so answered comes out of the [`Backlog`] until it is deleted there, after
//! any crash, and that nothing damaged ever does.
//!
//! # On disk
//!
//! A directory of segment files, held by one process through a lock on the file `lock`:
//!
//! ```text
//! 0000000000000007.segment   rows to be sent as they are
//! 0000000000000006.parted    some of its rows may be stored already, under other tokens than the segment's
//! 0000000000000002.damaged   its head, or all of it, is unreadable: left to an operator, never sent
//! ```
//!
//! A segment is a head and records, each beginning at a multiple of 8 bytes, numbers little endian:
//!
//! ```text
//! head     0  magic "WEIRSEG\x01"        record    0  magic "WREC"
//!          8  number, u64                          4  CRC32C of bytes 8..48
//!         16  id, u64, random                      8  id of the segment, u64
//!         24  made at, i64 ms since 1970          16  sequence number, u64, from 0
//!         32  length of the tables, u32           24  received at, i64 ms since 1970
//!         36  CRC32C of 0..36 and the tables      32  length of the rows in bytes, u32
//!         40  tables, each:                       36  number of rows, u32
//!               tag u8, name length u8,           40  tag of their table, u8; 3 zero bytes
//!               header length u32,                44  CRC32C of the rows
//!               name, header                      48  rows, RowBinary
//!             padding to 8                            padding to 8
//! ```
//!
//! A record with tag 0 and no rows seals the segment: its sequence number is how many records there are, and nothing
//! follows it. Until then zeros may stand behind the records, as room for more.
//!
//! # Invariants
//!
//! 1. A record is acknowledged only after its bytes, the segment's head and the file's name are synced.
//! 2. Bytes behind the last synced record are not part of the segment. A write or sync that failed is never tried
//!    again on the same file: it is cut at the last synced record, handed over, and another one begun. Should the cut
//!    fail too, and the process die before it is tried again, what was refused may be sent after all.
//! 3. A sealed segment does not change. Its rows go out in one INSERT for each table, under a token made of the
//!    segment's id, the table and the checksum of the bytes sent; so a second attempt is recognised as one. Its last
//!    record, the seal, says that it is whole. A segment without one, which a failing or full disk may leave too, is
//!    parted at the next start, and told as damaged unless it was the last one begun.
//! 4. A segment found at start-up is cut behind its last intact record and synced before anything of it is sent.
//! 5. Before rows of a segment go out under any other token, its file is renamed to `.parted`, durably: to search
//!    for rows that ClickHouse refuses, and when it is found at start-up damaged or without a seal: other rows of it
//!    may have been sent than are left.
//! 6. A file is deleted only after ClickHouse has confirmed all its rows, those that it refused included.
//! 7. A record counts only if head and rows match their checksums and the head names this segment's random id; so
//!    damage in one hides no other, and neither stale bytes nor a record forged inside an event is ever one.
//! 8. A segment's events are of one UTC month: one partition, one atomic block.

mod backlog;
mod directory;
mod format;
mod gather;
mod health;
mod look;
mod reader;
mod record;
mod recover;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

pub use self::backlog::{Backlog, Place};
pub use self::directory::{Directory, DiskDirectory, SegmentFile};
use self::gather::Gather;
use self::health::DiskHealth;
pub use self::look::{FoundFile, FoundState, Look, look_into, look_through};
pub use self::reader::{Item, SegmentReader};
pub use self::record::{Entry, RecordHead, SegmentHead, TableHead};
use self::recover::recover;
pub use self::segment::{Ending, Segment, SegmentState};
use self::writer::Writer;
use crate::clock::Clock;
use crate::retry::Retry;

/// When segments are sealed, and how much there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Bytes of a segment at most, unless one request alone has more.
    pub segment_bytes: u64,
    /// Rows of a segment at most, unless one request alone has more.
    pub segment_rows: u64,
    /// A segment is sealed when it is this old, unless another one waits for ClickHouse.
    pub segment_age: Duration,
    /// Bytes of zeros that are written behind the records, at most, before these come; 0 for none. What overwrites
    /// them changes neither blocks nor length, so that its sync writes no metadata.
    pub room_bytes: u64,
    /// Bytes on disk at which requests are refused.
    pub max_bytes: u64,
    /// Bytes that may wait in memory for the next group commit.
    pub max_waiting_bytes: usize,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            segment_rows: 500_000,
            segment_age: Duration::from_secs(1),
            room_bytes: 256 * 1024,
            max_bytes: 10 * 1024 * 1024 * 1024,
            max_waiting_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Why records are not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    /// The cap on the journal's size is reached.
    #[error("the journal is full because ClickHouse has been away for too long")]
    Full,
    /// More is waiting for the disk than may wait.
    #[error("more events are waiting to be written than memory is set aside for")]
    Overloaded,
    /// The disk failed, hangs, or is full.
    #[error("the journal's disk does not take events at the moment")]
    Failed,
    /// The collector is shutting down.
    #[error("the collector is shutting down")]
    Closed,
}

impl JournalError {
    /// The stable code of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Full => "journal_full",
            Self::Overloaded => "journal_overloaded",
            Self::Failed => "journal_failed",
            Self::Closed => "shutting_down",
        }
    }

    /// All of them pass.
    pub const fn retry(self) -> Retry {
        match self {
            Self::Full => Retry::After(Duration::from_secs(30)),
            Self::Failed => Retry::After(Duration::from_secs(5)),
            Self::Overloaded | Self::Closed => Retry::After(Duration::from_secs(1)),
        }
    }
}

/// The way into the journal. Clones share it.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    gather: Arc<Gather>,
    backlog: Backlog,
    max_bytes: u64,
    health: Arc<DiskHealth>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Shared {
    /// A journal that nobody can reach seals what is open, and its thread ends.
    fn drop(&mut self) {
        self.gather.close();
    }
}

impl Journal {
    /// Opens the journal in a directory: what is left there is in the backlog, and the writer's thread runs.
    pub fn open(
        directory: Arc<dyn Directory>,
        settings: &JournalSettings,
        clock: &Clock,
    ) -> io::Result<Self> {
        let gather = Arc::new(Gather::new(settings.max_waiting_bytes));
        let nudged = gather.clone();
        let backlog = Backlog::new(directory.clone(), Box::new(move || nudged.nudge()));
        let next_number = recover(&*directory, &backlog, clock.now())?;
        let health = Arc::new(DiskHealth::new());
        let writer = Writer {
            gather: gather.clone(),
            directory,
            backlog: backlog.clone(),
            settings: settings.clone(),
            clock: clock.clone(),
            health: health.clone(),
            next_number,
            head_bytes: SegmentHead::bytes(),
            open: None,
        };
        let writer = std::thread::Builder::new().name("journal".to_owned()).spawn(|| writer.run())?;
        let max_bytes = settings.max_bytes;
        let writer = Mutex::new(Some(writer));
        Ok(Self(Arc::new(Shared { gather, backlog, max_bytes, health, writer })))
    }

    /// Makes the entry's records durable, and the future says when they are; dropping it leaves them to be written all
    /// the same. They are handed over when the runtime that this is called on has gone through what is ready, and
    /// it is this runtime that tells the future: one that is blocked meanwhile, or has ended, does neither.
    pub fn append(&self, entry: &Entry) -> Appending {
        if entry.is_empty() {
            return Appending(Stage::Decided(Ok(())));
        }
        if self.is_full() {
            return Appending(Stage::Decided(Err(JournalError::Full)));
        }
        if self.0.health.is_stalled() {
            return Appending(Stage::Decided(Err(JournalError::Failed)));
        }
        Appending(match self.0.gather.add(entry) {
            Ok(answer) => Stage::Waiting(answer),
            Err(error) => Stage::Decided(Err(error)),
        })
    }

    fn is_full(&self) -> bool {
        self.0.backlog.bytes() + self.0.gather.waiting() as u64 >= self.0.max_bytes
    }

    /// Whether the next request can be made durable, as far as the last one tells.
    pub fn check(&self) -> Result<(), JournalError> {
        if self.0.health.has_failed() || self.0.health.is_stalled() {
            return Err(JournalError::Failed);
        }
        if self.0.gather.is_closed() {
            return Err(JournalError::Closed);
        }
        if self.is_full() {
            return Err(JournalError::Full);
        }
        Ok(())
    }

    /// The sealed segments.
    pub fn backlog(&self) -> &Backlog {
        &self.0.backlog
    }

    /// Writes and seals what has been taken, and takes no more. Blocks until the writer is done.
    pub fn close(&self) {
        self.0.gather.close();
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the journal's writer has panicked");
        }
    }
}

/// Records on their way to the disk.
#[derive(Debug)]
#[must_use = "nothing is acknowledged before it is durable"]
pub struct Appending(Stage);

#[derive(Debug)]
enum Stage {
    Decided(Result<(), JournalError>),
    Waiting(oneshot::Receiver<Result<(), JournalError>>),
}

impl Future for Appending {
    type Output = Result<(), JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Stage::Decided(result) => Poll::Ready(*result),
            Stage::Waiting(answer) => {
                Pin::new(answer).poll(context).map(|answer| answer.unwrap_or(Err(JournalError::Failed)))
            }
        }
    }
}
