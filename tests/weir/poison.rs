//! Generated hostile events between good ones, through the running collector into the real engine: every good one
//! arrives, every accepted one is stored as sent, every refused one is kept with its reason, and nothing is stuck.

use std::collections::HashMap;

use uuid::Uuid;

use crate::harness::{Collector, Figures, Random, Setup, eventually};

const BATCHES: usize = 40;
const MUTANTS: usize = 150;

/// What the tables have to hold.
#[derive(Default)]
struct Expected {
    /// Events by id, with their `data` where it is known.
    stored: HashMap<Uuid, Option<String>>,
    /// Rows of `rejected_events`, by the event's text in hexadecimal digits and what stands in this column.
    kept: Vec<(String, &'static str, String)>,
    /// Events that ClickHouse itself refuses.
    poisoned: usize,
    /// Events that were answered as received.
    received: usize,
}

/// The first 4 KiB, as ClickHouse's `hex` gives them.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(4_096).fold(String::new(), |digits, byte| digits + &format!("{byte:02X}"))
}

fn one_of<'a>(random: &mut Random, choices: &[&'a str]) -> &'a str {
    let index = random.below(choices.len() as u64);
    choices[usize::try_from(index).unwrap()]
}

/// A piece of JSON text that the grammar allows and nobody expects.
fn value(random: &mut Random, depth: u32) -> String {
    let times = |random: &mut Random, piece: &str, most: u64| {
        piece.repeat(usize::try_from(random.below(most)).unwrap())
    };
    match random.below(if depth > 3 { 4 } else { 9 }) {
        0 => one_of(
            random,
            &["1e400", "-0", "1E-999", "123456789012345678901234567890", "-9223372036854775809"],
        )
        .to_owned(),
        1 => one_of(
            random,
            &["null", "true", "\"\"", "[]", "{}", "\"\\ud800\"", "\"\\udfff\\ud800\"", "\"\\u0000\""],
        )
        .to_owned(),
        2 => one_of(
            random,
            &[
                "\"\\\\N\"",
                "\"\\\"'`;--\\t\\r\\n\"",
                "\"\u{202e}\u{7f}\u{fffe}🏴\"",
                "\"9999-99-99\"",
                "\"2299-12-31T23:59:59.999Z\"",
                "\"0000-01-01T00:00:00Z\"",
                "\"1900-01-01T00:00:00+14:00\"",
                "\"+10000-01-01T00:00:00Z\"",
            ],
        )
        .to_owned(),
        3 => {
            let piece = one_of(random, &["x", "é", "\\u00e9", "\\\\"]);
            format!("\"{}\"", times(random, piece, 70_000))
        }
        4 => {
            let levels = one_of(random, &["1", "62", "64", "66", "2000"]).parse().unwrap();
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        }
        5 => format!("[{}]", [value(random, depth + 1), value(random, depth + 1)].join(" ,\n")),
        6 => {
            let keys: Vec<String> =
                (0..random.below(300)).map(|key| format!("\"{}{key}\":{key}", random.next())).collect();
            format!("{{{}}}", keys.join(","))
        }
        _ => {
            let mut members = Vec::new();
            for _ in 0..random.below(5) {
                let long = times(random, "k", 10_000);
                let keys = ["", ".", "a.b", "a", "a", "\\u0000", "__proto__", "`\\\"", "\\ud83d", "A", &long];
                members.push(format!("\"{}\" : {}", one_of(random, &keys), value(random, depth + 1)));
            }
            format!("{{{}}}", members.join(","))
        }
    }
}

