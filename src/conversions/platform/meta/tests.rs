use super::super::samples::{MOMENT, body, event_names, full, full_server_event, integration, minimal, read};
use super::*;
use crate::conversions::{CustomData, Identity};

const SETTINGS: &[(&str, &str)] = &[("pixel_id", "123"), ("access_token", "app|tok/en")];

#[test]
fn a_full_event_tells_everything() {
    let integration = integration(&Meta, SETTINGS);
    let request = Meta.request(&integration, &[&full()], MOMENT);
    assert_eq!(integration.base_url, "https://graph.facebook.com");
    assert_eq!(request.path, "/v25.0/123/events?access_token=app%7Ctok%2Fen");
    assert!(request.headers.is_empty());
    let mut expected = full_server_event("Purchase", "website");
    expected["data_processing_options"] = json!(["LDU"]);
    expected["data_processing_options_country"] = json!(0);
    expected["data_processing_options_state"] = json!(0);
    assert_eq!(body(&request), json!({"data": [expected]}));
}

#[test]
fn a_minimal_event_tells_nothing_that_is_not_there() {
    let mut settings = SETTINGS.to_vec();
    settings.push(("test_event_code", "TEST42"));
    let mut integration = integration(&Meta, &settings);
    integration.event_names.insert("quote".into(), "QuoteAsked".into());
    let identity = Identity { ip_address: Some("203.0.113.7".into()), ..Identity::default() };
    let first = Conversion { identity, ..minimal() };
    let second = Conversion { event_type: "quote".into(), id: "id-2".into(), ..minimal() };
    let third = Conversion { event_type: "Own Name".into(), id: "id-3".into(), ..minimal() };
    let request = Meta.request(&integration, &[&first, &second, &third], MOMENT);
    let event = |name: &str, id: &str, user: Value| {
        json!({
            "event_name": name,
            "event_time": 1_767_225_600,
            "event_id": id,
            "action_source": "system_generated",
            "user_data": user,
        })
    };
    let expected = json!({
        "data": [
            event("Purchase", "id-1", json!({"client_ip_address": "203.0.113.7"})),
            event("QuoteAsked", "id-2", json!({})),
            event("Own Name", "id-3", json!({})),
        ],
        "test_event_code": "TEST42",
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn a_base_url_may_name_the_version() {
    let mut integration = integration(&Meta, SETTINGS);
    for (base_url, path) in [
        ("http://127.0.0.1:9999", "/v25.0/123/events"),
        ("https://graph.facebook.com/v26.0", "/123/events"),
        ("https://proxy.example/vault", "/v25.0/123/events"),
        ("https://proxy.example/v", "/v25.0/123/events"),
    ] {
        base_url.clone_into(&mut integration.base_url);
        let request = Meta.request(&integration, &[&full()], MOMENT);
        assert_eq!(request.path.split('?').next(), Some(path), "{base_url}");
    }
}

#[test]
fn a_website_has_both_an_address_and_a_browser() {
    let integration = integration(&Meta, SETTINGS);
    let without_url = Conversion { source_url: None, ..full() };
    let mut without_agent = full();
    without_agent.identity.user_agent = None;
    let request = Meta.request(&integration, &[&without_url, &without_agent], MOMENT);
    let sent = body(&request);
    for event in sent["data"].as_array().unwrap() {
        assert_eq!(event["action_source"], "system_generated");
    }
    assert_eq!(sent["data"][1]["event_source_url"], "https://shop.example/thanks?a=1&b=2");
}

#[test]
fn somebody_has_to_be_known() {
    let digest = || Some(String::from("digest"));
    let enough = [
        Identity { email: digest(), ..Identity::default() },
        Identity { phone: digest(), ..Identity::default() },
        Identity { external_digest: digest(), ..Identity::default() },
        Identity { ip_address: digest(), ..Identity::default() },
        Identity { first_name: digest(), last_name: digest(), ..Identity::default() },
    ];
    for identity in enough {
        assert_eq!(Meta.check(&Conversion { identity, ..minimal() }), Ok(()));
    }
    let too_little = [
        Identity::default(),
        Identity { user_agent: digest(), first_name: digest(), client_id: digest(), ..Identity::default() },
    ];
    for identity in too_little {
        let conversion = Conversion { identity, custom: CustomData::default(), ..minimal() };
        let fault = Meta.check(&conversion).unwrap_err().to_string();
        let expected = "userData.email: expected for meta, or userData.phone, userData.externalId, userData.ipAddress or both names";
        assert_eq!(fault, expected);
    }
}

#[test]
fn events_have_metas_names() {
    let expected = [
        Some("Purchase"),
        Some("Lead"),
        Some("AddToCart"),
        Some("PageView"),
        Some("CompleteRegistration"),
        Some("InitiateCheckout"),
        Some("AddPaymentInfo"),
        Some("ViewContent"),
        Some("Search"),
        Some("Subscribe"),
        Some("Contact"),
        None,
    ];
    assert_eq!(event_names(&Meta), expected);
}

#[test]
fn a_code_says_what_an_error_means() {
    let verdict = |status, code: i64| {
        let body = format!(r#"{{"error":{{"message":"Some words","type":"OAuthException","code":{code}}}}}"#);
        read(&Meta, status, &body, 2)
    };
    let said = |code| format!("code {code}: Some words");
    // The status is the same for all, and may be 200.
    for status in [200, 400, 500] {
        for code in [1, 2, 341, 368, 5_000, 21_009] {
            assert_eq!(verdict(status, code), Verdict::Retry(said(code)), "{status} {code}");
        }
        for code in [4, 17, 32, 613, 80_003] {
            assert_eq!(verdict(status, code), Verdict::Throttled(said(code)), "{status} {code}");
        }
        for code in [3, 100, 105, 200] {
            assert_eq!(verdict(status, code), Verdict::Refused(said(code)), "{status} {code}");
        }
        for code in [102, 190] {
            assert_eq!(
                verdict(status, code),
                Verdict::Unauthorized(format!("code {code}")),
                "{status} {code}"
            );
        }
    }
    assert_eq!(verdict(400, 999), Verdict::Refused(said(999)));
    assert_eq!(verdict(500, 999), Verdict::Retry(said(999)));
    assert_eq!(verdict(200, 999), Verdict::Retry(said(999)));
    assert_eq!(verdict(429, 999), Verdict::Throttled(said(999)));
    assert_eq!(verdict(403, 999), Verdict::Unauthorized("answered 403".into()));
}

#[test]
fn an_error_tells_what_an_operator_needs() {
    let body = r#"{"error":{"message":"Invalid parameter","code":100,"error_subcode":2804019,
        "is_transient":false,"error_user_title":"Too old","error_user_msg":"The event is too old."}}"#;
    let expected = "code 100, subcode 2804019: The event is too old.";
    assert_eq!(read(&Meta, 400, body, 1), Verdict::Refused(expected.into()));
    let body = r#"{"error":{"message":"Wait","code":999,"is_transient":true}}"#;
    assert_eq!(read(&Meta, 400, body, 1), Verdict::Retry("code 999: Wait".into()));
}

#[test]
fn a_success_counts_all_events() {
    let taken = r#"{"events_received":2,"messages":[],"fbtrace_id":"A"}"#;
    assert_eq!(read(&Meta, 200, taken, 2), Verdict::Taken);
    assert_eq!(read(&Meta, 200, taken, 1), Verdict::Taken);
    assert_eq!(read(&Meta, 200, taken, 3), Verdict::Refused("took 2 of 3".into()));
    let none = r#"{"events_received":0}"#;
    assert_eq!(read(&Meta, 200, none, 1), Verdict::Refused("took 0 of 1".into()));
    assert_eq!(read(&Meta, 503, taken, 2), Verdict::Retry("answered 503".into()));
    for body in ["", "{}", "[]", "null", "OK", r#"{"events_received":"2"}"#, r#"{"events_rec"#] {
        let verdict = read(&Meta, 200, body, 2);
        assert_eq!(verdict, Verdict::Retry("answered 200 with an unexpected body".into()), "{body}");
    }
}

#[test]
fn a_page_is_not_metas() {
    for status in [200, 400, 403, 404, 500, 502] {
        let verdict = read(&Meta, status, "\n<!DOCTYPE html><html>Sorry", 1);
        assert_eq!(verdict, Verdict::Retry(format!("answered {status} with a page")));
    }
    assert_eq!(read(&Meta, 429, "<html>", 1), Verdict::Throttled("answered 429".into()));
    assert_eq!(read(&Meta, 400, "", 1), Verdict::Refused("answered 400".into()));
    assert_eq!(read(&Meta, 401, "", 1), Verdict::Unauthorized("answered 401".into()));
}
