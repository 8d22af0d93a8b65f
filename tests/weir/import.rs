//! `weir import` against real collectors: stopped half way, killed, with lines that are no good, from a pipe.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Collector, Random, Setup, eventually, free_port, signal_process, weir};

/// A folder with files to import, and where they go.
struct Import {
    folder: TempDir,
    url: String,
    key: String,
}

impl Import {
    #[track_caller]
    fn into(collector: &Collector) -> Self {
        let key = collector.weir(&["key", "create", "demo"]);
        Self { folder: TempDir::new().unwrap(), url: format!("http://{}", collector.listen), key }
    }

    fn file(&self, content: &str) -> PathBuf {
        let path = self.folder.path().join("events.ndjson");
        fs::write(&path, content).unwrap();
        path
    }

    /// In the folder, so that whatever is written without a path of its own is written there.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = weir();
        command.arg("import").args(arguments).args(["--url", &self.url]).env("WEIR_API_KEY", &self.key);
        command.current_dir(self.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Said {
        Said::new(&self.command(arguments).output().unwrap(), &self.key)
    }

    #[track_caller]
    fn pipe(&self, content: &str, arguments: &[&str]) -> Said {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        Said::new(&child.wait_with_output().unwrap(), &self.key)
    }

    fn state(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.folder.path().join("events.ndjson.import.json")).ok()?).ok()
    }

    /// Waits until so many lines are done.
    #[track_caller]
    fn await_line(&self, import: &mut Child, line: u64) {
        eventually(&format!("line {line}"), || {
            assert!(import.try_wait().unwrap().is_none(), "the import ended before line {line}");
            let done = self.state()?["line"].as_u64().unwrap();
            (done >= line).then_some(())
        });
    }

    /// The rejected lines: number and reason.
    fn rejected(&self, file: &str) -> Vec<(u64, String)> {
        let text = fs::read_to_string(self.folder.path().join(file)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| (line["line"].as_u64().unwrap(), line["reason"].as_str().unwrap().into())).collect()
    }
}

/// What an import ended with.
struct Said {
    code: i32,
    out: String,
    error: String,
}

impl Said {
    #[track_caller]
    fn new(output: &Output, key: &str) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let said = Self {
            code: output.status.code().unwrap(),
            out: text(&output.stdout),
            error: text(&output.stderr),
        };
        assert!(!said.out.contains(key) && !said.error.contains(key), "the key is shown");
        said
    }

    #[track_caller]
    fn done(&self, summary: &str) {
        assert_eq!(self.code, 0, "{}", self.error);
        assert!(self.out.starts_with(summary), "{summary}: {}", self.out);
    }
}

/// So many events of the year 2001, of two sources in turn.
fn lines(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let (source, second, minute) = (["crm", "shop"][n % 2], n % 60, n / 60 % 60);
        writeln!(
            text,
            r#"{{"type":"order","data":{{"n":{n}}},"timestamp":"2001-02-03T04:{minute:02}:{second:02}Z","source":"{source}"}}"#
        )
        .unwrap();
    }
    text
}

/// Rows, different ids, and different `n`.
#[track_caller]
fn stored(collector: &Collector) -> String {
    collector.await_loaded();
    collector
        .sql("SELECT count(), uniqExact(event_id), uniqExact(JSONExtractInt(data, 'n')) FROM weir.events")
}

