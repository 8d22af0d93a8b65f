//! Reading a segment back, record by record, in bounded memory: every intact record comes out, whatever is damaged
//! around it, and a damaged one never does.

use std::io;

use super::directory::SegmentFile;
use super::record::{ALIGNMENT, LONGEST_HEAD, RecordHead, SegmentHead};
use crate::event::Timestamp;

/// Bytes read at once.
const WINDOW: usize = 1024 * 1024;

/// Reads one segment's file from its head on.
pub struct SegmentReader {
    file: Box<dyn SegmentFile>,
    /// Where the segment ends, whatever the file holds behind it.
    limit: u64,
    head: SegmentHead,
    /// Bytes of the file from `offset` on that are in memory.
    window: Vec<u8>,
    /// Where in the window reading goes on.
    at: usize,
    offset: u64,
    next_sequence: u64,
    /// Where the last bytes end that are neither a record nor zeros.
    waste_end: u64,
    /// The head is lost, and with it the id: the first sound record decides whose records are read.
    unnamed: bool,
    sealed: bool,
}

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record that is whole and unharmed.
    Record(RecordHead, &'a [u8]),
    /// Bytes that are no intact record, followed by one that is.
    Damage {
        /// How many bytes.
        bytes: u64,
        /// How many records are missing, by the sequence numbers of their neighbours.
        records: u64,
    },
    /// Nothing intact follows. Nothing at all is left in a segment that was sealed in peace.
    End {
        /// How many bytes up to the last that is not zero: a write was torn, or the tail is damaged.
        bytes: u64,
        /// How many zeros follow them: room that was made for records.
        zeros: u64,
    },
}

impl SegmentReader {
    /// Reads the head of a segment that is `limit` bytes long; `None` when it is torn or damaged, so that nothing
    /// of the file can be trusted.
    pub fn open(file: Box<dyn SegmentFile>, limit: u64) -> io::Result<Option<Self>> {
        let mut start = vec![0; LONGEST_HEAD];
        let mut length = 0;
        while length < start.len() {
            match file.read_at(&mut start[length..], length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        let Some((head, offset)) = SegmentHead::decode(&start[..length]) else { return Ok(None) };
        let window = Vec::new();
        let offset = offset as u64;
        Ok(Some(Self {
            file,
            limit,
            head,
            window,
            at: 0,
            offset,
            next_sequence: 0,
            waste_end: 0,
            unnamed: false,
            sealed: false,
        }))
    }

    /// Reads a segment whose head is damaged, as far as that goes, for people to look at: its id is taken from the
    /// first sound record, and its rows are taken for such as this version writes. Nothing of it may be loaded.
    pub fn salvage(file: Box<dyn SegmentFile>, limit: u64) -> Self {
        let head = SegmentHead::new(0, Timestamp::EPOCH);
        Self {
            file,
            limit,
            head,
            window: Vec::new(),
            at: 0,
            offset: 0,
            next_sequence: 0,
            waste_end: 0,
            unnamed: true,
            sealed: false,
        }
    }

    /// What the segment says of itself.
    pub fn head(&self) -> &SegmentHead {
        &self.head
    }

    /// Whether the record has been read that seals the segment.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Where the next item begins, in bytes from the start of the file.
    pub fn position(&self) -> u64 {
        self.offset + self.at as u64
    }

    /// The file, for whoever has to cut it.
    pub(super) fn file(&self) -> &dyn SegmentFile {
        &*self.file
    }

    /// The next record, or what is in its place.
    pub fn next_item(&mut self) -> io::Result<Item<'_>> {
        let mut start = self.position();
        loop {
            let Some(head) = self.seek_head()? else {
                let bytes = self.waste_end.saturating_sub(start);
                return Ok(Item::End { bytes, zeros: self.position() - start - bytes });
            };
            let here = self.position();
            let length = head.length as usize;
            self.fill(head.span())?;
            let available = self.window.len() - self.at;
            let body = self.window[self.at..].get(RecordHead::LENGTH..RecordHead::LENGTH + length);
            if body.is_some_and(|rows| crc32c::crc32c(rows) == head.checksum) {
                if self.unnamed {
                    (self.unnamed, self.head.id) = (false, head.segment);
                }
                if here > start {
                    let records = head.sequence - self.next_sequence;
                    self.next_sequence = head.sequence;
                    return Ok(Item::Damage { bytes: here - start, records });
                }
                self.next_sequence = head.sequence + 1;
                if head.is_seal() {
                    self.sealed = true;
                    self.at += head.span().min(available);
                    start = self.position();
                    continue;
                }
                let rows = self.at + RecordHead::LENGTH..self.at + RecordHead::LENGTH + length;
                self.at += head.span().min(available);
                return Ok(Item::Record(head, &self.window[rows]));
            }
            // The head is sound but its rows are not: they are stepped over unread, whoever wrote them.
            self.at += head.span().min(available);
            self.waste_end = self.position();
        }
    }

    /// Moves on to the next sound head of this segment that is not behind the last; `None` at the end of the file.
    fn seek_head(&mut self) -> io::Result<Option<RecordHead>> {
        loop {
            self.fill(RecordHead::LENGTH)?;
            let rest = &self.window[self.at..];
            if rest.len() < RecordHead::LENGTH {
                if let Some(last) = rest.iter().rposition(|byte| *byte != 0) {
                    self.waste_end = self.position() + last as u64 + 1;
                }
                self.at = self.window.len();
                return Ok(None);
            }
            match RecordHead::decode(rest) {
                Some(head) if self.is_next(&head) => {
                    return Ok(Some(head));
                }
                _ => {
                    let waste = rest[..ALIGNMENT].iter().any(|byte| *byte != 0);
                    self.at += ALIGNMENT;
                    if waste {
                        self.waste_end = self.position();
                    }
                }
            }
        }
    }

    fn is_next(&self, head: &RecordHead) -> bool {
        (self.unnamed || head.segment == self.head.id) && head.sequence >= self.next_sequence
    }

    /// Has `wanted` bytes from here on in the window, or as many as the file has.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.window.len() - self.at >= wanted {
            return Ok(());
        }
        self.window.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        let target = wanted.max(WINDOW);
        while self.window.len() < target {
            let have = self.window.len();
            let from = self.offset + have as u64;
            // Never more at once than the window, so that a length that lies costs no memory.
            let more = (target - have).min(WINDOW) as u64;
            let more = more.min(self.limit.saturating_sub(from));
            self.window.resize(have + usize::try_from(more).unwrap_or(WINDOW), 0);
            let read = self.file.read_at(&mut self.window[have..], from);
            // Also when it failed: whoever tries again must not find the zeros.
            self.window.truncate(have + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                break;
            }
        }
        Ok(())
    }
}
