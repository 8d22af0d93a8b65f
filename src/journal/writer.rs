//! The writer: one thread that takes what has gathered, writes it once, syncs it once, and then answers all of it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use super::directory::{Directory, SegmentFile};
use super::gather::{self, Gather, Gathered, Waiter, Wake};
use super::health::DiskHealth;
use super::record::{RecordHead, SegmentHead, stamp};
use super::segment::{Ending, Segment, SegmentState, file_name};
use super::{JournalError, JournalSettings};
use crate::clock::Clock;
use crate::event::Timestamp;
use crate::failpoint;
use crate::metrics::figures;

/// How long the writer waits before it tries a disk again that has failed.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// So few that they stay in the cache while a file is filled with them.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Parked segments make the open one wait up to 64 times its age.
const MOST_DOUBLINGS: usize = 6;

pub(super) struct Writer {
    pub(super) gather: Arc<Gather>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) backlog: Backlog,
    pub(super) settings: JournalSettings,
    pub(super) clock: Clock,
    pub(super) health: Arc<DiskHealth>,
    pub(super) next_number: u64,
    /// Bytes of every segment's head.
    pub(super) head_bytes: u64,
    pub(super) open: Option<OpenSegment>,
}

pub(super) struct OpenSegment {
    file: Box<dyn SegmentFile>,
    head: SegmentHead,
    /// Bytes that are durable; everything behind them is not part of the segment.
    synced: u64,
    /// Where the file ends at most: what lies behind the records is zeros.
    length: u64,
    rows: u64,
    sequence: u64,
    /// When its first event came.
    oldest: Timestamp,
    /// The UTC month of its events.
    month: u32,
    since: Instant,
    /// A failed write could not be cut off.
    unsettled: bool,
    /// A write or sync has failed: nothing more is written.
    failed: bool,
}

impl Drop for Writer {
    /// However the thread ends, nobody waits for an answer that does not come.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.health.failed();
        }
        self.gather.abandon();
    }
}

impl OpenSegment {
    /// Has room for the groups that follow this one, if it reaches the end of the file. The CPU of a request fell from
    /// 2.0 to 1.7 times that of a server that stores nothing, with one event in each. A segment that stays small and a
    /// large group have no use for it: the one has few syncs, the other pays little of one.
    fn make_room(&mut self, group: u64, most: u64) {
        let end = self.synced + group;
        self.length = self.length.max(end);
        if self.length > end || end < most / 4 || group > most / 4 {
            return;
        }
        self.length = end + most.min(end);
        for at in (end..self.length).step_by(ZEROS.len()) {
            let left = usize::try_from(self.length - at).unwrap_or(ZEROS.len());
            // On a disk that has none left the records may still have had theirs.
            if let Err(error) = self.file.write_at(&ZEROS[..left.min(ZEROS.len())], at) {
                tracing::debug!(%error, segment = self.head.number, "made no room behind the records");
                return;
            }
        }
    }
}

impl Writer {
    /// Works until the journal is closed; then seals what is open.
    pub(super) fn run(mut self) {
        let mut gathered = Gathered::default();
        loop {
            let patience = self.patience();
            match self.gather.take(&mut gathered, patience) {
                Wake::Work => self.commit(&mut gathered),
                Wake::Idle if self.health.has_failed() => self.probe(),
                Wake::Idle => {}
                Wake::Closed => break,
            }
            if self.is_due() {
                self.seal();
            }
        }
        self.seal();
    }

    /// How long the writer may wait for requests: until the open segment is due, or a failed disk is tried again.
    fn patience(&self) -> Option<Duration> {
        if self.health.has_failed() {
            return Some(PROBE_INTERVAL);
        }
        let open = self.open.as_ref()?;
        Some(self.sealing_age()?.saturating_sub(open.since.elapsed()))
    }

    /// The age at which the open segment is to be sealed. With a segment waiting there is none; the backlog nudges
    /// us when it is gone. Parked ones hold up nothing, but may be many: each doubles the age, so that an hour of
    /// them does not leave thousands of small ones.
    fn sealing_age(&self) -> Option<Duration> {
        let parked = self.backlog.only_parked()?;
        Some(self.settings.segment_age * (1 << parked.min(MOST_DOUBLINGS)))
    }

    /// Whether the open segment is to be sealed for its age.
    fn is_due(&self) -> bool {
        let Some(open) = &self.open else { return false };
        self.sealing_age().is_some_and(|age| open.since.elapsed() >= age)
    }

    /// Makes everything gathered durable and answers it, one run of requests after the other: a run is as many as
    /// go into the open segment.
    fn commit(&mut self, gathered: &mut Gathered) {
        let mut start = 0;
        let mut waiters = gathered.waiters.drain(..).peekable();
        while let Some(first) = waiters.next() {
            let mut end = first.end;
            let mut rows = u64::from(first.rows);
            let month = first.received_at.month();
            if self.open.as_ref().is_some_and(|open| open.rows > 0) && !self.fits(end - start, rows, month) {
                self.seal();
            }
            let oldest = first.received_at;
            let mut run: Vec<Waiter> = vec![first];
            while let Some(next) = waiters.next_if(|next| {
                let more_rows = rows + u64::from(next.rows);
                next.received_at.month() == month && self.fits(next.end - start, more_rows, month)
            }) {
                end = next.end;
                rows += u64::from(next.rows);
                run.push(next);
            }
            let begun = Instant::now();
            self.health.begin_commit();
            let result = self.write(&mut gathered.bytes[start..end], rows, oldest);
            self.health.end_commit();
            figures().journal_sync_seconds.record(begun.elapsed());
            let answer = match result {
                Ok(()) => {
                    failpoint::reach("synced");
                    Ok(())
                }
                Err(error) => Err(self.fail(&error)),
            };
            gather::answer(run, &gathered.runtimes, answer);
            start = end;
        }
    }

