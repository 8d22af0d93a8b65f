//! The private listener.

use std::sync::{Arc, Mutex};

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

/// Says what a test lets it say.
struct Scripted(Mutex<Readiness>);

impl Operated for Scripted {
    fn readiness(&self) -> Readiness {
        self.0.lock().unwrap().clone()
    }

    fn journal(&self) -> JournalReport {
        let segment = SegmentReport {
            file: "0000000000000007.segment".to_owned(),
            state: "parked".to_owned(),
            oldest: "2026-01-01T00:00:00.000Z".to_owned(),
            reason: Some("refused".to_owned()),
        };
        let readiness = self.readiness();
        JournalReport { folder: "/data/journal".into(), readiness, segments: vec![segment] }
    }

    fn retry_parked(&self) -> RetryReport {
        RetryReport { parked: 1 }
    }
}

/// Asks a running operations listener, from a thread that may block.
async fn ask(address: SocketAddr, method: &'static str, target: &'static str) -> Reply {
    let asking = move || {
        let mut client = Client::connect(address);
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        client.reply_to(method)
    };
    tokio::task::spawn_blocking(asking).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn health_readiness_and_figures_are_shown() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || metrics::counter!("probe_total").increment(3));
    let ready = Readiness { status: Standing::Ready, reasons: Vec::new() };
    let said = Arc::new(Scripted(Mutex::new(ready)));
    let operations = Operations::new(recorder.handle(), Arc::clone(&said));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(operations.serve(listener, stopped));

    let health = ask(address, "GET", "/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"ok"}"#));
    assert_eq!(ask(address, "HEAD", "/healthz").await.status, 200);

    let cases = [
        (Standing::Ready, vec![], 200, r#"{"status":"ready","reasons":[]}"#),
        (Standing::Degraded, vec!["away"], 200, r#"{"status":"degraded","reasons":["away"]}"#),
        (Standing::Unavailable, vec!["full"], 503, r#"{"status":"unavailable","reasons":["full"]}"#),
    ];
    for (status, reasons, expected, body) in cases {
        let reasons = reasons.into_iter().map(str::to_owned).collect();
        *said.0.lock().unwrap() = Readiness { status, reasons };
        let ready = ask(address, "GET", "/readyz?verbose").await;
        assert_eq!((ready.status, ready.body.as_str()), (expected, body));
        assert_eq!(ready.headers["content-type"], "application/json");
    }

    let metrics = ask(address, "GET", "/metrics").await;
    assert!(metrics.headers["content-type"].starts_with("text/plain; version=0.0.4"));
    assert!(metrics.body.contains("\nprobe_total 3\n"), "{}", metrics.body);

    let journal = ask(address, "GET", "/journal").await;
    let listed = r#"{"folder":"/data/journal","readiness":{"status":"unavailable","reasons":["full"]},"segments":[{"file":"0000000000000007.segment","state":"parked","oldest":"2026-01-01T00:00:00.000Z","reason":"refused"}]}"#;
    assert_eq!((journal.status, journal.body.as_str()), (200, listed));
    let retried = ask(address, "POST", "/journal/retry").await;
    assert_eq!((retried.status, retried.body.as_str()), (200, r#"{"parked":1}"#));
    assert_eq!(ask(address, "GET", "/journal/retry").await.status, 405, "a look must not act");

    let lost = ask(address, "GET", "/api/events").await;
    assert_eq!((lost.status, lost.code().as_str()), (404, "not_found"));
    let wrong = ask(address, "POST", "/metrics").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"));
    assert_eq!(wrong.headers["allow"], "GET, HEAD");

    stop.send_replace(true);
    serving.await.unwrap();
}
