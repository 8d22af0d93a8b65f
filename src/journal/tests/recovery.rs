//! Starting again: numbers, states and names, and the real directory.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A directory with one sealed segment for each text.
fn sealed(texts: &[&str]) -> MemoryDirectory {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &JournalSettings { segment_rows: 1, ..settings() });
    for text in texts {
        append(&journal, text).unwrap();
    }
    journal.close();
    directory
}

#[test]
fn segments_come_out_oldest_first_and_again_until_they_are_deleted() {
    let directory = sealed(&["1", "2", "3"]);
    let backlog = recovered(&directory);
    assert_eq!(backlog.oldest(), Some(JANUARY));
    let first = take_waiting(&backlog).unwrap();
    let second = take_waiting(&backlog).unwrap();
    assert_eq!([&first, &second].map(|segment| texts(&backlog, segment)), [["1"], ["2"]]);
    assert_eq!(backlog.len(), 3, "those under way count");
    backlog.give_back(first.clone());
    assert_eq!(take_waiting(&backlog), Some(first.clone()));
    let before = backlog.bytes();
    backlog.delete(&first).unwrap();
    backlog.delete(&first).unwrap();
    assert_eq!((backlog.len(), backlog.bytes()), (2, before - first.bytes));
    assert_eq!(contents(&recovered(&directory.crash(|_| 0))), [["2"], ["3"]]);
}

#[test]
fn whoever_waits_for_a_segment_gets_it() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &JournalSettings { segment_rows: 1, ..settings() });
    let backlog = journal.backlog();
    let mut takers = [Box::pin(backlog.take()), Box::pin(backlog.take()), Box::pin(backlog.take())];
    for taker in &mut takers {
        assert!(taker.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    for text in ["1", "2", "3"] {
        append(&journal, text).unwrap();
    }
    journal.close();
    let mut numbers = takers.map(|taker| wait(taker).number);
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn numbers_go_on_behind_every_file_that_has_one() {
    for (file, next) in [("0000000000000009.damaged", 10), ("0000000000000007.parted", 8), ("12.segment", 13)]
    {
        let directory = sealed(&["1"]);
        directory.put(file, &directory.content(&name(1)));
        let journal = open(&directory, &settings());
        append(&journal, "2").unwrap();
        assert!(directory.names().contains(&name(next)), "{file}: {:?}", directory.names());
        assert!(directory.names().contains(&file.to_owned()));
    }
}

#[test]
fn files_that_are_no_segments_are_left_alone() {
    let directory = sealed(&["1"]);
    for file in ["12.segment", "+000000000000012.segment", "notes", "0000000000000003.damaged", "x.parted"] {
        directory.put(file, b"something");
    }
    let before = directory.names();
    assert_eq!(contents(&recovered(&directory)), [["1"]]);
    assert_eq!(directory.names(), before);
}

#[test]
fn the_last_number_of_all_is_an_error_and_no_panic() {
    let directory = MemoryDirectory::default();
    directory.put("18446744073709551615.damaged", b"");
    let opened = Journal::open(Arc::new(directory), &settings(), &Clock::system());
    assert!(opened.is_err());
}

#[test]
fn a_segment_without_a_record_is_removed() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    append(&journal, "1").unwrap();
    let content = directory.content(&name(1));
    let head = usize::try_from(SegmentHead::bytes()).unwrap();
    for length in [0, 1, head - 9, head, head + 20] {
        let directory = MemoryDirectory::default();
        directory.put(&name(1), &content[..length]);
        let backlog = recovered(&directory);
        assert_eq!((directory.names(), backlog.len(), backlog.bytes()), (vec![], 0, 0), "{length} bytes");
        assert_eq!(directory.crash(|_| 0).names(), Vec::<String>::new(), "removed durably");
    }
}

#[test]
fn what_a_killed_process_had_not_synced_is_durable_before_it_is_sent() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    append(&journal, "acknowledged").unwrap();
    // The write, and nothing after it.
    directory.stop_after(1);
    append(&journal, "in flight").unwrap_err();
    journal.close();
    directory.resume();
    let backlog = recovered(&directory);
    let segment = take_waiting(&backlog).unwrap();
    assert!(!segment.unsettled, "the last one is settled at once");
    assert_eq!(texts(&backlog, &segment), ["acknowledged", "in flight"]);
    assert_eq!(contents(&recovered(&directory.crash(|_| 0))), [["acknowledged", "in flight"]]);
}

