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

/// A collector whose projects and key are those of the document's examples, and the key.
fn prepared() -> (Collector, String) {
    let collector = Setup::new().without_demo().start();
    collector.create_project("shop", "pk_live_xyz", &[]);
    let key = collector.weir(&["key", "create", "shop"]).trim().to_owned();
    (collector, key)
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
}

fn send(collector: &Collector, operation: &Operation, key: &str, body: &str) -> Answer {
    let headers = [("Content-Type", "application/json"), ("X-API-Key", key)];
    collector.client().send(&operation.method, &operation.path, &headers, body.as_bytes()).unwrap()
}

#[test]
fn every_example_of_the_document_works() {
    let (collector, key) = prepared();
    let mut tried = 0;
    for operation in operations(&document(&collector)) {
        let Some(examples) =
            operation.described["requestBody"]["content"]["application/json"].get("examples")
        else {
            continue;
        };
        for (name, example) in examples.as_object().unwrap() {
            let answer = send(&collector, &operation, &key, &example["value"].to_string());
            assert!([200, 201].contains(&answer.status), "{} {name}: {answer:?}", operation.path);
            tried += 1;
        }
    }
    assert_eq!(tried, 5);
    collector.await_events(1 + 3 + 1 + 1 + 1);
}

/// Lets schemathesis try the operations of one listener.
#[track_caller]
fn conforms(collector: &Collector, key: &str, address: SocketAddr, paths: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = collector.data_dir().join("openapi.json");
    std::fs::write(&document, collector.operations("/openapi.json").body).unwrap();
    let mut run = Command::new(root.join("target/schemathesis/bin/schemathesis"));
    run.arg("run").arg(&document).arg("--url").arg(format!("http://{address}"));
    run.args(["--max-examples", EXAMPLES, "--seed", "1", "--phases", "examples,coverage,fuzzing"]);
    // What a schema allows may still be refused: a moment in the year 9999, a key that no project has.
    run.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    run.args(["--header", &format!("X-API-Key: {key}"), "--no-color", "--suppress-health-check", "all"]);
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
    let (collector, key) = prepared();
    conforms(&collector, &key, collector.listen, &["/api/events", "/api/v1/events", "/weir.js"]);
}

#[test]
fn the_operations_listener_answers_as_the_document_says() {
    let (collector, key) = prepared();
    let paths = ["/healthz", "/readyz", "/metrics", "/journal", "/journal/retry", "/openapi.json"];
    conforms(&collector, &key, collector.operations, &paths);
}
