use serde_json::Number;

use super::super::samples::{MOMENT, bare, body, event_names, full, integration, read};
use super::super::{Verdict, check};
use super::*;

const SETTINGS: &[(&str, &str)] = &[("measurement_id", "G-ABC123"), ("api_secret", "s+cret/1&2")];

fn known(event_type: &str) -> Conversion {
    let mut conversion = bare(event_type);
    conversion.identity.client_id = Some("123.456".to_owned());
    conversion
}

fn sent(batch: &[&Conversion]) -> Value {
    body(&Ga4.request(&integration(&Ga4, SETTINGS), batch, MOMENT))
}

#[test]
fn a_full_event_is_told_with_everything() {
    let mut event = full();
    event.consent.ad_user_data = Some(true);
    event.consent.ad_personalization = Some(true);
    let to = integration(&Ga4, SETTINGS);
    let request = Ga4.request(&to, &[&event], MOMENT);

    assert_eq!(to.base_url, "https://www.google-analytics.com");
    assert_eq!(request.path, "/mp/collect?measurement_id=G-ABC123&api_secret=s%2Bcret%2F1%262");
    assert!(request.headers.is_empty());
    let expected = json!({
        "client_id": "123.456",
        "user_id": "Customer 7",
        "timestamp_micros": 1_767_225_600_789_000_i64,
        "consent": { "ad_user_data": "GRANTED", "ad_personalization": "DENIED" },
        "user_data": {
            "sha256_email_address": ["em-digest"],
            "sha256_phone_number": ["ph-digest"],
            "address": [{ "sha256_first_name": "fn-digest", "sha256_last_name": "ln-digest" }],
        },
        "events": [{
            "name": "purchase",
            "params": {
                "transaction_id": "order-1",
                "value": 49.9,
                "currency": "EUR",
                "items": [{ "item_id": "sku-1" }, { "item_id": "sku-2" }],
                "engagement_time_msec": 1,
                "num_items": 2,
            },
        }],
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn a_minimal_event_is_told_with_its_id() {
    let expected = json!({
        "client_id": "123.456",
        "timestamp_micros": 1_767_225_600_789_000_i64,
        "events": [{ "name": "page_view", "params": { "transaction_id": "id-2", "engagement_time_msec": 1 } }],
    });
    assert_eq!(sent(&[&known("page_view")]), expected);
}

#[test]
fn digests_are_told_of_a_known_user_only() {
    let mut event = known("lead");
    event.identity.email = Some("em-digest".to_owned());
    assert_eq!(sent(&[&event]).get("user_data"), None);

    event.identity.external_id = Some("42".to_owned());
    assert_eq!(sent(&[&event])["user_data"], json!({ "sha256_email_address": ["em-digest"] }));
    assert_eq!(sent(&[&event])["events"][0]["name"], "generate_lead");
}

#[test]
fn an_external_id_stands_in_for_a_client_the_same_every_time() {
    let client = |external_id: &str| {
        let mut event = bare("lead");
        event.identity.external_id = Some(external_id.to_owned());
        assert_eq!(Ga4.check(&event), Ok(()));
        let sent = sent(&[&event]);
        assert_eq!(sent["user_id"], external_id);
        sent["client_id"].as_str().unwrap().to_owned()
    };

    // The first eight bytes of SHA-256("42"): 73475cb4 0a568e8d.
    assert_eq!(client("42"), format!("{}.{}", 0x7347_5cb4_u32, 0x0a56_8e8d_u32));
    assert_eq!(client("42"), client("42"));
    assert_ne!(client("42"), client("43"));
}

#[test]
fn events_of_one_request_have_their_own_times() {
    let first = known("page_view");
    let mut later = known("search");
    later.occurred_at = MOMENT.shifted(1_500);
    let sent = sent(&[&first, &later, &first]);

    assert_eq!(sent["timestamp_micros"], 1_767_225_600_789_000_i64);
    let times: Vec<_> =
        sent["events"].as_array().unwrap().iter().map(|event| event.get("timestamp_micros")).collect();
    assert_eq!(times, [None, Some(&json!(1_767_225_602_289_000_i64)), None]);
}

#[test]
fn only_one_user_with_one_consent_shares_a_request() {
    let one = full();
    assert!(Ga4.share_a_request(&one, &Conversion { occurred_at: MOMENT.shifted(9), ..full() }));

    let mut reached_from_elsewhere = full();
    reached_from_elsewhere.identity.ip_address = None;
    assert!(Ga4.share_a_request(&one, &reached_from_elsewhere), "addresses are not told");

    let differing: [fn(&mut Conversion); 6] = [
        |event| event.identity.client_id = Some("other".to_owned()),
        |event| event.identity.external_id = None,
        |event| event.identity.email = None,
        |event| event.identity.last_name = Some("other".to_owned()),
        |event| event.consent.ad_user_data = Some(true),
        |event| event.consent.limited_use = false,
    ];
    for (index, change) in differing.iter().enumerate() {
        let mut other = full();
        change(&mut other);
        assert!(!Ga4.share_a_request(&one, &other), "{index}");
    }
}

#[test]
fn events_that_share_a_request_fit_it() {
    let mut event = full();
    let mut length = 0;
    event.custom.more.clear();
    while Ga4.share_a_request(&event, &event) {
        length += 50;
        event.custom.order_id = Some("o".repeat(length));
    }
    event.custom.order_id = Some("o".repeat(length - 50));
    assert!(length > 4_000, "{length}");

    let long = known("page_view").event_type.repeat(4);
    let mut named = integration(&Ga4, SETTINGS);
    named.event_names.insert("purchase".to_owned(), long);
    let request = Ga4.request(&named, &[&event; 25], MOMENT);
    assert!(request.body.len() <= LONGEST_BODY, "{}", request.body.len());
}

#[test]
fn names_are_those_it_takes() {
    let long = "a".repeat(40);
    for name in ["purchase", "page_view", "A1_b", long.as_str(), "errors"] {
        assert_eq!(Ga4.check_name(name), Ok(()), "{name}");
    }
    let longer = "a".repeat(41);
    for name in [
        "",
        "1st",
        "_own",
        "add-to-cart",
        "grün",
        "two words",
        &longer,
        "ga_x",
        "google_x",
        "firebase_x",
        "error",
    ] {
        assert_eq!(Ga4.check_name(name), Err(names::EXPECTED), "{name}");
    }
}

#[test]
fn a_name_is_checked_as_the_integration_gives_it() {
    let mut to = integration(&Ga4, SETTINGS);
    let refused = check(&to, &known("Add To Wishlist")).unwrap_err();
    assert_eq!(refused.to_string(), format!("eventType: {}", names::EXPECTED));

    to.event_names.insert("add to wishlist".to_owned(), "add_to_wishlist".to_owned());
    assert_eq!(check(&to, &known("Add To Wishlist")), Ok(()));
    to.event_names.insert("purchase".to_owned(), "error".to_owned());
    assert_eq!(check(&to, &known("purchase")).unwrap_err().field, "eventType");
}

#[test]
fn what_it_would_drop_is_refused() {
    assert_eq!(Ga4.check(&full()), Ok(()));
    assert_eq!(Ga4.check(&bare("lead")).unwrap_err().field, "userData.clientId");

    let with = |members: Vec<(String, Value)>| {
        let mut event = known("lead");
        event.custom.value = Number::from_f64(1.0);
        event.custom.more = members.into_iter().collect();
        Ga4.check(&event)
    };
    let numbered = |count: usize| (0..count).map(|index| (format!("p{index}"), json!(index))).collect();
    // Of 25, one is the value, and two are ours.
    assert_eq!(with(numbered(22)), Ok(()));
    assert_eq!(with(vec![("items".to_owned(), json!([{ "item_id": "1" }]))]), Ok(()));
    for (refused, field) in [
        (numbered(23), "customData"),
        (vec![("two words".to_owned(), json!(1))], "customData"),
        (vec![("nested".to_owned(), json!({ "a": 1 }))], "customData.nested"),
        (vec![("listed".to_owned(), json!([1]))], "customData.listed"),
        (vec![("long".to_owned(), json!("x".repeat(LONGEST_BODY)))], "customData"),
    ] {
        assert_eq!(with(refused).unwrap_err().field, field);
    }
}

#[test]
fn items_that_were_given_are_passed_through_unless_there_are_ours() {
    let items = json!([{ "item_id": "1", "price": 5 }]);
    let mut event = known("lead");
    event.custom.more.insert("items".to_owned(), items.clone());
    assert_eq!(sent(&[&event])["events"][0]["params"]["items"], items);

    event.custom.content_ids.push("own".to_owned());
    assert_eq!(sent(&[&event])["events"][0]["params"]["items"], json!([{ "item_id": "own" }]));
}

#[test]
fn its_answers_say_nothing_but_their_status() {
    for (status, answer, expected) in [
        (204, "", Verdict::Taken),
        (200, "<html>", Verdict::Taken),
        (503, "", Verdict::Retry("answered 503".to_owned())),
        (429, "", Verdict::Throttled("answered 429".to_owned())),
        (403, "", Verdict::Unauthorized("answered 403".to_owned())),
        (413, "", Verdict::Refused("answered 413".to_owned())),
    ] {
        assert_eq!(read(&Ga4, status, answer, 1), expected, "{status}");
    }
}

#[test]
fn its_names_of_our_types_are_legal() {
    let expected = [
        "purchase",
        "generate_lead",
        "add_to_cart",
        "page_view",
        "sign_up",
        "begin_checkout",
        "add_payment_info",
        "view_item",
        "search",
        "subscribe",
        "contact",
    ];
    let (others, ours) = event_names(&Ga4).split_last().map(|(other, ours)| (*other, ours.to_vec())).unwrap();
    assert_eq!(ours, expected.map(Some));
    assert_eq!(others, None);
    for name in expected {
        assert_eq!(Ga4.check_name(name), Ok(()), "{name}");
    }
}
