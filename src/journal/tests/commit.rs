//! What is appended comes out; requests share syncs; segments end where they should.

use super::*;

#[test]
fn what_was_appended_comes_out_with_all_that_describes_it() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    let mut two_tables = entry_at("one", JANUARY);
    two_tables.record(Table::RejectedEvents, JANUARY, |out| {
        out.extend_from_slice(b"two and three");
        2
    });
    wait(journal.append(&two_tables)).unwrap();
    append(&journal, "four").unwrap();
    assert!(journal.backlog().is_empty(), "the segment is still open");
    journal.close();

    let segment = take_waiting(journal.backlog()).unwrap();
    assert_eq!((segment.number, segment.oldest, segment.unsettled), (1, JANUARY, false));
    assert_eq!(segment.bytes, directory.content(&name(1)).len() as u64);
    assert_eq!(journal.backlog().bytes(), segment.bytes);
    let mut reader = journal.backlog().read(&segment).unwrap().unwrap();
    assert_eq!(reader.head().created_at, JANUARY);
    let header = |table: Table| (table.tag(), table.name().to_owned(), table.header());
    let described: Vec<_> = reader
        .head()
        .tables
        .iter()
        .map(|table| (table.tag, table.name.clone(), table.header.clone()))
        .collect();
    assert_eq!(described, Table::ALL.map(header));
    for (sequence, table, rows, text) in [
        (0, Table::Events, 1, "one"),
        (1, Table::RejectedEvents, 2, "two and three"),
        (2, Table::Events, 1, "four"),
    ] {
        let Item::Record(head, bytes) = reader.next_item().unwrap() else {
            panic!("record {sequence} is missing")
        };
        assert_eq!((head.sequence, head.tag, head.rows), (sequence, table.tag(), rows));
        assert_eq!((head.received_at, bytes), (JANUARY, text.as_bytes()));
    }
    assert_eq!(reader.next_item().unwrap(), Item::End { bytes: 0, zeros: 0 });
    directory.check();
}

#[test]
fn an_answer_means_durable_with_the_name_and_the_head() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    append(&journal, "kept").unwrap();
    let nothing_more = directory.crash(|_| 0);
    assert_eq!(contents(&recovered(&nothing_more)), [["kept"]]);
}

#[test]
fn requests_that_wait_together_share_one_sync() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    let entries: Vec<_> = (0..50).map(|number| entry(&number.to_string())).collect();
    let answers = append_grouped(&directory, &journal, &entries);
    assert_eq!(answers, vec![Ok(()); 50]);
    // The head's, the first request's, and that of the 49 others.
    assert_eq!(count(&directory, Step::Sync), 3);
    journal.close();
    let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(contents(journal.backlog()), [expected]);
}

#[test]
fn the_requests_of_one_turn_of_a_runtime_share_one_sync() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    append(&journal, "opens the segment").unwrap();
    let before = count(&directory, Step::Sync);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let requests = (0..50).map(|number| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.append(&entry(&number.to_string())).await })
        });
        for request in requests.collect::<Vec<_>>() {
            assert_eq!(request.await.unwrap(), Ok(()));
        }
    });
    assert_eq!(count(&directory, Step::Sync) - before, 1);
}

#[test]
fn a_runtime_that_ends_before_its_turn_does_hands_over_what_it_took() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    {
        let _entered = runtime.enter();
        drop(journal.append(&entry("taken")));
    }
    // Nothing has run it.
    drop(runtime);
    directory.until(|taken| taken.iter().filter(|step| **step == Step::Sync).count() == 2);
    let nothing_more = directory.crash(|_| 0);
    assert_eq!(contents(&recovered(&nothing_more)), [["taken"]]);
}

#[test]
fn nobody_hears_of_success_before_the_sync() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    append(&journal, "opens the segment").unwrap();
    let waiting = entry("waits");
    directory.hold();
    let (mut appending, _) = begin(&journal, &waiting);
    directory.until_held();
    assert_eq!(directory.taken().last(), Some(&Step::Sync), "only the earlier sync is done");
    assert!(appending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    directory.release();
    assert_eq!(wait(appending), Ok(()));
    assert_eq!(directory.taken()[directory.taken().len() - 2..], [Step::Write, Step::Sync]);
}

