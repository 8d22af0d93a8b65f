//! The sealed segments that wait for ClickHouse, oldest first: what the writer hands to the loader.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::directory::Directory;
use super::reader::{Item, SegmentReader};
use super::segment::{DAMAGED, Ending, Segment, SegmentState, file_name};
use crate::event::Timestamp;
use crate::failpoint;
use crate::metrics::figures;

/// Where a sealed segment is on its way to ClickHouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It has not been its turn.
    Waiting,
    /// It is being sent.
    Loading,
    /// It has stepped aside.
    Parked,
}

/// The sealed segments and their files. Clones share them.
#[derive(Clone)]
pub struct Backlog(Arc<Shared>);

struct Shared {
    directory: Arc<dyn Directory>,
    segments: Mutex<Segments>,
    /// Bytes of all segments, the open one included.
    bytes: AtomicU64,
    sealed: Notify,
    /// A segment is deleted or parked.
    gone: Notify,
    /// Told when a segment is gone or parked: the writer may have waited for that.
    relieved: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Segments {
    waiting: BTreeMap<u64, Segment>,
    loading: BTreeMap<u64, Segment>,
    parked: BTreeMap<u64, Segment>,
}

impl Segments {
    fn len(&self) -> usize {
        self.waiting.len() + self.loading.len() + self.parked.len()
    }
}

impl Backlog {
    pub(super) fn new(directory: Arc<dyn Directory>, relieved: Box<dyn Fn() + Send + Sync>) -> Self {
        Self(Arc::new(Shared {
            directory,
            segments: Mutex::default(),
            bytes: AtomicU64::new(0),
            sealed: Notify::new(),
            gone: Notify::new(),
            relieved,
        }))
    }

    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.0.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a segment over, whose bytes are counted already.
    pub(super) fn push(&self, segment: Segment) {
        self.segments().waiting.insert(segment.number, segment);
        self.0.sealed.notify_one();
    }

    pub(super) fn count_bytes(&self, more: u64) {
        let bytes = self.0.bytes.fetch_add(more, Ordering::Relaxed) + more;
        show_bytes(bytes);
    }

    pub(super) fn uncount_bytes(&self, less: u64) {
        // Never below nothing: it would look like a journal that is full for ever.
        let left = |bytes: u64| bytes.saturating_sub(less);
        let before =
            self.0.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| Some(left(bytes)));
        show_bytes(before.map_or(0, left));
    }

    /// Bytes on disk of every segment, the open one included.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// How many sealed segments are not confirmed yet, those under way and those parked included.
    pub fn len(&self) -> usize {
        self.segments().len()
    }

    /// How many segments are parked, provided that no other is waiting or under way.
    pub(super) fn only_parked(&self) -> Option<usize> {
        let segments = self.segments();
        (segments.len() == segments.parked.len()).then_some(segments.parked.len())
    }

    /// Whether ClickHouse has confirmed everything that was sealed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the oldest event came that ClickHouse has not confirmed.
    pub fn oldest(&self) -> Option<Timestamp> {
        let segments = self.segments();
        let all = [&segments.waiting, &segments.loading, &segments.parked];
        all.into_iter().flat_map(BTreeMap::values).map(|segment| segment.oldest).min()
    }

    /// Takes the oldest waiting segment, once there is one. It counts as under way until it is
    /// [parked](Self::park) or [deleted](Self::delete).
    pub async fn take(&self) -> Segment {
        loop {
            let sealed = self.0.sealed.notified();
            if let Some(segment) = self.try_take() {
                return segment;
            }
            sealed.await;
        }
    }

    /// Returns once ClickHouse has confirmed everything that was sealed, but for what is parked.
    pub async fn drained(&self) {
        loop {
            let gone = self.0.gone.notified();
            if self.only_parked().is_some() {
                return;
            }
            gone.await;
        }
    }

    fn try_take(&self) -> Option<Segment> {
        let mut segments = self.segments();
        let (number, segment) = segments.waiting.pop_first()?;
        segments.loading.insert(number, segment.clone());
        Some(segment)
    }

    /// Has a segment step aside that cannot be loaded for now, so that it holds up no other. It may be loaded, and
    /// then [deleted](Self::delete), from where it is.
    pub fn park(&self, segment: Segment) {
        let mut segments = self.segments();
        segments.loading.remove(&segment.number);
        segments.parked.insert(segment.number, segment);
        drop(segments);
        self.0.gone.notify_waiters();
        (self.0.relieved)();
    }

    /// The segments that are parked, oldest first.
    pub fn parked(&self) -> Vec<Segment> {
        self.segments().parked.values().cloned().collect()
    }

    /// Every segment and where it is, oldest first.
    pub fn all(&self) -> Vec<(Segment, Place)> {
        let segments = self.segments();
        let places = [
            (&segments.waiting, Place::Waiting),
            (&segments.loading, Place::Loading),
            (&segments.parked, Place::Parked),
        ];
        let listed = places.into_iter();
        let mut all: Vec<_> =
            listed.flat_map(|(held, place)| held.values().map(move |held| (held.clone(), place))).collect();
        all.sort_unstable_by_key(|(segment, _)| segment.number);
        all
    }

    /// Lets a segment wait again.
    #[cfg(test)]
    pub(super) fn give_back(&self, segment: Segment) {
        let mut segments = self.segments();
        segments.loading.remove(&segment.number);
        segments.parked.remove(&segment.number);
        segments.waiting.insert(segment.number, segment);
        drop(segments);
        self.0.sealed.notify_one();
    }

