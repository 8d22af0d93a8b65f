//! `POST /tracking/ingest` as the contract has it.

use serde_json::{Value, json};

use super::mock::{Mock, Reply};
use super::{accepted, configure, key, meta, purchase, send, setup};
use crate::harness::{Answer, Collector, eventually};

fn post(collector: &Collector, headers: &[(&str, &str)], body: &str) -> Answer {
    collector.client().send("POST", "/tracking/ingest", headers, body.as_bytes()).unwrap()
}

#[test]
fn who_may_not_send_is_told_so_and_nothing_more() {
    let collector = setup("").start();
    let good = key(&collector);
    let events = collector.weir(&["key", "create", "demo"]);
    let body = json!({ "events": [purchase("1")] }).to_string();
    let mut last = good.clone().into_bytes();
    *last.last_mut().unwrap() ^= 1;
    let typo = String::from_utf8(last).unwrap();
    for authorization in
        ["", "Bearer", "Bearer ", "Basic x", &good, &format!("Bearer {events}"), &format!("Bearer {typo}")]
    {
        let answer = post(&collector, &[("Authorization", authorization)], &body);
        assert_eq!(answer.status, 401, "{authorization}");
        assert_eq!(answer.json(), json!({ "error": "Invalid or missing API key" }), "{authorization}");
    }
    assert_eq!(post(&collector, &[], &body).status, 401);
    let bearer = format!("Bearer {good}");
    let twice = [("Authorization", bearer.as_str()), ("Authorization", bearer.as_str())];
    assert_eq!(post(&collector, &twice, &body).status, 401);
    // A page may ask, and its answer can be read.
    let answer = post(&collector, &[("Authorization", &bearer), ("Origin", "https://a.test")], &body);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (207, Some("https://a.test")));
}

#[test]
fn what_is_no_request_of_events_is_refused_as_a_whole() {
    let collector = setup("").start();
    let bearer = format!("Bearer {}", key(&collector));
    let headers = [("Authorization", bearer.as_str())];
    for body in ["", "x", "[]", "{}", r#"{"events":[]}"#, r#"{"events":{}}"#, r#"{"events":null}"#] {
        let answer = post(&collector, &headers, body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["error"].as_str().is_some_and(|text| !text.is_empty()), "{body}: {answer:?}");
    }
    let many: Vec<Value> = (0..101).map(|event| purchase(&event.to_string())).collect();
    let answer = post(&collector, &headers, &json!({ "events": many }).to_string());
    assert_eq!(
        (answer.status, answer.json()),
        (400, json!({ "error": "Too many events. Maximum 100 per request." }))
    );
    for method in ["GET", "PUT"] {
        let answer = collector.client().send(method, "/tracking/ingest", &headers, b"").unwrap();
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
        assert!(answer.json()["error"].is_string(), "{answer:?}");
    }
}

