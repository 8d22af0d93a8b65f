//! Whatever happens to a segment's bytes, its intact records come out, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::record::stamp;
use super::*;

const ID: u64 = 0x8123_4567_89ab_cdef;
const OTHER_ID: u64 = ID ^ 1;

/// A segment's bytes, and where each of its records begins and its rows end.
struct Made {
    bytes: Vec<u8>,
    texts: Vec<String>,
    records: Vec<(usize, usize)>,
}

fn make(id: u64, texts: &[String]) -> Made {
    let mut head = SegmentHead::new(1, JANUARY);
    head.id = id;
    let mut bytes = head.encode();
    let mut records = Vec::new();
    for (sequence, text) in texts.iter().enumerate() {
        let mut record = entry(text).bytes().to_vec();
        stamp(&mut record, id, sequence as u64);
        records.push((bytes.len(), bytes.len() + RecordHead::LENGTH + text.len()));
        bytes.extend(record);
    }
    Made { bytes, texts: texts.to_vec(), records }
}

/// Five records, among them one of a byte and one without padding.
fn small() -> Made {
    make(
        ID,
        &["1", "second", "3".repeat(40).as_str(), "4 has four times eight bytes, 32", "fifth"]
            .map(str::to_owned),
    )
}

/// What a start makes of these bytes: the texts that come out, and the names of the files.
fn read_back(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let directory = MemoryDirectory::default();
    directory.put(&name(1), bytes);
    let backlog = recovered(&directory);
    let mut found = Vec::new();
    if let Some(mut segment) = take_waiting(&backlog) {
        let mut reader = backlog.read(&segment).unwrap().unwrap();
        backlog.settle(&mut segment, &mut reader).unwrap();
        let length = directory.content(&segment.file_name()).len() as u64;
        assert_eq!((segment.bytes, backlog.bytes()), (length, length));
        found = texts(&backlog, &segment);
        // Cut once and for all: the same comes out the next time, and nothing is left to cut.
        let mut reader = backlog.read(&segment).unwrap().unwrap();
        while !matches!(reader.next_item().unwrap(), Item::End { bytes: 0, zeros: 0 }) {}
    } else {
        assert_eq!(backlog.bytes(), 0);
    }
    (found, directory.names())
}

/// What a start makes of a segment of these bytes, where a later one was begun.
fn settled_before_another(bytes: &[u8]) -> (Backlog, Segment) {
    let directory = MemoryDirectory::default();
    directory.put(&name(1), bytes);
    directory.put(&name(2), &make(OTHER_ID, &["later".to_owned()]).bytes);
    let backlog = recovered(&directory);
    let mut segment = take_waiting(&backlog).unwrap();
    let mut reader = backlog.read(&segment).unwrap().unwrap();
    backlog.settle(&mut segment, &mut reader).unwrap();
    (backlog, segment)
}

#[test]
fn cut_anywhere_a_segment_keeps_every_record_before_the_cut() {
    let made = small();
    for length in 0..=made.bytes.len() {
        let whole = made.records.iter().filter(|(_, end)| *end <= length).count();
        let (found, names) = read_back(&made.bytes[..length]);
        assert_eq!(found, made.texts[..whole], "cut to {length}");
        assert_eq!(names.len(), usize::from(whole > 0), "cut to {length}");
    }
}

#[test]
fn zeros_behind_the_last_record_are_room_unless_a_later_segment_was_begun() {
    let made = small();
    for zeros in [1, 7, 8, 47, 48, 49, 5_000] {
        let mut bytes = made.bytes.clone();
        bytes.resize(bytes.len() + zeros, 0);
        assert_eq!(read_back(&bytes).0, made.texts, "{zeros} zeros");

        // Nothing says that those of an earlier one are no records.
        let (backlog, segment) = settled_before_another(&bytes);
        assert_eq!(segment.state, SegmentState::Parted, "{zeros} zeros");
        assert_eq!(texts(&backlog, &segment), made.texts);
    }
}

#[test]
fn zeros_behind_the_seal_are_room() {
    let made = small();
    let mut bytes = made.bytes.clone();
    bytes.extend(RecordHead::seal(ID, 5).encode());
    let sealed = bytes.len() as u64;
    bytes.resize(bytes.len() + 100, 0);
    let (backlog, segment) = settled_before_another(&bytes);
    assert_eq!((segment.state, segment.bytes), (SegmentState::Whole, sealed));
    assert_eq!(texts(&backlog, &segment), made.texts);
}

