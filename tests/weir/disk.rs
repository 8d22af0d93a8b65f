//! A journal that has no room: its disk is full, or it has reached its own cap. Requests get 503, nothing that was
//! acknowledged is lost, and it goes on by itself.

use std::fs::File;
use std::io::Write as _;

use uuid::Uuid;

use crate::harness::{Answer, Collector, Load, Random, Setup, assert_exactly_once, eventually};

const MIB: u64 = 1024 * 1024;

/// Sends batches of half a MiB until one is not taken; gives how many events were, and the refusal.
#[track_caller]
fn send_until_refused(collector: &Collector) -> (usize, Answer) {
    let data = "x".repeat(50_000);
    for batch in 0..100 {
        let event = |_| {
            format!(r#"{{"type":"large","url":"/","eventId":"{}","data":{{"x":"{data}"}}}}"#, Uuid::now_v7())
        };
        let events: Vec<String> = (0..10).map(event).collect();
        let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{}]}}"#, events.join(","));
        let answer = collector.post(body);
        if answer.status != 200 {
            return (batch * 10, answer);
        }
        assert_eq!(answer.body, r#"{"received":10}"#);
    }
    panic!("50 MB were taken");
}

#[track_caller]
fn assert_come_back_later(answer: &Answer, code: &str, seconds: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (503, code), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some(seconds), "{answer:?}");
}

/// Waits for `/readyz` to have this status and word, and to say this.
#[track_caller]
fn await_readiness(collector: &Collector, status: u16, word: &str, reason: &str) {
    eventually(&format!("{word}: {reason}"), || {
        let answer = collector.operations("/readyz");
        let is_so = answer.status == status && answer.json()["status"] == word;
        (is_so && answer.body.contains(reason)).then_some(())
    });
}

/// Waits until ClickHouse has confirmed everything; the journal may lie where only the collector sees it.
#[track_caller]
fn await_confirmed(collector: &Collector) {
    eventually("an empty journal", || (collector.figures().count("weir_journal_bytes") == 0).then_some(()));
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_recovers_when_space_is_back() {
    let server = Collector::start();
    let setup = Setup::new().without_demo().on_server(server.setup(), server.engine_port());
    let collector = setup.on_small_disk(4 * MIB).start();
    let mut random = Random::seeded("a full disk");
    let load = Load::start(4, &mut random);
    load.aim(&collector);
    eventually("some rows", || (server.sql("SELECT count() FROM weir.events") != "0").then_some(()));

    // Somebody else takes all the space, under load.
    let ballast = collector.journal().join("ballast");
    let mut file = File::create(&ballast).unwrap();
    let filled = std::iter::repeat_with(|| file.write(&[0; 4096])).take(2_000).find(Result::is_err);
    assert_eq!(filled.unwrap().unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    await_readiness(&collector, 503, "unavailable", "the journal's disk does not take events");
    let (_, refusal) = send_until_refused(&collector);
    assert_come_back_later(&refusal, "journal_failed", "5");
    assert!(collector.figures().count("weir_journal_failures_total") > 0);
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    await_readiness(&collector, 200, "ready", "");
    let sent = load.finish();
    await_confirmed(&collector);
    // What was refused and sent again had the same ids, in one collector's life: there is no copy.
    assert!(sent.iter().all(|sent| sent.lives <= 1));
    assert_exactly_once(&server, &sent);

    // The journal itself takes all the space, while ClickHouse is away.
    let server = server.kill();
    let (taken, refusal) = send_until_refused(&collector);
    assert_come_back_later(&refusal, "journal_failed", "5");
    assert!(taken > 0, "nothing was taken before the disk was full");
    await_readiness(&collector, 503, "unavailable", "the journal's disk does not take events");
    let server = server.start();
    await_readiness(&collector, 200, "ready", "");
    await_confirmed(&collector);
    let counts = "SELECT count(), uniqExact(event_id) FROM weir.events WHERE type = 'large'";
    assert_eq!(server.sql(counts), format!("{taken}\t{taken}"));
}

#[test]
fn a_journal_at_its_cap_refuses_and_goes_on_when_clickhouse_is_back() {
    let server = Collector::start();
    let setup = Setup::new().without_demo().on_server(server.setup(), server.engine_port());
    let collector = setup.with(&["--journal-max", "4MiB", "--segment-size", "1MiB"]).start();
    // Its key is known from here on.
    eventually("a key that is known", || {
        let event =
            r#"{"type":"first","visitorId":"v_1","projectKey":"pk_live_demo","url":"https://a.test/"}"#;
        (collector.post(event).status == 200).then_some(())
    });
    collector.await_loaded();

    let server = server.kill();
    let (taken, refusal) = send_until_refused(&collector);
    assert_come_back_later(&refusal, "journal_full", "30");
    await_readiness(&collector, 503, "unavailable", "the journal is full because");
    // One request may cross the cap, those after it do not.
    let bytes = collector.figures().count("weir_journal_bytes");
    assert!((4 * MIB..5 * MIB).contains(&bytes), "{bytes}");
    assert_come_back_later(&send_until_refused(&collector).1, "journal_full", "30");
    assert_eq!(collector.figures().count("weir_journal_bytes"), bytes);

    let server = server.start();
    await_readiness(&collector, 200, "ready", "");
    let counts = "SELECT count(), uniqExact(event_id) FROM weir.events WHERE type = 'large'";
    await_confirmed(&collector);
    assert_eq!(server.sql(counts), format!("{taken}\t{taken}"));
    let event = r#"{"type":"after","visitorId":"v_1","projectKey":"pk_live_demo","url":"https://a.test/"}"#;
    assert_eq!(collector.post(event).status, 200);
}
