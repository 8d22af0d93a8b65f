//! The rows of one table of a segment, held in memory and told apart: what a segment that is refused is parted with.

use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;

use super::LoadError;
use super::rows::{CHUNK, TableRows, changed, token};
use crate::clickhouse::EventKey;
use crate::event::Timestamp;
use crate::journal::{Item, SegmentReader};
use crate::row::{Layout, REFUSED_BY_CLICKHOUSE, RejectedRow, Value};

pub(super) struct HeldRows {
    layout: Layout,
    bytes: Vec<u8>,
    /// Where each row lies in `bytes`.
    spans: Vec<Range<usize>>,
}

impl HeldRows {
    /// Reads the rows that `survey` found, from a reader that stands at the segment's start.
    pub(super) fn read(mut reader: SegmentReader, found: &TableRows) -> Result<Self, LoadError> {
        let layout = Layout::parse(&found.table.header)?;
        let mut bytes = Vec::new();
        loop {
            match reader.next_item()? {
                Item::Record(record, rows) if record.tag == found.table.tag => bytes.extend_from_slice(rows),
                Item::Record(..) | Item::Damage { .. } => {}
                Item::End { .. } => break,
            }
        }
        if crc32c::crc32c(&bytes) != found.checksum {
            return Err(changed().into());
        }
        let mut spans = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let start = bytes.len() - rest.len();
            let length = layout.take_row(&mut rest)?.len();
            spans.push(start..start + length);
        }
        Ok(Self { layout, bytes, spans })
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    fn row(&self, index: usize) -> &[u8] {
        &self.bytes[self.spans[index].clone()]
    }

    /// An INSERT's body of these rows, and its token.
    pub(super) fn insert(&self, found: &TableRows, part: &Range<usize>) -> (Vec<u8>, String) {
        let mut body = found.table.header.clone();
        let header = body.len();
        for index in part.clone() {
            body.extend_from_slice(self.row(index));
        }
        let checksum = crc32c::crc32c(&body[header..]);
        let mut token = token(found.segment, &found.table.name, part.len() as u64, checksum);
        if part.len() < self.len() {
            // Among many small parts, some have the same length and checksum.
            let _ = write!(token, "-{}", part.start);
        }
        (body, token)
    }

    /// What identifies these rows' events; `None` for a table without events' ids.
    pub(super) fn event_keys(&self, part: Range<usize>) -> Result<Option<Vec<EventKey>>, LoadError> {
        let position = |name| self.layout.position(name);
        let Some((project, event)) = position("project_id").zip(position("event_id")) else {
            return Ok(None);
        };
        let mut keys = Vec::with_capacity(part.len());
        for index in part {
            let values = self.layout.values(self.row(index))?;
            keys.push((uuid(Some(&values[project])), uuid(Some(&values[event]))));
        }
        Ok(Some(keys))
    }

    /// Appends what `rejected_events` is to hold of an event that ClickHouse refused with this code.
    pub(super) fn encode_refused(&self, index: usize, code: u32, out: &mut Vec<u8>) -> Result<(), LoadError> {
        let row = self.row(index);
        let values = self.layout.values(row)?;
        let value = |name: &str| self.layout.position(name).map(|position| &values[position]);
        RejectedRow {
            received_at: match value("received_at") {
                Some(Value::Moment(moment)) => *moment,
                _ => Timestamp::EPOCH,
            },
            project_id: uuid(value("project_id")),
            source: &match value("source") {
                Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes),
                _ => "".into(),
            },
            event: self.layout.to_json(row)?.as_bytes(),
            reason: REFUSED_BY_CLICKHOUSE,
            message: &format!("clickhouse refused the row with code {code}; see its log for the reason"),
        }
        .encode(out);
        Ok(())
    }
}

fn uuid(value: Option<&Value<'_>>) -> Uuid {
    match value {
        Some(Value::Uuid(id)) => *id,
        _ => Uuid::nil(),
    }
}

/// A body in pieces, each of which is compressed at once.
pub(super) fn pieces(body: Vec<u8>) -> std::vec::IntoIter<Bytes> {
    let body = Bytes::from(body);
    let starts = (0..body.len()).step_by(CHUNK);
    let pieces: Vec<Bytes> = starts.map(|start| body.slice(start..body.len().min(start + CHUNK))).collect();
    pieces.into_iter()
}
