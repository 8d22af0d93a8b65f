use proptest::prelude::*;

use super::*;

fn told_as(cases: &[(Value, &str)]) {
    for (with, expected) in cases {
        let told = fault(with);
        assert!(told.starts_with(expected), "{told}; expected {expected}");
    }
}

#[test]
fn a_fault_of_an_event_or_its_user_names_its_field() {
    told_as(&[
        (json!({"platform": 1}), "platform: expected a string"),
        (json!({"eventType": "x".repeat(101)}), "eventType: expected no more than 100 characters"),
        (json!({"eventId": "x".repeat(257)}), "eventId: expected no more than 256 characters"),
        (json!({"eventId": "a\nb"}), "eventId: expected no control characters"),
        (json!({"timestamp": 1_763_200_000}), "timestamp: expected a string"),
        (json!({"timestamp": "yesterday"}), "timestamp: expected a moment between 1900 and 2299"),
        (json!({"sourceUrl": "/thanks"}), "sourceUrl: expected an absolute http or https URL"),
        (json!({"sourceUrl": "http:shop.example"}), "sourceUrl: expected an absolute http or https URL"),
        (json!({"sourceUrl": "ftp://shop.example"}), "sourceUrl: expected an absolute http or https URL"),
        (
            json!({"sourceUrl": format!("https://a.example/{}", "x".repeat(8192))}),
            "sourceUrl: expected no more than 8192",
        ),
        (json!({"userData": "jane"}), "userData: expected an object"),
        (json!({"userData": {"email": ["a@b.example"]}}), "userData.email: expected a string"),
        (
            json!({"userData": {"email": "x".repeat(513)}}),
            "userData.email: expected no more than 512 characters",
        ),
        (json!({"userData": {"phone": 1.5}}), "userData.phone: expected a string or a whole number"),
        (json!({"userData": {"phone": true}}), "userData.phone: expected a string or a whole number"),
        (json!({"userData": {"firstName": {}}}), "userData.firstName: expected a string"),
        (json!({"userData": {"lastName": 0}}), "userData.lastName: expected a string"),
        (
            json!({"userData": {"externalId": "x".repeat(257)}}),
            "userData.externalId: expected no more than 256",
        ),
        (json!({"userData": {"clientId": 1}}), "userData.clientId: expected a string"),
        (
            json!({"userData": {"ipAddress": "203.0.113.9:443"}}),
            "userData.ipAddress: expected an IPv4 or IPv6 address",
        ),
        (json!({"userData": {"userAgent": 1}}), "userData.userAgent: expected a string"),
    ]);
}

#[test]
fn a_fault_of_custom_data_or_consent_names_its_field() {
    told_as(&[
        (json!({"customData": []}), "customData: expected an object"),
        (json!({"customData": {"value": "19.90"}}), "customData.value: expected a number"),
        (json!({"customData": {"value": true}}), "customData.value: expected a number"),
        (json!({"customData": {"currency": "EURO"}}), "customData.currency: expected an ISO 4217 code"),
        (json!({"customData": {"currency": "ABC"}}), "customData.currency: expected an ISO 4217 code"),
        (json!({"customData": {"currency": 978}}), "customData.currency: expected an ISO 4217 code"),
        (json!({"customData": {"orderId": 1.5}}), "customData.orderId: expected a string or a whole number"),
        (json!({"customData": {"contentIds": "a"}}), "customData.contentIds: expected an array of strings"),
        (
            json!({"customData": {"contentIds": ["a", ""]}}),
            "customData.contentIds[1]: expected a string of 1 to 256",
        ),
        (
            json!({"customData": {"contentIds": ["a", null]}}),
            "customData.contentIds[1]: expected a string of 1 to 256",
        ),
        (
            json!({"customData": {"contentIds": vec!["a"; 1001]}}),
            "customData.contentIds: expected no more than 1000",
        ),
        (
            json!({"customData": {"note": "x".repeat(16 * 1024)}}),
            "customData: expected no more than 16384 bytes",
        ),
        (json!({"consent": "marketing"}), "consent: expected an object"),
        (json!({"consent": {"granted": "marketing"}}), "consent.granted: expected an array of strings"),
        (
            json!({"consent": {"granted": ["a", 1]}}),
            "consent.granted[1]: expected a string of no more than 100",
        ),
        (json!({"consent": {"raw": ["marketing"]}}), "consent.raw: expected a string"),
        (json!({"consent": {"gpc": "yes"}}), "consent.gpc: expected a boolean"),
        (json!({"consent": {"google": true}}), "consent.google: expected an object"),
        (
            json!({"consent": {"google": {"adUserData": "maybe"}}}),
            "consent.google.adUserData: expected a boolean",
        ),
    ]);
}

#[test]
fn what_json_cannot_say_twice_or_as_a_number_is_refused() {
    for (event, expected) in [
        (r#""eventId":"a","eventId":"a""#, "eventId: expected once"),
        (r#""userData":{"email":"a@b.example","email":null}"#, "userData.email: expected once"),
        (r#""customData":{"value":1,"value":2}"#, "customData.value: expected once"),
        (r#""customData":{"other":1,"other":2}"#, "customData: expected every member once"),
        (r#""customData":{"value":1e400}"#, "customData.value: expected a number"),
        (r#""customData":{"other":"\ud800"}"#, "customData: expected JSON of Unicode text"),
        (r#""customData":{"\ud800":1}"#, "customData: expected no more than 1000 members with names"),
        (r#""userData":{"email":"\ud800"}"#, "userData.email: expected a string"),
    ] {
        let body = format!(r#"{{"events":[{{"platform":"meta","eventType":"lead",{event}}}]}}"#);
        let told = read(body.as_bytes()).expect("events").remove(0).expect_err(event).fault.to_string();
        assert!(told.starts_with(expected), "{told}; expected {expected}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "needle\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_path() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::select(vec![
        vec!["platform"],
        vec!["eventType"],
        vec!["eventId"],
        vec!["timestamp"],
        vec!["sourceUrl"],
        vec!["userData"],
        vec!["userData", "email"],
        vec!["userData", "phone"],
        vec!["userData", "lastName"],
        vec!["userData", "ipAddress"],
        vec!["customData"],
        vec!["customData", "value"],
        vec!["customData", "currency"],
        vec!["customData", "contentIds"],
        vec!["consent"],
        vec!["consent", "granted"],
        vec!["consent", "google"],
    ])
}

proptest! {
    #[test]
    fn no_value_makes_it_panic_or_comes_back_in_a_fault(path in any_path(), value in any_json()) {
        let with = match path[..] {
            [name] => json!({name: value}),
            [outer, name] => json!({outer: {name: value}}),
            _ => unreachable!("paths have one or two names"),
        };
        if let Err(rejected) = sent(&with) {
            let told = rejected.fault.to_string();
            prop_assert!(!told.contains("needle"), "{}", told);
            prop_assert!(told.starts_with(path[0]), "{}", told);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
        prop_assert!(read(&body).is_err());
    }
}
