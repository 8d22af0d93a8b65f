use super::super::samples::{MOMENT, body, event_names, full, full_server_event, integration, minimal, read};
use super::*;
use crate::conversions::{CustomData, Identity};

const SETTINGS: &[(&str, &str)] = &[("pixel_id", "67d3-4640"), ("access_token", "to&ken")];

#[test]
fn a_full_event_tells_everything() {
    let integration = integration(&Snapchat, SETTINGS);
    let request = Snapchat.request(&integration, &[&full()], MOMENT);
    assert_eq!(integration.base_url, "https://tr.snapchat.com");
    assert_eq!(request.path, "/v3/67d3-4640/events?access_token=to%26ken");
    assert!(request.headers.is_empty());
    let mut expected = full_server_event("PURCHASE", "website");
    expected["data_processing_options"] = json!(["LDU"]);
    assert_eq!(body(&request), json!({"data": [expected]}));
}

#[test]
fn a_minimal_event_tells_nothing_that_is_not_there() {
    let integration = integration(&Snapchat, SETTINGS);
    let identity = Identity { phone: Some("ph-digest".into()), ..Identity::default() };
    let conversion = Conversion { identity, event_type: "contact".into(), ..minimal() };
    assert_eq!(Snapchat.check(&conversion), Ok(()));
    let expected = json!({"data": [{
        "event_name": "CUSTOM_EVENT_1",
        "event_time": 1_767_225_600,
        "event_id": "id-1",
        "action_source": "website",
        "user_data": {"ph": ["ph-digest"]},
    }]});
    assert_eq!(body(&Snapchat.request(&integration, &[&conversion], MOMENT)), expected);
}

#[test]
fn it_names_what_is_missing() {
    let digest = || Some(String::from("digest"));
    let enough = [
        Identity { email: digest(), ..Identity::default() },
        Identity { phone: digest(), ..Identity::default() },
        Identity { ip_address: digest(), user_agent: digest(), ..Identity::default() },
    ];
    for identity in enough {
        assert_eq!(Snapchat.check(&Conversion { identity, ..full() }), Ok(()));
    }
    let too_little = [
        Identity::default(),
        Identity { ip_address: digest(), external_digest: digest(), ..Identity::default() },
        Identity { user_agent: digest(), first_name: digest(), ..Identity::default() },
    ];
    for identity in too_little {
        let fault = Snapchat.check(&Conversion { identity, ..full() }).unwrap_err().to_string();
        assert_eq!(
            fault,
            "userData.email: expected for snapchat, or userData.phone, or userData.ipAddress with userData.userAgent"
        );
    }
    let fault = |custom: CustomData| Snapchat.check(&Conversion { custom, ..full() }).unwrap_err().field;
    assert_eq!(fault(CustomData { value: None, ..full().custom }), "customData.value");
    assert_eq!(fault(CustomData { currency: None, ..full().custom }), "customData.currency");
    let lead = Conversion { custom: CustomData::default(), event_type: "lead".into(), ..full() };
    assert_eq!(Snapchat.check(&lead), Ok(()));
}

#[test]
fn events_have_snapchats_names() {
    let expected = [
        "PURCHASE",
        "SIGN_UP",
        "ADD_CART",
        "PAGE_VIEW",
        "SIGN_UP",
        "START_CHECKOUT",
        "ADD_BILLING",
        "VIEW_CONTENT",
        "SEARCH",
        "SUBSCRIBE",
        "CUSTOM_EVENT_1",
        "CUSTOM_EVENT_1",
    ];
    assert_eq!(event_names(&Snapchat), expected.map(Some));
}

#[test]
fn the_status_says_what_an_answer_means() {
    for body in ["", "OK", "{}", r#"{"status":"VALID","reason":"All records processed"}"#] {
        assert_eq!(read(&Snapchat, 200, body, 3), Verdict::Taken, "{body}");
    }
    let body =
        r#"{"status":"INVALID","event":1,"errors":{"codes":["E1"],"error_msgs":["No currency","No value"]}}"#;
    let said = |status| format!("answered {status}: No currency; No value");
    assert_eq!(read(&Snapchat, 400, body, 3), Verdict::Refused(said(400)));
    assert_eq!(read(&Snapchat, 429, body, 3), Verdict::Throttled(said(429)));
    assert_eq!(read(&Snapchat, 500, body, 3), Verdict::Retry(said(500)));
    assert_eq!(read(&Snapchat, 401, body, 3), Verdict::Unauthorized("answered 401".into()));
    let body = r#"{"status":"INVALID","reason":"Unhashed email a@example.com"}"#;
    assert_eq!(read(&Snapchat, 400, body, 1), Verdict::Refused("answered 400: Unhashed email …".into()));
    assert_eq!(read(&Snapchat, 400, "{", 1), Verdict::Refused("answered 400".into()));
}

#[test]
fn a_page_is_not_snapchats() {
    let verdict = Verdict::Retry("answered 200 with an unexpected body".into());
    assert_eq!(read(&Snapchat, 200, "<html>", 1), verdict);
    assert_eq!(read(&Snapchat, 503, "<html>", 1), Verdict::Retry("answered 503".into()));
}