    /// Looks for the segment's file, also under the name that it has once it is [parted](Self::part).
    pub fn find(&self, segment: &mut Segment) -> io::Result<bool> {
        for state in [segment.state, SegmentState::Parted] {
            match self.0.directory.open(&file_name(segment.number, state)) {
                Ok(_) => {
                    segment.state = state;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Opens a segment for reading; `None` when its head is damaged, see [`set_aside`](Self::set_aside).
    pub fn read(&self, segment: &Segment) -> io::Result<Option<SegmentReader>> {
        SegmentReader::open(self.0.directory.open(&segment.file_name())?, segment.bytes)
    }

    /// Makes an unsettled segment fit to be sent: what follows its last intact record is cut off, and what
    /// stays is synced. Without the sync, a power cut after the load could take rows away, and the segment would
    /// go out again under another token. It says in log and figures what is damaged.
    ///
    /// A segment that is not whole, or does not say that it is, may have been sent when it was: it is
    /// [parted](Self::part) first.
    ///
    /// It reads a reader fresh from [`read`](Self::read) to its end; to send the segment, read it anew.
    pub fn settle(&self, segment: &mut Segment, reader: &mut SegmentReader) -> io::Result<()> {
        let mut damaged = false;
        let (end, zeros) = loop {
            match reader.next_item()? {
                Item::Record(..) => {}
                Item::Damage { bytes, records } => {
                    tracing::error!(segment = segment.number, bytes, records, "damaged records are not sent");
                    figures().journal_bytes_dropped.increment(bytes);
                    figures().journal_records_dropped.increment(records);
                    damaged = true;
                }
                Item::End { bytes, zeros } => break (reader.position() - zeros - bytes, zeros),
            }
        };
        // Where the end is known there is no room: there zeros are what has become of records.
        let has_room = reader.is_sealed() || segment.ending != Ending::Known;
        let bytes = segment.bytes - end - if has_room { zeros } else { 0 };
        if bytes > 0 {
            if segment.ending == Ending::Open {
                tracing::warn!(segment = segment.number, bytes, "cut a torn tail off a segment");
            } else {
                tracing::error!(
                    segment = segment.number,
                    bytes,
                    "damaged records at a segment's end are not sent"
                );
                // How many they were, nobody knows.
                figures().journal_records_dropped.increment(1);
            }
            figures().journal_bytes_dropped.increment(bytes);
            damaged = true;
        } else if !reader.is_sealed() {
            // One that was parted has been found like this before.
            if segment.ending == Ending::Seal && segment.state == SegmentState::Whole {
                tracing::error!(
                    segment = segment.number,
                    "a segment has no seal: records at its end may be missing"
                );
                figures().journal_records_dropped.increment(1);
            }
            damaged |= segment.ending != Ending::Known;
        }
        if damaged {
            self.part(segment)?;
        }
        reader.file().cut(end)?;
        failpoint::reach("cut");
        reader.file().sync()?;
        // Counted once, however often the disk has to be asked.
        self.count_bytes(end);
        self.uncount_bytes(segment.bytes);
        segment.bytes = end;
        segment.unsettled = false;
        segment.damage_told = true;
        Ok(())
    }

    /// Notes on disk that a part of the segment's rows may be stored under other tokens, before the first of them
    /// is sent.
    pub fn part(&self, segment: &mut Segment) -> io::Result<()> {
        if segment.state == SegmentState::Whole {
            let parted = file_name(segment.number, SegmentState::Parted);
            self.0.directory.rename(&segment.file_name(), &parted)?;
            segment.state = SegmentState::Parted;
            failpoint::reach("renamed");
        }
        // Also when it has its new name already: the sync of an earlier attempt may have failed.
        self.0.directory.sync()
    }

    /// Takes a segment out of the way whose head is damaged: it stays on disk for an operator to look at.
    pub fn set_aside(&self, segment: &Segment) -> io::Result<()> {
        let aside = format!("{:016}.{DAMAGED}", segment.number);
        unless_gone(self.0.directory.rename(&segment.file_name(), &aside))?;
        self.0.directory.sync()?;
        tracing::error!(segment = segment.number, file = aside, "set a segment aside: its head is damaged");
        figures().journal_bytes_dropped.increment(segment.bytes);
        // How many they were, nobody knows; but this is no torn tail.
        figures().journal_records_dropped.increment(1);
        self.forget(segment);
        Ok(())
    }

    /// Deletes a segment that ClickHouse has confirmed.
    pub fn delete(&self, segment: &Segment) -> io::Result<()> {
        unless_gone(self.0.directory.remove(&segment.file_name()))?;
        failpoint::reach("removed");
        self.0.directory.sync()?;
        self.forget(segment);
        Ok(())
    }

    fn forget(&self, segment: &Segment) {
        let mut segments = self.segments();
        let loading = segments.loading.remove(&segment.number);
        let known = loading.or_else(|| segments.parked.remove(&segment.number)).is_some();
        drop(segments);
        if known {
            self.uncount_bytes(segment.bytes);
            self.0.gone.notify_waiters();
            (self.0.relieved)();
        }
    }
}

/// A file that is not there has been renamed or removed by an earlier attempt, whose sync failed.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[allow(clippy::cast_precision_loss, reason = "a gauge of bytes needs no more than 53 bits")]
fn show_bytes(bytes: u64) {
    figures().journal_bytes.set(bytes as f64);
}
