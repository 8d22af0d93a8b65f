//! Generated hostile events between good ones, through the running collector into the real engine: every good one
//! arrives, every accepted one is stored as sent, every refused one is kept with its reason, and nothing is stuck.

mod hostile;
mod oracle;

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use self::hostile::{KINDS, Kind, LIMIT, SPOILERS, Sent, hostile, value};
use self::oracle::{Events, read};
use crate::harness::{Answer, Collector, Random, Setup, eventually};

const BATCHES: usize = 40;
/// Hostile events in each.
const HOSTILE: usize = 6;
/// Bodies with bytes changed at random, behind each batch.
const MUTANTS: usize = 6;

/// What the tables have to hold.
#[derive(Default)]
struct Expected {
    /// Events by id, with their `data` where it is known.
    stored: HashMap<Uuid, Option<String>>,
    /// Rows of `rejected_events`, by event in hexadecimal digits, reason and message.
    kept: BTreeMap<(String, String, String), usize>,
    /// Those of which nobody was told more than that they are refused, by event.
    kept_unsaid: BTreeMap<String, usize>,
    /// Events that ClickHouse itself refuses.
    poisoned: Vec<Uuid>,
    /// Events that were answered as received.
    received: usize,
    /// Hostile events by kind: those that were taken, and those that were not.
    fates: BTreeMap<Kind, [usize; 2]>,
    /// Mutants by status.
    mutants: BTreeMap<u16, usize>,
    /// Mutants of which a part was taken.
    partly: usize,
}

impl Expected {
    fn keep(&mut self, event: &[u8], reason: &str, message: &str) {
        *self.kept.entry((hex(event), reason.to_owned(), message.to_owned())).or_default() += 1;
    }
}

/// The first 4 KiB, as ClickHouse's `hex` gives them.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(4_096).fold(String::new(), |digits, byte| digits + &format!("{byte:02X}"))
}

/// The reason that goes with what a client is told of one event of many.
fn reason(message: &str) -> &'static str {
    let words = [
        ("is missing;", "missing_field"),
        ("is empty;", "empty_field"),
        ("is given twice;", "duplicate_field"),
        ("escapes half of a surrogate pair;", "invalid_text"),
        ("bytes of JSON;", "event_too_large"),
        ("has over ", "too_long"),
        ("is not absolute;", "invalid_url"),
        ("is not a moment ", "invalid_timestamp"),
        ("is not a UUID;", "invalid_event_id"),
        ("is nested deeper ", "too_deep"),
        ("; expected ", "wrong_type"),
    ];
    let found = words.iter().find(|(words, _)| message.contains(words));
    found.unwrap_or_else(|| panic!("a message of no known kind: {message}")).1
}

/// What an answer says of the events that were not taken, by their place.
fn rejected(answer: &Answer) -> BTreeMap<usize, String> {
    let json = answer.json();
    let listed = json["rejected"].as_array().into_iter().flatten();
    let one = |one: &serde_json::Value| {
        let index = usize::try_from(one["index"].as_u64().unwrap()).unwrap();
        (index, one["message"].as_str().unwrap().to_owned())
    };
    listed.map(one).collect()
}

