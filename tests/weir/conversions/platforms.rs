//! Every platform once, over its own path, with an answer as the real one gives it.

use std::collections::BTreeMap;

use serde_json::json;

use super::mock::{Mock, Reply, Told};
use super::{accepted, conversions, key, purchase, setup};
use crate::harness::eventually;

/// Each platform: its settings, the path it is told on, and how it says that it has an event.
const PLATFORMS: [(&str, &str, &str, &str); 8] = [
    (
        "meta",
        "pixel_id = \"1\"\naccess_token = \"t\"",
        "/v25.0/1/events?access_token=t",
        r#"{"events_received":1}"#,
    ),
    (
        "tiktok",
        "pixel_id = \"1\"\naccess_token = \"t\"",
        "/open_api/v1.3/event/track/",
        r#"{"code":0,"message":"OK"}"#,
    ),
    (
        "google_ads",
        "customer_id = \"1\"\nconversion_action = \"2\"\naccess_token = \"t\"",
        "/v1/events:ingest",
        r#"{"requestId":"r"}"#,
    ),
    (
        "ga4",
        "measurement_id = \"G-1\"\napi_secret = \"s\"",
        "/mp/collect?measurement_id=G-1&api_secret=s",
        "",
    ),
    (
        "snapchat",
        "pixel_id = \"1\"\naccess_token = \"t\"",
        "/v3/1/events?access_token=t",
        r#"{"status":"VALID"}"#,
    ),
    (
        "pinterest",
        "ad_account_id = \"1\"\naccess_token = \"t\"",
        "/v5/ad_accounts/1/events",
        r#"{"num_events_received":1,"num_events_processed":1,"events":[{"status":"processed"}]}"#,
    ),
    (
        "twitter",
        "pixel_id = \"1\"\nevent_tag_id = \"tw-1-2\"\npixel_token = \"t\"",
        "/12/measurement/conversions/1",
        r#"{"data":{"conversions_processed":1}}"#,
    ),
    (
        "webhook",
        "url = \"https://crm.example/hook\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
        "/hook",
        "",
    ),
];

#[test]
fn every_platform_is_told_on_its_path_and_believed_by_its_answer() {
    let answers: BTreeMap<&str, &str> =
        PLATFORMS.iter().map(|(_, _, path, answer)| (*path, *answer)).collect();
    let mock = Mock::start(move |told| match answers.get(told.path.as_str()) {
        Some(answer) => Reply::of(200, answer),
        None => Reply::of(404, &format!("no such path: {}", told.path)),
    });
    let base = mock.url();
    let blocks = PLATFORMS.map(|(platform, settings, ..)| {
        format!(
            "[[integration]]\nproject = \"demo\"\nplatform = \"{platform}\"\nbase_url = \"{base}\"\n{settings}\n"
        )
    });
    let collector = setup(&blocks.concat()).start();
    let key = key(&collector);
    let mut events = Vec::new();
    for (platform, ..) in PLATFORMS {
        let mut event = purchase(platform);
        event["platform"] = json!(platform);
        event["userData"]["clientId"] = json!("1.2");
        event["sourceUrl"] = json!("https://shop.example/thanks");
        events.push(event);
    }
    accepted(&collector, &key, &events);
    let query = "SELECT count(), countIf(status = 'sent'), uniqExact(conversion_id) FROM weir.conversion_deliveries \
        WHERE status != 'queued'";
    eventually("an attempt each", || (collector.sql(query) == "8\t8\t8").then_some(()));
    let mut told: Vec<String> = mock.told().into_iter().map(|Told { path, .. }| path).collect();
    let mut expected: Vec<String> = PLATFORMS.iter().map(|(_, _, path, _)| (*path).to_owned()).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    let status = conversions(&collector, &["status"]);
    assert_eq!(status.matches(" sends").count(), 8, "{status}");
}
