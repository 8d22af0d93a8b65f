use serde_json::{Value, json};

use super::*;

mod faults;

const KEY: Uuid = Uuid::from_u128(7);

/// The smallest event, with what an object adds to it or puts in its place.
fn event(with: &Value) -> Value {
    let mut event = json!({"platform": "meta", "eventType": "purchase"});
    for (name, value) in with.as_object().expect("an object") {
        event[name] = value.clone();
    }
    event
}

fn sent(with: &Value) -> Result<SentEvent, Rejected> {
    let body = json!({"events": [event(with)]}).to_string();
    read(body.as_bytes()).expect("events").remove(0)
}

fn valid(with: &Value) -> SentEvent {
    sent(with).expect("a valid event")
}

fn fault(with: &Value) -> String {
    sent(with).expect_err("an invalid event").fault.to_string()
}

#[test]
fn a_body_without_events_is_refused() {
    let many = |count: usize| json!({"events": vec![event(&json!({})); count]}).to_string();
    for (body, code, message) in [
        ("", "invalid_json", "the body is not JSON"),
        ("{\"events\": [}", "invalid_json", "the body is not JSON"),
        ("{\"events\": [{}]} x", "invalid_json", "the body is not JSON"),
        ("[]", "wrong_type", "the body is not an object"),
        ("\"events\"", "wrong_type", "the body is not an object"),
        ("{}", "no_events", "events is missing, empty or not an array"),
        ("{\"events\": null}", "no_events", "events is missing, empty or not an array"),
        ("{\"events\": {}}", "no_events", "events is missing, empty or not an array"),
        ("{\"events\": []}", "no_events", "events is missing, empty or not an array"),
        ("{\"events\": [{}], \"events\": []}", "duplicate_field", "events is given twice"),
        (&many(101), "too_many_events", "Too many events. Maximum 100 per request."),
    ] {
        let error = read(body.as_bytes()).expect_err(body);
        assert_eq!(error.code(), code, "{body}");
        assert!(error.to_string().starts_with(message), "{error}");
    }
    assert_eq!(WireError::TooManyEvents.to_string(), "Too many events. Maximum 100 per request.");
    assert_eq!(read(b"\xff").expect_err("no UTF-8").code(), "invalid_json");
    assert_eq!(read(many(100).as_bytes()).expect("events").len(), 100);
}

#[test]
fn one_invalid_event_is_rejected_alone() {
    let body = json!({"events": [
        event(&json!({})), 7, {"eventType": "lead"}, {"platform": "ga4"}, event(&json!({"eventId": 1})), event(&json!({})),
    ], "source": {"ignored": [true]}});
    let events = read(body.to_string().as_bytes()).expect("events");
    let told: Vec<_> = events
        .iter()
        .map(|event| event.as_ref().map(|_| ()).map_err(|no| (no.platform.as_deref(), no.fault.to_string())))
        .collect();
    let no = |platform, message: &str| Err((platform, message.to_owned()));
    assert_eq!(
        told,
        [
            Ok(()),
            no(None, "expected an object"),
            no(None, "platform: expected the name of a platform"),
            no(Some("ga4"), "eventType: expected the name of an event such as purchase"),
            no(Some("meta"), "eventId: expected a string"),
            Ok(()),
        ]
    );
}

