//! The `OpenAPI` document says what a running collector does: the same paths, answers as described to whatever
//! schemathesis makes of it, and examples that work.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Answer, Client, Collector, Setup};

/// Requests for one operation, in each of schemathesis' phases.
const EXAMPLES: &str = "60";

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// One method of a path, as the document has it.
struct Operation {
    path: String,
    method: String,
    private: bool,
    described: Value,
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            if let Some(described) = item.get(method) {
                operations.push(Operation {
                    path: path.clone(),
                    method: method.to_uppercase(),
                    private: item.get("servers").is_some(),
                    described: described.clone(),
                });
            }
        }
    }
    operations
}

fn document(collector: &Collector) -> Value {
    let answer = collector.operations("/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

/// Where the examples' conversions go; nobody answers there.
const INTEGRATION: &str = r#"
[[integration]]
project = "shop"
platform = "meta"
base_url = "http://127.0.0.1:9"
pixel_id = "123"
access_token = "t0ken"
"#;

/// The headers that hold a project's keys: for events, and for conversions.
struct Keys {
    events: String,
    conversions: String,
}

/// A collector whose projects and integration are those of the document's examples, and keys for it.
fn prepared() -> (Collector, Keys) {
    let setup = Setup::new().without_demo();
    let file = setup.data_dir().join("weir.toml");
    std::fs::write(&file, INTEGRATION).unwrap();
    let collector = setup.with(&["--config", file.to_str().unwrap()]).start();
    collector.create_project("shop", "pk_live_xyz", &[]);
    let key = |scope| collector.weir(&["key", "create", "shop", "--scope", scope]).trim().to_owned();
    let keys = Keys { events: key("events"), conversions: format!("Bearer {}", key("conversions")) };
    (collector, keys)
}

/// What a listener says that it answers: its 404 names it all.
fn answered(address: SocketAddr) -> BTreeSet<String> {
    let answer = Client::connect(address).unwrap().send("GET", "/nowhere", &[], b"").unwrap();
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    let (_, known) = message.split_once("known here: ").unwrap();
    // HEAD goes with GET, and the script's other path is made of its content.
    let is_described = |line: &&str| {
        !line.starts_with("HEAD ") && (!line.starts_with("GET /weir.") || *line == "GET /weir.js")
    };
    known.split(", ").filter(is_described).map(str::to_owned).collect()
}

#[test]
fn the_document_has_every_path_that_is_answered_and_no_other() {
    let (collector, _) = prepared();
    let document = document(&collector);
    for (private, address) in [(false, collector.listen), (true, collector.operations)] {
        let described: BTreeSet<_> = operations(&document)
            .iter()
            .filter(|operation| operation.private == private)
            .map(|operation| format!("{} {}", operation.method, operation.path))
            .collect();
        assert_eq!(described, answered(address));
    }
    let platform = &document["components"]["schemas"]["Conversion"]["properties"]["platform"]["description"];
    assert_eq!(platform.as_str(), Some(&*format!("{}.", weir::conversions::platform::names())));
}

fn send(collector: &Collector, operation: &Operation, keys: &Keys, body: &str) -> Answer {
    let headers = [
        ("Content-Type", "application/json"),
        ("X-API-Key", keys.events.as_str()),
        ("Authorization", keys.conversions.as_str()),
    ];
    collector.client().send(&operation.method, &operation.path, &headers, body.as_bytes()).unwrap()
}

#[test]
fn every_example_of_the_document_works() {
    let (collector, keys) = prepared();
    let mut tried = 0;
    for operation in operations(&document(&collector)) {
        let Some(examples) =
            operation.described["requestBody"]["content"]["application/json"].get("examples")
        else {
            continue;
        };
        for (name, example) in examples.as_object().unwrap() {
            let answer = send(&collector, &operation, &keys, &example["value"].to_string());
            assert!([200, 201].contains(&answer.status), "{} {name}: {answer:?}", operation.path);
            tried += 1;
        }
    }
    assert_eq!(tried, 6);
    collector.await_events(1 + 3 + 1 + 1 + 1);
}

/// Lets schemathesis try the operations of one listener.
#[track_caller]
fn conforms(collector: &Collector, keys: &Keys, address: SocketAddr, paths: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = collector.data_dir().join("openapi.json");
    std::fs::write(&document, collector.operations("/openapi.json").body).unwrap();
    let mut run = Command::new(root.join("target/schemathesis/bin/schemathesis"));
    run.arg("run").arg(&document).arg("--url").arg(format!("http://{address}"));
    run.args(["--max-examples", EXAMPLES, "--seed", "1", "--phases", "examples,coverage,fuzzing"]);
    // What a schema allows may still be refused: a moment in the year 9999, a key that no project has.
    run.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    run.args(["--header", &format!("X-API-Key: {}", keys.events)]);
    run.args(["--header", &format!("Authorization: {}", keys.conversions)]);
    run.args(["--no-color", "--suppress-health-check", "all"]);
    for path in paths {
        run.args(["--include-path", path]);
    }
    let output =
        run.current_dir(collector.data_dir()).output().expect("schemathesis: `make test` puts it there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("generated"), "it has tried nothing: {said}");
}

#[test]
fn the_public_listener_answers_as_the_document_says() {
    let (collector, keys) = prepared();
    let paths = ["/api/events", "/api/v1/events", "/tracking/ingest", "/weir.js"];
    conforms(&collector, &keys, collector.listen, &paths);
}

#[test]
fn the_operations_listener_answers_as_the_document_says() {
    let (collector, keys) = prepared();
    let paths = [
        "/healthz",
        "/readyz",
        "/metrics",
        "/journal",
        "/journal/retry",
        "/conversions",
        "/conversions/dead",
        "/conversions/replay",
        "/conversions/resume",
        "/openapi.json",
    ];
    conforms(&collector, &keys, collector.operations, &paths);
}