    /// Whether this many bytes and rows more go into the open segment, or into one yet to be made. The first
    /// request in a segment is not asked, so that one larger than a segment has a place too.
    fn fits(&self, bytes: usize, rows: u64, month: u32) -> bool {
        let (used_bytes, used_rows) = match &self.open {
            Some(open) if open.rows > 0 && open.month != month => return false,
            Some(open) => (open.synced, open.rows),
            None => (self.head_bytes, 0),
        };
        used_bytes + bytes as u64 <= self.settings.segment_bytes
            && used_rows + rows <= self.settings.segment_rows
    }

    fn write(&mut self, bytes: &mut [u8], rows: u64, oldest: Timestamp) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        if open.rows == 0 {
            // A probe may have made it long ago.
            open.oldest = oldest;
            open.month = oldest.month();
            open.since = Instant::now();
        }
        let sequence = stamp(bytes, open.head.id, open.sequence);
        failpoint::reach_after("half_written", || open.file.write_at(&bytes[..bytes.len() / 2], open.synced));
        let written = open.file.write_at(bytes, open.synced);
        failpoint::reach("written");
        if written.is_ok() {
            open.make_room(bytes.len() as u64, self.settings.room_bytes);
        }
        let synced = written.and_then(|()| open.file.sync());
        // Kept also when it failed: what was synced before is to be sealed.
        let open = self.open.insert(open);
        synced?;
        open.synced += bytes.len() as u64;
        open.rows += rows;
        open.sequence = sequence;
        self.backlog.count_bytes(bytes.len() as u64);
        self.health.recovered();
        figures().journal_syncs.increment(1);
        Ok(())
    }

    /// Makes a new segment; it is durable, with its name, before its first record is.
    fn begin(&mut self) -> io::Result<OpenSegment> {
        let now = self.clock.now();
        let head = SegmentHead::new(self.next_number, now);
        let name = file_name(head.number, SegmentState::Whole);
        // A number is never used again, even when its file could not be made.
        self.next_number += 1;
        let file = self.directory.create(&name)?;
        failpoint::reach("created");
        let bytes = head.encode();
        let made = file.write_at(&bytes, 0).and_then(|()| file.sync()).and_then(|()| self.directory.sync());
        failpoint::reach("begun");
        if let Err(error) = made {
            // Without records it is worth nothing; start-up removes it if it stays.
            let _ = self.directory.remove(&name);
            return Err(error);
        }
        self.backlog.count_bytes(bytes.len() as u64);
        Ok(OpenSegment {
            file,
            head,
            synced: bytes.len() as u64,
            length: bytes.len() as u64,
            rows: 0,
            sequence: 0,
            oldest: now,
            month: now.month(),
            since: Instant::now(),
            unsettled: false,
            failed: false,
        })
    }

    /// After a failed write or sync nobody knows what of it is on disk: it is cut off, and the file is never
    /// written again.
    fn fail(&mut self, error: &io::Error) -> JournalError {
        figures().journal_failures.increment(1);
        if self.health.failed() {
            tracing::error!(%error, "the journal cannot make events durable");
        }
        if let Some(open) = &mut self.open {
            open.failed = true;
            if let Err(error) = open.file.cut(open.synced).and_then(|()| open.file.sync()) {
                tracing::error!(%error, segment = open.head.number, "cannot cut a failed write off its segment");
                open.unsettled = true;
            }
        }
        self.seal();
        JournalError::Failed
    }

    /// Tries a disk that has failed, so that it is found well again without waiting for a request; requests that
    /// come all the same try it themselves.
    fn probe(&mut self) {
        match self.begin() {
            Ok(open) => {
                tracing::info!("the journal makes events durable again");
                self.open = Some(open);
                self.health.recovered();
            }
            Err(error) => tracing::debug!(%error, "the journal still cannot make events durable"),
        }
    }

    /// Writes the record that tells a whole segment from one whose end is missing, and leaves nothing behind it.
    fn write_seal(&self, open: &mut OpenSegment) {
        let seal = RecordHead::seal(open.head.id, open.sequence).encode();
        self.health.begin_commit();
        let end = open.synced + seal.len() as u64;
        let written = open.file.write_at(&seal, open.synced);
        let cut = written.and_then(|()| if open.length > end { open.file.cut(end) } else { Ok(()) });
        let synced = cut.and_then(|()| open.file.sync());
        self.health.end_commit();
        match synced {
            Ok(()) => {
                open.synced = end;
                self.backlog.count_bytes(seal.len() as u64);
            }
            Err(error) => {
                tracing::error!(%error, segment = open.head.number, "cannot seal a segment");
                open.unsettled = true;
            }
        }
    }

    /// Hands the open segment to the loader; one without rows is removed.
    fn seal(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if open.rows > 0 && !open.failed {
            self.write_seal(&mut open);
        }
        let segment = Segment {
            number: open.head.number,
            state: SegmentState::Whole,
            bytes: open.synced,
            oldest: open.oldest,
            unsettled: open.unsettled,
            ending: Ending::Known,
            confirmed: false,
            damage_told: false,
        };
        if open.rows > 0 {
            failpoint::reach("sealing");
            self.backlog.push(segment);
            return;
        }
        self.backlog.uncount_bytes(open.synced);
        if let Err(error) = self.directory.remove(&segment.file_name()) {
            tracing::warn!(%error, segment = segment.number, "cannot remove an empty segment");
        }
    }
}