#[test]
fn each_event_is_answered_at_its_index() {
    let mock = Mock::start(Reply::taken);
    let collector = setup(&meta(&mock, "")).start();
    let key = key(&collector);
    let mut elsewhere = purchase("b");
    elsewhere["platform"] = json!("snapchat");
    let mut unknown = purchase("c");
    unknown["platform"] = json!("myspace");
    let mut currency = purchase("d");
    currency["customData"]["currency"] = json!("EURO");
    let answer = send(&collector, &key, &[purchase("a"), elsewhere, unknown, currency, purchase("e")]);
    assert_eq!(answer.status, 207);
    let json = answer.json();
    assert_eq!(json["processed"], 2);
    let errors = json["errors"].as_array().unwrap();
    let indexes: Vec<u64> = errors.iter().map(|error| error["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [1, 2, 3]);
    let message = |at: usize| errors[at]["message"].as_str().unwrap();
    assert_eq!(message(0), "No active integration found for platform: snapchat");
    assert!(message(1).starts_with("platform: expected one of meta, tiktok"), "{}", message(1));
    assert_eq!(message(2), "customData.currency: expected an ISO 4217 code");
    // None of them: still 207.
    let mut none = purchase("f");
    none["platform"] = json!("tiktok");
    let answer = send(&collector, &key, &[none]);
    assert_eq!((answer.status, &answer.json()["processed"]), (207, &json!(0)));
    eventually("both purchases", || {
        (mock.told().iter().flat_map(super::mock::Told::ids).count() == 2).then_some(())
    });
    eventually("the refused ones", || {
        let query =
            "SELECT count(), countIf(event = '') FROM weir.rejected_events WHERE source = 'conversions'";
        (collector.sql(query) == "4\t4").then_some(())
    });
}

#[test]
fn without_consent_nothing_is_sent_and_the_refusal_is_told() {
    let mock = Mock::start(Reply::taken);
    let consent = r#"consent = { required = true, categories = ["marketing"] }"#;
    let collector = setup(&meta(&mock, consent)).start();
    let key = key(&collector);
    let mut events = Vec::new();
    for (id, consent) in [
        ("none", json!(null)),
        ("other", json!({ "granted": ["statistics"] })),
        ("empty", json!({ "granted": [] })),
        ("contradiction", json!({ "granted": ["marketing"], "raw": "statistics" })),
        ("cookie", json!({ "raw": "statistics%2Cmarketing" })),
    ] {
        let mut event = purchase(id);
        event["consent"] = consent;
        events.push(event);
    }
    accepted(&collector, &key, &events);
    eventually("the one that was agreed to", || (!mock.told().is_empty()).then_some(()));
    let query = "SELECT conversion_id, status, answer FROM weir.conversion_deliveries WHERE status = 'consent_denied' ORDER BY 1";
    eventually("those that were not", || (collector.sql(query).lines().count() == 4).then_some(()));
    let told: Vec<String> = mock.told().iter().flat_map(super::mock::Told::ids).collect();
    assert_eq!(told, ["cookie"]);
    let query =
        "SELECT count() FROM weir.conversions WHERE email_sha256 != '' OR address != '' OR user_agent != ''";
    eventually("its row alone with an identity", || (collector.sql(query) == "1").then_some(()));
}

#[test]
fn integrations_are_read_anew_on_sighup_and_a_broken_file_changes_nothing() {
    let mock = Mock::start(Reply::taken);
    let collector = setup("").start();
    let key = key(&collector);
    assert_eq!(send(&collector, &key, &[purchase("a")]).status, 207);
    configure(collector.setup(), &meta(&mock, ""));
    collector.signal("HUP");
    eventually("the integration", || (send(&collector, &key, &[purchase("b")]).status == 200).then_some(()));
    configure(collector.setup(), &meta(&mock, "pixle_id = \"1\""));
    collector.signal("HUP");
    let said = collector.await_log("the integrations stay as they were");
    let error = said["error"].as_str().unwrap();
    assert!(
        error.contains("integration 1 (meta of demo): pixle_id: no such key") && !error.contains("s3cret"),
        "{error}"
    );
    accepted(&collector, &key, &[purchase("c")]);
}

#[test]
fn a_full_queue_acknowledges_nothing_more() {
    let mock = Mock::start(|_| Reply::of(503, ""));
    let collector = setup(&meta(&mock, "")).with(&["--conversions-max", "5"]).start();
    let key = key(&collector);
    accepted(&collector, &key, &["a", "b", "c"].map(purchase));
    let answer = send(&collector, &key, &["d", "e", "f"].map(purchase));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")));
    assert!(answer.json()["error"].as_str().unwrap().contains("full"), "{answer:?}");
    // All of a request or nothing of it; what is there already is no more.
    accepted(&collector, &key, &["a", "b", "c", "d", "e"].map(purchase));
    let status = super::conversions(&collector, &["status"]);
    assert!(status.contains(" 5 "), "{status}");
    mock.answer(Reply::taken);
    eventually("an empty queue", || {
        super::conversions(&collector, &["status"]).contains(" 0          0").then_some(())
    });
    accepted(&collector, &key, &["f", "g", "h"].map(purchase));
}

#[test]
fn who_asks_that_nothing_be_shared_is_kept_from_platforms_that_know_no_limit() {
    let mock = Mock::start(Reply::taken);
    let x = format!(
        "[[integration]]\nproject = \"demo\"\nplatform = \"twitter\"\nbase_url = \"{}\"\npixel_id = \"1\"\n\
         event_tag_id = \"tw-1-2\"\npixel_token = \"t\"\n",
        mock.url()
    );
    let collector = setup(&[meta(&mock, ""), x].concat()).start();
    let key = key(&collector);
    let mut to_meta = purchase("a");
    to_meta["consent"] = json!({ "granted": ["marketing"], "gpc": true });
    let mut to_x = to_meta.clone();
    to_x["platform"] = json!("x");
    accepted(&collector, &key, &[to_meta, to_x]);
    eventually("the denial", || {
        let query =
            "SELECT integration, answer FROM weir.conversion_deliveries WHERE status = 'consent_denied'";
        (collector.sql(query) == "demo/twitter\topted_out").then_some(())
    });
    eventually("what Meta is told", || (!mock.told().is_empty()).then_some(()));
    let told = mock.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].body["data"][0]["data_processing_options"], json!(["LDU"]));
}
