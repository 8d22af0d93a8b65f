//! API keys by the command line: made, listed, revoked, and to be found nowhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use crate::harness::{Collector, Setup, eventually, weir};

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

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Posts an event whose data has this text.
fn post(collector: &Collector, key: &str, text: &str) -> u16 {
    let body = format!(r#"[{{"source":"crm","event_type":"won","data":{{"note":"{text}"}}}}]"#);
    collector.client().send("POST", "/api/v1/events", &[("X-API-Key", key)], body.as_bytes()).unwrap().status
}

#[test]
fn a_key_is_found_nowhere_where_other_texts_are() {
    let collector = Setup::new().env("WEIR_LOG", "trace").env("WEIR_SEGMENT_AGE", "5s").start();
    let secret = done(&collector, &["create", "demo", "--expires", "90d"]).0;
    let secret = secret.trim_end();
    let id = list(&collector)[0][0].clone();
    // As random as the key, so that what is found of it would be found of the key.
    let planted = "q7Zc1Vb9Xn3Lm5Kj2Hg8Fd4Sa6Pw0Ro3It7Uy1Te5Qx9";
    assert_eq!(post(&collector, secret, planted), 201);
    let mistyped = format!("{secret}0");
    assert_eq!(post(&collector, &mistyped, "x"), 401);
    let found = holders(&collector, planted);
    assert!(found.len() == 1 && found[0].starts_with("journal"), "{found:?}");
    eventually("the snapshot", || (holders(&collector, &id) == [Path::new("api-keys.json")]).then_some(()));
    collector.await_loaded();
    search(&collector, secret, planted, &id);

    let (_, log, _setup) = collector.stop_with("TERM");
    // All that anything tells of itself is among it.
    for part in ["refused: Invalid or missing API key", r#""target":"hyper"#, r#""level":"TRACE""#] {
        assert!(log.contains(part), "{part} is not in the log");
    }
    assert!(!log.contains(secret) && !log.contains(random(secret)), "the log has the key");
}

#[test]
fn a_revoked_key_is_refused_within_ten_seconds() {
    let collector = Collector::start();
    let key = collector.weir(&["key", "create", "demo"]).trim().to_owned();
    assert_eq!(post(&collector, &key, "x"), 201);
    let id = list(&collector)[0][0].clone();
    let begun = Instant::now();
    done(&collector, &["revoke", &id]);
    eventually("the revocation", || (post(&collector, &key, "x") == 401).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(10), "seen after {:?}", begun.elapsed());
}

/// What of a key nobody can guess.
fn random(secret: &str) -> &str {
    &secret[8..51]
}

/// The collector's files, of its engine too, that have a text, by their paths in the data directory.
fn holders(collector: &Collector, text: &str) -> Vec<PathBuf> {
    let folder = collector.data_dir();
    let mut found = Vec::new();
    files(&folder, &mut found);
    let holds = |path: &PathBuf| {
        // The engine, or the loader, may have deleted it meanwhile.
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    found.retain(holds);
    found.iter().map(|path| path.strip_prefix(&folder).unwrap().to_owned()).collect()
}

/// Looks for a secret where a collector and its engine keep things, and for what is there: a text in an event, and the
/// key's id.
fn search(collector: &Collector, secret: &str, planted: &str, id: &str) {
    let secret = random(secret);
    let found = holders(collector, secret);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(holders(collector, id), [Path::new("api-keys.json")]);
    let found = holders(collector, planted);
    assert!(!found.is_empty() && found.iter().all(|path| path.starts_with("engine")), "{found:?}");

    // Tables are compressed, so that a text need not stand in their files. A log of queries would be one of them.
    let tables = collector.admin_sql(
        "SELECT database || '.' || name FROM system.tables WHERE engine LIKE '%MergeTree' ORDER BY 1",
    );
    assert!(tables.contains("weir.api_keys") && tables.contains("weir.rejected_events"), "{tables}");
    let rows = |text: &str| {
        let count = |table: &str| {
            let found = format!("toString(tuple(*)) LIKE '%{text}%'");
            collector.admin_sql(&format!("SELECT count() FROM {table} WHERE {found}")) != "0"
        };
        tables.lines().filter(|table| count(table)).collect::<Vec<_>>()
    };
    assert!(rows(secret).is_empty(), "{:?}", rows(secret));
    assert_eq!((rows(planted), rows(id)), (vec!["weir.events"], vec!["weir.api_keys"]));
}
