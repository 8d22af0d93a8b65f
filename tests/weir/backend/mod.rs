//! `POST /api/v1/events` held to its contract: what backends are answered, and what is in the table afterwards.

mod columns;
mod examples;
mod pages;
mod refusals;
mod repeats;

use crate::harness::{Answer, Collector};

const PATH: &str = "/api/v1/events";

/// A new API key of the demo project.
#[track_caller]
fn new_key(collector: &Collector, more: &[&str]) -> String {
    let key = collector.weir(&[&["key", "create", "demo"], more].concat());
    assert!(key.starts_with("weir_sk_"), "{key:?}");
    key
}

/// Posts a body with this API key and more headers.
#[track_caller]
fn post(collector: &Collector, key: &str, more: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
    let headers = [&[("X-API-Key", key), ("Content-Type", "application/json")], more].concat();
    collector.client().send("POST", PATH, &headers, body.as_ref()).unwrap()
}

/// One source's events.
fn object(events: &[&str]) -> String {
    format!(r#"{{"source":"backend","events":[{}]}}"#, events.join(","))
}

/// Status and what is said: the detail of a refusal, with a complaint where it has anything else.
fn gist(answer: &Answer) -> String {
    let Answer { status, body, .. } = answer;
    if *status < 300 {
        return format!("{status} {body}");
    }
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let mut gist = format!("{status} {}", json["detail"].as_str().unwrap_or("without a detail"));
    if json.as_object().is_none_or(|members| members.len() != 1) {
        gist = format!("{gist}, and more than a detail: {body}");
    }
    if answer.header("content-type") != Some("application/json") {
        gist.push_str(", not sent as application/json");
    }
    if matches!(status, 429 | 503) != answer.header("retry-after").is_some() {
        gist = format!("{gist}, with Retry-After {:?}", answer.header("retry-after"));
    }
    gist
}

/// The ids of an answer.
#[track_caller]
fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 201, "{answer:?}");
    let events = answer.json()["events"].as_array().cloned().unwrap_or_default();
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}
