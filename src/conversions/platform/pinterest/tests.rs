use super::super::samples::{
    MOMENT, body, event_names, full, full_server_event, headers, integration, minimal, read,
};
use super::*;
use crate::conversions::Identity;

const SETTINGS: &[(&str, &str)] = &[("ad_account_id", "549"), ("access_token", "pina_token")];

#[test]
fn a_full_event_tells_everything() {
    let integration = integration(&Pinterest, SETTINGS);
    let request = Pinterest.request(&integration, &[&full()], MOMENT);
    assert_eq!(integration.base_url, "https://api.pinterest.com");
    assert_eq!(request.path, "/v5/ad_accounts/549/events");
    assert_eq!(headers(&request), [("authorization", "Bearer pina_token")]);
    assert!(request.headers[0].1.is_sensitive());
    let mut expected = full_server_event("checkout", "web");
    expected["custom_data"]["value"] = json!("49.9");
    expected["opt_out"] = json!(true);
    assert_eq!(body(&request), json!({"data": [expected]}));
}

#[test]
fn a_minimal_event_tells_nothing_that_is_not_there() {
    let integration = integration(&Pinterest, SETTINGS);
    let identity = Identity { email: Some("em-digest".into()), ..Identity::default() };
    let mut conversion = Conversion { identity, event_type: "Quote Asked".into(), ..minimal() };
    conversion.custom.value = Some(20.into());
    assert_eq!(Pinterest.check(&conversion), Ok(()));
    let expected = json!({"data": [{
        "event_name": "custom",
        "event_time": 1_767_225_600,
        "event_id": "id-1",
        "action_source": "web",
        "user_data": {"em": ["em-digest"]},
        "custom_data": {"value": "20"},
    }]});
    assert_eq!(body(&Pinterest.request(&integration, &[&conversion], MOMENT)), expected);
}

#[test]
fn somebody_has_to_be_known() {
    let digest = || Some(String::from("digest"));
    let identity = Identity { ip_address: digest(), user_agent: digest(), ..Identity::default() };
    assert_eq!(Pinterest.check(&Conversion { identity, ..minimal() }), Ok(()));
    let too_little = [
        Identity::default(),
        Identity { ip_address: digest(), phone: digest(), ..Identity::default() },
        Identity { user_agent: digest(), external_digest: digest(), ..Identity::default() },
    ];
    for identity in too_little {
        let fault = Pinterest.check(&Conversion { identity, ..minimal() }).unwrap_err().to_string();
        assert_eq!(
            fault,
            "userData.email: expected for pinterest, or userData.ipAddress with userData.userAgent"
        );
    }
}

#[test]
fn events_have_pinterests_names() {
    let expected = [
        "checkout",
        "lead",
        "add_to_cart",
        "page_visit",
        "signup",
        "initiate_checkout",
        "add_payment_info",
        "view_content",
        "search",
        "subscribe",
        "contact",
        "custom",
    ];
    assert_eq!(event_names(&Pinterest), expected.map(Some));
}

#[test]
fn an_answer_tells_of_each_event_in_order() {
    let taken = r#"{"num_events_received":2,"num_events_processed":2,"events":[
        {"status":"processed","error_message":"","warning_message":"odd"},{"status":"processed"}]}"#;
    assert_eq!(read(&Pinterest, 200, taken, 2), Verdict::Taken);
    let partly = r#"{"num_events_received":3,"num_events_processed":1,"events":[
        {"status":"failed","error_message":"event_time is in the future"},
        {"status":"processed","error_message":null},
        {"status":"failed"}]}"#;
    let each = vec![Err("failed: event_time is in the future".into()), Ok(()), Err("failed".into())];
    for status in [200, 207, 422, 400] {
        assert_eq!(read(&Pinterest, status, partly, 3), Verdict::Each(each.clone()), "{status}");
    }
    assert_eq!(read(&Pinterest, 503, partly, 3), Verdict::Retry("answered 503".into()));
    for list in ["", r#","events":null"#, r#","events":[]"#, r#","events":[{"status":"processed"}]"#] {
        let counted = |count| format!(r#"{{"num_events_received":2,"num_events_processed":{count}{list}}}"#);
        assert_eq!(read(&Pinterest, 200, &counted(2), 2), Verdict::Taken, "{list}");
        let too_few = Verdict::Refused("took 1 of 2".into());
        assert_eq!(read(&Pinterest, 200, &counted(1), 2), too_few, "{list}");
    }
}

#[test]
fn an_answer_that_does_not_tell_of_each_event_is_no_success() {
    let bodies = [
        "",
        "{}",
        "OK",
        "<html>",
        r#"{"num_events_received":2,"events":[{"status":"processed"}]}"#,
        r#"{"num_events_processed":2,"events":[{"status":"processed"},{}]}"#,
        r#"{"num_events_processed":2,"events":[{"status":"processed"},{"status":"pondered"}]}"#,
    ];
    for body in bodies {
        let verdict = read(&Pinterest, 200, body, 2);
        assert_eq!(verdict, Verdict::Retry("answered 200 with an unexpected body".into()), "{body}");
    }
}

#[test]
fn an_error_is_of_the_whole_request() {
    let body = r#"{"code":2787,"message":"Conversions are not for a@example.com"}"#;
    let said = |status| format!("answered {status}, code 2787: Conversions are not for …");
    assert_eq!(read(&Pinterest, 400, body, 2), Verdict::Refused(said(400)));
    assert_eq!(read(&Pinterest, 429, body, 2), Verdict::Throttled(said(429)));
    assert_eq!(read(&Pinterest, 500, body, 2), Verdict::Retry(said(500)));
    for status in [401, 403] {
        let verdict = Verdict::Unauthorized(format!("answered {status}"));
        assert_eq!(read(&Pinterest, status, body, 2), verdict);
    }
    assert_eq!(read(&Pinterest, 502, "<html>", 2), Verdict::Retry("answered 502".into()));
}
