//! From the queue to a platform, whatever it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::mock::{Mock, Reply, Told};
use super::{accepted, configure, conversions, key, meta, purchase, setup};
use crate::harness::{Collector, eventually};

/// How often each id was told.
fn counts(mock: &Mock) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in mock.told().iter().flat_map(Told::ids) {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

/// The last status of each conversion, as an operator asks for it.
fn statuses(collector: &Collector) -> BTreeMap<String, String> {
    let query = "SELECT conversion_id, argMax(status, at) FROM weir.conversion_deliveries GROUP BY 1";
    let rows = collector.sql(query);
    rows.lines()
        .map(|row| row.split_once('\t').unwrap())
        .map(|(id, status)| (id.to_owned(), status.to_owned()))
        .collect()
}

#[track_caller]
fn await_statuses(collector: &Collector, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(id, status)| ((*id).to_owned(), (*status).to_owned())).collect();
    let mut found = BTreeMap::new();
    for _ in 0..600 {
        found = statuses(collector);
        if found == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(found, expected);
}

#[test]
fn events_are_told_once_together_and_become_rows() {
    let mock = Mock::start(Reply::taken);
    let collector = setup(&meta(&mock, "")).start();
    let key = key(&collector);
    let events: Vec<Value> = (0..40).map(|event| purchase(&format!("e{event:02}"))).collect();
    accepted(&collector, &key, &events);
    // Sent again, they count, and are not told again.
    accepted(&collector, &key, &events);
    eventually("all of them", || (counts(&mock).len() == 40).then_some(()));
    let expected: Vec<(String, String)> =
        (0..40).map(|event| (format!("e{event:02}"), "sent".to_owned())).collect();
    let expected: Vec<(&str, &str)> =
        expected.iter().map(|(id, status)| (id.as_str(), status.as_str())).collect();
    await_statuses(&collector, &expected);
    assert!(counts(&mock).values().all(|count| *count == 1));
    let told = mock.told();
    assert!(told.len() <= 3, "{} requests for 40 events", told.len());
    assert_eq!(told[0].path, "/v25.0/123/events?access_token=s3cret-token");
    let event = &told[0].body["data"][0];
    assert_eq!(event["event_name"], "Purchase");
    assert_eq!(event["custom_data"]["currency"], "EUR");
    let digest = "8c87b489ce35cf2e2f39f80e282cb2e804932a56a213983eeeb428407d43b52d";
    assert_eq!(event["user_data"]["em"], json!([digest]));
    let query = "SELECT count(), uniqExact(conversion_id), any(email_sha256), round(sum(value)), any(currency) FROM weir.conversions FINAL";
    eventually("a row each", || {
        (collector.sql(query) == format!("40\t40\t{digest}\t1996\tEUR")).then_some(())
    });
    let status = conversions(&collector, &["status"]);
    assert!(status.contains("demo/meta") && status.contains("sends"), "{status}");
}

#[test]
fn one_event_that_is_never_taken_does_not_spoil_the_others() {
    let refused = r#"{"error":{"code":100,"message":"Invalid parameter"}}"#;
    let mock = Mock::start(move |told| {
        if told.ids().iter().any(|id| id == "bad") { Reply::of(400, refused) } else { Reply::taken(told) }
    });
    let collector = setup(&meta(&mock, "")).start();
    let key = key(&collector);
    let ids = ["a", "b", "bad", "c", "d"];
    accepted(&collector, &key, &ids.map(purchase));
    await_statuses(
        &collector,
        &[("a", "sent"), ("b", "sent"), ("bad", "dead"), ("c", "sent"), ("d", "sent")],
    );
    let dead = conversions(&collector, &["dead"]);
    let letter: Value = serde_json::from_str(dead.trim()).unwrap();
    assert_eq!((&letter["id"], &letter["integration"]), (&json!("bad"), &json!("demo/meta")));
    assert!(letter["why"].as_str().unwrap().contains("100"), "{letter}");
    let mistaken = crate::harness::weir()
        .args(["conversions", "replay", "demo/mta", "--ops-listen", &collector.operations.to_string()])
        .output()
        .unwrap();
    assert_eq!(mistaken.status.code(), Some(1));
    let said = String::from_utf8_lossy(&mistaken.stderr).into_owned();
    assert!(said.contains("there is no integration demo/mta"), "{said}");
    // Somebody has put it right.
    mock.answer(Reply::taken);
    assert_eq!(conversions(&collector, &["replay", "demo/meta"]), "1 dead letters are sent again\n");
    await_statuses(&collector, &ids.map(|id| (id, "sent")));
    assert_eq!(conversions(&collector, &["dead"]), "");
}

#[test]
fn what_fails_for_now_is_tried_until_it_is_taken() {
    let mut times = 0;
    let mock = Mock::start(move |told| {
        times += 1;
        match times {
            1 => Reply::Cut,
            2 => Reply::of(500, "<html>"),
            3 => Reply::of(400, r#"{"error":{"code":2,"message":"Service temporarily unavailable"}}"#),
            4 => Reply::Answer(429, "{}".to_owned(), vec!["Retry-After: 2".to_owned()]),
            5 => Reply::Late(Duration::from_millis(300), 200, r#"{"events_received":1}"#.to_owned()),
            _ => Reply::taken(told),
        }
    });
    let collector = setup(&meta(&mock, "")).start();
    accepted(&collector, &key(&collector), &[purchase("a")]);
    await_statuses(&collector, &[("a", "sent")]);
    let told = mock.told();
    assert_eq!(told.len(), 5);
    assert!(told[4].at - told[3].at >= Duration::from_secs(2), "Retry-After was not kept to");
    assert!(told.iter().all(|told| told.ids() == ["a"]));
    let query = "SELECT count() FROM weir.conversion_deliveries FINAL WHERE status = 'retrying'";
    assert_eq!(collector.sql(query), "4");
}

#[test]
fn bad_credentials_pause_an_integration_and_lose_nothing() {
    let mock =
        Mock::start(|_| Reply::of(400, r#"{"error":{"code":190,"message":"Invalid OAuth access token"}}"#));
    let collector = setup(&meta(&mock, "")).start();
    let key = key(&collector);
    accepted(&collector, &key, &[purchase("a")]);
    eventually("the pause", || conversions(&collector, &["status"]).contains("paused since").then_some(()));
    let ready = collector.operations("/readyz").json();
    assert_eq!(ready["status"], "degraded");
    let before = mock.told().len();
    accepted(&collector, &key, &[purchase("b")]);
    await_statuses(&collector, &[("a", "paused"), ("b", "queued")]);
    assert_eq!(mock.told().len(), before, "something was sent in the pause");
    mock.answer(Reply::taken);
    assert_eq!(
        conversions(&collector, &["resume", "demo/meta"]),
        "1 integrations were paused and send again\n"
    );
    await_statuses(&collector, &[("a", "sent"), ("b", "sent")]);
}

#[test]
fn a_block_that_is_put_right_in_place_ends_a_pause_and_a_stop_waits_for_nothing() {
    let mock =
        Mock::start(
            |told| if told.path.contains("better") { Reply::taken(told) } else { Reply::of(401, "") },
        );
    let collector = setup(&meta(&mock, "")).start();
    accepted(&collector, &key(&collector), &[purchase("a")]);
    eventually("the pause", || conversions(&collector, &["status"]).contains("paused since").then_some(()));
    configure(collector.setup(), &meta(&mock, "").replace("s3cret-token", "better"));
    collector.signal("HUP");
    await_statuses(&collector, &[("a", "sent")]);
    let begun = std::time::Instant::now();
    let (status, log, _) = collector.stop_with("TERM");
    assert!(status.success() && begun.elapsed() < Duration::from_secs(8), "{:?}\n{log}", begun.elapsed());
    assert!(!log.contains("in time") && !log.contains("left "), "{log}");
}

#[test]
fn a_changed_block_ends_a_pause_and_a_lost_one_keeps_its_queue() {
    let mock =
        Mock::start(
            |told| if told.path.contains("better") { Reply::taken(told) } else { Reply::of(401, "") },
        );
    let collector = setup(&meta(&mock, "")).start();
    let key = key(&collector);
    accepted(&collector, &key, &[purchase("a")]);
    eventually("the pause", || conversions(&collector, &["status"]).contains("paused since").then_some(()));
    configure(collector.setup(), "");
    collector.signal("HUP");
    let gone = eventually("the integration gone", || {
        let status = conversions(&collector, &["status"]);
        status.contains("not in weir.toml").then_some(status)
    });
    assert!(gone.contains("demo/meta") && gone.contains(" 1 "), "{gone}");
    configure(collector.setup(), &meta(&mock, "").replace("s3cret-token", "better"));
    collector.signal("HUP");
    await_statuses(&collector, &[("a", "sent")]);
}

/// The value of a figure of an integration.
fn figure(collector: &Collector, name: &str) -> Option<String> {
    let figures = collector.operations("/metrics").body;
    let line = figures.lines().find(|line| line.starts_with(name))?;
    line.rsplit_once(' ').map(|(_, value)| value.to_owned())
}

#[test]
fn what_an_operator_discards_is_gone_and_nothing_else() {
    let mock = Mock::start(|_| Reply::of(400, r#"{"error":{"code":100,"message":"Invalid parameter"}}"#));
    let collector = setup(&meta(&mock, "")).start();
    let ids = ["a", "b", "c", "d"];
    accepted(&collector, &key(&collector), &ids.map(purchase));
    await_statuses(&collector, &ids.map(|id| (id, "dead")));
    let operations = collector.operations.to_string();
    for (arguments, code, said) in [
        (&[][..], 64, "required"),
        (&["--all", "demo/meta"], 64, "cannot be used with"),
        (&["demo/mta"], 1, "there is no integration demo/mta"),
    ] {
        let output = crate::harness::weir()
            .args(["conversions", "discard"])
            .args(arguments)
            .args(["--ops-listen", &operations])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && error.contains(said), "{arguments:?}: {error}");
    }
    for path in ["/conversions", "/conversions?id=", "/conversions/dead", "/conversions/dead?integration="] {
        let mut client = crate::harness::Client::connect(collector.operations).unwrap();
        assert_eq!(client.send("DELETE", path, &[], b"").unwrap().status, 400, "{path}");
    }
    assert_eq!(conversions(&collector, &["dead"]).lines().count(), 4, "nothing is deleted by accident");

    assert_eq!(conversions(&collector, &["discard", "--id", "x"]), "0 conversions are deleted\n");
    assert_eq!(
        conversions(&collector, &["discard", "demo/meta", "--id", "a"]),
        "1 conversions are deleted\n"
    );
    assert_eq!(conversions(&collector, &["discard", "--id", "b"]), "1 conversions are deleted\n");
    let query = "SELECT conversion_id, argMax(status, at), argMax(answer, at) AS last \
        FROM weir.conversion_deliveries GROUP BY 1 HAVING last LIKE 'discarded%' ORDER BY 1";
    let rows = "a\tdead\tdiscarded by an operator\nb\tdead\tdiscarded by an operator";
    eventually("rows of both", || (collector.sql(query) == rows).then_some(()));
    assert_eq!(conversions(&collector, &["discard", "demo/meta"]), "2 dead letters are deleted\n");
    assert_eq!(conversions(&collector, &["dead"]), "");
    let discarded = r#"weir_conversions_total{integration="demo/meta",outcome="discarded"}"#;
    assert_eq!(figure(&collector, discarded).as_deref(), Some("4"));
}

#[test]
fn nothing_is_shown_any_more_of_an_integration_that_is_gone_with_all_that_was_discarded() {
    let mock = Mock::start(|_| Reply::of(400, r#"{"error":{"code":100,"message":"Invalid parameter"}}"#));
    let collector = setup(&meta(&mock, "")).start();
    accepted(&collector, &key(&collector), &[purchase("a")]);
    let dead = r#"weir_conversions_dead{integration="demo/meta"}"#;
    eventually("the dead letter", || (figure(&collector, dead)? == "1").then_some(()));
    configure(collector.setup(), "");
    collector.signal("HUP");
    eventually("the integration gone", || {
        conversions(&collector, &["status"]).contains("not in weir.toml").then_some(())
    });
    assert_eq!(conversions(&collector, &["discard", "--all"]), "1 dead letters are deleted\n");
    assert_eq!(figure(&collector, dead).as_deref(), Some("0"));
    assert!(conversions(&collector, &["status"]).starts_with("there is no integration"));
}