#[test]
fn a_request_whose_client_has_gone_is_written_all_the_same() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    drop(begin(&journal, &entry("written")));
    journal.close();
    assert_eq!(contents(journal.backlog()), [["written"]]);
}

#[test]
fn an_entry_without_records_needs_no_disk() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    wait(journal.append(&Entry::new())).unwrap();
    journal.close();
    assert_eq!(directory.taken(), [Step::SyncDirectory], "that of the start");
}

/// One after the other and in one group, five requests fall into the same segments.
fn assert_segments(settings: &JournalSettings, entries: &[Entry], expected: &[&[&str]]) {
    for grouped in [false, true] {
        let directory = MemoryDirectory::default();
        let journal = open(&directory, settings);
        if grouped {
            assert_eq!(append_grouped(&directory, &journal, entries), vec![Ok(()); entries.len()]);
        } else {
            for entry in entries {
                wait(journal.append(entry)).unwrap();
            }
        }
        journal.close();
        assert_eq!(contents(journal.backlog()), expected, "grouped: {grouped}");
        assert_eq!(directory.names().len(), expected.len());
        directory.check();
    }
}

#[test]
fn a_segment_is_sealed_before_it_exceeds_its_bytes() {
    let entries = ["1", "2", "3", "4", "5"].map(entry);
    let exactly_two = JournalSettings { segment_bytes: SegmentHead::bytes() + 2 * RECORD, ..settings() };
    assert_segments(&exactly_two, &entries, &[&["1", "2"], &["3", "4"], &["5"]]);
    let not_quite = JournalSettings { segment_bytes: exactly_two.segment_bytes - 1, ..settings() };
    assert_segments(&not_quite, &entries, &[&["1"], &["2"], &["3"], &["4"], &["5"]]);
}

#[test]
fn a_segment_is_sealed_before_it_exceeds_its_rows() {
    let entries = ["1", "2", "3", "4", "5"].map(entry);
    let settings = JournalSettings { segment_rows: 3, ..settings() };
    assert_segments(&settings, &entries, &[&["1", "2", "3"], &["4", "5"]]);
}

#[test]
fn a_segment_is_of_one_month() {
    let entries = [
        entry_at("1", JANUARY),
        entry_at("2", JANUARY),
        entry_at("3", FEBRUARY),
        entry_at("4", FEBRUARY),
        // Its request was put together before the month ended.
        entry_at("5", JANUARY),
    ];
    assert_segments(&settings(), &entries, &[&["1", "2"], &["3", "4"], &["5"]]);
}

#[test]
fn a_request_larger_than_a_segment_has_one_of_its_own() {
    let large = "large".repeat(1_000);
    let entries = [entry("1"), entry(&large), entry("2"), entry("3")];
    let settings = JournalSettings { segment_bytes: SegmentHead::bytes() + 2 * RECORD, ..settings() };
    assert_segments(&settings, &entries, &[&["1"], &[&large], &["2", "3"]]);
    assert_segments(&settings, &entries[1..], &[&[&large], &["2", "3"]]);
}

#[test]
fn a_segment_is_sealed_when_it_is_old() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &JournalSettings { segment_age: Duration::from_millis(5), ..settings() });
    append(&journal, "old").unwrap();
    let segment = wait(journal.backlog().take());
    assert_eq!(texts(journal.backlog(), &segment), ["old"]);
}

#[test]
fn age_seals_nothing_while_another_segment_waits() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &sealed_at_once());
    append(&journal, "1").unwrap();
    let first = wait(journal.backlog().take());
    append(&journal, "2").unwrap();
    append(&journal, "3").unwrap();
    journal.backlog().delete(&first).unwrap();
    let second = wait(journal.backlog().take());
    assert_eq!(texts(journal.backlog(), &second), ["2", "3"]);
    assert_eq!(directory.names(), [name(2)]);
}

#[test]
fn a_parked_segment_keeps_no_other_from_being_sealed() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &sealed_at_once());
    append(&journal, "1").unwrap();
    let first = wait(journal.backlog().take());
    append(&journal, "2").unwrap();
    journal.backlog().park(first.clone());
    let second = wait(journal.backlog().take());
    assert_eq!(texts(journal.backlog(), &second), ["2"]);
    assert_eq!((journal.backlog().len(), journal.backlog().oldest()), (2, Some(first.oldest)));
    journal.backlog().give_back(first.clone());
    assert_eq!(wait(journal.backlog().take()), first);
}

