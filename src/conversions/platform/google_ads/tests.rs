use serde_json::json;

use super::super::samples::{MOMENT, body, check_settings, full, headers, integration, read, with_phone};
use super::*;

const BY_DATA_MANAGER: &[(&str, &str)] =
    &[("customer_id", "123-456-7890"), ("conversion_action", "987"), ("access_token", "ya29.token")];

const BY_LEGACY: &[(&str, &str)] = &[
    ("mode", "legacy"),
    ("customer_id", "1234567890"),
    ("conversion_action", "customers/1234567890/conversionActions/987"),
    ("access_token", "ya29.token"),
    ("developer_token", "dev-1"),
    ("login_customer_id", "555-555-5555"),
];

fn consenting() -> Conversion {
    let mut event = full();
    event.consent.ad_user_data = Some(true);
    event.consent.ad_personalization = Some(false);
    event.consent.limited_use = false;
    event
}

#[test]
fn the_data_manager_is_told_of_full_and_minimal_events() {
    let to = integration(&GoogleAds, BY_DATA_MANAGER);
    let request = GoogleAds.request(&to, &[&consenting(), &with_phone()], MOMENT);

    assert_eq!(to.base_url, "https://datamanager.googleapis.com");
    assert_eq!(request.path, "/v1/events:ingest");
    assert_eq!(headers(&request), [("authorization", "Bearer ya29.token")]);
    assert!(request.headers[0].1.is_sensitive());
    let expected = json!({
        "destinations": [{
            "operatingAccount": { "accountType": "GOOGLE_ADS", "accountId": "1234567890" },
            "productDestinationId": "987",
        }],
        "encoding": "HEX",
        "events": [
            {
                "transactionId": "order-1",
                "eventTimestamp": "2026-01-01T00:00:00.789Z",
                "eventSource": "WEB",
                "currency": "EUR",
                "conversionValue": 49.9,
                "userData": { "userIdentifiers": [{ "emailAddress": "em-digest" }, { "phoneNumber": "ph-digest" }] },
                "consent": { "adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_DENIED" },
            },
            {
                "transactionId": "id-2",
                "eventTimestamp": "2026-01-01T00:00:00.789Z",
                "eventSource": "WEB",
                "userData": { "userIdentifiers": [{ "phoneNumber": "ph-digest" }] },
            },
        ],
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn a_manager_account_is_named_to_the_data_manager() {
    let mut settings = BY_DATA_MANAGER.to_vec();
    settings.push(("login_customer_id", "555-555-5555"));
    let request = GoogleAds.request(&integration(&GoogleAds, &settings), &[&with_phone()], MOMENT);

    let expected = json!({ "accountType": "GOOGLE_ADS", "accountId": "5555555555" });
    assert_eq!(body(&request)["destinations"][0]["loginAccount"], expected);
}

#[test]
fn the_legacy_call_is_told_of_a_full_event() {
    let to = integration(&GoogleAds, BY_LEGACY);
    let request = GoogleAds.request(&to, &[&consenting()], MOMENT);

    assert_eq!(to.base_url, "https://googleads.googleapis.com");
    assert_eq!(request.path, "/v23/customers/1234567890:uploadClickConversions");
    let expected = [
        ("authorization", "Bearer ya29.token"),
        ("developer-token", "dev-1"),
        ("login-customer-id", "5555555555"),
    ];
    assert_eq!(headers(&request), expected);
    let expected = json!({
        "conversions": [{
            "conversionAction": "customers/1234567890/conversionActions/987",
            "conversionDateTime": "2026-01-01 00:00:00+00:00",
            "orderId": "order-1",
            "conversionValue": 49.9,
            "currencyCode": "EUR",
            "userIdentifiers": [{ "hashedEmail": "em-digest" }, { "hashedPhoneNumber": "ph-digest" }],
            "consent": { "adUserData": "GRANTED", "adPersonalization": "DENIED" },
        }],
        "partialFailure": true,
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn the_legacy_call_is_told_of_a_minimal_event() {
    let settings = &BY_LEGACY[..5];
    let request = GoogleAds.request(&integration(&GoogleAds, settings), &[&with_phone()], MOMENT);

    assert_eq!(headers(&request), [("authorization", "Bearer ya29.token"), ("developer-token", "dev-1")]);
    let expected = json!({
        "conversions": [{
            "conversionAction": "customers/1234567890/conversionActions/987",
            "conversionDateTime": "2026-01-01 00:00:00+00:00",
            "orderId": "id-2",
            "userIdentifiers": [{ "hashedPhoneNumber": "ph-digest" }],
        }],
        "partialFailure": true,
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn each_mode_has_its_rate() {
    let data_manager = integration(&GoogleAds, BY_DATA_MANAGER);
    assert_eq!(data_manager.rate(), Rate { per_second: 500, batch: 100 });
    assert_eq!(GoogleAds.spacing(&data_manager) * 300, Duration::from_mins(1));

    let legacy = integration(&GoogleAds, BY_LEGACY);
    assert_eq!(legacy.rate(), Rate { per_second: 100, batch: 1 });
    assert_eq!(GoogleAds.spacing(&legacy), Duration::ZERO);
}

#[test]
fn somebody_has_to_be_matched() {
    assert_eq!(GoogleAds.check(&with_phone()), Ok(()));
    assert_eq!(GoogleAds.check(&full()), Ok(()));
    let mut event = full();
    event.identity.email = None;
    event.identity.phone = None;
    assert_eq!(GoogleAds.check(&event).unwrap_err().field, "userData.email");
}

#[test]
fn settings_are_checked() {
    assert_eq!(check_settings(&GoogleAds, BY_DATA_MANAGER), Ok(()));
    assert_eq!(check_settings(&GoogleAds, BY_LEGACY), Ok(()));
    for (settings, beginning) in [
        (&[("mode", "batch")][..], "mode "),
        (&[("mode", "legacy")], "developer_token "),
        (&[("customer_id", "12a")], "customer_id "),
        (&[("customer_id", "-")], "customer_id "),
        (&[("login_customer_id", "x")], "login_customer_id "),
        (&[("conversion_action", "purchase")], "conversion_action "),
    ] {
        let said = check_settings(&GoogleAds, settings).unwrap_err();
        assert!(said.starts_with(beginning), "{settings:?}: {said}");
    }
}

fn retry(said: &str) -> Verdict {
    Verdict::Retry(said.to_owned())
}

fn refused(said: &str) -> Verdict {
    Verdict::Refused(said.to_owned())
}

#[test]
fn what_was_taken_is_known_by_its_answer() {
    let no_answer = "answered 200 with an unexpected body";
    for (answer, expected) in [
        (r#"{"requestId": "r-1"}"#, Verdict::Taken),
        (r#"{"results": [{"orderId": "1"}]}"#, Verdict::Taken),
        (r#"{"results": [{}]}"#, Verdict::Each(vec![Err("it gave no result and no reason".to_owned())])),
        ("{}", retry("answered 200 with an unexpected body")),
        (r#"{"results": []}"#, retry("answered 200 with an unexpected body")),
        ("", retry(no_answer)),
        ("<html>sign in</html>", retry(no_answer)),
        (r#"{"requestId": "r-"#, retry(no_answer)),
        ("[]", retry(no_answer)),
    ] {
        assert_eq!(read(&GoogleAds, 200, answer, 1), expected, "{answer}");
    }
}

#[test]
fn codes_say_what_is_to_be_done() {
    let said = |code: i64| format!("code {code}: no");
    for code in [1, 2, 4, 10, 13, 14] {
        assert_eq!(partial_failure(code, ""), Verdict::Retry(said(code)));
    }
    for code in [3, 5, 6, 9, 11, 12, 15] {
        assert_eq!(partial_failure(code, ""), Verdict::Refused(said(code)));
    }
    for code in [7, 16] {
        assert_eq!(partial_failure(code, ""), Verdict::Unauthorized(said(code)));
    }
    assert_eq!(partial_failure(8, ""), Verdict::Throttled(said(8)));
    assert_eq!(partial_failure(0, ""), Verdict::Retry(said(0)), "of no known code");
}

/// The verdict of an answer of HTTP 200 with this code, and this error of a conversion if it is none.
fn partial_failure(code: i64, error: &str) -> Verdict {
    let details = if error.is_empty() {
        json!([])
    } else {
        json!([{ "@type": "type.googleapis.com/google.ads.googleads.v23.errors.GoogleAdsFailure",
                 "errors": [{ "errorCode": { "conversionUploadError": error }, "message": "said more exactly" }] }])
    };
    let answer = json!({
        "partialFailureError": { "code": code, "message": "no", "details": details },
        "results": [{}],
    });
    read(&GoogleAds, 200, &answer.to_string(), 1)
}

#[test]
fn errors_of_a_conversion_are_told_apart() {
    assert_eq!(partial_failure(3, "EXPIRED_EVENT"), refused("EXPIRED_EVENT: said more exactly"));
    assert_eq!(partial_failure(3, "TOO_RECENT_EVENT"), retry("TOO_RECENT_EVENT: said more exactly"));
    assert_eq!(partial_failure(3, "CLICK_CONVERSION_ALREADY_EXISTS"), Verdict::Taken);
    assert_eq!(partial_failure(3, "ORDER_ID_ALREADY_IN_USE"), Verdict::Taken);
}

#[test]
fn of_several_conversions_those_without_a_result_have_failed() {
    let failure = r#""partialFailureError": {"code": 3, "message": "bad currency, at conversions[1]"}"#;
    let some = format!(r#"{{{failure}, "results": [{{"orderId": "1"}}, {{}}, {{"orderId": "3"}}]}}"#);
    let why = "code 3: bad currency, at conversions[1]".to_owned();
    assert_eq!(read(&GoogleAds, 200, &some, 3), Verdict::Each(vec![Ok(()), Err(why.clone()), Ok(())]));

    // Whose results they are is not known.
    assert!(matches!(read(&GoogleAds, 200, &some, 2), Verdict::Refused(_)));
    assert_eq!(read(&GoogleAds, 200, &format!("{{{failure}}}"), 3), Verdict::Refused(why));
}

#[test]
fn errors_of_a_request_are_told_apart() {
    let error = |code: u16, status: &str| {
        json!({ "error": { "code": code, "message": "no", "status": status } }).to_string()
    };
    for (status, answer, expected) in [
        (400, error(400, "INVALID_ARGUMENT"), refused("INVALID_ARGUMENT: no")),
        (401, error(401, "UNAUTHENTICATED"), Verdict::Unauthorized("UNAUTHENTICATED: no".to_owned())),
        (403, error(403, "PERMISSION_DENIED"), Verdict::Unauthorized("PERMISSION_DENIED: no".to_owned())),
        (429, error(429, "RESOURCE_EXHAUSTED"), Verdict::Throttled("RESOURCE_EXHAUSTED: no".to_owned())),
        (500, error(500, "INTERNAL"), retry("INTERNAL: no")),
        (503, error(503, "UNAVAILABLE"), retry("UNAVAILABLE: no")),
        (504, error(504, "DEADLINE_EXCEEDED"), retry("DEADLINE_EXCEEDED: no")),
        (200, error(3, ""), refused("code 3: no")),
        (200, error(200, ""), retry("code 200: no")),
        (404, error(404, ""), refused("code 404: no")),
        (502, "<html>".to_owned(), retry("answered 502")),
        (400, "<html>".to_owned(), refused("answered 400")),
        (503, r#"{"requestId": "r-1"}"#.to_owned(), retry("answered 503")),
    ] {
        assert_eq!(read(&GoogleAds, status, &answer, 2), expected, "{status} {answer}");
    }
}
