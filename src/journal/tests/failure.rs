//! Disks that fail: who waited hears of it, what was acknowledged stays, and the journal goes on by itself.

use std::io::ErrorKind;

use super::*;

/// A segment with a record, a request that fails, and one after it.
fn assert_goes_on(disk_fails: impl FnOnce(&MemoryDirectory)) -> MemoryDirectory {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    append(&journal, "kept").unwrap();
    let length = directory.content(&name(1)).len();
    disk_fails(&directory);
    let answers = (append(&journal, "failed"), journal.check());
    assert_eq!(answers, (Err(JournalError::Failed), Err(JournalError::Failed)));
    directory.limit(None);
    assert_eq!((append(&journal, "next"), journal.check()), (Ok(()), Ok(())));
    journal.close();

    assert_eq!(contents(journal.backlog()), [["kept"], ["next"]]);
    assert_eq!(directory.content(&name(1)).len(), length, "what failed is cut off");
    assert_eq!(contents(&recovered(&directory.crash(|_| 0))), [["kept"], ["next"]]);
    directory.check();
    directory
}

#[test]
fn a_failed_write_is_cut_off_and_its_file_left_alone() {
    assert_goes_on(|directory| directory.fail(Step::Write, 0, 1, ErrorKind::Other));
    for partial in [1, 40, 48, 52, 55] {
        assert_goes_on(|directory| directory.tear(partial));
    }
}

#[test]
fn a_failed_sync_is_cut_off_and_its_file_left_alone() {
    assert_goes_on(|directory| directory.fail(Step::Sync, 0, 1, ErrorKind::Other));
}

#[test]
fn a_full_disk_is_left_when_there_is_room() {
    for room in [0, 1, 47, 48, 55] {
        assert_goes_on(|directory| {
            directory.limit(Some(directory.content(&name(1)).len() + room));
        });
    }
}

#[test]
fn a_disk_that_has_no_place_for_room_takes_records_all_the_same() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &JournalSettings { room_bytes: 4 * RECORD, ..settings() });
    directory.limit(usize::try_from(SegmentHead::bytes() + 3 * RECORD).ok());
    for _ in 0..3 {
        append(&journal, "taken").unwrap();
    }
    assert_eq!(append(&journal, "too much"), Err(JournalError::Failed));
    directory.limit(None);
    journal.close();
    assert_eq!(contents(journal.backlog()), [["taken"; 3]]);
    directory.check();
}

#[test]
fn everybody_who_waited_for_a_failed_sync_hears_of_it() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    append(&journal, "kept").unwrap();
    directory.fail(Step::Sync, 1, 1, ErrorKind::Other);
    let answers = append_grouped(&directory, &journal, &["alone", "1", "2", "3"].map(entry));
    assert_eq!(answers[0], Ok(()));
    assert_eq!(answers[1..], [Err(JournalError::Failed); 3]);
    journal.close();
    assert_eq!(contents(journal.backlog()), [["kept", "alone"]]);
}

#[test]
fn a_segment_that_cannot_be_begun_leaves_nothing_behind() {
    for (step, after) in [(Step::Create, 0), (Step::Write, 0), (Step::Sync, 0), (Step::SyncDirectory, 1)] {
        let directory = MemoryDirectory::default();
        // The first sync of the directory is that of the start.
        directory.fail(step, after, 1, ErrorKind::Other);
        let journal = open(&directory, &settings());
        assert_eq!(append(&journal, "failed"), Err(JournalError::Failed), "{step:?}");
        assert_eq!((directory.names(), journal.backlog().bytes()), (vec![], 0), "{step:?}");
        assert_eq!(append(&journal, "next"), Ok(()));
        assert_eq!(directory.names(), [name(2)], "{step:?}: a number is not used again");
        assert_eq!(contents(&recovered(&directory.crash(|_| 0))), [["next"]]);
    }
}

/// The failed record is whole in the file, and neither the cut nor a later sync takes it out for sure.
#[test]
fn what_could_not_be_cut_off_is_not_read_and_settled_later() {
    for (step, after) in [(Step::Cut, 0), (Step::Sync, 1)] {
        let directory = MemoryDirectory::default();
        let journal = open(&directory, &settings());
        append(&journal, "kept").unwrap();
        let length = directory.content(&name(1)).len() as u64;
        directory.fail(Step::Sync, 0, 1, ErrorKind::Other);
        directory.fail(step, after, 1, ErrorKind::Other);
        assert_eq!(append(&journal, "failed"), Err(JournalError::Failed));

        let mut segment = take_waiting(journal.backlog()).unwrap();
        assert!(segment.unsettled, "{step:?}");
        assert_eq!(segment.bytes, length);
        assert_eq!(texts(journal.backlog(), &segment), ["kept"], "never behind what was synced");

        directory.fail(Step::Sync, 0, 1, ErrorKind::Other);
        let backlog = journal.backlog();
        let mut reader = backlog.read(&segment).unwrap().unwrap();
        backlog.settle(&mut segment, &mut reader).unwrap_err();
        assert!(segment.unsettled);
        let mut reader = backlog.read(&segment).unwrap().unwrap();
        backlog.settle(&mut segment, &mut reader).unwrap();
        assert!(!segment.unsettled);
        assert_eq!((segment.bytes, backlog.bytes()), (length, length));
        for kept in 0..4 {
            let after_power_cut = recovered(&directory.crash(|ways| kept.min(ways - 1)));
            assert_eq!(contents(&after_power_cut), [["kept"]], "the failed record does not come back");
        }
        directory.check();
    }
}

#[test]
fn a_disk_is_found_well_again_without_a_request() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    directory.fail(Step::Write, 0, 2, ErrorKind::StorageFull);
    append(&journal, "failed").unwrap_err();
    assert_eq!(journal.check(), Err(JournalError::Failed));
    // The first probe fails as well; the second one makes a segment.
    journal.0.gather.nudge();
    directory.until(|taken| taken.iter().filter(|step| **step == Step::SyncDirectory).count() == 2);
    while journal.check().is_err() {
        std::thread::yield_now();
    }
    let made = count(&directory, Step::Create);
    wait(journal.append(&entry_at("next", FEBRUARY))).unwrap();
    assert_eq!(count(&directory, Step::Create), made, "the segment of the probe is used, in any month");
    journal.close();
    let segment = take_waiting(journal.backlog()).unwrap();
    assert_eq!(segment.oldest, FEBRUARY, "not when the probe was");
    assert_eq!(texts(journal.backlog(), &segment), ["next"]);
    assert_eq!(directory.names().len(), 1);
}

/// Its writer does not survive the first request.
struct Panics;

impl Directory for Panics {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }
    fn create(&self, _: &str) -> io::Result<Box<dyn SegmentFile>> {
        panic!("a defect, for the test's sake")
    }
    fn open(&self, _: &str) -> io::Result<Box<dyn SegmentFile>> {
        Err(ErrorKind::NotFound.into())
    }
    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nobody_waits_for_a_writer_that_is_gone() {
    let journal = Journal::open(Arc::new(Panics), &settings(), &Clock::system()).unwrap();
    assert_eq!(append(&journal, "1"), Err(JournalError::Failed));
    // Either it is known already that the writer is gone, or the request is let go of when it is.
    append(&journal, "2").unwrap_err();
    journal.close();
    assert_eq!(append(&journal, "3"), Err(JournalError::Closed));
    assert_eq!(journal.check(), Err(JournalError::Failed));
}
