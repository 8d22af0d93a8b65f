//! Every platform once, over its own path, with an answer as the real one gives it.

use std::collections::BTreeMap;

use serde_json::json;
use weir::conversions::platform;

use super::mock::{Mock, Reply, Told};
use super::{accepted, configure, conversions, key, purchase, setup};
use crate::harness::eventually;
use crate::readme;

/// In each place of a token, and of a webhook's secret.
const SECRET: &str = "c2VjcmV0";

/// Each platform: the path it is told on, set up as the README shows, and how it says that it has an event.
const PLATFORMS: &[(&str, &str, &str)] = &[
    ("meta", "/v25.0/1234567890/events?access_token=c2VjcmV0", r#"{"events_received":1}"#),
    ("tiktok", "/open_api/v1.3/event/track/", r#"{"code":0,"message":"OK"}"#),
    ("google_ads", "/v1/events:ingest", r#"{"requestId":"r"}"#),
    ("ga4", "/mp/collect?measurement_id=G-ABC1234567&api_secret=c2VjcmV0", ""),
    (
        "snapchat",
        "/v3/00000000-0000-0000-0000-000000000000/events?access_token=c2VjcmV0",
        r#"{"status":"VALID"}"#,
    ),
    (
        "pinterest",
        "/v5/ad_accounts/549755885175/events",
        r#"{"num_events_received":1,"num_events_processed":1,"events":[{"status":"processed"}]}"#,
    ),
    ("twitter", "/12/measurement/conversions/abc12", r#"{"data":{"conversions_processed":1}}"#),
    ("webhook", "/hooks/weir", ""),
];

#[test]
fn every_platform_is_told_on_its_path_and_believed_by_its_answer() {
    let named: Vec<&str> = PLATFORMS.iter().map(|(platform, ..)| *platform).collect();
    let all: Vec<&str> = platform::ALL.iter().map(|platform| platform.name()).collect();
    assert_eq!(named, all);
    let answers: BTreeMap<&str, &str> = PLATFORMS.iter().map(|(_, path, answer)| (*path, *answer)).collect();
    let mock = Mock::start(move |told| match answers.get(told.path.as_str()) {
        Some(answer) => Reply::of(200, answer),
        None => Reply::of(404, &format!("no such path: {}", told.path)),
    });
    let blocks: Vec<String> = all.iter().map(|platform| readme::integration(platform)).collect();
    let ours = format!("project = \"demo\"\nbase_url = \"{}\"", mock.url());
    let toml = blocks.join("\n").replace("project = \"shop\"", &ours);
    let variables = toml.split("\"env:").skip(1).map(|rest| rest.split('"').next().unwrap());
    let setup = variables.fold(setup(""), |setup, variable| setup.env(variable, SECRET));
    let token = setup.data_dir().join("token");
    std::fs::write(&token, format!("{SECRET}\n")).unwrap();
    configure(&setup, &toml.replace("/run/secrets/google_ads_token", token.to_str().unwrap()));
    let collector = setup.start();
    let key = key(&collector);
    let mut events = Vec::new();
    for platform in &all {
        let mut event = purchase(platform);
        event["platform"] = json!(platform);
        event["userData"]["clientId"] = json!("1.2");
        event["sourceUrl"] = json!("https://shop.example/thanks");
        event["consent"] = json!({ "granted": ["marketing", "statistics"] });
        events.push(event);
    }
    accepted(&collector, &key, &events);
    let query = "SELECT count(), countIf(status = 'sent'), uniqExact(conversion_id) FROM weir.conversion_deliveries \
        WHERE status != 'queued'";
    let count = all.len();
    let expected = format!("{count}\t{count}\t{count}");
    eventually("an attempt each", || (collector.sql(query) == expected).then_some(()));
    let mut told: Vec<String> = mock.told().into_iter().map(|Told { path, .. }| path).collect();
    let mut expected: Vec<&str> = PLATFORMS.iter().map(|(_, path, _)| *path).collect();
    told.sort();
    expected.sort_unstable();
    assert_eq!(told, expected);
    let status = conversions(&collector, &["status"]);
    assert_eq!(status.matches(" sends").count(), count, "{status}");
}