/// An event of a batch that is meant to hurt; with its id and its `data` where these are plain to see.
fn hostile(random: &mut Random) -> (String, Uuid, Option<String>) {
    let id = Uuid::now_v7();
    let plain = format!(r#""type":"hostile","url":"/h","eventId":"{id}""#);
    match random.below(12) {
        // Not even an object.
        0 => (value(random, 0), id, None),
        1..=4 => {
            let data = value(random, 0);
            (format!(r#"{{{plain},"data":{data}}}"#), id, data.starts_with('{').then_some(data))
        }
        5 | 6 => {
            let field =
                one_of(random, &["timestamp", "visitorId", "userId", "referrer", "no such field", ""]);
            (format!(r#"{{{plain},"{field}":{}}}"#, value(random, 1)), id, None)
        }
        // A field that is there already, or stands where it is plain.
        7 => {
            let field = one_of(random, &["type", "url", "eventId"]);
            (format!(r#"{{{plain},"{field}":{}}}"#, value(random, 2)), id, None)
        }
        8 => {
            let field = one_of(random, &["type", "url"]);
            let other = if field == "type" { "url" } else { "type" };
            let event = format!(r#"{{"eventId":"{id}","{other}":"x","{field}":{}}}"#, value(random, 2));
            (event, id, None)
        }
        9 => (format!(r#"{{{plain},"timestamp":"{}"}}"#, moment(random)), id, None),
        10 => (format!("{{{}}}", plain.replace("\"type\"", "\"t\\u0079pe\"")), id, Some("{}".to_owned())),
        _ => (format!(r#"{{{plain},"data":{{"a":"{}"}}}}"#, "é".repeat(32_000)), id, None),
    }
}

fn moment(random: &mut Random) -> String {
    let part = |random: &mut Random, end: u64| random.below(end);
    let (year, month, day) = (1_890 + part(random, 420), part(random, 14), part(random, 33));
    let (hour, minute) = (part(random, 26), part(random, 62));
    let zone = one_of(random, &["Z", "", "+0530", "-23:59", "+24:00"]);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:60{zone}")
        .replace(":60", one_of(random, &[":59", ":60", "", ":00.999999999999"]))
}

/// Sends good events with hostile ones between them, and a few that a constraint of the table refuses.
fn send_batch(collector: &Collector, random: &mut Random, expected: &mut Expected) {
    let mut events: Vec<(String, Uuid, Option<String>)> = Vec::new();
    for index in 0..6 {
        let id = if random.below(2) == 0 { Uuid::now_v7() } else { Uuid::new_v4() };
        let data = format!(r#"{{"n":{index}}}"#);
        events.push((
            format!(r#"{{"type":"good","url":"/","eventId":"{id}","data":{data}}}"#),
            id,
            Some(data),
        ));
        events.push(hostile(random));
    }
    if random.below(8) == 0 {
        let id = Uuid::now_v7();
        events.push((format!(r#"{{"type":"poison","url":"/","eventId":"{id}"}}"#), id, None));
    }
    let texts: Vec<&str> = events.iter().map(|(text, ..)| text.as_str()).collect();
    let body = format!(r#"{{"projectKey":"pk_live_demo","events":[{}]}}"#, texts.join(","));
    let answer = collector.post(&body);
    assert_eq!(answer.status, 200, "{answer:?} to {body:.2000}");
    let json = answer.json();
    let mut rejected = HashMap::new();
    for one in json["rejected"].as_array().into_iter().flatten() {
        let index = usize::try_from(one["index"].as_u64().unwrap()).unwrap();
        rejected.insert(index, one["message"].as_str().unwrap().to_owned());
    }
    assert_eq!(json["received"], events.len() - rejected.len(), "{answer:?}");
    for (index, (text, id, data)) in events.into_iter().enumerate() {
        if let Some(message) = rejected.remove(&index) {
            assert!(index % 2 == 1 && !text.contains("poison"), "a good event is rejected: {message}");
            expected.kept.push((hex(text.as_bytes()), "message", message));
            continue;
        }
        expected.received += 1;
        if text.contains(r#""type":"poison""#) {
            expected.poisoned += 1;
        } else {
            expected.stored.insert(id, data);
        }
    }
}

/// Sends a body with a few of its bytes changed, cut out or doubled: it may be anything.
fn send_mutant(collector: &Collector, random: &mut Random, expected: &mut Expected) {
    let below = |random: &mut Random, end: usize| usize::try_from(random.below(end as u64)).unwrap();
    let body = if random.below(2) == 0 {
        let (event, ..) = hostile(random);
        format!(r#"{{"projectKey":"pk_live_demo","events":[{event:.3000}]}}"#)
    } else {
        let more = value(random, 3);
        format!(
            r#"{{"projectKey":"pk_live_demo","type":"mutant","visitorId":"v","url":"https://a.test/","data":{{}},"x":{more:.3000}}}"#
        )
    };
    let mut bytes = body.into_bytes();
    for _ in 0..random.below(4) {
        let at = below(random, bytes.len());
        match random.below(4) {
            0 => bytes[at] = 0xff,
            1 => bytes[at] = random.next().to_le_bytes()[0],
            2 => drop(bytes.remove(at)),
            _ => {
                let end = (at + 20).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    let answer = collector.post(&bytes);
    assert!(
        [200, 400, 401, 413].contains(&answer.status),
        "{answer:?} to {}",
        String::from_utf8_lossy(&bytes)
    );
    if answer.status == 200 {
        expected.received += usize::try_from(answer.json()["received"].as_u64().unwrap()).unwrap();
        return;
    }
    // What an independent reader can decode, with the key of a known project in it, has to be kept.
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return };
    let twice = String::from_utf8_lossy(&bytes).matches("projectKey").count() != 1;
    if json["projectKey"] == "pk_live_demo" && !twice && answer.status == 400 {
        let whole = json.get("events").is_none_or(|events| events.as_array().is_none_or(Vec::is_empty));
        // A batch keeps its events, and answers with what is wrong with the first of them.
        let event = if whole { hex(&bytes) } else { String::new() };
        expected.kept.push((event, "reason", answer.code()));
    }
}

#[test]
fn hostile_events_between_good_ones_harm_none_and_are_kept() {
    let mut random = Random::seeded("hostile events");
    let collector = Setup::new().with(&["--parked-pause", "1s", "--max-rejected", "1000000"]).start();
    collector.admin_sql("ALTER TABLE weir.events ADD CONSTRAINT no_poison CHECK type != 'poison'");
    let mut expected = Expected::default();
    for _ in 0..BATCHES {
        send_batch(&collector, &mut random, &mut expected);
        for _ in 0..MUTANTS / BATCHES {
            send_mutant(&collector, &mut random, &mut expected);
        }
    }
    collector.await_loaded();

    let listed = collector.sql("SELECT event_id, hex(data), type = 'good' FROM weir.events");
    let mut unseen = expected.stored.clone();
    for line in listed.lines() {
        let [id, data, _] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        // Those whose id is not plain to see are counted below.
        if let Some(Some(sent)) = unseen.remove(&id.parse::<Uuid>().unwrap()) {
            assert!(
                sent.len() * 2 == data.len() && hex(sent.as_bytes()) == data[..data.len().min(8_192)],
                "{sent:.500}"
            );
        }
    }
    assert!(unseen.is_empty(), "not stored: {unseen:?}");
    let stored = expected.received - expected.poisoned;
    assert_eq!(
        collector.sql("SELECT count(), uniqExact(event_id) FROM weir.events"),
        format!("{stored}\t{stored}")
    );
    let refused = "SELECT count() FROM weir.rejected_events WHERE reason = 'refused_by_clickhouse'";
    assert_eq!(collector.sql(refused), expected.poisoned.to_string());

    let listed = collector.sql("SELECT hex(event), reason, message FROM weir.rejected_events");
    let mut kept: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for line in listed.lines() {
        let [event, reason, message] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        *kept.entry((event, "reason", reason)).or_default() += 1;
        *kept.entry((event, "message", message)).or_default() += 1;
        *kept.entry(("", "reason", reason)).or_default() += 1;
    }
    for (event, column, text) in &expected.kept {
        let left = kept.entry((event, column, text)).or_default();
        assert!(*left > 0, "no row with the {column} {text} keeps {event:.300}");
        *left -= 1;
    }
    eprintln!(
        "{} events received, {} poisoned, {} refusals expected of {}",
        expected.received,
        expected.poisoned,
        expected.kept.len(),
        listed.lines().count()
    );
    assert!(expected.poisoned > 0 && expected.kept.len() > 20, "too tame a run");
    let figures = Figures::parse(&collector.operations("/metrics").body);
    assert_eq!(figures.count("weir_journal_parked"), 0);
    eventually("ready", || (collector.operations("/readyz").json()["status"] == "ready").then_some(()));
}