#[test]
fn a_flipped_bit_costs_the_record_it_lies_in_and_no_other() {
    let made = small();
    let head = made.records[0].0;
    let unpadded = 40 + u32::from_le_bytes(made.bytes[32..36].try_into().unwrap()) as usize;
    assert!(unpadded <= head && head as u64 == SegmentHead::bytes());
    for bit in 0..made.bytes.len() * 8 {
        let at = bit / 8;
        let mut bytes = made.bytes.clone();
        bytes[at] ^= 1 << (bit % 8);
        let (found, names) = read_back(&bytes);
        if at < unpadded {
            assert_eq!((found, names), (vec![], vec!["0000000000000001.damaged".to_owned()]), "bit {bit}");
            continue;
        }
        let intact = |index: &usize| !(made.records[*index].0..made.records[*index].1).contains(&at);
        let expected: Vec<_> = (0..5).filter(intact).map(|index| made.texts[index].clone()).collect();
        assert_eq!(found, expected, "bit {bit}");
    }
}

#[test]
fn a_flipped_bit_in_the_only_record_leaves_the_file_to_an_operator() {
    let made = make(ID, &["the only one".to_owned()]);
    let (start, end) = made.records[0];
    for bit in start * 8..end * 8 {
        let mut bytes = made.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (found, names) = read_back(&bytes);
        assert_eq!((found, names), (vec![], vec!["0000000000000001.damaged".to_owned()]), "bit {bit}");
    }
}

#[test]
fn what_is_left_of_a_damaged_segment_goes_out_as_parts() {
    let made = small();
    for damage in [made.records[0].0, made.records[2].1 - 1, made.records[4].1 - 1] {
        let mut bytes = made.bytes.clone();
        bytes[damage] ^= 1;
        assert_eq!(read_back(&bytes).1, ["0000000000000001.parted"], "damage at {damage}");
    }
    // One that was still open may have lost its end and its seal as well.
    assert_eq!(read_back(&made.bytes).1, ["0000000000000001.parted"]);
    let sealed = [&*made.bytes, &RecordHead::seal(ID, 5).encode()].concat();
    assert_eq!(read_back(&sealed), (made.texts, vec!["0000000000000001.segment".to_owned()]));
}

#[test]
fn damage_is_measured_in_bytes_and_records() {
    let made = small();
    let mut bytes = made.bytes.clone();
    bytes[made.records[1].0] ^= 1;
    bytes[made.records[2].1 - 1] ^= 1;
    let directory = MemoryDirectory::default();
    directory.put(&name(1), &bytes);
    let backlog = recovered(&directory);
    let mut reader = backlog.read(&take_waiting(&backlog).unwrap()).unwrap().unwrap();
    assert!(matches!(reader.next_item().unwrap(), Item::Record(RecordHead { sequence: 0, .. }, b"1")));
    let bytes = (made.records[3].0 - made.records[1].0) as u64;
    assert_eq!(reader.next_item().unwrap(), Item::Damage { bytes, records: 2 });
    assert!(matches!(reader.next_item().unwrap(), Item::Record(RecordHead { sequence: 3, .. }, _)));
}

#[test]
fn a_segment_with_head_and_records_damaged_is_kept_for_an_operator() {
    let mut made = small();
    for at in [0].into_iter().chain(made.records.iter().map(|(start, _)| *start)) {
        made.bytes[at] ^= 0xff;
    }
    let (found, names) = read_back(&made.bytes);
    assert_eq!((found, names), (vec![], vec!["0000000000000001.damaged".to_owned()]));
}

#[test]
fn stale_bytes_behind_the_end_bring_no_old_record_back() {
    let new = small();
    let old =
        make(OTHER_ID, &["old 1", "old 2", "old 3", "old 4", "old 5", "old 6"].map(|old| old.repeat(9)));
    let (first, end) = old.records[1];
    let (head, half) = (&old.bytes[..old.records[0].0], (end - first) / 2);
    let pieces = [
        &old.bytes[..],
        head,
        &old.bytes[head.len()..],
        &old.bytes[first..first + half],
        &old.bytes[first + half..],
        &old.bytes[first..first + RecordHead::LENGTH],
        &old.bytes[first + RecordHead::LENGTH..],
        &head[..head.len() / 2],
    ];
    for (index, stale) in pieces.into_iter().enumerate() {
        for gap in 0..=8 {
            let bytes = [&new.bytes, &vec![0; gap][..], stale].concat();
            let (found, _) = read_back(&bytes);
            assert_eq!(found, new.texts, "piece {index} after {gap} bytes");
        }
    }
}

