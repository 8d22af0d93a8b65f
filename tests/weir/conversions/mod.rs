//! Conversions: a backend sends them, a platform is told of them, and operators see what becomes of each.

mod delivery;
mod endpoint;
pub mod kills;
mod mock;
mod plaintext;
mod platforms;

use std::path::Path;

use serde_json::{Value, json};

use self::mock::Mock;
use crate::harness::{Answer, Collector, Setup};

/// An integration with Meta's fake as its platform.
fn meta(mock: &Mock, more: &str) -> String {
    format!(
        "[[integration]]\nproject = \"demo\"\nplatform = \"meta\"\nbase_url = \"{}\"\npixel_id = \"123\"\n\
         access_token = \"s3cret-token\"\n{more}\n",
        mock.url()
    )
}

/// What a collector is started with, given the text of its `weir.toml`.
fn setup(toml: &str) -> Setup {
    let setup = Setup::new();
    configure(&setup, toml);
    let file = setup.data_dir().join("weir.toml");
    setup.with(&["--config", file.to_str().unwrap()])
}

fn configure(setup: &Setup, toml: &str) {
    std::fs::write(setup.data_dir().join("weir.toml"), toml).unwrap();
}

/// A key that may send conversions for the demo project.
fn key(collector: &Collector) -> String {
    collector.weir(&["key", "create", "demo", "--scope", "conversions"])
}

/// A purchase with everything that Meta wants of it, under this id.
fn purchase(id: &str) -> Value {
    json!({
        "platform": "meta",
        "eventType": "purchase",
        "eventId": id,
        "userData": { "email": "jane@example.com", "ipAddress": "203.0.113.7", "userAgent": "Mozilla/5.0" },
        "customData": { "value": 49.9, "currency": "EUR", "orderId": id },
        "consent": { "granted": ["marketing"] },
    })
}

fn send(collector: &Collector, key: &str, events: &[Value]) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = json!({ "events": events }).to_string();
    collector.client().send("POST", "/tracking/ingest", &headers, body.as_bytes()).unwrap()
}

/// Sends, and is told that all of it is queued.
#[track_caller]
fn accepted(collector: &Collector, key: &str, events: &[Value]) {
    let answer = send(collector, key, events);
    assert_eq!((answer.status, answer.json()), (200, json!({ "processed": events.len(), "errors": [] })));
}

/// Runs `weir conversions …` against a collector.
#[track_caller]
pub fn conversions(collector: &Collector, arguments: &[&str]) -> String {
    let output = crate::harness::weir()
        .arg("conversions")
        .args(arguments)
        .args(["--ops-listen", &collector.operations.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found
}