#[test]
fn a_segment_is_parted_durably_or_not_at_all() {
    let directory = sealed(&["1"]);
    let backlog = recovered(&directory);
    let mut segment = take_waiting(&backlog).unwrap();
    directory.fail(Step::SyncDirectory, 0, 1, ErrorKind::Other);
    backlog.part(&mut segment).unwrap_err();
    assert_eq!(texts(&backlog, &segment), ["1"], "read under whichever name it has");
    backlog.part(&mut segment).unwrap();
    assert_eq!(segment.state, SegmentState::Parted);

    let after_power_cut = directory.crash(|_| 0);
    assert_eq!(after_power_cut.names(), ["0000000000000001.parted"]);
    let backlog = recovered(&after_power_cut);
    let segment = take_waiting(&backlog).unwrap();
    assert_eq!((segment.state, texts(&backlog, &segment)), (SegmentState::Parted, vec!["1".to_owned()]));
    backlog.delete(&segment).unwrap();
    assert_eq!(after_power_cut.names(), Vec::<String>::new());
}

#[test]
fn of_two_names_of_one_segment_the_parted_one_counts() {
    let directory = sealed(&["1", "2"]);
    directory.put("0000000000000001.parted", &directory.content(&name(1)));
    let backlog = recovered(&directory);
    assert_eq!(directory.names(), ["0000000000000001.parted".to_owned(), name(2)]);
    assert_eq!(contents(&backlog), [["1"], ["2"]]);
    assert_eq!(take_waiting(&backlog).unwrap().state, SegmentState::Parted);
    assert_eq!(backlog.bytes(), 2 * directory.content(&name(2)).len() as u64);
}

#[test]
fn what_the_directory_failed_to_sync_is_tried_again() {
    let directory = sealed(&["1", "2"]);
    let backlog = recovered(&directory);
    let (first, second) = (take_waiting(&backlog).unwrap(), take_waiting(&backlog).unwrap());
    directory.fail(Step::SyncDirectory, 0, 1, ErrorKind::Other);
    backlog.delete(&first).unwrap_err();
    assert_eq!(backlog.len(), 2, "not gone before it is gone for good");
    backlog.delete(&first).unwrap();
    directory.fail(Step::SyncDirectory, 0, 1, ErrorKind::Other);
    backlog.set_aside(&second).unwrap_err();
    assert_eq!(backlog.len(), 1);
    backlog.set_aside(&second).unwrap();
    assert_eq!((backlog.len(), backlog.bytes()), (0, 0));
    assert_eq!(directory.crash(|_| 0).names(), ["0000000000000002.damaged"]);
}

#[test]
fn a_start_that_fails_halfway_can_be_tried_again() {
    for (step, after) in
        [(Step::Rename, 0), (Step::Remove, 0), (Step::SyncDirectory, 0), (Step::SyncDirectory, 1)]
    {
        let directory = sealed(&["1"]);
        directory.put(&name(2), b"torn");
        directory.put(&name(3), &[0; 10_000]);
        directory.fail(step, after, 1, ErrorKind::Other);
        let opened = Journal::open(Arc::new(directory.clone()), &settings(), &Clock::system());
        assert!(opened.is_err(), "{step:?}");
        assert_eq!(contents(&recovered(&directory)), [["1"]]);
        let names = [name(1), "0000000000000003.damaged".to_owned()];
        assert_eq!(directory.crash(|_| 0).names(), names, "{step:?}");
    }
}