#[test]
fn a_full_journal_refuses_until_there_is_room() {
    let directory = MemoryDirectory::default();
    let settings = JournalSettings { max_bytes: SegmentHead::bytes() + RECORD, ..sealed_at_once() };
    let journal = open(&directory, &settings);
    append(&journal, "1").unwrap();
    assert_eq!((append(&journal, "2"), journal.check()), (Err(JournalError::Full), Err(JournalError::Full)));
    let segment = wait(journal.backlog().take());
    assert_eq!(append(&journal, "2"), Err(JournalError::Full), "still on disk");
    journal.backlog().delete(&segment).unwrap();
    assert_eq!((journal.check(), append(&journal, "2")), (Ok(()), Ok(())));
}

#[test]
fn more_than_may_wait_is_refused_at_once() {
    let directory = MemoryDirectory::default();
    let max_waiting_bytes = usize::try_from(2 * RECORD).unwrap();
    let journal = open(&directory, &JournalSettings { max_waiting_bytes, ..settings() });
    let entries = ["being written", "2", "3", "one too many"].map(entry);
    let answers = append_grouped(&directory, &journal, &entries);
    assert_eq!(answers, [Ok(()), Ok(()), Ok(()), Err(JournalError::Overloaded)]);
    assert_eq!(append(&journal, "4"), Ok(()));
}

#[test]
fn a_closed_journal_takes_nothing_and_keeps_its_backlog() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    append(&journal, "1").unwrap();
    journal.close();
    journal.close();
    assert_eq!(
        (append(&journal, "2"), journal.check()),
        (Err(JournalError::Closed), Err(JournalError::Closed))
    );
    assert_eq!(contents(journal.backlog()), [["1"]]);
}

#[test]
fn a_journal_that_is_dropped_seals_what_is_open() {
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &settings());
    append(&journal, "1").unwrap();
    let backlog = journal.backlog().clone();
    drop(journal);
    let segment = wait(backlog.take());
    assert_eq!(texts(&backlog, &segment), ["1"]);
}

#[test]
fn room_is_made_for_small_groups_and_gone_from_a_sealed_segment() {
    let head = SegmentHead::bytes();
    let roomy = JournalSettings { room_bytes: 4 * RECORD, ..settings() };
    let directory = MemoryDirectory::default();
    let journal = open(&directory, &roomy);
    let mut lengths = Vec::new();
    for number in 0..7 {
        append(&journal, &number.to_string()).unwrap();
        lengths.push((directory.content(&name(1)).len() as u64 - head) / RECORD);
    }
    assert_eq!(lengths, [5, 5, 5, 5, 9, 9, 9], "room for four, whenever none is left");
    assert_eq!(journal.backlog().bytes(), head + 7 * RECORD, "room does not count");
    journal.close();
    let sealed = head + 7 * RECORD + RecordHead::LENGTH as u64;
    assert_eq!(directory.content(&name(1)).len() as u64, sealed);
    assert_eq!(directory.crash(|_| 0).content(&name(1)).len() as u64, sealed, "durably");
    directory.check();
}

#[test]
fn room_that_a_killed_process_left_is_no_damage() {
    let directory = MemoryDirectory::default();
    let roomy = JournalSettings { room_bytes: 4 * RECORD, ..settings() };
    let journal = open(&directory, &roomy);
    append(&journal, "kept").unwrap();
    let backlog = recovered(&directory.crash(|_| 0));
    let segment = take_waiting(&backlog).unwrap();
    assert_eq!(segment.bytes, SegmentHead::bytes() + RECORD, "the room is cut off");
    assert_eq!(backlog.bytes(), segment.bytes);
    let mut reader = backlog.read(&segment).unwrap().unwrap();
    assert!(matches!(reader.next_item().unwrap(), Item::Record(..)));
    assert_eq!(reader.next_item().unwrap(), Item::End { bytes: 0, zeros: 0 });
}
