//! The bytes of a segment: its head, and the records that follow it. The format stands in the parent module.

use uuid::Uuid;

use super::format::{take, u32_at, u64_at};
use crate::event::Timestamp;
use crate::row::Table;

/// Every structure starts at a multiple of this, in bytes.
pub(super) const ALIGNMENT: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"WEIRSEG\x01";
const RECORD_MAGIC: [u8; 4] = *b"WREC";

/// The longest head that is read, in bytes: our own are shorter than 4 KiB.
pub(super) const LONGEST_HEAD: usize = 64 * 1024;

/// What a segment says of itself before its first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Segments of one journal are numbered in the order of their making.
    pub number: u64,
    /// Drawn at random, so that neither an old record nor one forged inside an event is taken for one of this
    /// segment.
    pub id: u64,
    /// When the segment was made.
    pub created_at: Timestamp,
    /// For each table: its tag, its name, and the `RowBinaryWithNamesAndTypes` header of its rows.
    pub tables: Vec<TableHead>,
}

/// How the rows of one table are written in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableHead {
    /// The number that stands for the table in a record.
    pub tag: u8,
    /// The table's name in ClickHouse.
    pub name: String,
    /// The header that goes before its rows.
    pub header: Vec<u8>,
}

impl SegmentHead {
    const FIXED: usize = 40;

    /// A new segment's head, for the tables as this version writes them.
    pub(super) fn new(number: u64, created_at: Timestamp) -> Self {
        let tables = Table::ALL.map(|table| TableHead {
            tag: table.tag(),
            name: table.name().to_owned(),
            header: table.header(),
        });
        // The lower half of a v4 id holds 62 random bits.
        let id = Uuid::new_v4().as_u64_pair().1;
        Self { number, id, created_at, tables: tables.into() }
    }

    /// Length of the heads that this version writes, in bytes.
    pub(super) fn bytes() -> u64 {
        Self::new(0, Timestamp::EPOCH).encode().len() as u64
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut tables = Vec::new();
        for table in &self.tables {
            tables.push(table.tag);
            tables.push(u8::try_from(table.name.len()).unwrap_or(u8::MAX));
            tables.extend_from_slice(&u32::try_from(table.header.len()).unwrap_or(u32::MAX).to_le_bytes());
            tables.extend_from_slice(table.name.as_bytes());
            tables.extend_from_slice(&table.header);
        }
        let mut head = Vec::with_capacity(1024);
        head.extend_from_slice(&SEGMENT_MAGIC);
        head.extend_from_slice(&self.number.to_le_bytes());
        head.extend_from_slice(&self.id.to_le_bytes());
        head.extend_from_slice(&self.created_at.as_millis().to_le_bytes());
        head.extend_from_slice(&u32::try_from(tables.len()).unwrap_or(u32::MAX).to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head), &tables);
        head.extend_from_slice(&checksum.to_le_bytes());
        head.extend_from_slice(&tables);
        head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
        head
    }

    /// Reads the head that a file begins with, and its length in bytes; `None` when it is torn or damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let fixed = bytes.get(..Self::FIXED)?;
        if fixed[..8] != SEGMENT_MAGIC {
            return None;
        }
        let length = usize::try_from(u32_at(fixed, 32)?).ok()?;
        let mut tables = bytes.get(Self::FIXED..Self::FIXED.checked_add(length)?)?;
        if crc32c::crc32c_append(crc32c::crc32c(&fixed[..36]), tables) != u32_at(fixed, 36)? {
            return None;
        }
        let mut head = Self {
            number: u64_at(fixed, 8)?,
            id: u64_at(fixed, 16)?,
            created_at: Timestamp::from_millis(u64_at(fixed, 24)?.cast_signed()),
            tables: Vec::new(),
        };
        while !tables.is_empty() {
            let lengths = take(&mut tables, 6)?;
            let name = take(&mut tables, usize::from(lengths[1]))?;
            let header = take(&mut tables, usize::try_from(u32_at(lengths, 2)?).ok()?)?;
            head.tables.push(TableHead {
                tag: lengths[0],
                name: String::from_utf8(name.to_vec()).ok()?,
                header: header.to_vec(),
            });
        }
        Some((head, (Self::FIXED + length).next_multiple_of(ALIGNMENT)))
    }
}

/// What stands before a record's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// The segment this record was written for.
    pub segment: u64,
    /// Counts a segment's records from 0.
    pub sequence: u64,
    /// When the request came.
    pub received_at: Timestamp,
    /// Bytes of the rows, without padding.
    pub length: u32,
    /// How many rows there are.
    pub rows: u32,
    /// The table they belong to.
    pub tag: u8,
    /// CRC32C of the rows.
    pub checksum: u32,
}

impl RecordHead {
    /// Bytes of a record's head.
    pub(super) const LENGTH: usize = 48;

    /// The tag of the last record, which seals a segment.
    const SEAL: u8 = 0;

    /// The record that seals a segment of so many records.
    pub(super) fn seal(segment: u64, sequence: u64) -> Self {
        let received_at = Timestamp::EPOCH;
        Self { segment, sequence, received_at, length: 0, rows: 0, tag: Self::SEAL, checksum: 0 }
    }

    pub(super) fn is_seal(&self) -> bool {
        self.tag == Self::SEAL
    }

