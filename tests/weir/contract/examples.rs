//! The documented calls, made by a client that is not ours.

use std::process::Command;

use crate::harness::{Collector, Findings};

/// A command line as the documents have it, with another port, run by a shell.
fn run(documented: &str, collector: &Collector) -> String {
    let line = documented.replace("localhost:8080", &collector.listen.to_string());
    let output = Command::new("sh").args(["-c", &line]).output().expect("sh can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{line}: {error}\nThis test calls the collector with curl, which has to be installed."
    );
    String::from_utf8(output.stdout).unwrap()
}

const SNIPPET: &str = r#"curl -sS -X POST localhost:8080/api/events -H 'Content-Type: application/json' -d '{"type":"pageview",
 "visitorId":"v_abc123","projectKey":"pk_live_xyz","url":"https://example.com/pricing","referrer":"https://google.com"}'"#;

const BATCH: &str = r#"curl -sS -X POST localhost:8080/api/events -H 'Content-Type: application/json' -d '{"projectKey":"pk_live_xyz",
 "userId":"lead_456","events":[{"type":"pageview","url":"/pricing","timestamp":"2025-01-15T10:30:00Z"},
 {"type":"click","url":"/pricing","data":{"elementId":"plan-pro"}},
 {"type":"form_submit","url":"/signup","data":{"plan":"pro"}}]}'"#;

#[test]
fn the_documented_curls_work_as_they_stand() {
    let collector = Collector::start();
    collector.create_project("documented", "pk_live_xyz", &[]);
    let mut findings = Findings::default();
    findings.check("the snippet's", run(SNIPPET, &collector), r#"{"received":1}"#);
    findings.check("the batch", run(BATCH, &collector), r#"{"received":3}"#);
    collector.await_events(4);
    let rows = collector.sql(
        "SELECT name, source, type, visitor_id, user_id, url, referrer, data, browser, bot FROM weir.events \
         JOIN (SELECT DISTINCT project_id, name FROM weir.project_keys) AS p USING (project_id) ORDER BY url, type",
    );
    let expected = [
        "documented\tsdk\tclick\t\tlead_456\t/pricing\t\t{\"elementId\":\"plan-pro\"}\t\tfalse",
        "documented\tsdk\tpageview\t\tlead_456\t/pricing\t\t{}\t\tfalse",
        "documented\tsdk\tform_submit\t\tlead_456\t/signup\t\t{\"plan\":\"pro\"}\t\tfalse",
        "documented\tsnippet\tpageview\tv_abc123\t\thttps://example.com/pricing\thttps://google.com\t{}\tcurl\ttrue",
    ];
    findings.check("rows", rows.lines().collect::<Vec<_>>(), expected);
    let times = "SELECT timestamp, timestamp = received_at, abs(dateDiff('second', received_at, now())) < 60 \
                 FROM weir.events ORDER BY timestamp LIMIT 2";
    let times = collector.sql(times);
    let first = times.lines().next().unwrap_or_default();
    findings.check(
        "a given timestamp",
        first,
        "2025-01-15 10:30:00.000\tfalse\ttrue".replace("false", "0").replace("true", "1"),
    );
    findings.holds(format!("an absent timestamp is that of receipt: {times}"), times.ends_with("\t1\t1"));
    findings.report();
}

/// What curl does by itself: another content type, compression, `Expect: 100-continue`, HTTP/1.0.
#[test]
fn curl_is_served_in_every_way_it_sends() {
    let collector = Collector::start();
    let body = super::snippet("x", &format!(r#","data":{{"pad":"{}"}}"#, "x".repeat(20_000)));
    let file = collector.data_dir().join("body.json");
    std::fs::write(&file, &body).unwrap();
    let gzipped = collector.data_dir().join("body.gz");
    std::fs::write(&gzipped, crate::transport::gzip(body.as_bytes())).unwrap();
    let (file, gzipped) = (file.to_str().unwrap(), gzipped.to_str().unwrap());
    let status = r"-w ' %{http_code}'";
    let url = "localhost:8080/api/events";
    let mut findings = Findings::default();
    for (line, expected) in [
        (format!("curl -sS {status} {url} --data-binary @{file}"), r#"{"received":1} 200"#),
        (
            format!("curl -sS {status} {url} -H 'Content-Type:' --data-binary @{file}"),
            r#"{"received":1} 200"#,
        ),
        (
            format!("curl -sS {status} {url} -H 'Transfer-Encoding: chunked' --data-binary @{file}"),
            r#"{"received":1} 200"#,
        ),
        (
            format!("curl -sS {status} {url} -H 'Expect: 100-continue' --data-binary @{file}"),
            r#"{"received":1} 200"#,
        ),
        (format!("curl -sS {status} {url} -0 --data-binary @{file}"), r#"{"received":1} 200"#),
        (format!("curl -sS {status} {url} --compressed --data-binary @{file}"), r#"{"received":1} 200"#),
        (
            format!("curl -sS {status} {url} -H 'Content-Encoding: gzip' --data-binary @{gzipped}"),
            r#"{"received":1} 200"#,
        ),
        (format!("curl -sS {status} {url}?cache=buster -d @{file}"), r#"{"received":1} 200"#),
        (format!("curl -sS -o /dev/null {status} {url}"), " 405"),
        (
            format!("head -c 3000000 /dev/zero | curl -sS -o /dev/null {status} {url} --data-binary @-"),
            " 413",
        ),
        (format!("head -c 3000000 /dev/zero | curl -sS -o /dev/null {status} {url} -T - -X POST"), " 413"),
    ] {
        findings.check(&line, run(&line, &collector), expected);
    }
    findings.report();
}
