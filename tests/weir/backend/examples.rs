//! The contract's own documents, sent by curl as its examples send them.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use uuid::Uuid;

use super::{PATH, new_key};
use crate::harness::Collector;

/// Status and body of what curl posts.
#[track_caller]
fn curl(collector: &Collector, arguments: &[&str]) -> (String, Value) {
    let url = format!("http://{}{PATH}", collector.listen);
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--write-out", "\n%{http_code}", "-X", "POST", &url])
        .args(arguments)
        .output()
        .expect("curl can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {error}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn both_shapes_are_answered_and_stored_as_the_contract_says() {
    let collector = Collector::start();
    let key = new_key(&collector, &[]);
    let header = format!("X-API-Key: {key}");
    let json = ["-H", "Content-Type: application/json", "-H", &header];

    let object = r#"{"source":"backend","source_id":"shop-7","events":[
        {"type":"purchase","data":{"user_id":"u_1","amount": 49.90},"timestamp":"2026-03-01T11:59:58Z",
         "metadata":{"ip":"203.0.113.7"}},
        {"type":"refund","data":{}}]}"#;
    let (status, answer) = curl(&collector, &[&json[..], &["-d", object]].concat());
    assert_eq!(status, "201", "{answer}");
    assert_eq!((&answer["success"], &answer["events_received"]), (&true.into(), &2.into()), "{answer}");
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(members(&answer), ["success", "events_received", "events"].map(str::to_owned).into());
    let events = answer["events"].as_array().unwrap();
    let expected = ["id", "tenant_id", "source", "event_type", "received_at"].map(str::to_owned).into();
    assert!(events.iter().all(|event| members(event) == expected), "{answer}");
    let text = |event: &Value, member: &str| event[member].as_str().unwrap().to_owned();
    let types: Vec<_> = events.iter().map(|event| text(event, "event_type")).collect();
    assert_eq!(types, ["purchase", "refund"]);

    let array = r#"[{"source":"billing","event_type":"invoice","data":{"n":1}},
        {"source":"crm","event_type":"lead","data":{"n":2}}]"#;
    let (status, answer) = curl(&collector, &[&json[..], &["-d", array]].concat());
    assert_eq!((status.as_str(), answer.to_string().as_str()), ("201", r#"{"ingested":2}"#));
    // As curl sends -d by itself.
    let (status, answer) = curl(&collector, &["-H", &header, "-d", array]);
    assert_eq!((status.as_str(), answer.to_string().as_str()), ("201", r#"{"ingested":2}"#));

    collector.await_events(6);
    for event in events {
        let [id, tenant, source, received] =
            ["id", "tenant_id", "source", "received_at"].map(|member| text(event, member));
        assert_eq!(source, "backend");
        assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7, "{id}");
        let form = received.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(form, "0000-00-00T00:00:00Z", "{received}");
        let stored = format!(
            "SELECT type, project_id, formatDateTime(received_at, '%Y-%m-%dT%H:%i:%SZ') FROM weir.events \
             WHERE event_id = '{id}'"
        );
        let expected = [text(event, "event_type"), tenant, received].join("\t");
        assert_eq!(collector.sql(&stored), expected);
    }
    let tenants = "SELECT uniqExact(project_id), any(project_id) IN (SELECT project_id FROM weir.project_keys) FROM weir.events";
    assert_eq!(collector.sql(tenants), "1\t1");
    let rows = "SELECT DISTINCT source, type, api_source, source_id, user_id, data, metadata, \
                if(timestamp = received_at, 'receipt', toString(timestamp)) FROM weir.events ORDER BY type";
    let expected = [
        "api\tinvoice\tbilling\t\t\t{\"n\":1}\t\treceipt",
        "api\tlead\tcrm\t\t\t{\"n\":2}\t\treceipt",
        "api\tpurchase\tbackend\tshop-7\tu_1\t{\"user_id\":\"u_1\",\"amount\": 49.90}\t\
         {\"ip\":\"203.0.113.7\"}\t2026-03-01 11:59:58.000",
        "api\trefund\tbackend\tshop-7\t\t{}\t\treceipt",
    ];
    assert_eq!(collector.sql(rows).lines().collect::<Vec<_>>(), expected);
}
