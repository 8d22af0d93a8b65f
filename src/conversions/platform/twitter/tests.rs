use serde_json::json;

use super::super::samples::{MOMENT, bare, body, full, headers, integration, read, with_phone};
use super::*;

const SETTINGS: &[(&str, &str)] =
    &[("pixel_id", "o8z6j"), ("event_tag_id", "tw-o8z6j-o87ne"), ("pixel_token", "t0ken")];

#[test]
fn it_is_told_of_full_and_minimal_events() {
    let to = integration(&Twitter, SETTINGS);
    let request = Twitter.request(&to, &[&full(), &with_phone()], MOMENT);

    assert_eq!(to.base_url, "https://ads-api.x.com");
    assert_eq!(request.path, "/12/measurement/conversions/o8z6j");
    assert_eq!(headers(&request), [("x-pixel-token", "t0ken")]);
    assert!(request.headers[0].1.is_sensitive());
    let expected = json!({ "conversions": [
        {
            "conversion_time": "2026-01-01T00:00:00.789Z",
            "event_id": "tw-o8z6j-o87ne",
            "conversion_id": "id-1",
            "value": 49.9,
            "price_currency": "EUR",
            "identifiers": [
                { "hashed_email": "em-digest" },
                { "hashed_phone_number": "ph-digest" },
                { "ip_address": "203.0.113.7", "user_agent": "Mozilla/5.0" },
            ],
        },
        {
            "conversion_time": "2026-01-01T00:00:00.789Z",
            "event_id": "tw-o8z6j-o87ne",
            "conversion_id": "id-2",
            "identifiers": [{ "hashed_phone_number": "ph-digest" }],
        },
    ]});
    assert_eq!(body(&request), expected);
}

#[test]
fn an_event_type_may_have_an_event_tag_of_its_own() {
    let mut to = integration(&Twitter, SETTINGS);
    to.event_names.insert("lead".to_owned(), "tw-o8z6j-lead".to_owned());
    to.event_names.insert("quote asked".to_owned(), "tw-o8z6j-quote".to_owned());
    let sent = body(&Twitter.request(&to, &[&with_phone(), &full(), &bare("Quote Asked")], MOMENT));

    assert_eq!(sent["conversions"][0]["event_id"], "tw-o8z6j-lead");
    assert_eq!(sent["conversions"][1]["event_id"], "tw-o8z6j-o87ne");
    assert_eq!(sent["conversions"][2]["event_id"], "tw-o8z6j-quote");
}

#[test]
fn somebody_has_to_be_matched() {
    assert_eq!(Twitter.check(&with_phone()), Ok(()));
    let mut event = bare("lead");
    event.identity.external_id = Some("42".to_owned());
    event.identity.ip_address = Some("203.0.113.7".to_owned());
    assert_eq!(Twitter.check(&event).unwrap_err().field, "userData.email");
    event.identity.user_agent = Some("Mozilla/5.0".to_owned());
    assert_eq!(Twitter.check(&event), Ok(()));
    event.identity.ip_address = None;
    assert_eq!(Twitter.check(&event).unwrap_err().field, "userData.email");
}

#[test]
fn its_answers_are_read() {
    let invalid =
        r#"{"errors": [{"code": "INVALID_PARAMETER", "message": "Conversion count limit is 500"}]}"#;
    let unauthorized = r#"{"errors": [{"code": "UNAUTHORIZED_ACCESS", "message": "no access"}]}"#;
    let overload = r#"{"errors": [{"code": "TOO_MANY_REQUESTS", "message": "slower"}], "request": {}}"#;
    let internal = r#"{"errors": [{"code": "INTERNAL_ERROR", "message": ""}]}"#;
    for (status, answer, expected) in [
        (200, r#"{"request": {}, "data": {"conversions_processed": 3, "debug_id": "1"}}"#, Verdict::Taken),
        (200, r#"{"data": {"conversions_processed": 2}}"#, Verdict::Refused("took 2 of 3".to_owned())),
        (200, r#"{"data": {"conversions_processed": 3}, "errors": null}"#, Verdict::Taken),
        (200, r#"{"data": {}}"#, Verdict::Retry("answered 200 with an unexpected body".to_owned())),
        (200, "", Verdict::Retry("answered 200 with an unexpected body".to_owned())),
        (200, "<html>", Verdict::Retry("answered 200 with an unexpected body".to_owned())),
        (200, internal, Verdict::Retry("INTERNAL_ERROR".to_owned())),
        (400, invalid, Verdict::Refused("INVALID_PARAMETER: Conversion count limit is 500".to_owned())),
        (400, "<html>", Verdict::Refused("answered 400".to_owned())),
        (401, unauthorized, Verdict::Unauthorized("answered 401".to_owned())),
        (403, unauthorized, Verdict::Unauthorized("answered 403".to_owned())),
        (429, overload, Verdict::Throttled("TOO_MANY_REQUESTS: slower".to_owned())),
        (503, internal, Verdict::Retry("INTERNAL_ERROR".to_owned())),
        (502, "<html>", Verdict::Retry("answered 502".to_owned())),
    ] {
        assert_eq!(read(&Twitter, status, answer, 3), expected, "{status} {answer}");
    }
}

#[test]
fn it_goes_by_either_name() {
    for name in ["twitter", "x"] {
        assert_eq!(super::super::find(name).map(Platform::name), Some("twitter"));
    }
}
