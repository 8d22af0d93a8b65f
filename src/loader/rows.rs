//! What a segment holds for one table, and the exact bytes of its INSERT.

use std::io;

use bytes::Bytes;

use crate::clickhouse::RowSource;
use crate::event::Timestamp;
use crate::journal::{Item, RecordHead, SegmentReader, TableHead};
use crate::metrics::figures;

/// Bytes handed to the client at once, at least, unless the rows end.
pub(super) const CHUNK: usize = 256 * 1024;

/// The rows of one table in one segment, as a first reading found them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableRows {
    pub(super) table: TableHead,
    /// The segment's id.
    pub(super) segment: u64,
    pub(super) rows: u64,
    /// CRC32C of all rows, one behind the other.
    pub(super) checksum: u32,
    /// When the first and the last request came that they were sent with.
    pub(super) received: (Timestamp, Timestamp),
}

impl TableRows {
    /// Reads a segment through: what there is for each of its tables, tables without rows left out; and whether any of
    /// it is damaged, which log and figures are told if `tell` says so. `length` is the segment's, in bytes.
    pub(super) fn survey(
        reader: &mut SegmentReader,
        length: u64,
        tell: bool,
    ) -> io::Result<(Vec<Self>, bool)> {
        let head = reader.head().clone();
        let mut damaged = false;
        let mut tables: Vec<Self> = Vec::new();
        loop {
            match reader.next_item()? {
                Item::Record(record, rows) => {
                    let found = tables.iter_mut().find(|table| table.table.tag == record.tag);
                    if let Some(table) = found {
                        table.add(&record, rows);
                        continue;
                    }
                    let Some(table) = head.tables.iter().find(|table| table.tag == record.tag) else {
                        figures().journal_records_dropped.increment(1);
                        tracing::error!(
                            segment = head.number,
                            tag = record.tag,
                            "a record has no known table"
                        );
                        continue;
                    };
                    let received = (record.received_at, record.received_at);
                    let mut table =
                        Self { table: table.clone(), segment: head.id, rows: 0, checksum: 0, received };
                    table.add(&record, rows);
                    tables.push(table);
                }
                Item::Damage { bytes, records } => {
                    damaged = true;
                    if tell {
                        tell_damage(head.number, bytes, records);
                    }
                }
                Item::End { bytes, zeros } => {
                    // The file may also have become shorter. In what is loaded, no room is left.
                    let missing = bytes + zeros + length.saturating_sub(reader.position());
                    damaged |= missing > 0;
                    if tell && missing > 0 {
                        // How many records they were, nobody knows.
                        tell_damage(head.number, missing, 1);
                    }
                    break;
                }
            }
        }
        tables.sort_by_key(|table| table.table.tag);
        Ok((tables, damaged))
    }

    fn add(&mut self, record: &RecordHead, rows: &[u8]) {
        self.rows += u64::from(record.rows);
        self.checksum = crc32c::crc32c_append(self.checksum, rows);
        self.received.0 = self.received.0.min(record.received_at);
        self.received.1 = self.received.1.max(record.received_at);
    }

    /// The deduplication token of all these rows in one INSERT.
    pub(super) fn token(&self) -> String {
        token(self.segment, &self.table.name, self.rows, self.checksum)
    }
}

fn tell_damage(segment: u64, bytes: u64, records: u64) {
    figures().journal_records_dropped.increment(records);
    figures().journal_bytes_dropped.increment(bytes);
    tracing::error!(segment, bytes, records, "left damaged records out");
}

/// What every token and query id of a segment begins with.
pub(super) fn token_prefix(segment: u64) -> String {
    format!("weir-{segment:016x}-")
}

/// The deduplication token of these rows: another one for any other bytes, because ClickHouse drops other rows
/// under a token it knows without a word.
pub(super) fn token(segment: u64, table: &str, rows: u64, checksum: u32) -> String {
    format!("{}{table}-{rows}-{checksum:08x}", token_prefix(segment))
}

/// The body of an INSERT of one table's rows, piece by piece: the header, then the rows.
pub(super) struct InsertBody {
    reader: SegmentReader,
    tag: u8,
    next: Option<Vec<u8>>,
    /// What is still to come, as the first reading found it.
    expected: (u64, u32),
    seen: (u64, u32),
}

impl InsertBody {
    /// The body for the rows that `survey` found, from a reader that stands at the segment's start.
    pub(super) fn new(reader: SegmentReader, rows: &TableRows) -> Self {
        let next = Some(rows.table.header.clone());
        Self { reader, tag: rows.table.tag, next, expected: (rows.rows, rows.checksum), seen: (0, 0) }
    }
}

impl RowSource for InsertBody {
    /// Fails also when the rows are not those of the first reading: the token would not fit them.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(mut piece) = self.next.take() else { return Ok(None) };
        loop {
            match self.reader.next_item()? {
                Item::Record(record, rows) if record.tag == self.tag => {
                    self.seen.0 += u64::from(record.rows);
                    self.seen.1 = crc32c::crc32c_append(self.seen.1, rows);
                    piece.extend_from_slice(rows);
                    if piece.len() >= CHUNK {
                        self.next = Some(Vec::with_capacity(CHUNK));
                        return Ok(Some(piece.into()));
                    }
                }
                Item::Record(..) | Item::Damage { .. } => {}
                Item::End { .. } => break,
            }
        }
        if self.seen != self.expected {
            return Err(changed());
        }
        Ok(Some(piece.into()))
    }
}

/// The disk has damaged a segment since it was surveyed.
pub(super) fn changed() -> io::Error {
    io::Error::other("it reads back otherwise than a moment ago")
}
