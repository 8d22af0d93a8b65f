//! A segment that ClickHouse refused for the content of some row: its rows are sent in halves, and halves of halves,
//! until the guilty ones stand alone; those go to `rejected_events`, all others to their table.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use uuid::Uuid;

use super::rows::{CHUNK, TableRows, changed, token, token_prefix};
use super::send::open;
use super::{LoadError, Loader};
use crate::clickhouse::{Class, ClickHouseError, EventKey};
use crate::event::Timestamp;
use crate::failpoint;
use crate::journal::{Item, Segment};
use crate::metrics::figures;
use crate::row::{Layout, RejectedRow, Table, Value};

/// So many parts are refused before a single row is taken; then [single rows](SAMPLED) are tried. A table that
/// refuses everything must not be asked once for each row, or twice.
const REFUSED_IN_A_ROW: usize = 200;

/// So many rows are tried alone, wherever they stand, before a table counts as one that refuses everything.
const SAMPLED: usize = 32;

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
    /// A row is to blame only if the table takes others: of this segment, or of another one whose INSERT began after
    /// this one was refused. Otherwise the table is, for instance by a constraint or a view that fails for every row,
    /// and the segment is parked.
    pub(super) async fn send_parted(
        &self,
        segment: &Segment,
        found: &TableRows,
        mut refused_since: Option<Instant>,
    ) -> Result<(), LoadError> {
        self.store.end_queries(&token_prefix(found.segment)).await?;
        let rows = self.read_rows(segment, found)?;
        // Breadth first: good rows are loaded in large pieces before the search narrows down on the guilty ones.
        let mut parts = VecDeque::from(self.not_stored(found, &rows, 0..rows.spans.len()).await?);
        let left: usize = parts.iter().map(ExactSizeIterator::len).sum();
        let mut takes_others = left < rows.spans.len();
        let patience = if refused_since.is_some() { 1 } else { REFUSED_IN_A_ROW };
        let (mut loaded, mut refusals) = (0, 0);
        let mut refused = Vec::new();
        while let Some(part) = parts.pop_front() {
            let Err(error) = self.send_part(found, &rows, part.clone()).await else {
                loaded += part.len();
                if !takes_others {
                    takes_others = true;
                    again(&mut parts, &mut refused);
                }
                failpoint::reach("part_loaded");
                continue;
            };
            let Some(code) = error.server_code().filter(|_| error.class() == Class::Reject) else {
                return Err(error.into());
            };
            refusals += 1;
            let since = *refused_since.get_or_insert_with(Instant::now);
            if !takes_others && self.taken.since(&found.table.name, since) {
                takes_others = true;
                again(&mut parts, &mut refused);
            }
            if !takes_others && refusals >= patience + SAMPLED {
                return Err(LoadError::AllRefused { code, since });
            }
            // What was refused as a whole may be stored in part.
            for left in self.not_stored(found, &rows, part.clone()).await? {
                match part.len() {
                    1 => refused.push((left.start, code)),
                    _ => parts.extend(halves(left)),
                }
            }
            if !takes_others && refusals == patience {
                parts = single_out(parts, SAMPLED);
            }
        }
        if let (Some((_, code)), Some(since), false) = (refused.last(), refused_since, takes_others) {
            return Err(LoadError::AllRefused { code: *code, since });
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
        let mut token = token(found.segment, &found.table.name, part.len() as u64, checksum);
        if part.len() < rows.spans.len() {
            // Among many small parts, some have the same length and checksum.
            let _ = write!(token, "-{}", part.start);
        }
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
        if found.table.tag == Table::Events.tag() {
            self.keep_refused_events(found, rows, refused).await?;
        }
        tracing::error!(table = found.table.name, rows = refused.len(), "clickhouse refused rows");
        figures().rows_refused.increment(refused.len() as u64);
        Ok(())
    }

    async fn keep_refused_events(
        &self,
        found: &TableRows,
        rows: &Rows,
        refused: &[(usize, u32)],
    ) -> Result<(), LoadError> {
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

/// The two halves of a part; less where it is too short.
fn halves(part: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let middle = part.start + part.len() / 2;
    [part.start..middle, middle..part.end].into_iter().filter(|half| !half.is_empty())
}

/// Has rows tried again that were refused before their table was seen to take any: it may have been put right since.
fn again(parts: &mut VecDeque<Range<usize>>, refused: &mut Vec<(usize, u32)>) {
    parts.extend(refused.drain(..).map(|(row, _)| row..row + 1));
}

/// Puts up to `count` single rows of these parts first, wherever they stand. Their distances are uneven, so that no
/// order of good and guilty rows hides the good ones.
fn single_out(mut parts: VecDeque<Range<usize>>, count: usize) -> VecDeque<Range<usize>> {
    let mut chosen = VecDeque::new();
    for nth in 0..count {
        // The longest part: rows are singled out from all over the segment.
        let Some(longest) = (0..parts.len()).max_by_key(|index| parts[*index].len()) else { break };
        let Some(part) = parts.remove(longest) else { break };
        // Between a quarter and three quarters.
        let row = part.start + part.len() / 4 + (nth * 7 % 11) * part.len() / 22;
        chosen.push_back(row..row + 1);
        parts.extend([part.start..row, row + 1..part.end].into_iter().filter(|rest| !rest.is_empty()));
    }
    chosen.extend(parts);
    chosen
}

/// A body in pieces, each of which is compressed at once.
fn pieces(body: Vec<u8>) -> std::vec::IntoIter<Bytes> {
    let body = Bytes::from(body);
    let starts = (0..body.len()).step_by(CHUNK);
    let pieces: Vec<Bytes> = starts.map(|start| body.slice(start..body.len().min(start + CHUNK))).collect();
    pieces.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singled_out_rows_come_first_and_none_is_lost() {
        for (rows, count, single) in [(1, 5, 1), (2, 5, 2), (7, 3, 3), (1_000, 32, 32), (500_000, 32, 32)] {
            let parts = VecDeque::from(vec![0..rows / 3, rows / 3..rows]);
            let parts: VecDeque<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let parts = single_out(parts, count);
            assert!(parts.iter().take(single).all(|part| part.len() == 1), "{parts:?}");
            let mut all: Vec<usize> = parts.into_iter().flatten().collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..rows), "of {rows} rows");
        }
    }

    #[test]
    fn every_second_or_third_row_does_not_hide_the_others() {
        for period in 2..=10 {
            let chosen = single_out(VecDeque::from([0..500, 500..1_000]), SAMPLED);
            let starts: Vec<usize> = chosen.iter().take(SAMPLED).map(|part| part.start % period).collect();
            assert!(starts.iter().any(|start| *start != starts[0]), "{starts:?}");
        }
    }
}