    pub(super) fn encode(&self) -> [u8; Self::LENGTH] {
        let mut head = [0; Self::LENGTH];
        head[..4].copy_from_slice(&RECORD_MAGIC);
        head[8..16].copy_from_slice(&self.segment.to_le_bytes());
        head[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        head[24..32].copy_from_slice(&self.received_at.as_millis().to_le_bytes());
        head[32..36].copy_from_slice(&self.length.to_le_bytes());
        head[36..40].copy_from_slice(&self.rows.to_le_bytes());
        head[40] = self.tag;
        head[44..48].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&head[8..]);
        head[4..8].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    /// Reads a head; `None` when these bytes are none, or a damaged one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..Self::LENGTH)?;
        if head[..4] != RECORD_MAGIC || crc32c::crc32c(&head[8..]) != u32_at(head, 4)? {
            return None;
        }
        Some(Self {
            segment: u64_at(head, 8)?,
            sequence: u64_at(head, 16)?,
            received_at: Timestamp::from_millis(u64_at(head, 24)?.cast_signed()),
            length: u32_at(head, 32)?,
            rows: u32_at(head, 36)?,
            tag: head[40],
            checksum: u32_at(head, 44)?,
        })
    }

    /// Bytes from this head to the next.
    pub(super) fn span(&self) -> usize {
        Self::LENGTH + (self.length as usize).next_multiple_of(ALIGNMENT)
    }
}

/// The records of one request, put together before the journal takes them; it is cleared and used again, so that
/// a request costs no allocation here.
#[derive(Debug, Default)]
pub struct Entry {
    bytes: Vec<u8>,
    rows: u32,
    received_at: Timestamp,
}

impl Entry {
    /// Bytes of memory that an entry keeps.
    const KEPT_CAPACITY: usize = 1024 * 1024;

    /// An entry without records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes out every record and keeps the memory, but for that of an unusually large request.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(Self::KEPT_CAPACITY);
        self.rows = 0;
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of all records.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record. `encode` appends the rows' bytes and says how many rows they are; none adds nothing.
    pub fn record(&mut self, table: Table, received_at: Timestamp, encode: impl FnOnce(&mut Vec<u8>) -> u32) {
        let start = self.bytes.len();
        self.bytes.resize(start + RecordHead::LENGTH, 0);
        let rows = encode(&mut self.bytes);
        if rows == 0 {
            self.bytes.truncate(start);
            return;
        }
        let (head, body) = self.bytes[start..].split_at_mut(RecordHead::LENGTH);
        let record = RecordHead {
            segment: 0,
            sequence: 0,
            received_at,
            length: u32::try_from(body.len()).unwrap_or(u32::MAX),
            rows,
            tag: table.tag(),
            checksum: crc32c::crc32c(body),
        };
        head.copy_from_slice(&record.encode());
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        self.rows += rows;
        self.received_at = received_at;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) fn received_at(&self) -> Timestamp {
        self.received_at
    }
}

/// Writes the segment's id and the sequence numbers from `sequence` on into the records of `bytes`, as they go
/// into that segment; gives the next number.
pub(super) fn stamp(bytes: &mut [u8], segment: u64, mut sequence: u64) -> u64 {
    let mut rest = bytes;
    while let Some(head) = RecordHead::decode(rest) {
        let stamped = RecordHead { segment, sequence, ..head };
        rest[..RecordHead::LENGTH].copy_from_slice(&stamped.encode());
        sequence += 1;
        rest = &mut rest[head.span()..];
    }
    sequence
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_reads_back_and_any_flipped_bit_is_seen() {
        let head = SegmentHead::new(7, Timestamp::from_millis(1_700_000_000_000));
        let bytes = head.encode();
        assert_eq!(SegmentHead::decode(&bytes), Some((head, bytes.len())));
        let unpadded = SegmentHead::FIXED + u32_at(&bytes, 32).unwrap() as usize;
        for bit in 0..unpadded * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHead::decode(&damaged), None, "bit {bit}");
        }
        for length in 0..unpadded {
            assert_eq!(SegmentHead::decode(&bytes[..length]), None, "cut to {length}");
        }
    }

    #[test]
    fn an_entry_without_rows_has_no_record() {
        let mut entry = Entry::new();
        entry.record(Table::Events, Timestamp::EPOCH, |_| 0);
        assert!(entry.is_empty());
    }

    proptest! {
        #[test]
        fn a_record_head_reads_back_and_any_flipped_bit_is_seen(
            segment: u64, sequence: u64, millis: i64, length: u32, rows: u32, tag: u8, checksum: u32,
            bit in 0_usize..RecordHead::LENGTH * 8,
        ) {
            let received_at = Timestamp::from_millis(millis);
            let head = RecordHead { segment, sequence, received_at, length, rows, tag, checksum };
            let mut bytes = head.encode();
            prop_assert_eq!(RecordHead::decode(&bytes), Some(head));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(RecordHead::decode(&bytes), None);
        }

        #[test]
        fn stamped_records_carry_the_segment_and_count_on(bodies in prop::collection::vec(1_usize..100, 1..10)) {
            let mut entry = Entry::new();
            for body in &bodies {
                entry.record(Table::Events, Timestamp::EPOCH, |out| {
                    out.resize(out.len() + body, 0xab);
                    1
                });
            }
            let mut bytes = entry.bytes().to_vec();
            prop_assert_eq!(stamp(&mut bytes, 99, 5), 5 + bodies.len() as u64);
            let mut rest = bytes.as_slice();
            for (index, body) in bodies.iter().enumerate() {
                let head = RecordHead::decode(rest).unwrap();
                prop_assert_eq!((head.segment, head.sequence), (99, 5 + index as u64));
                prop_assert_eq!(head.length as usize, *body);
                rest = &rest[head.span()..];
            }
            prop_assert!(rest.is_empty());
        }
    }
}
