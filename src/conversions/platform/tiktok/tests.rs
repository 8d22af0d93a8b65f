use super::super::samples::{MOMENT, body, event_names, full, headers, integration, minimal, read};
use super::*;

const SETTINGS: &[(&str, &str)] = &[("pixel_id", "C123"), ("access_token", "token")];

#[test]
fn a_full_event_tells_everything() {
    let integration = integration(&TikTok, SETTINGS);
    let request = TikTok.request(&integration, &[&full()], MOMENT);
    assert_eq!(integration.base_url, "https://business-api.tiktok.com");
    assert_eq!(request.path, "/open_api/v1.3/event/track/");
    assert_eq!(headers(&request), [("access-token", "token")]);
    assert!(request.headers[0].1.is_sensitive());
    let expected = json!({
        "event_source": "web",
        "event_source_id": "C123",
        "data": [{
            "event": "Purchase",
            "event_time": 1_767_225_600,
            "event_id": "id-1",
            "user": {
                "email": ["em-digest"],
                "phone": ["ph-digest"],
                "external_id": ["id-digest"],
                "first_name": "fn-digest",
                "last_name": "ln-digest",
                "ip": "203.0.113.7",
                "user_agent": "Mozilla/5.0",
            },
            "properties": {
                "value": 49.9,
                "currency": "EUR",
                "order_id": "order-1",
                "content_type": "product",
                "num_items": 2,
                "contents": [
                    {"content_id": "sku-1", "content_name": "A mug"},
                    {"content_id": "sku-2", "content_name": "A mug"},
                ],
            },
            "page": {"url": "https://shop.example/thanks?a=1&b=2"},
            "limited_data_use": true,
        }],
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn a_minimal_event_tells_nothing_that_is_not_there() {
    let mut integration = integration(&TikTok, SETTINGS);
    integration.event_names.insert("purchase".into(), "CompletePayment".into());
    let mut named = Conversion { event_type: "Own Name".into(), id: "id-2".into(), ..minimal() };
    named.custom.content_name = Some("A mug".into());
    assert_eq!(TikTok.check(&minimal()), Ok(()));
    let request = TikTok.request(&integration, &[&minimal(), &named], MOMENT);
    let expected = json!({
        "event_source": "web",
        "event_source_id": "C123",
        "data": [
            {"event": "CompletePayment", "event_time": 1_767_225_600, "event_id": "id-1"},
            {
                "event": "Own Name",
                "event_time": 1_767_225_600,
                "event_id": "id-2",
                "properties": {"contents": [{"content_name": "A mug"}]},
            },
        ],
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn events_have_tiktoks_names() {
    let expected = [
        Some("Purchase"),
        Some("Lead"),
        Some("AddToCart"),
        Some("Pageview"),
        Some("CompleteRegistration"),
        Some("InitiateCheckout"),
        Some("AddPaymentInfo"),
        Some("ViewContent"),
        Some("Search"),
        Some("Subscribe"),
        Some("Contact"),
        None,
    ];
    assert_eq!(event_names(&TikTok), expected);
}

#[test]
fn a_code_says_what_an_answer_means() {
    let verdict = |code: i64| {
        let body = format!(r#"{{"code":{code},"message":"Some words","request_id":"2026","data":{{}}}}"#);
        read(&TikTok, 200, &body, 2)
    };
    let said = |code| format!("code {code}: Some words");
    for code in [0, 20_001] {
        assert_eq!(verdict(code), Verdict::Taken, "{code}");
    }
    assert_eq!(verdict(40_100), Verdict::Throttled(said(40_100)));
    for code in [40_101, 40_102, 40_104, 40_105] {
        assert_eq!(verdict(code), Verdict::Unauthorized(format!("code {code}")), "{code}");
    }
    for code in [40_001, 40_002, 40_007, 40_900] {
        assert_eq!(verdict(code), Verdict::Refused(said(code)), "{code}");
    }
    for code in [50_000, 50_002, 51_010, 60_001, -1] {
        assert_eq!(verdict(code), Verdict::Retry(said(code)), "{code}");
    }
}

#[test]
fn an_answer_that_is_not_tiktoks_is_no_success() {
    for body in ["", "{}", "OK", "<html>", r#"{"code":"0"}"#, r#"{"code":0"#] {
        let verdict = read(&TikTok, 200, body, 1);
        assert_eq!(verdict, Verdict::Retry("answered 200 with an unexpected body".into()), "{body}");
    }
    let permanent = r#"{"code":40001,"message":"No"}"#;
    assert_eq!(read(&TikTok, 401, permanent, 1), Verdict::Unauthorized("answered 401".into()));
    assert_eq!(read(&TikTok, 503, permanent, 1), Verdict::Retry("code 40001: No".into()));
    assert_eq!(read(&TikTok, 403, r#"{"code":1}"#, 1), Verdict::Unauthorized("answered 403".into()));
    assert_eq!(read(&TikTok, 400, r#"{"code":50002}"#, 1), Verdict::Retry("code 50002".into()));
    assert_eq!(read(&TikTok, 500, r#"{"code":0}"#, 1), Verdict::Retry("answered 500".into()));
    assert_eq!(read(&TikTok, 401, "", 1), Verdict::Unauthorized("answered 401".into()));
    assert_eq!(read(&TikTok, 429, "<html>", 1), Verdict::Throttled("answered 429".into()));
    assert_eq!(read(&TikTok, 404, "<html>", 1), Verdict::Refused("answered 404".into()));
    assert_eq!(
        read(&TikTok, 400, r#"{"code":40002,"message":null}"#, 1),
        Verdict::Refused("code 40002".into())
    );
}
