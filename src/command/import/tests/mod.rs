//! Imports against a server that answers as the contract says, in ways that a real collector does only in trouble.
//! `tests/weir/import.rs` has them against real ones.

mod files;
mod server;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use tempfile::TempDir;

use self::server::{Reply, Server};
use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ImportArgs,
}

/// A file to import, in a folder of its own.
struct Case {
    folder: TempDir,
    key: ApiKey,
}

impl Case {
    fn new(lines: &str) -> Self {
        let case = Self { folder: TempDir::new().unwrap(), key: ApiKey::generate() };
        case.write(lines);
        case
    }

    fn write(&self, lines: &str) {
        std::fs::write(self.path("a.ndjson"), lines).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn import(&self, url: &str, more: &[&str]) -> Result<(), String> {
        let path = self.path("a.ndjson");
        let arguments = ["import", path.to_str().unwrap(), "--key", self.key.expose(), "--url", url];
        let args = Cli::try_parse_from(arguments.iter().chain(more)).unwrap().args;
        let (inputs, sender) = (args.inputs().unwrap(), args.sender().unwrap());
        import(&args, &inputs, sender).await.map_err(|error| format!("{error:#}"))
    }

    /// The rejected lines: number and reason.
    fn rejected(&self) -> Vec<(u64, String)> {
        let text = read(&self.path("a.ndjson.rejected.ndjson"));
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.map(|line| (line["line"].as_u64().unwrap(), line["reason"].as_str().unwrap().into())).collect()
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Lines with these numbers, of the sources in turn.
fn lines(numbers: std::ops::Range<u64>, sources: &[&str]) -> String {
    let mut text = String::new();
    for (number, source) in numbers.zip(sources.iter().cycle()) {
        writeln!(text, r#"{{"type":"t","source":"{source}","data":{{"n":{number}}}}}"#).unwrap();
    }
    text
}

fn refuse(status: u16, detail: &str) -> Reply {
    Reply::Refuse(status, &[("retry-after", "1")], detail.to_owned())
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn requests_are_full_and_of_one_source_each_and_keep_their_order() {
    let server = Server::start(|_, _| Reply::Take).await;
    let case = Case::new(&lines(0..3_500, &["one", "two"]));
    case.import(&server.url, &[]).await.unwrap();
    assert_eq!(server.seen().sizes, [1_000, 1_000, 750, 750]);
    for source in ["one", "two"] {
        let taken = server.seen().taken;
        let of_source = taken.iter().filter(|(known, _)| known == source);
        let numbers: Vec<_> = of_source.map(|(_, event)| event["data"]["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers.len(), 1_750);
        assert!(numbers.is_sorted(), "{source}");
    }
    assert_eq!(server.ids().into_iter().collect::<BTreeSet<_>>().len(), 3_500);
    assert!(!case.path("a.ndjson.rejected.ndjson").exists());
}

#[tokio::test]
async fn no_request_is_larger_than_a_collector_takes() {
    let server = Server::start(|_, _| Reply::Take).await;
    let noise = || (0..250).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect::<String>();
    let line = |n| format!(r#"{{"type":"t","source":"s","data":{{"n":{n},"noise":"{}"}}}}"#, noise());
    let case = Case::new(&(0..400).map(line).collect::<Vec<_>>().join("\n"));
    case.import(&server.url, &[]).await.unwrap();
    assert_eq!(server.numbers(), (0..400).collect::<Vec<_>>());
    assert!(server.seen().sizes.len() > 1, "3.2 MB of noise fit no single request");
}

#[tokio::test]
async fn what_passes_by_itself_is_waited_for() {
    let replies = |number| match number {
        0 => refuse(429, "slow down"),
        1 => refuse(503, "the journal is full"),
        2 => Reply::Raw(502, "<h1>Bad gateway</h1>"),
        3 => Reply::Lose,
        _ => Reply::Take,
    };
    let server = Server::start(move |number, _| replies(number)).await;
    let case = Case::new(&lines(0..10, &["s"]));
    let begun = Instant::now();
    case.import(&server.url, &[]).await.unwrap();
    assert!(begun.elapsed().as_secs() >= 2, "Retry-After is honoured");
    assert_eq!(server.seen().sizes, [10; 5]);
    let ids = server.ids();
    assert_eq!(ids[..10], ids[10..], "what was sent twice has the same ids");
}

#[tokio::test]
async fn whoever_asks_for_no_pause_is_given_one() {
    let server = Server::start(|_, _| Reply::Refuse(503, &[("retry-after", "0")], "wait".to_owned())).await;
    let case = Case::new(&lines(0..10, &["s"]));
    case.import(&server.url, &["--patience", "1s"]).await.unwrap_err();
    let requests = server.seen().sizes.len();
    assert!((2..=5).contains(&requests), "{requests} requests in a second");
}

#[tokio::test]
async fn patience_ends_and_says_what_with() {
    let case = Case::new(&lines(0..10, &["s"]));
    let server = Server::start(|_, _| refuse(503, "the journal is full")).await;
    let error = case.import(&server.url, &["--patience", "1500ms"]).await.unwrap_err();
    for part in ["a.ndjson is not done", "no request was taken for 1s 500ms", "503", "the journal is full"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(server.seen().sizes.len(), 2);
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let error = case.import(&nobody, &["--patience", "300ms"]).await.unwrap_err();
    assert!(error.contains("cannot be reached") && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn what_does_not_pass_ends_with_a_sentence() {
    for (reply, said) in [
        (refuse(401, "Invalid or missing API key"), "does not take the key: Invalid or missing API key"),
        (refuse(403, "no"), "the key may not send events: no"),
        (refuse(404, "no"), "answers 404 Not Found: that is no address of a collector"),
        (Reply::Raw(401, "<h1>Who are you?</h1>"), "answers 401"),
        (Reply::Raw(400, "<h1>What?</h1>"), "answers 400"),
        (Reply::Raw(200, r#"{"received":10}"#), "answers 200"),
        (Reply::Raw(201, r#"{"success":true,"events_received":9}"#), "answers 201"),
        (Reply::Raw(201, r#"{"success":false,"events_received":10}"#), "answers 201"),
        (
            Reply::Refuse(301, &[("location", "https://a.test/")], String::new()),
            "it points to https://a.test/",
        ),
    ] {
        let mut reply = Some(reply);
        let server = Server::start(move |_, _| reply.take().expect("only one request")).await;
        let case = Case::new(&lines(0..10, &["s"]));
        let error = case.import(&server.url, &[]).await.unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
        assert!(!error.contains("weir_sk_"), "{error}");
        let state = read(&case.path("a.ndjson.import.json"));
        assert!(state.len() > 100 && !state.contains("weir_sk_"), "{state}");
    }
}

#[tokio::test]
async fn events_that_are_named_are_set_apart_and_the_others_sent() {
    let server = Server::start(|_, body| {
        let events = body["events"].as_array().unwrap();
        let is_bad = |event: &serde_json::Value| event["data"]["n"].as_u64().unwrap() % 10 == 7;
        let bad: Vec<_> = (0..events.len()).filter(|index| is_bad(&events[*index])).take(2).collect();
        let named = bad.iter().map(|index| format!("events[{index}].timestamp is odd")).collect::<Vec<_>>();
        match bad.len() {
            0 => Reply::Take,
            _ => refuse(400, &format!("nothing is stored: {} | and more", named.join(" | "))),
        }
    })
    .await;
    let text = format!("{}nonsense\n\n{}", lines(0..20, &["s"]), lines(20..50, &["s"]));
    let case = Case::new(&text);
    let error = case.import(&server.url, &[]).await.unwrap_err();
    assert!(error.contains("a.ndjson.rejected.ndjson has the others"), "{error}");
    assert_eq!(server.numbers(), (0..50).filter(|n| n % 10 != 7).collect::<Vec<_>>());
    let odd = |line| (line, "timestamp is odd".to_owned());
    let no_json = (21, "the line is not a JSON object; expected one event a line".to_owned());
    assert_eq!(case.rejected(), [odd(8), odd(18), no_json, odd(30), odd(40), odd(50)]);
    assert_eq!(server.seen().sizes, [50, 48, 46, 45]);

    // It may be different now: all of it is sent again, as the same events.
    case.import(&server.url, &[]).await.unwrap_err();
    assert_eq!((server.seen().sizes.len(), case.rejected().len()), (8, 6));
    assert_eq!(server.ids().into_iter().collect::<BTreeSet<_>>().len(), 45);
}

#[tokio::test]
async fn a_refusal_that_names_no_event_is_narrowed_down() {
    let server = Server::start(|_, body| {
        let bad = body["source"] == "bad" || body["events"].to_string().contains("\"n\":300}");
        if bad { refuse(400, "it is not as it should be") } else { Reply::Take }
    })
    .await;
    let text = lines(0..1_000, &["s"]) + &lines(1_000..2_500, &["bad"]) + &lines(2_500..2_510, &["s"]);
    let case = Case::new(&text);
    case.import(&server.url, &[]).await.unwrap_err();
    let expected: Vec<u64> = (0..300).chain(301..1_000).chain(2_500..2_510).collect();
    assert_eq!(sorted(server.numbers()), expected);
    assert_eq!(case.rejected().len(), 1_501);
    assert!(server.seen().sizes.len() < 60, "{:?}", server.seen().sizes);
}

#[tokio::test]
async fn what_is_too_large_is_sent_in_smaller_requests() {
    let server = Server::start(|_, body| {
        let events = body["events"].as_array().unwrap();
        let is_large = events[0]["data"]["n"] == 5 && events.len() == 1;
        if events.len() > 100 || is_large { refuse(413, "too large") } else { Reply::Take }
    })
    .await;
    let case = Case::new(&lines(0..500, &["s"]));
    case.import(&server.url, &[]).await.unwrap();
    assert_eq!(server.numbers(), (0..500).collect::<Vec<_>>());
    let alone = Case::new(&lines(5..6, &["s"]));
    alone.import(&server.url, &[]).await.unwrap_err();
    assert_eq!(alone.rejected(), [(1, "too large".to_owned())]);
}

#[tokio::test]
async fn a_collector_that_takes_fewer_events_is_asked_once() {
    for (limit, sizes) in
        [(400, vec![1_000, 400, 400, 200, 400, 400, 200]), (999, vec![1_000, 999, 1, 999, 1])]
    {
        let server = Server::start(move |_, body| {
            let detail = format!("events holds over {limit} events; expected no more");
            let count = body["events"].as_array().unwrap().len();
            if count > limit { refuse(400, &detail) } else { Reply::Take }
        })
        .await;
        let case = Case::new(&lines(0..2_000, &["s"]));
        case.import(&server.url, &[]).await.unwrap();
        assert_eq!(server.numbers(), (0..2_000).collect::<Vec<_>>());
        assert_eq!(server.seen().sizes, sizes);
    }
}

#[tokio::test]
async fn a_stopped_import_goes_on_without_loss_or_repetition() {
    let case = Case::new(&(lines(0..2_000, &["s"]) + "bad\n" + &lines(2_000..5_000, &["s", "s", "t"])));
    let server = Server::start(|number, _| match number {
        2 | 4 => refuse(401, "stop"),
        _ => Reply::Take,
    })
    .await;
    for _ in 0..2 {
        case.import(&server.url, &[]).await.unwrap_err();
    }
    case.import(&server.url, &[]).await.unwrap_err();
    let ids = server.ids();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 5_000, "no event is lost, nor has it two ids");
    assert_eq!(server.numbers().into_iter().collect::<BTreeSet<_>>().len(), 5_000);
    assert!(ids.len() <= 6_000, "only what was under way is sent again: {}", ids.len());
    assert_eq!(case.rejected().len(), 1);
}

#[tokio::test]
async fn what_a_file_is_given_later_is_imported_later_and_what_changed_when_that_is_meant() {
    let server = Server::start(|_, _| Reply::Take).await;
    let case = Case::new(lines(0..10, &["s"]).trim_end());
    for text in [lines(0..10, &["s"]), lines(0..15, &["s"]), lines(0..15, &["s"])] {
        case.import(&server.url, &[]).await.unwrap();
        case.write(&text);
    }
    // The last line had no end at first, and may have been half of one: it went out again, as the same event.
    assert_eq!(server.seen().sizes, [10, 1, 5]);
    assert_eq!(server.ids().into_iter().collect::<BTreeSet<_>>().len(), 15);

    case.import(&server.url, &["--restart"]).await.unwrap();
    assert_eq!(server.ids().into_iter().collect::<BTreeSet<_>>().len(), 15, "the same ids");
    case.write(&lines(1..16, &["s"]));
    let error = case.import(&server.url, &[]).await.unwrap_err();
    assert!(error.contains("it has changed since 15 of its events were imported"), "{error}");
    case.import(&server.url, &["--restart"]).await.unwrap();
    assert_eq!(server.ids().into_iter().collect::<BTreeSet<_>>().len(), 30, "other events");
}

#[tokio::test]
async fn a_file_of_another_kind_is_told_at_once() {
    let server = Server::start(|_, _| Reply::Take).await;
    let many = "{}\n".repeat(5_000);
    for (content, said) in [
        ("[{\"type\":\"a\"}]", "jq -c '.[]'"),
        ("\u{1f}\u{8b}", "is not a JSON object"),
        (&many, "none of its first 5,000 lines was taken, the first of them because: source is missing"),
    ] {
        let case = Case::new(content);
        let error = case.import(&server.url, &[]).await.unwrap_err();
        let rejected = case.rejected().first().map_or(String::new(), |(_, reason)| reason.clone());
        assert!(error.contains(said) || rejected.contains(said), "{said}: {error}, {rejected}");
    }
    let case = Case::new("");
    std::fs::write(case.path("a.ndjson"), b"\x1f\x8b\x08").unwrap();
    let error = case.import(&server.url, &[]).await.unwrap_err();
    assert!(error.contains("zcat FILE | weir import -"), "{error}");
    assert!(server.seen().sizes.is_empty());
}

#[tokio::test]
async fn a_last_line_without_an_end_is_counted_once() {
    let server = Server::start(|_, _| Reply::Take).await;
    let case = Case::new(lines(0..10, &["s"]).trim_end());
    let counts = || {
        let state: serde_json::Value =
            serde_json::from_str(&read(&case.path("a.ndjson.import.json"))).unwrap();
        (state["sent"].as_u64().unwrap(), state["rejected"].as_u64().unwrap())
    };
    case.import(&server.url, &[]).await.unwrap();
    assert_eq!(counts(), (9, 0));
    case.write(&(lines(0..11, &["s"]) + "{"));
    for _ in 0..2 {
        case.import(&server.url, &[]).await.unwrap_err();
        assert_eq!((counts(), case.rejected().len()), ((11, 0), 1), "what was rejected is tried again");
    }
    case.write(&(lines(0..11, &["s"]) + "{\n" + &lines(11..12, &["s"])));
    case.import(&server.url, &[]).await.unwrap_err();
    assert_eq!((counts(), case.rejected().len()), ((12, 1), 1));
}

#[tokio::test]
async fn good_lines_behind_a_thousand_bad_ones_are_sent() {
    let server = Server::start(|_, _| Reply::Take).await;
    let case = Case::new(&("bad\n".repeat(2_000) + &lines(0..10, &["s"])));
    let error = case.import(&server.url, &[]).await.unwrap_err();
    assert!(error.contains("not every line was taken"), "{error}");
    assert_eq!((server.numbers().len(), case.rejected().len()), (10, 2_000));
}

#[tokio::test]
async fn patience_begins_with_each_request_and_bears_any_retry_after() {
    let server = Server::start(|number, _| match number {
        0 | 2 => Reply::Take,
        1 => Reply::Raw(503, "wait"),
        3 => refuse(503, "wait"),
        _ => Reply::Refuse(503, &[("retry-after", "18446744073709551615")], "wait".to_owned()),
    })
    .await;
    let key = ApiKey::generate();
    let url: Uri = format!("{}{PATH}", server.url).parse().unwrap();
    let with_patience = |url: &Uri, seconds| {
        Sender::new(url.clone(), key.expose().parse().unwrap(), Duration::from_secs(seconds))
    };
    let sender = with_patience(&url, 1);
    let origin = line::Origin { source: "s".to_owned(), source_id: None };
    let body = send::encode(&origin, ["{}"].into_iter()).unwrap();
    sender.send(&body, 1, |_| ()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(sender.send(&body, 1, |_| ()).await.unwrap(), send::Verdict::Taken);
    let error = with_patience(&url, 5).send(&body, 1, |_| ()).await.unwrap_err();
    assert!(matches!(error, send::SendError::Patience { .. }), "{error}");
}

#[test]
fn what_an_import_has_written_is_known_by_its_name() {
    for (name, expected) in [
        ("a.ndjson", false),
        ("a.json.new", false),
        ("a.rejected.ndjson.gz", false),
        ("x/a.ndjson.rejected.ndjson", true),
        ("a.ndjson.rejected.ndjson.old.2", true),
        ("x/a.ndjson.import.json", true),
        ("a.ndjson.import.json.new", true),
    ] {
        assert_eq!(is_of_an_import(Path::new(name)), expected, "{name}");
    }
}
