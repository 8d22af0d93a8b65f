//! What a start makes of the files that it finds.

use std::collections::BTreeMap;
use std::io;

use super::backlog::Backlog;
use super::directory::Directory;
use super::reader::{Item, SegmentReader};
use super::record::{RecordHead, SegmentHead};
use super::segment::{Ending, Segment, SegmentState, file_name, parse_file_name};
use crate::event::Timestamp;
use crate::failpoint;
use crate::metrics::figures;

/// Puts every segment that is left into the backlog; gives the first number that is free.
pub(super) fn recover(directory: &dyn Directory, backlog: &Backlog, now: Timestamp) -> io::Result<u64> {
    let files: BTreeMap<String, u64> = directory.list()?.into_iter().collect();
    // A damaged segment set aside keeps its number.
    let number = |name: &String| name.split('.').next().and_then(|number| number.parse::<u64>().ok());
    let last_number = files.keys().filter_map(number).max().unwrap_or(0);
    for (name, bytes) in &files {
        let Some((number, state)) = parse_file_name(name) else {
            tracing::warn!(file = name, "left a file alone that is no segment to be sent");
            continue;
        };
        if state == SegmentState::Whole && files.contains_key(&file_name(number, SegmentState::Parted)) {
            // Some filesystems show both names after a power cut during the rename; it is one file.
            directory.remove(name)?;
            continue;
        }
        let segment = Segment {
            number,
            state,
            bytes: *bytes,
            oldest: now,
            unsettled: true,
            ending: if number == last_number { Ending::Open } else { Ending::Seal },
            confirmed: false,
            damage_told: false,
        };
        recover_segment(directory, backlog, segment)?;
    }
    let next_number = last_number.checked_add(1).ok_or_else(|| io::Error::other("no number is left"))?;
    failpoint::reach("recovered");
    directory.sync()?;
    if !backlog.is_empty() {
        tracing::info!(segments = backlog.len(), bytes = backlog.bytes(), "found segments to load");
    }
    Ok(next_number)
}

fn recover_segment(directory: &dyn Directory, backlog: &Backlog, mut segment: Segment) -> io::Result<()> {
    let name = segment.file_name();
    match first_look(backlog, &segment) {
        Ok(Found::Records { made_at }) => segment.oldest = made_at,
        Ok(Found::NoHead) if segment.bytes > SegmentHead::bytes() => return backlog.set_aside(&segment),
        // Torn while it was made: records come only after a durable head. But another one was begun since.
        Ok(Found::NoHead | Found::Nothing) => {
            if segment.ending == Ending::Seal {
                tracing::error!(segment = segment.number, "a segment has lost all its records");
                figures().journal_records_dropped.increment(1);
            }
            return directory.remove(&name);
        }
        Ok(Found::NoRecord { torn: false, .. }) => return backlog.set_aside(&segment),
        Ok(Found::NoRecord { torn: true, bytes }) => {
            tracing::warn!(segment = segment.number, bytes, "removed a segment whose first write was torn");
            figures().journal_bytes_dropped.increment(bytes);
            return directory.remove(&name);
        }
        // It is the loader's to try again, and to park: one bad sector must not keep the collector from starting.
        Err(error) => tracing::error!(%error, segment = segment.number, "cannot read a segment"),
    }
    backlog.count_bytes(segment.bytes);
    // At once, before another one is begun: at the next start it is not the last one, of which a torn tail and no
    // seal are to be expected.
    if segment.ending == Ending::Open
        && let Err(error) = settle(backlog, &mut segment)
    {
        tracing::error!(%error, segment = segment.number, "cannot settle the last segment yet");
    }
    backlog.push(segment);
    Ok(())
}

fn settle(backlog: &Backlog, segment: &mut Segment) -> io::Result<()> {
    match backlog.read(segment)? {
        Some(mut reader) => backlog.settle(segment, &mut reader),
        None => Ok(()),
    }
}

/// What the beginning of a segment's file tells.
enum Found {
    NoHead,
    /// A head alone.
    Nothing,
    /// Nothing behind the head is an intact record. Torn is what a write that a crash cut short may leave, and nobody
    /// was promised: a record's beginning, or zeros.
    NoRecord {
        torn: bool,
        bytes: u64,
    },
    Records {
        made_at: Timestamp,
    },
}

fn first_look(backlog: &Backlog, segment: &Segment) -> io::Result<Found> {
    let Some(mut reader) = backlog.read(segment)? else { return Ok(Found::NoHead) };
    let start = reader.position();
    Ok(match reader.next_item()? {
        Item::End { bytes: 0, zeros: 0 } => Found::Nothing,
        Item::End { bytes, zeros } => {
            let torn = segment.ending == Ending::Open && is_torn(&reader, start, bytes)?;
            Found::NoRecord { torn, bytes: bytes + zeros }
        }
        Item::Record(..) | Item::Damage { .. } => Found::Records { made_at: reader.head().created_at },
    })
}

/// Whether these bytes look like the beginning of a write that was cut short.
fn is_torn(reader: &SegmentReader, start: u64, bytes: u64) -> io::Result<bool> {
    let mut first = [0; RecordHead::LENGTH];
    let read = reader.file().read_at(&mut first, start)?;
    Ok(match RecordHead::decode(&first[..read]) {
        Some(head) => bytes < head.span() as u64,
        None => bytes < RecordHead::LENGTH as u64 || first.iter().all(|byte| *byte == 0),
    })
}
