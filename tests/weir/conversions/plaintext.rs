//! No e-mail address, phone number or name is anywhere in what a collector has written.

use serde_json::json;

use super::mock::{Mock, Reply};
use super::{accepted, conversions, files, key, meta, purchase, send, setup};
use crate::harness::{Collector, eventually};

const EMAIL: &str = "quincy.adams.plain@example.com";
/// Of the address, whatever becomes of the rest.
const LOCAL: &str = "quincy.adams.plain";
const PHONE: &str = "+4915155512399";
const FIRST: &str = "Quincyplain";
const LAST: &str = "Adamsplain";
/// Has to be kept as it is: the search must find it.
const AGENT: &str = "ControlAgent77";

fn finds(bytes: &[u8], text: &str) -> bool {
    let (bytes, text) = (bytes.to_ascii_lowercase(), text.to_ascii_lowercase());
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Sends events that are valid and others that are not, with plain text wherever it can stand.
fn send_all(collector: &Collector) {
    let key = key(collector);
    let event = |id: &str| {
        let mut event = purchase(id);
        event["userData"] = json!({
            "email": EMAIL, "phone": PHONE, "firstName": FIRST, "lastName": LAST, "userAgent": AGENT,
        });
        event
    };
    accepted(collector, &key, &[event("sent")]);
    accepted(collector, &key, &[event("dead")]);
    accepted(collector, &key, &[event("waits")]);
    let mut denied = event("denied");
    denied["consent"] = json!({ "granted": [] });
    accepted(collector, &key, &[denied]);
    // What pages and shops let slip into other fields.
    let mut page = event("page");
    page["sourceUrl"] =
        json!(format!("https://shop.example/{LAST}.{FIRST}?a=1&to={}#{EMAIL}", EMAIL.replace('@', "%40")));
    page["userData"]["userAgent"] = json!(format!("{AGENT} ({EMAIL}; 0151-55512399)"));
    page["userData"]["externalId"] = json!(EMAIL.replace('@', "%40"));
    accepted(collector, &key, &[page]);
    let full_name = format!("for Mr. {FIRST} {LAST}");
    for (member, value) in [
        ("note", EMAIL),
        ("note", &full_name),
        ("orderId", EMAIL),
        ("orderId", "0151 55512399"),
        ("callback", PHONE),
        ("contentName", EMAIL),
        ("Surname", LAST),
    ] {
        let mut faulty = event("faulty");
        faulty["customData"][member] = json!(value);
        assert_eq!(send(collector, &key, &[faulty]).status, 207, "{member}");
    }
    let mut faulty = event("faulty");
    faulty["customData"]["email"] = json!(EMAIL);
    assert_eq!(send(collector, &key, &[faulty]).status, 207);
    let mut faulty = event("faulty");
    faulty["userData"]["firstName"] = json!([FIRST]);
    faulty["userData"]["email"] = json!({ "is": EMAIL });
    assert_eq!(send(collector, &key, &[faulty]).status, 207);
}

#[test]
fn who_somebody_is_stands_nowhere_in_plain_text() {
    // It is queued, sent, refused, retried, dead, denied; its request is faulty; the engine is asked.
    let mock = Mock::start(|told| {
        let has = |id: &str| told.ids().iter().any(|told| told == id);
        if has("dead") {
            return Reply::of(400, r#"{"error":{"code":100,"message":"Invalid parameter"}}"#);
        }
        if has("waits") { Reply::of(500, "") } else { Reply::taken(told) }
    });
    let collector = setup(&meta(&mock, "")).env("WEIR_LOG", "trace").start();
    send_all(&collector);
    eventually("rows of all", || {
        let query = "SELECT uniqExact(conversion_id) FROM weir.conversions";
        (collector.sql(query) == "5").then_some(())
    });
    let shown = [
        conversions(&collector, &["dead"]),
        conversions(&collector, &["status"]),
        collector.operations("/metrics").body,
        collector.admin_sql("SELECT * FROM weir.conversions FORMAT JSONEachRow"),
        collector.admin_sql("SELECT * FROM weir.conversion_deliveries FORMAT JSONEachRow"),
        collector.admin_sql("SELECT * FROM weir.rejected_events FORMAT JSONEachRow"),
    ];
    let (_, log, setup) = collector.stop_with("TERM");
    let mut written: Vec<(String, Vec<u8>)> =
        shown.into_iter().enumerate().map(|(at, text)| (format!("answer {at}"), text.into_bytes())).collect();
    written.push(("the log".to_owned(), log.into_bytes()));
    let bodies: Vec<String> = mock.told().iter().map(|told| told.body.to_string()).collect();
    written.push(("what the platform was told".to_owned(), bodies.concat().into_bytes()));
    for file in files(setup.data_dir()) {
        written.push((file.display().to_string(), std::fs::read(&file).unwrap()));
    }
    for (name, bytes) in &written {
        for plain in [LOCAL, "55512399", FIRST, LAST, "s3cret-token"] {
            let is_config = plain == "s3cret-token" && name.ends_with("weir.toml");
            assert!(is_config || !finds(bytes, plain), "{plain} stands in {name}");
        }
    }
    let queue = written.iter().find(|(name, _)| name.ends_with("queue.redb")).expect("the queue is searched");
    assert!(finds(&queue.1, AGENT), "the search does not find what is in the queue");
    assert!(finds(&written[3].1, AGENT), "nor what is in the table");
}