#[test]
fn every_field_is_read() {
    let sent = valid(&json!({
        "platform": " tiktok ", "eventType": "Add_To_Cart", "eventId": " e-1 ", "timestamp": "2026-11-15T10:30:00Z",
        "sourceUrl": " https://shop.example/thanks?a=b ", "unknown": {"a": [{}]},
        "userData": {"externalId": 42, "clientId": "1.2", "ipAddress": "::ffff:203.0.113.9", "userAgent": "Mozilla/5.0"},
        "customData": {"value": 19.90, "currency": "eur", "orderId": 1001, "contentIds": ["a", 7], "contentName": "Shoe",
            "contentType": "product", "num_items": 2, "nothing": null, "contents": [{"id": "a"}]},
        "consent": {"granted": ["marketing"], "raw": "", "gpc": false,
            "google": {"ad_user_data": "granted", "adPersonalization": false}},
    }));
    assert_eq!((sent.platform.as_str(), sent.event_type.as_str()), ("tiktok", "add_to_cart"));
    assert_eq!(sent.event_id.as_deref(), Some("e-1"));
    assert_eq!(sent.timestamp.map(|it| it.to_string()).as_deref(), Some("2026-11-15T10:30:00.000Z"));
    assert_eq!(sent.source_url.as_deref(), Some("https://shop.example/thanks?a=b"));
    let identity = sent.identity(&IdentityRules::TIKTOK, None);
    let expected = Identity {
        external_id: Some("42".to_owned()),
        external_digest: identity::external_id("42"),
        client_id: Some("1.2".to_owned()),
        ip_address: Some("203.0.113.9".to_owned()),
        user_agent: Some("Mozilla/5.0".to_owned()),
        ..Identity::default()
    };
    assert_eq!(identity, expected);
    let custom = serde_json::to_value(&sent.custom).unwrap();
    let expected = json!({"value": 19.9, "currency": "EUR", "order_id": "1001", "content_ids": ["a", "7"],
        "content_name": "Shoe", "content_type": "product", "more": {"num_items": 2, "contents": [{"id": "a"}]}});
    assert_eq!(custom, expected);
    assert_eq!(sent.consent.granted, Some(vec!["marketing".to_owned()]));
    assert_eq!((sent.consent.raw.as_deref(), sent.consent.gpc), (Some(""), Some(false)));
    assert_eq!(sent.consent.google.ad_user_data, Some(true));
    assert_eq!(sent.consent.google.ad_personalization, Some(false));
}

#[test]
fn null_and_blank_are_the_same_as_absent() {
    let nothing = valid(&json!({"eventId": null, "timestamp": " ", "sourceUrl": "", "userData": null,
        "customData": {"value": null, "currency": "", "orderId": " ", "contentIds": null}, "consent": null}));
    assert_eq!((nothing.event_id, nothing.timestamp, nothing.source_url), (None, None, None));
    assert_eq!((nothing.custom, nothing.consent), (CustomData::default(), SentConsent::default()));
    let user = valid(&json!({"userData": {"email": "  ", "phone": null, "externalId": ""}}));
    assert_eq!(user.identity(&IdentityRules::META, Some("1")), Identity::default());
    assert_eq!(fault(&json!({"platform": " "})), "platform: expected the name of a platform");
    assert_eq!(
        fault(&json!({"eventType": null})),
        "eventType: expected the name of an event such as purchase"
    );
}

#[test]
fn an_event_type_is_ours_whatever_its_case_or_stays_as_it_is() {
    for (given, expected) in [
        ("Purchase", "purchase"),
        ("PAGE_VIEW", "page_view"),
        ("Generate_Lead", "lead"),
        ("sign_up", "complete_registration"),
        ("AddToCart", "AddToCart"),
        ("Tasting booked", "Tasting booked"),
    ] {
        assert_eq!(valid(&json!({"eventType": given})).event_type, expected);
    }
}

