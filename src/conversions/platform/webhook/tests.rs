use super::super::samples::{bare, body, check_settings, full, headers, integration, read};
use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SETTINGS: &[(&str, &str)] = &[("url", "https://crm.example/hooks/weir"), ("secret", SECRET)];

/// 2026-11-23T00:00:00.999Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_392_000_999);

#[test]
fn the_vector_of_standard_webhooks_is_signed_alike() {
    let key = key(SECRET).unwrap();
    let signature = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
}

#[test]
fn it_is_told_of_a_full_event_without_plain_text_of_who_it_is() {
    let mut event = full();
    event.consent.ad_user_data = Some(true);
    let request = Webhook.request(&integration(&Webhook, SETTINGS), &[&event], NOW);

    let expected = json!({
        "type": "purchase",
        "timestamp": "2026-01-01T00:00:00.789Z",
        "data": {
            "id": "id-1",
            "sourceUrl": "https://shop.example/thanks?a=1&b=2",
            "userData": {
                "email": "em-digest",
                "phone": "ph-digest",
                "firstName": "fn-digest",
                "lastName": "ln-digest",
                "externalId": "id-digest",
                "clientId": "123.456",
                "ipAddress": "203.0.113.7",
                "userAgent": "Mozilla/5.0",
            },
            "customData": {
                "value": 49.9,
                "currency": "EUR",
                "orderId": "order-1",
                "contentIds": ["sku-1", "sku-2"],
                "contentName": "A mug",
                "contentType": "product",
                "num_items": 2,
            },
            "consent": { "adUserData": true, "limitedUse": true },
        },
    });
    assert_eq!(body(&request), expected);

    let signature = sign(&key(SECRET).unwrap(), "id-1", 1_795_392_000, &request.body).unwrap();
    let expected = [
        ("webhook-id", "id-1"),
        ("webhook-timestamp", "1795392000"),
        ("webhook-signature", signature.as_str()),
    ];
    assert_eq!(headers(&request), expected);
}

#[test]
fn it_is_told_of_a_minimal_event() {
    let mut to = integration(&Webhook, SETTINGS);
    let request = Webhook.request(&to, &[&bare("renewal")], NOW);
    let expected = json!({
        "type": "renewal",
        "timestamp": "2026-01-01T00:00:00.789Z",
        "data": { "id": "id-2", "userData": {}, "customData": {}, "consent": { "limitedUse": false } },
    });
    assert_eq!(body(&request), expected);

    to.event_names.insert("renewal".to_owned(), "subscription.renewed".to_owned());
    assert_eq!(body(&Webhook.request(&to, &[&bare("renewal")], NOW))["type"], "subscription.renewed");
}

#[test]
fn each_attempt_is_signed_anew_under_one_id() {
    let to = integration(&Webhook, SETTINGS);
    let (first, second) =
        (Webhook.request(&to, &[&full()], NOW), Webhook.request(&to, &[&full()], NOW.shifted(60_000)));
    assert_eq!(first.body, second.body);
    let (first, second) = (headers(&first), headers(&second));
    assert_eq!(first[0], second[0]);
    assert_ne!(first[1], second[1]);
    assert_ne!(first[2], second[2]);
}

#[test]
fn ids_that_no_header_carries_go_as_their_digest() {
    assert_eq!(header_id("order-1.a:b"), "order-1.a:b");
    let of_an_umlaut = "607474ca475a9724d7360aba71a56d5df77e61350e3f724cfa1f46e857e2d85f";
    assert_eq!(header_id("ü"), of_an_umlaut);
    for id in ["two words", "line\nfeed", ""] {
        let digest = header_id(id);
        assert!(
            digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id:?}: {digest}"
        );
    }
}

#[test]
fn the_whole_url_is_where_it_goes() {
    let url = "https://crm.example/hooks/weir/?key=1/";
    let mut to = integration(&Webhook, &[("url", url), ("secret", SECRET)]);
    assert_eq!(to.base_url, url);
    let address = |to: &Integration| to.base_url.clone() + &Webhook.request(to, &[&full()], NOW).path;
    assert_eq!(address(&to), url);
    // As a base URL is read, without the slash at its end.
    url.trim_end_matches('/').clone_into(&mut to.base_url);
    assert_eq!(address(&to), url);
    // Where the block sets another base, path and query are as they were.
    "http://127.0.0.1:9999".clone_into(&mut to.base_url);
    assert_eq!(address(&to), "http://127.0.0.1:9999/hooks/weir/?key=1/");
}

#[test]
fn no_two_events_share_a_request() {
    assert_eq!(integration(&Webhook, SETTINGS).rate(), Rate { per_second: 50, batch: 1 });
    assert!(!Webhook.share_a_request(&full(), &full()));
}

#[test]
fn its_answers_say_nothing_but_their_status() {
    for (status, expected) in [
        (200, Verdict::Taken),
        (202, Verdict::Taken),
        (204, Verdict::Taken),
        (302, Verdict::Retry("answered 302".to_owned())),
        (400, Verdict::Refused("answered 400".to_owned())),
        (401, Verdict::Unauthorized("answered 401".to_owned())),
        (408, Verdict::Retry("answered 408".to_owned())),
        (410, Verdict::Gone("answered 410".to_owned())),
        (429, Verdict::Throttled("answered 429".to_owned())),
        (500, Verdict::Retry("answered 500".to_owned())),
    ] {
        assert_eq!(read(&Webhook, status, "jane@shop.example", 1), expected, "{status}");
    }
}

#[test]
fn settings_are_checked() {
    for settings in [
        SETTINGS,
        &[("url", "http://127.0.0.1:9999"), ("secret", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), ("name", "crm")],
        &[("secret", "whsec_aGk=")],
        &[("secret", "whsec_aGk")],
    ] {
        assert_eq!(check_settings(&Webhook, settings), Ok(()), "{settings:?}");
    }
    for (key, value) in [
        ("url", ""),
        ("url", "/hooks"),
        ("url", "ftp://crm.example"),
        ("url", "https://jane:pass@crm.example"),
        ("url", "https://crm.example/#top"),
        ("secret", "whsec_"),
        ("secret", "whsec_not base64"),
        ("secret", "not base64"),
    ] {
        let said = check_settings(&Webhook, &[(key, value)]).unwrap_err();
        assert!(said.starts_with(key), "{key} = {value}: {said}");
    }
}
