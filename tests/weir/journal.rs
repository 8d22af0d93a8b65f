//! What an operator sees of the journal, and can do about it: `weir journal`.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{Collector, Setup, eventually, free_port, weir};

/// Runs `weir journal`.
fn journal(arguments: &[&str]) -> Output {
    weir().arg("journal").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs it and gives what it says on standard output.
#[track_caller]
fn done(arguments: &[&str]) -> String {
    let output = journal(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs it and gives what it says on standard output and on standard error when it fails.
#[track_caller]
fn failed(arguments: &[&str]) -> (String, String) {
    let output = journal(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
    (text(&output.stdout), text(&output.stderr))
}

fn status(collector: &Collector) -> String {
    let data = collector.data_dir();
    done(&["status", "--data-dir", data.to_str().unwrap(), "--ops-listen", &collector.operations.to_string()])
}

/// How many segments `status` shows in this state.
#[track_caller]
fn count(status: &str, state: &str) -> u64 {
    let line = status.lines().find(|line| line.split_whitespace().next() == Some(state));
    let words: Vec<&str> =
        line.unwrap_or_else(|| panic!("no {state}:\n{status}")).split_whitespace().collect();
    let (segments, bytes, oldest) = (words[1].parse().unwrap(), words[2].parse::<u64>().unwrap(), words[3]);
    assert_eq!((segments > 0, segments > 0), (bytes > 0, oldest != "-" || state == "damaged"), "{status}");
    segments
}

fn retry(collector: &Collector) -> String {
    done(&["retry", "--ops-listen", &collector.operations.to_string()])
}

#[track_caller]
fn send(collector: &Collector, events: std::ops::Range<usize>) {
    for index in events {
        let body = format!(
            r#"{{"type":"seen","visitorId":"v_1","projectKey":"pk_live_demo","url":"https://a.test/{index}"}}"#
        );
        assert_eq!(collector.post(body).status, 200);
    }
}

fn urls(rows: &str) -> Vec<String> {
    let row =
        |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let url = |row: Value| {
        assert_eq!(row["table"], "events", "{row}");
        row["row"]["url"].as_str().unwrap().to_owned()
    };
    rows.lines().map(row).map(url).collect()
}

fn all_urls(events: std::ops::Range<usize>) -> Vec<String> {
    events.map(|index| format!("https://a.test/{index}")).collect()
}

/// Turns the bits of one byte of a file.
fn damage(file: &Path, position: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[!byte[0]], position).unwrap();
}

#[test]
fn parked_segments_are_seen_with_their_reason_looked_into_and_tried_at_will() {
    let collector = Setup::new().with(&["--parked-pause", "1h"]).start();
    let nothing = status(&collector);
    assert_eq!((count(&nothing, "all"), nothing.lines().count()), (0, 8), "{nothing}");
    assert_eq!(retry(&collector), "nothing is parked\n");

    collector.admin_sql("ALTER TABLE weir.events DROP COLUMN os");
    send(&collector, 0..3);
    let parked = eventually("a parked segment", || {
        let shown = status(&collector);
        (count(&shown, "parked") == 1 && count(&shown, "all") == 1).then_some(shown)
    });
    let line = parked.lines().find(|line| line.contains(": parked, ")).unwrap();
    assert!(line.contains(".segment: parked, ") && line.contains("lacks column os"), "{parked}");
    let file = line.split(':').next().unwrap();
    let data = collector.data_dir();
    let rows = done(&["inspect", file, "--data-dir", data.to_str().unwrap()]);
    assert_eq!(urls(&rows), all_urls(0..3));
    let path = data.join("journal").join(file);
    assert_eq!(done(&["inspect", path.to_str().unwrap()]), rows);

    // Tried, and still refused: it stays, with its reason.
    assert!(retry(&collector).starts_with("1 parked segment is tried now"));
    collector.await_log("a segment stays parked");
    assert_eq!(count(&status(&collector), "parked"), 1);
    // Put right, and tried long before its pause is over.
    collector.admin_sql("ALTER TABLE weir.events ADD COLUMN os LowCardinality(String)");
    retry(&collector);
    collector.await_events(3);
    eventually("an empty journal", || (count(&status(&collector), "all") == 0).then_some(()));

    // A collector that starts finds the table wrong, and says so.
    collector.admin_sql("ALTER TABLE weir.events DROP COLUMN os");
    send(&collector, 3..5);
    let collector = collector.kill().start();
    eventually("the reason after a restart", || {
        let shown = status(&collector);
        let is_told = shown.contains("/readyz: nothing is loaded") && shown.contains("lacks column os");
        // What was still open when it was killed is parted.
        (count(&shown, "waiting") + count(&shown, "parted") > 0 && is_told).then_some(())
    });
    collector.admin_sql("ALTER TABLE weir.events ADD COLUMN os LowCardinality(String)");
    collector.await_events(5);
}

#[test]
fn what_is_damaged_is_told_and_the_rest_can_be_read() {
    let collector = Setup::new().with(&["--parked-pause", "1h"]).start();
    collector.admin_sql("ALTER TABLE weir.events DROP COLUMN os");
    send(&collector, 0..1);
    eventually("a parked segment", || (count(&status(&collector), "parked") == 1).then_some(()));
    let data = collector.data_dir();
    let data = data.to_str().unwrap();
    let file = collector.setup().segments().pop().unwrap();
    send(&collector, 1..5);
    eventually("another one", || (count(&status(&collector), "parked") >= 2).then_some(()));
    let setup = collector.kill();

    // With no collector, names and heads have to do.
    let nobody = format!("127.0.0.1:{}", free_port());
    let shown = done(&["status", "--data-dir", data, "--ops-listen", &nobody]);
    assert_eq!((count(&shown, "parked"), count(&shown, "waiting")), (0, count(&shown, "all")), "{shown}");
    assert!(shown.contains(&format!("no collector can be asked on {nobody} (--ops-listen)")), "{shown}");
    let (_, said) = failed(&["retry", "--ops-listen", &nobody]);
    assert!(said.contains(&format!("no collector can be asked on {nobody} (--ops-listen)")), "{said}");

    let mut segments = setup.segments();
    segments.sort();
    assert_eq!(segments[0], file);
    let (first, second) = (setup.data_dir().join("journal").join(&file), &segments[1]);
    let second = setup.data_dir().join("journal").join(second);
    let before = urls(&done(&["inspect", second.to_str().unwrap()]));
    assert!(!before.is_empty());
    // The last row's last byte: behind it stand what there is to a multiple of 8, and the seal.
    let last = std::fs::metadata(&second).unwrap().len() - 48 - 9;
    damage(&second, last);
    let (rows, said) = failed(&["inspect", second.to_str().unwrap()]);
    assert_eq!(urls(&rows), before[..before.len() - 1]);
    assert!(
        said.contains("are damaged, 1 records among them") && said.contains("not everything in"),
        "{said}"
    );
    damage(&second, last);

    // A segment whose head is lost is set aside, and still readable as far as it goes.
    damage(&first, 20);
    let collector = setup.start();
    let shown = eventually("a damaged segment", || {
        let shown = status(&collector);
        (count(&shown, "damaged") == 1).then_some(shown)
    });
    let aside = file.replace(".segment", ".damaged");
    assert!(shown.contains(&format!("{aside}: damaged, ")), "{shown}");
    let (rows, said) = failed(&["inspect", &aside, "--data-dir", data]);
    assert_eq!(urls(&rows), all_urls(0..1));
    assert!(said.contains("its head is damaged"), "{said}");

    // Another journal's collector is not believed.
    let other = Setup::new();
    std::fs::create_dir(other.data_dir().join("journal")).unwrap();
    let elsewhere = other.data_dir().to_str().unwrap();
    let shown = done(&["status", "--data-dir", elsewhere, "--ops-listen", &collector.operations.to_string()]);
    assert!(shown.contains("has another journal"), "{shown}");
}

#[test]
fn what_cannot_be_shown_is_said_in_a_sentence() {
    let folder = tempfile::TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap();
    let (_, said) = failed(&["status", "--data-dir", data]);
    assert!(said.starts_with("weir: there is no journal in ") && said.contains("--data-dir"), "{said}");
    let (_, said) = failed(&["inspect", "0000000000000001.segment", "--data-dir", data]);
    assert!(said.starts_with("weir: cannot read the segment "), "{said}");
    assert!(said.contains("journal/0000000000000001.segment: No such file"), "{said}");
    let rubbish = folder.path().join("rubbish");
    std::fs::write(&rubbish, [7; 5_000]).unwrap();
    let (rows, said) = failed(&["inspect", rubbish.to_str().unwrap()]);
    assert_eq!(rows, "");
    assert!(said.contains("its head is damaged") && said.contains("the last 5000 bytes"), "{said}");
}