#[test]
fn custom_data_is_bounded_in_depth_but_not_by_its_content_ids() {
    let nested = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
    let more = valid(&json!({"customData": {"deep": nested(16)}})).custom.more;
    assert_eq!(more["deep"], nested(16));
    for levels in [17, 120, 200] {
        let body = format!(
            r#"{{"events":[{{"platform":"meta","eventType":"lead","customData":{{"deep":{}{}}}}}]}}"#,
            "[".repeat(levels),
            "]".repeat(levels),
        );
        let told = read(body.as_bytes()).expect("events").remove(0).expect_err("too deep").fault.to_string();
        assert!(told.contains("no more than 16 levels"), "{told}");
    }
    let many: Value =
        (0..1_001).map(|index| (format!("m{index}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    assert!(
        fault(&json!({"customData": many})).starts_with("customData: expected no more than 1000 members")
    );
    let ids = vec!["x".repeat(256); 1_000];
    assert_eq!(valid(&json!({"customData": {"contentIds": ids}})).custom.content_ids, ids);
}

#[test]
fn identifiers_are_refused_in_custom_data() {
    for name in [
        "email",
        "Email",
        "em",
        "phone",
        "ph",
        "firstName",
        "first_name",
        "FN",
        "last-name",
        "lastName",
        "ln",
    ] {
        let told = fault(&json!({"customData": {name: "secret"}}));
        assert_eq!(told, format!("customData.{name}: expected in userData, where it is hashed"));
        let told = fault(&json!({"customData": {"items": [{"buyer": {name: "secret"}}]}}));
        assert_eq!(told, format!("customData: {name} within it is expected in userData, where it is hashed"));
    }
    valid(&json!({"customData": {"emailed": true, "name": "Shoe", "phone_case": 1}}));
}

#[test]
fn a_source_url_tells_nothing_that_must_not_be_kept() {
    for (given, expected) in [
        ("https://shop.example", "https://shop.example"),
        ("HTTP://Shop.Example/ä?x=1&y#z", "HTTP://Shop.Example/ä?x=1&y#z"),
        ("https://shop.example/@jane?q=a%26b", "https://shop.example/@jane?q=a%26b"),
        ("https://jane:secret@shop.example/a", "https://shop.example/a"),
        ("https://shop.example/a?email=jane&x=1", "https://shop.example/a?x=1"),
        ("https://shop.example/a?Phone_Number=1#b", "https://shop.example/a#b"),
        ("https://shop.example/a?u=jane%40mail.example&x=%26", "https://shop.example/a?x=%26"),
        ("https://shop.example/a\nb", "https://shop.example/ab"),
    ] {
        assert_eq!(valid(&json!({"sourceUrl": given})).source_url.as_deref(), Some(expected));
    }
}

#[test]
fn identifiers_are_hashed_by_the_rules_and_shown_nowhere() {
    let user = json!({"email": "Jane.Doe@gmail.com", "phone": 6_505_551_212_u64, "firstName": "Jàne", "lastName": "D'oe",
        "externalId": "jane@mail.example"});
    let sent = valid(&json!({"userData": user}));
    for rules in [IdentityRules::META, IdentityRules::TIKTOK, IdentityRules::GOOGLE_ADS, IdentityRules::GA4] {
        let identity = sent.identity(&rules, Some("1"));
        assert_eq!(identity.email, rules.email("Jane.Doe@gmail.com"));
        assert_eq!(identity.phone, rules.phone("+16505551212", None));
        assert_eq!(identity.first_name, rules.name("Jàne"));
        assert_eq!(identity.last_name, rules.name("D'oe"));
        assert_eq!(identity.external_digest, identity::external_id("jane@mail.example"));
        assert_eq!(identity.external_id, identity.external_digest);
    }
    let shown = format!("{sent:#?} {:?}", sent.identity(&IdentityRules::META, Some("1"))).to_lowercase();
    for plain in ["jane", "jàne", "doe", "d'oe", "gmail", "mail.example", "6505551212"] {
        assert!(!shown.contains(plain), "{plain} in {shown}");
    }
    assert!(shown.contains("first_name"), "{shown}");
}

#[test]
fn a_user_agent_is_cut_between_characters() {
    let sent = valid(&json!({"userData": {"userAgent": format!("x{}", "é".repeat(600))}}));
    let kept = sent.identity(&IdentityRules::META, None).user_agent.expect("a user agent");
    assert_eq!(kept, format!("x{}", "é".repeat(511)));
}

#[test]
fn gpc_may_be_the_headers_one_and_a_denied_signal_wins() {
    let gpc = |value: Value| valid(&json!({"consent": {"gpc": value}})).consent.gpc;
    for (value, expected) in [(json!("1"), true), (json!(1), true), (json!(true), true), (json!(0), false)] {
        assert_eq!(gpc(value), Some(expected));
    }
    let google = json!({"ad_user_data": true, "adUserData": "DENIED"});
    assert_eq!(valid(&json!({"consent": {"google": google}})).consent.google.ad_user_data, Some(false));
}

#[test]
fn an_id_is_the_same_each_time_the_event_is_sent() {
    let id = |with: Value, key, platform| conversion_id(&valid(&with), key, platform);
    assert_eq!(id(json!({"eventId": "e-1", "customData": {"orderId": "7"}}), KEY, "meta"), "e-1");
    let order = json!({"customData": {"orderId": "7"}});
    let derived = id(order.clone(), KEY, "meta");
    assert_eq!(derived, Uuid::new_v5(&KEY, b"meta\npurchase\n7").to_string());
    assert_eq!(
        id(json!({"eventType": "Purchase", "customData": {"orderId": 7, "value": 1}}), KEY, "meta"),
        derived
    );
    for other in [
        id(order.clone(), Uuid::from_u128(8), "meta"),
        id(order.clone(), KEY, "tiktok"),
        id(json!({"eventType": "lead", "customData": {"orderId": "7"}}), KEY, "meta"),
        id(json!({"customData": {"orderId": "8"}}), KEY, "meta"),
    ] {
        assert_ne!(other, derived);
    }
    let random = id(json!({}), KEY, "meta");
    assert_ne!(random, id(json!({}), KEY, "meta"));
    assert_eq!(Uuid::parse_str(&random).map(|id| id.get_version_num()), Ok(4));
}
