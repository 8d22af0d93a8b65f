//! A segment that ClickHouse refused for the content of some row: its rows are sent in halves, and halves of halves,
//! until the guilty ones stand alone; those go to `rejected_events`, all others to their table.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use uuid::Uuid;

use super::rows::{CHUNK, TableRows, token, token_prefix};
use super::send::open;
use super::{LoadError, Loader};
use crate::clickhouse::{Class, ClickHouseError, EventKey};
use crate::event::Timestamp;
use crate::failpoint;
use crate::journal::{Item, Segment};
use crate::metrics::figures;
use crate::row::{Layout, RejectedRow, Table, Value};

/// So many rows are refused one by one without one being taken before the others are not even tried.
const REFUSED_IN_A_ROW: usize = 1_000;

/// The rows of one table of a segment, in memory.
struct Rows {
    layout: Layout,
    bytes: Vec<u8>,
    /// Where each row lies in `bytes`.
    spans: Vec<Range<usize>>,
}

impl Loader {
    /// Sends a table's rows that are not stored yet, the guilty ones left out; then those go to `rejected_events`.
    ///
    /// A row is to blame only if the table takes others: of this segment, or of another one since this one began to
    /// be refused. Otherwise the table is, for instance by a constraint or a view that fails for every row, and the
    /// segment is parked.
    pub(super) async fn send_parted(
        &self,
        segment: &Segment,
        found: &TableRows,
        parked_since: Option<Instant>,
    ) -> Result<(), LoadError> {
        let since = parked_since.unwrap_or_else(Instant::now);
        self.store.end_queries(&token_prefix(found.segment)).await?;
        let rows = self.read_rows(segment, found)?;
        let mut refused = Vec::new();
        // Breadth first: good rows are loaded in large pieces before the search narrows down on the guilty ones.
        let mut parts = VecDeque::from(self.not_stored(found, &rows, 0..rows.spans.len()).await?);
        let left: usize = parts.iter().map(ExactSizeIterator::len).sum();
        let mut takes_others = left < rows.spans.len();
        let mut loaded = 0;
        while let Some(part) = parts.pop_front() {
            let Err(error) = self.send_part(found, &rows, part.clone()).await else {
                loaded += part.len();
                takes_others = true;
                failpoint::reach("part_loaded");
                continue;
            };
            let Some(code) = error.server_code().filter(|_| error.class() == Class::Reject) else {
                return Err(error.into());
            };
            takes_others |= self.taken.since(&found.table.name, since);
            if !takes_others && (parked_since.is_some() || refused.len() >= REFUSED_IN_A_ROW) {
                return Err(LoadError::AllRefused(code));
            }
            let alone = part.len() == 1;
            // What was refused as a whole may be stored in part.
            for left in self.not_stored(found, &rows, part).await? {
                if alone {
                    refused.push((left.start, code));
                    continue;
                }
                let middle = left.start + left.len() / 2;
                parts.extend(
                    [left.start..middle, middle..left.end].into_iter().filter(|half| !half.is_empty()),
                );
            }
        }
        if let Some((_, code)) = refused.last()
            && !takes_others
        {
            return Err(LoadError::AllRefused(*code));
        }
        // A drift that began meanwhile looks like guilty rows too.
        if !refused.is_empty() {
            self.check_drift(found).await?;
        }
        failpoint::reach("parted");
        figures().rows_loaded.increment(loaded as u64);
        // In the order of the segment, whatever way the search went: after a crash the same rows have to make the
        // same bytes, and so the same token.
        refused.sort_unstable();
        self.keep_refused(found, &rows, &refused).await
    }