#[test]
fn an_import_that_is_killed_again_and_again_stores_every_line_once() {
    let mut random = Random::seeded("kills of an import");
    let collector = Collector::start();
    let import = Import::into(&collector);
    let path = import.file(&lines(20_000));
    let path = path.to_str().unwrap();
    for least in [1_000, 4_000, 7_000] {
        let mut child = import.command(&[path]).spawn().unwrap();
        import.await_line(&mut child, least + random.below(3_000));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = import.command(&[path]).spawn().unwrap();
    // It hears signals once it goes on.
    let before = import.state().unwrap()["line"].as_u64().unwrap();
    import.await_line(&mut child, before + 1);
    signal_process(child.id(), "INT");
    let stopped = Said::new(&child.wait_with_output().unwrap(), &import.key);
    assert_eq!(stopped.code, 1);
    assert!(stopped.error.contains("stopped; the same command takes it up again"), "{}", stopped.error);
    let done = import.state().unwrap();
    assert!(done["line"].as_u64().unwrap() < 20_000, "it was not stopped half way: {done}");
    let said = import.run(&[path]);
    said.done("20,000 events sent (");
    assert!(said.error.contains("the import goes on behind line "), "{}", said.error);
    assert_eq!(stored(&collector), "20000\t20000\t20000");
    let all = "SELECT api_source, count(), min(timestamp) FROM weir.events GROUP BY 1 ORDER BY 1";
    let expected = "crm\t10000\t2001-02-03 04:00:00.000\nshop\t10000\t2001-02-03 04:00:01.000";
    assert_eq!(collector.sql(all), expected);

    let again = import.run(&[path]);
    again.done("0 events sent");
    assert!(again.error.contains("it is imported already"), "{}", again.error);
    // Under another name, without its state, is the same file.
    let renamed = import.folder.path().join("renamed.ndjson");
    fs::rename(path, &renamed).unwrap();
    import.run(&[renamed.to_str().unwrap()]).done("20,000 events sent, 0 lines rejected, in ");
    collector.await_loaded();
    assert_eq!(collector.sql("SELECT count() FROM weir.events FINAL"), "20000");
}

#[test]
fn a_collector_that_is_killed_under_an_import_is_waited_for() {
    let address = format!("127.0.0.1:{}", free_port());
    let collector = Setup::new().env("WEIR_LISTEN", &address).start();
    let import = Import::into(&collector);
    let path = import.file(&lines(20_000));
    let mut child = import.command(&[path.to_str().unwrap()]).spawn().unwrap();
    import.await_line(&mut child, 4_000);
    let second = import.run(&[path.to_str().unwrap()]);
    assert!(second.error.contains("another import of it is under way"), "{}", second.error);
    let setup = collector.kill();
    let collector = setup.start();
    Said::new(&child.wait_with_output().unwrap(), &import.key).done("20,000 events sent, 0 lines rejected");
    collector.await_loaded();
    let counts = "SELECT count(), uniqExact(event_id) FROM weir.events FINAL";
    assert_eq!(collector.sql(counts), "20000\t20000");
}

#[test]
fn lines_that_are_no_good_are_set_apart_with_their_numbers_and_reasons() {
    let collector = Collector::start();
    let import = Import::into(&collector);
    let good = lines(1_500);
    let bad = [
        "no json".to_owned(),
        r#"{"type":"a","data":{},"timestamp":"yesterday"}"#.to_owned(),
        r#"{"type":"","data":{}}"#.to_owned(),
        r#"{"type":"a","data":[]}"#.to_owned(),
        r#"{"type":"a","data":{},"metadata":5}"#.to_owned(),
        format!(r#"{{"type":"a","data":{{"x":"{}"}}}}"#, "x".repeat(70_000)),
        format!(r#"{{"type":"a","data":{{"x":"{}"}}}}"#, "x".repeat(1_100_000)),
        r#"{"type":"a","data":{},"id":"1"}"#.to_owned(),
    ];
    let path = import.file(&format!("{good}\n{}\n{}", bad.join("\n"), lines(100)));
    let said = import.run(&[path.to_str().unwrap(), "--source", "other"]);
    assert_eq!(said.code, 1, "{}", said.error);
    assert!(said.out.starts_with("1,600 events sent, 8 lines rejected"), "{}", said.out);
    assert!(said.error.contains("events.ndjson.rejected.ndjson has the others, and why"), "{}", said.error);
    let rejected = import.rejected("events.ndjson.rejected.ndjson");
    let reasons = ["not a JSON object", "timestamp", "type", "data", "metadata", "65536", "1048576", "id"];
    assert_eq!(rejected.len(), bad.len(), "{rejected:?}");
    for ((line, reason), (index, expected)) in rejected.iter().zip((1_502..).zip(reasons)) {
        assert_eq!(*line, index, "{reason}");
        assert!(reason.contains(expected), "{line}: {reason}");
    }
    collector.await_loaded();
    assert_eq!(collector.sql("SELECT count() FROM weir.events"), "1600");
}

#[test]
fn standard_input_starts_over_as_the_same_events() {
    let collector = Collector::start();
    let import = Import::into(&collector);
    let content = lines(2_500);
    let half = &content[..content.len() / 2];
    // Cut off in the middle of a line.
    let said = import.pipe(half, &["-"]);
    assert_eq!((said.code, import.rejected("stdin.rejected.ndjson").len()), (1, 1), "{}", said.error);
    for _ in 0..2 {
        import.pipe(&content, &["-"]).done("2,500 events sent, 0 lines rejected");
    }
    assert_eq!(stored(&collector), "2500\t2500\t2500");
    // What was rejected of one input is not lost to the next.
    let said = import.pipe("bad\n", &["-"]);
    assert!(said.error.contains("stdin.rejected.ndjson.old has what lay there"), "{}", said.error);
    assert_eq!(import.rejected("stdin.rejected.ndjson.old").len(), 1);
    let rejected = import.folder.path().join("stdin.rejected.ndjson");
    let before = fs::read_to_string(&rejected).unwrap();
    let input = fs::File::open(&rejected).unwrap();
    let said = Said::new(&import.command(&["-"]).stdin(input).output().unwrap(), &import.key);
    assert!(said.error.contains("stdin.rejected.ndjson is the file to import"), "{}", said.error);
    assert_eq!(fs::read_to_string(&rejected).unwrap(), before);
}

#[test]
fn a_pipe_that_pauses_has_what_it_gave_sent() {
    let collector = Collector::start();
    let import = Import::into(&collector);
    let mut child = import.command(&["-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all((lines(3) + "bad\n").as_bytes()).unwrap();
    collector.await_events(3);
    // Meanwhile another one has lines for the same file.
    let rejected = import.folder.path().join("stdin.rejected.ndjson");
    eventually("the rejected line", || {
        fs::metadata(&rejected).is_ok_and(|file| file.len() > 0).then_some(())
    });
    let second = import.pipe("worse\n", &["-"]);
    assert!(second.error.contains("another import is writing it; --rejected names"), "{}", second.error);
    drop(input);
    let first = Said::new(&child.wait_with_output().unwrap(), &import.key);
    assert!(first.out.starts_with("3 events sent, 1 line rejected"), "{}", first.out);
    assert_eq!(import.rejected("stdin.rejected.ndjson").len(), 1);
}

#[test]
fn a_collector_that_takes_fewer_events_at_once_refuses_one_request_of_an_import() {
    let collector = Setup::new().env("WEIR_MAX_EVENTS", "300").start();
    let import = Import::into(&collector);
    let path = import.file(&lines(6_000));
    import.run(&[path.to_str().unwrap()]).done("6,000 events sent, 0 lines rejected");
    assert_eq!(collector.figures().count(r#"weir_requests_total{status="400"}"#), 1);
    assert_eq!(stored(&collector), "6000\t6000\t6000");
}

#[test]
fn a_keys_limit_of_requests_is_waited_for() {
    let collector = Collector::start();
    let mut import = Import::into(&collector);
    import.key = collector.weir(&["key", "create", "demo", "--requests-per-minute", "60"]);
    let line = |n| format!(r#"{{"type":"a","data":{{}},"source":"s","source_id":"{n}"}}"#);
    let path = import.file(&(0..63).map(line).collect::<Vec<_>>().join("\n"));
    import.run(&[path.to_str().unwrap()]).done("63 events sent");
    let refused = collector.figures().count(r#"weir_requests_total{status="429"}"#);
    assert!(refused > 0, "no request was over the limit");
    collector.await_loaded();
    assert_eq!(collector.sql("SELECT count(), uniqExact(source_id) FROM weir.events"), "63\t63");
}

#[test]
fn files_of_imports_among_many_are_left_out() {
    let collector = Collector::start();
    let import = Import::into(&collector);
    let path = import.file(&(lines(5) + "bad\n"));
    let rejected = path.with_file_name("events.ndjson.rejected.ndjson");
    let state = path.with_file_name("events.ndjson.import.json");
    for _ in 0..2 {
        let mut arguments = vec![path.to_str().unwrap(), rejected.to_str().unwrap()];
        arguments.extend(state.exists().then(|| state.to_str().unwrap()));
        let said = import.run(&arguments);
        let left_out = said.error.matches("is left out").count();
        assert_eq!(left_out, arguments.len() - 1, "{}", said.error);
        assert!(said.out.starts_with("5 events sent, 1 line rejected"), "{}", said.out);
    }
    assert_eq!(fs::read_dir(import.folder.path()).unwrap().count(), 3);
    assert_eq!(stored(&collector), "5\t5\t5");
}

#[test]
fn an_events_fields_are_those_of_its_line() {
    let collector = Collector::start();
    let import = Import::into(&collector);
    let line = r#"{"event_type":"a","data":{"url":"/x", "n": 1},"metadata":{"export": 7},"source_id":"eu-1",
        "id":"67e55044-10b1-426f-9247-bb680e5fe0c8","timestamp":"1969-07-20T20:17:40Z","other":true}"#;
    let path = import.file(&line.replace('\n', ""));
    import.run(&[path.to_str().unwrap(), "--source", "moon"]).done("1 event sent, 0 lines rejected");
    collector.await_events(1);
    let row = collector.sql(
        "SELECT event_id, type, source, api_source, source_id, metadata, data, url, timestamp FROM weir.events",
    );
    let expected = "67e55044-10b1-426f-9247-bb680e5fe0c8\ta\tapi\tmoon\teu-1\t{\"export\": 7}\t\
                    {\"url\":\"/x\", \"n\": 1}\t/x\t1969-07-20 20:17:40.000";
    assert_eq!(row, expected);
}

#[test]
fn what_cannot_be_imported_is_told_at_once() {
    let collector = Collector::start();
    let mut import = Import::into(&collector);
    let path = import.file(&lines(10));
    let path = path.to_str().unwrap();
    let folder = import.folder.path().to_str().unwrap().to_owned();
    for (arguments, code, said) in [
        (&["nowhere.ndjson"][..], 1, "cannot read nowhere.ndjson"),
        (&[&folder], 1, "is a folder"),
        (&["-", "-"], 64, "standard input is given twice"),
        (&[path, "-", "--rejected", "x"], 64, "--rejected"),
        (&[path, "--rejected", path], 64, "it is the file to import"),
        (&[path, "--state", "nowhere"], 1, "--state names another folder"),
        (&[], 64, "<FILE>..."),
    ] {
        let found = import.run(arguments);
        assert_eq!(found.code, code, "{arguments:?}: {}", found.error);
        assert!(found.error.contains(said), "{arguments:?}: {}", found.error);
    }
    let key = std::mem::take(&mut import.key);
    for (key, code, said) in [
        (key[..key.len() - 1].to_owned() + "_", 64, "it is no API key, or mistyped"),
        (
            collector.weir(&["key", "create", "demo", "--scope", "conversions"]),
            1,
            "the key may not send events",
        ),
    ] {
        import.key = key;
        let found = import.run(&[path]);
        assert_eq!(found.code, code, "{}", found.error);
        assert!(found.error.contains(said), "{said}: {}", found.error);
    }
    let key = revoked(&collector);
    import.key = key;
    eventually("a revoked key to be rejected", || {
        let found = import.run(&[path, "--restart"]);
        found.error.contains("does not take the key: Invalid or missing API key").then_some(())
    });
    assert!(Path::new(&folder).join("events.ndjson.import.json").exists());
}

/// A key that is no more.
fn revoked(collector: &Collector) -> String {
    let key = collector.weir(&["key", "create", "demo"]);
    let keys = collector.weir(&["key", "list"]);
    let last = keys.lines().map(|line| line.split('\t').next().unwrap()).max().unwrap();
    collector.weir(&["key", "revoke", last]);
    key
}