#[test]
fn a_write_torn_over_an_old_segment_brings_no_old_record_back() {
    let new = small();
    let old = make(OTHER_ID, &["old"; 9].map(|old| old.repeat(9)));
    assert!(old.bytes.len() > new.bytes.len());
    // Up to the new id the file is the old segment still.
    for length in 24..=new.bytes.len() {
        let bytes = [&new.bytes[..length], &old.bytes[length..]].concat();
        let (found, _) = read_back(&bytes);
        let whole = new.records.iter().filter(|(_, end)| *end <= length).count();
        assert!(found.len() >= whole && found.len() <= whole + 1, "torn at {length}");
        assert_eq!(found, new.texts[..found.len()], "torn at {length}");
    }
}

/// What comes out of a segment whose middle record is damaged, and has a record made for `id` among its rows,
/// behind so many bytes.
fn read_forged(id: u64, bytes_before: usize) -> Vec<String> {
    let mut forged = entry("forged").bytes().to_vec();
    stamp(&mut forged, id, 1);
    let host = "x".repeat(bytes_before + forged.len());
    let mut made = make(ID, &["before".to_owned(), host, "after".to_owned()]);
    let start = made.records[1].0;
    let rows = start + RecordHead::LENGTH + bytes_before;
    made.bytes[rows..rows + forged.len()].copy_from_slice(&forged);
    made.bytes[start] ^= 1;
    read_back(&made.bytes).0
}

#[test]
fn a_record_forged_inside_an_event_is_none_unless_it_knows_the_id() {
    for bytes_before in 0..=8 {
        assert_eq!(read_forged(OTHER_ID, bytes_before), ["before", "after"]);
    }
    // Nothing but the id stands between the two.
    assert_eq!(read_forged(ID, 0), ["before", "forged", "after"]);
}

#[test]
fn rows_of_a_damaged_record_are_not_searched_when_its_head_is_sound() {
    let mut forged = entry("forged").bytes().to_vec();
    stamp(&mut forged, ID, 1);
    let mut made = make(ID, &["before".to_owned(), "x".repeat(forged.len() + 8), "after".to_owned()]);
    let rows = made.records[1].0 + RecordHead::LENGTH;
    made.bytes[rows..rows + forged.len()].copy_from_slice(&forged);
    assert_eq!(read_back(&made.bytes).0, ["before", "after"]);
}

#[test]
fn a_record_that_stands_in_its_segment_twice_is_read_once() {
    let made = small();
    let (start, _) = made.records[1];
    let copied = [&made.bytes[..], &made.bytes[start..]].concat();
    assert_eq!(read_back(&copied).0, made.texts);
}

/// A file whose reads fail once, when told to.
struct FailsOnce(Arc<AtomicBool>, Vec<u8>);

impl SegmentFile for FailsOnce {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.1.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        // Not the first bytes, so that a part of a record is in memory already.
        if offset > SegmentHead::bytes() && self.0.swap(false, Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        let length = rest.len().min(buffer.len()).min(100);
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn cut(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_read_that_failed_is_tried_again_without_loss() {
    let made = small();
    let fails = Arc::new(AtomicBool::new(false));
    let length = made.bytes.len() as u64;
    let mut reader =
        SegmentReader::open(Box::new(FailsOnce(fails.clone(), made.bytes)), length).unwrap().unwrap();
    fails.store(true, Ordering::Relaxed);
    let mut found = Vec::new();
    let mut failures = 0;
    loop {
        match reader.next_item() {
            Ok(Item::Record(_, rows)) => found.push(String::from_utf8(rows.to_vec()).unwrap()),
            Ok(Item::End { bytes: 0, zeros: 0 }) => break,
            Ok(item) => panic!("{item:?}"),
            Err(_) => failures += 1,
        }
    }
    assert_eq!((found, failures), (made.texts, 1));
}

proptest! {
    /// Damage of any kind in several places: what it does not touch comes out, and nothing that was not written.
    #[test]
    fn records_that_no_damage_touches_come_out(
        lengths in prop::collection::vec(1_usize..300, 1..20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..120)), 0..6),
    ) {
        let texts: Vec<_> = lengths.iter().enumerate().map(|(i, length)| format!("{i:0length$}")).collect();
        let made = make(ID, &texts);
        let first = made.records[0].0;
        let mut bytes = made.bytes.clone();
        let mut touched = vec![false; bytes.len()];
        for (index, noise) in &damage {
            let at = first + index.index(bytes.len() - first);
            let end = bytes.len().min(at + noise.len());
            bytes[at..end].copy_from_slice(&noise[..end - at]);
            touched[at..end].fill(true);
        }
        let (found, _) = read_back(&bytes);
        let whole = |index: &usize| bytes[made.records[*index].0..made.records[*index].1]
            == made.bytes[made.records[*index].0..made.records[*index].1];
        let expected: Vec<_> = (0..texts.len()).filter(whole).map(|index| texts[index].clone()).collect();
        prop_assert_eq!(found, expected);
    }
}