fn open_disk(path: &std::path::Path) -> Journal {
    let directory = DiskDirectory::open(path).unwrap();
    Journal::open(Arc::new(directory), &settings(), &Clock::system()).unwrap()
}

#[test]
fn a_real_directory_keeps_what_it_was_given() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data").join("journal");
    let journal = open_disk(&path);
    append(&journal, "1").unwrap();
    append(&journal, "2").unwrap();
    journal.close();
    drop(journal);

    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
    assert_eq!((mode(&path.join(name(1))), mode(&path.join("lock"))), (0o600, 0o600));

    fs::OpenOptions::new()
        .append(true)
        .open(path.join(name(1)))
        .map(|mut file| io::Write::write_all(&mut file, &[7; 77]))
        .unwrap()
        .unwrap();
    let journal = open_disk(&path);
    let backlog = journal.backlog();
    let segment = take_waiting(backlog).unwrap();
    assert!(!segment.unsettled);
    let parted = fs::metadata(path.join("0000000000000001.parted")).unwrap();
    assert_eq!(parted.len(), segment.bytes);
    assert_eq!(texts(backlog, &segment), ["1", "2"]);
    append(&journal, "3").unwrap();
    backlog.delete(&segment).unwrap();
    journal.close();
    assert_eq!(contents(backlog), [["3"]]);
    let mut left: Vec<_> = fs::read_dir(&path).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [name(2).as_str(), "lock"]);
}

#[test]
fn a_directory_has_one_holder() {
    let parent = tempfile::tempdir().unwrap();
    let held = DiskDirectory::open(parent.path()).unwrap();
    let second = DiskDirectory::open(parent.path()).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::WouldBlock);
    drop(held);
    DiskDirectory::open(parent.path()).unwrap();
}

#[test]
fn a_file_is_made_once() {
    let parent = tempfile::tempdir().unwrap();
    let directory = DiskDirectory::open(parent.path()).unwrap();
    directory.create("1").unwrap();
    assert_eq!(directory.create("1").err().map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
    assert_eq!(directory.list().unwrap(), [("1".to_owned(), 0)]);
}

#[test]
fn the_last_segment_of_a_killed_process_is_no_damage_at_any_later_start() {
    let directory = MemoryDirectory::default();
    for text in ["1", "2", "3"] {
        let journal = open(&directory, &settings());
        append(&journal, text).unwrap();
        // Killed: nothing is sealed.
        directory.stop_after(0);
        journal.close();
        directory.resume();
    }
    let backlog = recovered(&directory);
    let names: Vec<_> = std::iter::from_fn(|| take_waiting(&backlog)).map(|left| left.file_name()).collect();
    assert_eq!(names, [1, 2, 3].map(|number| format!("{number:016}.parted")));
}

#[test]
fn a_torn_tail_is_counted_off_once_however_often_settling_fails() {
    let directory = sealed(&["1"]);
    let whole = directory.content(&name(1));
    directory.put(&name(1), &[&*whole, &[7; 100]].concat());
    directory.fail(Step::Cut, 0, 1, ErrorKind::Other);
    let backlog = recovered(&directory);
    let mut segment = take_waiting(&backlog).unwrap();
    assert!(segment.unsettled);
    assert_eq!(backlog.bytes(), whole.len() as u64 + 100);
    for step in [Step::Cut, Step::Sync, Step::Sync] {
        directory.fail(step, 0, 1, ErrorKind::Other);
        let mut reader = backlog.read(&segment).unwrap().unwrap();
        backlog.settle(&mut segment, &mut reader).unwrap_err();
        assert!(segment.unsettled);
    }
    let mut reader = backlog.read(&segment).unwrap().unwrap();
    backlog.settle(&mut segment, &mut reader).unwrap();
    assert_eq!((backlog.bytes(), segment.bytes), (whole.len() as u64, whole.len() as u64));
    backlog.delete(&segment).unwrap();
    assert_eq!(backlog.bytes(), 0);
}