fn good(random: &mut Random, index: usize) -> Sent {
    let id = if random.below(2) == 0 { Uuid::now_v7() } else { Uuid::new_v4() };
    let data = format!(r#"{{"n":{index}}}"#);
    let text = format!(r#"{{"type":"good","url":"/","eventId":"{id}","data":{data}}}"#);
    Sent { text, id, data: Some(data) }
}

/// Sends good events with hostile ones between them, and now and then one that a constraint of the table refuses.
fn send_batch(collector: &Collector, number: usize, random: &mut Random, expected: &mut Expected) {
    let mut events: Vec<(Option<Kind>, Sent)> = Vec::new();
    for index in 0..HOSTILE {
        events.push((None, good(random, index)));
        let kind = KINDS[(number * HOSTILE + index) % KINDS.len()];
        events.push((Some(kind), hostile(random, kind)));
    }
    let poison = number.is_multiple_of(8).then(Uuid::now_v7);
    if let Some(id) = poison {
        let text = format!(r#"{{"type":"poison","url":"/","eventId":"{id}"}}"#);
        events.push((None, Sent { text, id, data: None }));
    }
    // An unknown field of the body may be as long as it likes.
    let more = "x".repeat(LIMIT + number % 2);
    let texts: Vec<&str> = events.iter().map(|(_, sent)| sent.text.as_str()).collect();
    let body = format!(r#"{{"projectKey":"pk_live_demo","more":"{more}","events":[{}]}}"#, texts.join(","));
    let answer = collector.post(&body);
    assert_eq!(answer.status, 200, "{answer:?} to {body:.2000}");
    let mut rejected = rejected(&answer);
    assert_eq!(answer.json()["received"], events.len() - rejected.len(), "{answer:?}");
    for (index, (kind, sent)) in events.into_iter().enumerate() {
        let message = rejected.remove(&index);
        if let Some(kind) = kind {
            let fate = expected.fates.entry(kind).or_default();
            fate[usize::from(message.is_some())] += 1;
            let is_taken = kind.is_taken().unwrap_or(message.is_none());
            assert_eq!(message.is_none(), is_taken, "{kind:?}: {message:?} of {:.500}", sent.text);
        } else {
            assert_eq!(message, None, "a good event is rejected: {}", sent.text);
        }
        expected.received += usize::from(message.is_none());
        match message {
            Some(message) => expected.keep(sent.text.as_bytes(), reason(&message), &message),
            None if Some(sent.id) == poison => expected.poisoned.push(sent.id),
            None => drop(expected.stored.insert(sent.id, sent.data)),
        }
    }
}

/// Sends a batch with bytes in one of its events that make it no text, or no JSON: nothing of it can be read.
fn send_spoiled(collector: &Collector, number: usize, random: &mut Random) {
    let spoiler = SPOILERS[number % SPOILERS.len()];
    let (first, last) = (good(random, 0).text, good(random, 1).text);
    let middle = br#"{"type":"hostile","url":"/h","data":{"a":"?"}}"#;
    let at = middle.iter().position(|byte| *byte == b'?').unwrap();
    let body = [
        br#"{"projectKey":"pk_live_demo","events":["#,
        first.as_bytes(),
        b",",
        &middle[..at],
        spoiler,
        &middle[at + 1..],
        b",",
        last.as_bytes(),
        b"]}",
    ];
    let answer = collector.post(body.concat());
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_json"), "{spoiler:?}");
}

/// A body of either format with a few of its bytes changed, cut out or doubled: it may be anything.
fn mutant(random: &mut Random) -> Vec<u8> {
    let below = |random: &mut Random, end: usize| usize::try_from(random.below(end as u64)).unwrap();
    let longest = if random.below(4) == 0 { usize::MAX } else { 3_000 };
    let cut = |text: &str| text.chars().take(longest).collect::<String>();
    let body = if random.below(2) == 0 {
        let kind = KINDS[below(random, KINDS.len())];
        let event = cut(&hostile(random, kind).text);
        let neighbour = if random.below(4) > 0 { good(random, 0).text + "," } else { String::new() };
        format!(r#"{{"projectKey":"pk_live_demo","events":[{neighbour}{event}]}}"#)
    } else {
        let large = random.below(4) == 0;
        let more = if large { format!("\"{}\"", "x".repeat(LIMIT)) } else { cut(&value(random, 3)) };
        format!(
            r#"{{"projectKey":"pk_live_demo","type":"mutant","visitorId":"v","url":"https://a.test/","data":{{}},"x":{more}}}"#
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
    bytes
}

fn send_mutant(collector: &Collector, random: &mut Random, expected: &mut Expected) {
    let bytes = mutant(random);
    let answer = collector.post(&bytes);
    let said = format!("{answer:?} to {}", String::from_utf8_lossy(&bytes));
    assert!([200, 400, 401, 413].contains(&answer.status), "{said}");
    *expected.mutants.entry(answer.status).or_default() += 1;
    // What can be read of it, with the key of a known project in it, has to be kept.
    let body = read(&bytes);
    let Some(body) = body.filter(|body| body.project_key == "pk_live_demo") else {
        return assert!([400, 401].contains(&answer.status), "{said}");
    };
    let is_lone = matches!(body.events, Events::Lone);
    let events = match body.events {
        Events::Lone => vec![&*bytes],
        Events::Unreadable => Vec::new(),
        Events::Listed(events) => events,
    };
    if answer.status == 200 {
        let rejected = rejected(&answer);
        assert_eq!(answer.json()["received"], events.len() - rejected.len(), "{said}");
        expected.received += events.len() - rejected.len();
        expected.partly += usize::from(!rejected.is_empty());
        for (index, message) in rejected {
            expected.keep(events[index], reason(&message), &message);
        }
        return;
    }
    let json = answer.json();
    let (code, message) = (answer.code(), json["error"]["message"].as_str().unwrap());
    assert_eq!(answer.status == 413, code == "event_too_large" && is_lone, "{said}");
    let is_events = json["error"]["field"].as_str().is_some_and(|field| field.starts_with("events["));
    if !is_events {
        return expected.keep(&bytes, &code, message);
    }
    // A batch keeps its events, and answers with what is wrong with the first of them.
    expected.keep(events[0], &code, message);
    for event in &events[1..] {
        *expected.kept_unsaid.entry(hex(event)).or_default() += 1;
    }
}

/// Compares the rows of `rejected_events` with what was said to clients: these and no others.
#[track_caller]
fn assert_kept(collector: &Collector, expected: &Expected) {
    let listed = collector.sql(
        "SELECT hex(event), reason, message FROM weir.rejected_events WHERE reason != 'refused_by_clickhouse'",
    );
    let mut kept: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for line in listed.lines() {
        let [event, reason, message] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        *kept.entry((event.into(), reason.into(), message.into())).or_default() += 1;
    }
    for (row, count) in &expected.kept {
        let found = kept.get_mut(row).filter(|found| **found >= *count);
        let found =
            found.unwrap_or_else(|| panic!("not kept {count} times: {:.300} {} {}", row.0, row.1, row.2));
        *found -= count;
    }
    let mut unsaid: BTreeMap<String, usize> = BTreeMap::new();
    for ((event, ..), count) in kept.into_iter().filter(|(_, count)| *count > 0) {
        *unsaid.entry(event).or_default() += count;
    }
    assert_eq!(unsaid, expected.kept_unsaid, "rows of refusals that were not told one by one");
    let refused = collector.sql(
        "SELECT JSONExtractString(event, 'event_id') AS id FROM weir.rejected_events \
         WHERE reason = 'refused_by_clickhouse' ORDER BY id",
    );
    let mut poisoned: Vec<String> = expected.poisoned.iter().map(Uuid::to_string).collect();
    poisoned.sort_unstable();
    assert_eq!(refused.lines().collect::<Vec<_>>(), poisoned);
}

/// Compares the rows of `events` with what was answered as received.
#[track_caller]
fn assert_stored(collector: &Collector, expected: &Expected) {
    let listed = collector.sql("SELECT event_id, hex(data) FROM weir.events");
    let mut unseen = expected.stored.clone();
    for line in listed.lines() {
        let (id, data) = line.split_once('\t').unwrap();
        // Those whose id is not plain to see are counted below.
        if let Some(Some(sent)) = unseen.remove(&id.parse::<Uuid>().unwrap()) {
            let same = hex(sent.as_bytes()) == data[..data.len().min(8_192)];
            assert!(sent.len() * 2 == data.len() && same, "{sent:.500}");
        }
    }
    assert!(unseen.is_empty(), "not stored: {unseen:?}");
    let stored = expected.received - expected.poisoned.len();
    let counts = collector.sql("SELECT count(), uniqExact(event_id) FROM weir.events");
    assert_eq!(counts, format!("{stored}\t{stored}"));
}

#[test]
fn hostile_events_between_good_ones_harm_none_and_are_kept() {
    let mut random = Random::seeded("hostile events");
    let collector = Setup::new().with(&["--parked-pause", "1s", "--max-rejected", "1000000"]).start();
    collector.admin_sql("ALTER TABLE weir.events ADD CONSTRAINT no_poison CHECK type != 'poison'");
    let mut expected = Expected::default();
    for number in 0..BATCHES {
        send_batch(&collector, number, &mut random, &mut expected);
        send_spoiled(&collector, number, &mut random);
        for _ in 0..MUTANTS {
            send_mutant(&collector, &mut random, &mut expected);
        }
    }
    collector.await_loaded();
    assert_stored(&collector, &expected);
    assert_kept(&collector, &expected);

    let Expected { received, poisoned, kept, fates, mutants, partly, .. } = &expected;
    let rows: usize = kept.values().sum();
    eprintln!("{received} received, {} poisoned, {rows} refusals kept as told", poisoned.len());
    eprintln!("taken and not: {fates:?}; mutants: {mutants:?}, {partly} of them taken in part");
    assert_eq!(mutants.values().sum::<usize>(), BATCHES * MUTANTS);
    assert_eq!(poisoned.len(), BATCHES / 8);
    for kind in KINDS {
        let sent: usize = fates[&kind].iter().sum();
        assert!(sent >= BATCHES * HOSTILE / KINDS.len(), "{kind:?}: {sent}");
    }
    assert!(fates[&Kind::OddData].iter().all(|count| *count > 5), "too tame a run: {fates:?}");
    assert!(mutants[&200] > 10 && mutants[&400] > 50 && mutants[&413] > 0 && *partly > 0, "too tame a run");
    assert_eq!(collector.figures().count("weir_journal_parked"), 0);
    eventually("ready", || (collector.operations("/readyz").json()["status"] == "ready").then_some(()));
}
