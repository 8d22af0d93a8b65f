//! A collector that dies at every step: each acknowledged conversion is told at least once, or is a dead letter.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::mock::{Mock, Reply, Told};
use super::{key, meta, purchase, send, setup};
use crate::harness::{Random, eventually, kills};

/// The fail points of a collector on the way of conversions.
pub const DEATHS: [&str; 7] = [
    "queue_committing:2",
    "queue_committed:2",
    "queue_committed:3",
    "outbox_appended",
    "outbox_appended:2",
    "conversions_sending:2",
    "platform_answered:2",
];

fn told(mock: &Mock) -> BTreeSet<String> {
    mock.told().iter().flat_map(Told::ids).collect()
}

#[test]
fn what_was_acknowledged_is_told_whatever_step_it_dies_at() {
    for point in DEATHS {
        let mock = Mock::start(Reply::taken);
        let first = setup(&meta(&mock, ""));
        let collector = first.clone().start();
        let key = key(&collector);
        // It is known from the snapshot then.
        assert_eq!(send(&collector, &key, &[purchase("before")]).status, 200);
        eventually("what came before", || {
            super::conversions(&collector, &["status"]).contains(" 0          0").then_some(())
        });
        let (_, _) = collector.stop();
        let collector = first.clone().env("WEIR_FAILPOINT", point).start();
        let mut acknowledged = BTreeSet::from(["before".to_owned()]);
        for event in 0..50 {
            let id = format!("e{event}");
            let bearer = format!("Bearer {key}");
            let body = serde_json::json!({ "events": [purchase(&id)] }).to_string();
            let Ok(mut client) = crate::harness::Client::connect(collector.listen) else { break };
            let answer =
                client.send("POST", "/tracking/ingest", &[("Authorization", &bearer)], body.as_bytes());
            let Ok(answer) = answer else { break };
            if answer.status == 200 {
                acknowledged.insert(id);
            }
        }
        let (status, _, _) = collector.await_stopped();
        assert_eq!(status.code(), None, "{point} was not reached");
        let collector = first.start();
        eventually(&format!("all that was acknowledged before {point}"), || {
            told(&mock).is_superset(&acknowledged).then_some(())
        });
        let rows = "SELECT uniqExact(conversion_id) FROM weir.conversions FINAL";
        eventually("their rows", || {
            (collector.sql(rows).parse::<usize>().unwrap() >= acknowledged.len()).then_some(())
        });
        let copies = "SELECT count() - uniqExact(conversion_id) FROM weir.conversions FINAL";
        assert_eq!(collector.sql(copies), "0", "{point}");
    }
}

#[test]
fn kills_at_random_moments_lose_no_conversion() {
    let mut random = Random::seeded("kills between backend and platform");
    let mut number = 0;
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let took = Arc::clone(&taken);
    let mock = Mock::start(move |told| {
        number += 1;
        if number % 5 == 0 {
            return Reply::of(503, "");
        }
        took.lock().unwrap().extend(told.ids());
        Reply::taken(told)
    });
    let setup = setup(&meta(&mock, "rate = { per_second = 1000, batch = 5 }"));
    let mut collector = setup.start();
    let key = key(&collector);
    let mut acknowledged = BTreeSet::new();
    for round in 0..kills(4) {
        for event in 0..30 {
            let ids: Vec<String> = (0..10).map(|at| format!("{round}-{event}-{at}")).collect();
            let events: Vec<_> = ids.iter().map(|id| purchase(id)).collect();
            if send(&collector, &key, &events).status == 200 {
                acknowledged.extend(ids);
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(400)));
        let again = collector.kill();
        collector = again.start();
    }
    assert!(acknowledged.len() >= 1_000, "{}", acknowledged.len());
    eventually("everything that was acknowledged", || {
        taken.lock().unwrap().is_superset(&acknowledged).then_some(())
    });
    let last = "SELECT countIf(last = 'sent'), count() FROM \
        (SELECT argMax(status, at) AS last FROM weir.conversion_deliveries GROUP BY conversion_id)";
    let expected = format!("{0}\t{0}", acknowledged.len());
    eventually("it to be told as sent", || (collector.sql(last) == expected).then_some(()));
    let rows = "SELECT uniqExact(conversion_id), count() FROM weir.conversions FINAL";
    let expected = format!("{0}\t{0}", acknowledged.len());
    eventually("a row each", || (collector.sql(rows) == expected).then_some(()));
}