    fn read_rows(&self, segment: &Segment, found: &TableRows) -> Result<Rows, LoadError> {
        let layout = Layout::parse(&found.table.header)?;
        let mut reader = open(&self.backlog, segment)?;
        let mut bytes = Vec::new();
        loop {
            match reader.next_item()? {
                Item::Record(record, rows) if record.tag == found.table.tag => bytes.extend_from_slice(rows),
                Item::Record(..) | Item::Damage { .. } => {}
                Item::End { .. } => break,
            }
        }
        let mut spans = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let start = bytes.len() - rest.len();
            let length = layout.take_row(&mut rest)?.len();
            spans.push(start..start + length);
        }
        Ok(Rows { layout, bytes, spans })
    }

    async fn send_part(
        &self,
        found: &TableRows,
        rows: &Rows,
        part: Range<usize>,
    ) -> Result<(), ClickHouseError> {
        let mut body = found.table.header.clone();
        let mut checksum = 0;
        for span in &rows.spans[part.clone()] {
            let row = &rows.bytes[span.clone()];
            checksum = crc32c::crc32c_append(checksum, row);
            body.extend_from_slice(row);
        }
        let token = token(found.segment, &found.table.name, part.len() as u64, checksum);
        self.insert(&found.table.name, &token, pieces(body)).await
    }

    /// The stretches of `part` whose events are not in the table.
    async fn not_stored(
        &self,
        found: &TableRows,
        rows: &Rows,
        part: Range<usize>,
    ) -> Result<Vec<Range<usize>>, LoadError> {
        let Some(keys) = rows.event_keys(part.clone())? else { return Ok(vec![part]) };
        let (first, last) = found.received;
        let stored = self.store.stored_event_ids(first, last, &keys.iter().copied().collect()).await?;
        let mut left = Vec::new();
        let mut start = part.start;
        for (row, key) in part.clone().zip(&keys) {
            if stored.contains(key) {
                left.extend((start < row).then_some(start..row));
                start = row + 1;
            }
        }
        left.extend((start < part.end).then_some(start..part.end));
        Ok(left)
    }

    /// Stores refused events with the reason, under a token of their own. A refused row of `rejected_events` itself
    /// is only counted.
    async fn keep_refused(
        &self,
        found: &TableRows,
        rows: &Rows,
        refused: &[(usize, u32)],
    ) -> Result<(), LoadError> {
        if refused.is_empty() {
            return Ok(());
        }
        tracing::error!(table = found.table.name, rows = refused.len(), "clickhouse refused rows");
        figures().rows_refused.increment(refused.len() as u64);
        if found.table.tag != Table::Events.tag() {
            return Ok(());
        }
        let table = Table::RejectedEvents;
        let mut body = table.header();
        let header = body.len();
        for (index, code) in refused {
            rows.encode_refused(*index, *code, &mut body)?;
        }
        let checksum = crc32c::crc32c(&body[header..]);
        let token = token(found.segment, table.name(), refused.len() as u64, checksum);
        self.insert(table.name(), &token, pieces(body)).await?;
        Ok(())
    }
}

impl Rows {
    /// What identifies these rows' events; `None` for a table without events' ids.
    fn event_keys(&self, part: Range<usize>) -> Result<Option<Vec<EventKey>>, LoadError> {
        let position = |name| self.layout.position(name);
        let Some((project, event)) = position("project_id").zip(position("event_id")) else {
            return Ok(None);
        };
        let mut keys = Vec::with_capacity(part.len());
        for span in &self.spans[part] {
            let values = self.layout.values(&self.bytes[span.clone()])?;
            let id = |position: usize| match values[position] {
                Value::Uuid(id) => id,
                _ => Uuid::nil(),
            };
            keys.push((id(project), id(event)));
        }
        Ok(Some(keys))
    }

    fn encode_refused(&self, index: usize, code: u32, out: &mut Vec<u8>) -> Result<(), LoadError> {
        let row = &self.bytes[self.spans[index].clone()];
        let values = self.layout.values(row)?;
        let value = |name: &str| self.layout.position(name).map(|position| values[position]);
        let text = |name: &str| match value(name) {
            Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes),
            _ => "".into(),
        };
        RejectedRow {
            received_at: match value("received_at") {
                Some(Value::Moment(moment)) => moment,
                _ => Timestamp::EPOCH,
            },
            project_id: match value("project_id") {
                Some(Value::Uuid(id)) => id,
                _ => Uuid::nil(),
            },
            source: &text("source"),
            event: self.layout.to_json(row)?.as_bytes(),
            reason: "refused_by_clickhouse",
            message: &format!("clickhouse refused the row with code {code}; see its log for the reason"),
        }
        .encode(out);
        Ok(())
    }
}

/// A body in pieces, each of which is compressed at once.
fn pieces(body: Vec<u8>) -> std::vec::IntoIter<Bytes> {
    let body = Bytes::from(body);
    let starts = (0..body.len()).step_by(CHUNK);
    let pieces: Vec<Bytes> = starts.map(|start| body.slice(start..body.len().min(start + CHUNK))).collect();
    pieces.into_iter()
}
