//! API keys by the command line: made, listed, revoked, and to be found nowhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime};
use weir::clickhouse::{ClickHouseSettings, Store, Timeouts};
use weir::clock::Clock;
use weir::project::{ApiKeyError, ApiKeySettings, ApiKeys};

use crate::harness::{Collector, engine_password, eventually, weir};

fn key(collector: &Collector, arguments: &[&str]) -> Output {
    let mut command = weir();
    command.arg("key").args(arguments).arg("--data-dir").arg(collector.data_dir());
    command.args(["--engine-port", &collector.engine_port().to_string()]).output().unwrap()
}

/// What a command prints that does what it is told: standard output, and standard error.
#[track_caller]
fn done(collector: &Collector, arguments: &[&str]) -> (String, String) {
    let output = key(collector, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {error}");
    (String::from_utf8(output.stdout).unwrap(), error)
}

/// The fields of each line of the list.
fn list(collector: &Collector) -> Vec<Vec<String>> {
    let (list, _) = done(collector, &["list"]);
    list.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let collector = Collector::start();
    let (plain, said) = done(&collector, &["create", "demo"]);
    let secret = plain.strip_suffix('\n').unwrap();
    let digits = secret.strip_prefix("weir_sk_").unwrap();
    assert!(digits.len() == 49 && digits.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{secret}");
    assert!(!said.contains(secret), "{said}");
    let first = list(&collector).remove(0);
    let id = first[0].clone();
    assert!(said.contains(&format!("the key {id} may send events for the project demo\n")), "{said}");
    let project = collector.weir(&["project", "list"]).split('\t').nth(2).unwrap().to_owned();
    assert_eq!(first[1..5], ["demo", &project, "events", "valid"]);
    assert_eq!(first[6..], ["never expires", "usual rate", "any origin"]);

    let origins = ["--origin", "https://a.test", "--origin", "https://*.b.test"];
    let rest =
        ["--scope", "conversions", "--expires", "2199-01-01T00:00:00+01:00", "--requests-per-minute", "90"];
    let (special, said) = done(&collector, &[&["create", "demo"], &origins[..], &rest].concat());
    assert_ne!(special, plain);
    for part in
        ["send conversions", "https://a.test and https://*.b.test", "90 requests", "2198-12-31T23:00:00.000Z"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let second = list(&collector).remove(1);
    assert_eq!(second[3..5], ["conversions", "valid"]);
    let rest = ["expires 2198-12-31T23:00:00.000Z", "90 requests/min", "https://a.test https://*.b.test"];
    assert_eq!(second[6..], rest);

    assert_eq!(done(&collector, &["revoke", &id]).0, "");
    done(&collector, &["revoke", &id]);
    let states: Vec<String> = list(&collector).into_iter().map(|mut line| line.remove(4)).collect();
    assert_eq!(states, ["revoked", "valid"]);
}

#[test]
fn what_cannot_be_is_said_in_a_sentence() {
    let collector = Collector::start();
    let secret = done(&collector, &["create", "demo", "--expires", "1h"]).0;
    let secret = secret.trim_end();
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (arguments, code, part) in [
        (
            &["create", "nowhere"][..],
            1,
            "there is no project \"nowhere\"; `weir project list` shows them all",
        ),
        (&["create", "demo", "--origin", "a.test"], 1, "the allowed origin \"a.test\" has no scheme"),
        (&["create", "demo", "--scope", "all"], 64, "[possible values: events, conversions]"),
        (&["create", "demo", "--expires", "soon"], 64, "expected a moment like 2027-01-01T00:00:00Z"),
        (
            &["create", "demo", "--expires", "2020-01-01T00:00:00Z"],
            64,
            "--expires: expected a moment after now",
        ),
        (&["create", "demo", "--requests-per-minute", "0"], 64, "--requests-per-minute"),
        (&["create"], 64, "<PROJECT>"),
        (&["revoke", "abc"], 64, "expected the id of a key, not the key itself"),
        (&["revoke", secret], 64, "expected the id of a key, not the key itself"),
        (&["revoke", unknown], 1, "there is no API key 00000000-0000-4000-8000-000000000000"),
    ] {
        let output = key(&collector, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty() && !said.contains(secret), "{said}");
    }
    assert_eq!(list(&collector).len(), 1);
}

/// The lookup of a collector, over the engine of another one.
fn lookup(collector: &Collector, snapshot: &Path, runtime: &Handle) -> ApiKeys {
    let store = Store::new(&ClickHouseSettings {
        url: format!("http://127.0.0.1:{}", collector.engine_port()),
        user: "weir".to_owned(),
        password: engine_password(&collector.data_dir()).as_str().into(),
        database: "weir".to_owned(),
        timeouts: Timeouts::default(),
    });
    ApiKeys::start(store, ApiKeySettings::default(), snapshot.to_owned(), Clock::system(), runtime).0
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn a_key_works_at_once_and_no_longer_than_ten_seconds_and_is_found_nowhere() {
    let collector = Collector::start();
    let runtime = Runtime::new().unwrap();
    // Among the collector's files, for the search below.
    let snapshot = collector.data_dir().join("another-snapshot.json");
    let keys = lookup(&collector, &snapshot, runtime.handle());
    let secret = done(&collector, &["create", "demo", "--expires", "90d"]).0;
    let secret = secret.trim_end();
    let find = || {
        let scope = weir::api_key::Scope::Events;
        runtime.block_on(keys.find(Some(secret.as_bytes()), scope, Some("https://a.test")))
    };
    let project = collector.weir(&["project", "list"]).split('\t').nth(2).unwrap().to_owned();
    assert_eq!(find().unwrap().project.to_string(), project);
    eventually("the snapshot", || snapshot.exists().then_some(()));
    let id = list(&collector)[0][0].clone();
    search(&collector, secret, &id);

    done(&collector, &["revoke", &id]);
    let begun = Instant::now();
    eventually("the revocation", || (find() == Err(ApiKeyError::Missing)).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(10), "seen after {:?}", begun.elapsed());
    drop(keys);

    let (_, log, _setup) = collector.stop_with("TERM");
    assert!(log.len() > 1_000 && !log.contains(secret) && !log.contains(&secret[8..51]), "{log}");
}

#[test]
fn a_revoked_key_is_refused_within_ten_seconds() {
    let collector = Collector::start();
    let key = collector.weir(&["key", "create", "demo"]).trim().to_owned();
    let post = || {
        let body = r#"[{"source":"crm","event_type":"won","data":{}}]"#;
        collector
            .client()
            .send("POST", "/api/v1/events", &[("X-API-Key", &key)], body.as_bytes())
            .unwrap()
            .status
    };
    assert_eq!(post(), 201);
    let id = list(&collector)[0][0].clone();
    let begun = Instant::now();
    done(&collector, &["revoke", &id]);
    eventually("the revocation", || (post() == 401).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(10), "seen after {:?}", begun.elapsed());
}

/// Looks for a secret where a collector and its engine keep things, and for its id, which is there.
fn search(collector: &Collector, secret: &str, id: &str) {
    let random = &secret[8..51];
    let mut found = Vec::new();
    files(&collector.data_dir(), &mut found);
    let holders = |text: &str| {
        let holds = |path: &PathBuf| {
            // The engine may have deleted it meanwhile.
            let bytes = fs::read(path).unwrap_or_default();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        };
        found.iter().filter(|path| holds(path)).collect::<Vec<_>>()
    };
    assert!(holders(random).is_empty(), "{:?}", holders(random));
    assert_eq!(holders(id), [&collector.data_dir().join("another-snapshot.json")]);

    let tables = collector.admin_sql("SELECT name FROM system.tables WHERE database = 'weir'");
    let rows = |text: &str| {
        let count = |table: &str| {
            let found = format!("toString(tuple(*)) LIKE '%{text}%'");
            collector.admin_sql(&format!("SELECT count() FROM weir.{table} WHERE {found}")) != "0"
        };
        tables.lines().filter(|table| count(table)).collect::<Vec<_>>()
    };
    assert!(rows(random).is_empty(), "{:?}", rows(random));
    assert_eq!(rows(id), ["api_keys"]);
}
