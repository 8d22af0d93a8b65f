//! What is kept as it was sent must not tell who somebody is: `userData` is hashed, and everything else is looked
//! through for e-mail addresses and for the event's own phone number.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Url;

use super::SentEvent;
use crate::conversions::Fault;

/// Digits that a phone number has at least; fewer stand in many other numbers.
const LEAST_DIGITS: usize = 8;

const EXPECTED: &str =
    "expected no e-mail address and no phone number of the event: userData is where they are hashed";

/// Refuses an event that tells who somebody is elsewhere than in `userData`; from the page's URL that is cut.
pub(super) fn check(event: &mut SentEvent) -> Result<(), Fault> {
    let phone = event.user.phone.as_deref().map(digits).filter(|digits| digits.len() >= LEAST_DIGITS);
    let tells = |text: &str| tells(text, phone.as_deref());
    if let Some(url) = event.source_url.take() {
        event.source_url = Some(cut(url, tells));
    }
    let custom = &event.custom;
    let texts = [
        ("eventType", Some(&event.event_type)),
        ("eventId", event.event_id.as_ref()),
        ("userData.clientId", event.user.client_id.as_ref()),
        ("customData.orderId", custom.order_id.as_ref()),
        ("customData.contentName", custom.content_name.as_ref()),
        ("customData.contentType", custom.content_type.as_ref()),
    ];
    for (field, text) in texts {
        if text.is_some_and(|text| tells(text)) {
            return Err(Fault::at(field, EXPECTED));
        }
    }
    if custom.content_ids.iter().any(|id| tells(id)) {
        return Err(Fault::at("customData.contentIds", EXPECTED));
    }
    if custom.more.iter().any(|(name, value)| tells(name) || value_tells(value, &tells)) {
        return Err(Fault::at("customData", EXPECTED));
    }
    Ok(())
}

fn value_tells(value: &Value, tells: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => tells(text),
        Value::Number(number) => tells(&number.to_string()),
        Value::Array(values) => values.iter().any(|value| value_tells(value, tells)),
        Value::Object(members) => {
            members.iter().any(|(name, value)| tells(name) || value_tells(value, tells))
        }
        Value::Null | Value::Bool(_) => false,
    }
}

/// A URL without the parts that tell who somebody is: the fragment, then the query, then the path.
fn cut(text: String, tells: impl Fn(&str) -> bool) -> String {
    if !tells(&text) {
        return text;
    }
    let Ok(mut url) = Url::parse(&text) else { return text };
    url.set_fragment(None);
    if tells(url.as_str()) {
        url.set_query(None);
    }
    if tells(url.as_str()) {
        url.set_path("/");
    }
    url.into()
}

/// Whether a text, or what it says percent-encoded, holds an e-mail address or these digits.
fn tells(text: &str, phone: Option<&str>) -> bool {
    // Encoded twice, as in a URL within a URL.
    let once = percent_decode_str(text).decode_utf8_lossy();
    let twice: Cow<'_, str> = percent_decode_str(&once).decode_utf8_lossy();
    let has_phone = || phone.is_some_and(|phone| digits(&twice).contains(phone));
    has_address(&twice) || has_phone()
}

/// Whether there is an `@` between what can be a mailbox and a domain.
fn has_address(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let is_mailbox = |c: char| c.is_alphanumeric() || "._%+-!#$&'*=?^`{|}~".contains(c);
        let mailbox = text[..at].chars().next_back().is_some_and(is_mailbox);
        let domain: String =
            text[at + 1..].chars().take_while(|c| c.is_alphanumeric() || ".-".contains(*c)).collect();
        mailbox && domain.trim_matches(['.', '-']).contains('.')
    })
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_wherever_they_stand() {
        for text in [
            "jane@example.com",
            "https://shop.example/account/jane@example.com",
            "https://shop.example/?next=https%3A%2F%2Fa.example%2F%3Fto%3Djane%2540example.com",
            "order of j.d+x@mail.example.co.uk, thanks",
            "jane%40example.com",
            "jäne@exämple.de",
        ] {
            assert!(tells(text, None), "{text}");
        }
        for text in [
            "",
            "@",
            "a@b",
            "jane @ example.com",
            "@example.com",
            "npm i a@1",
            "https://a.example/@jane",
            "1 @ 2.5",
        ] {
            assert!(!tells(text, None), "{text}");
        }
    }

    #[test]
    fn the_events_own_number_is_found_however_it_is_written() {
        for text in ["+49 151 55512399", "tel:4915155512399", "a=%2B49-151-555-12399&b"] {
            assert!(tells(text, Some("4915155512399")), "{text}");
        }
        assert!(!tells("order 49151", Some("4915155512399")));
    }

    #[test]
    fn only_what_tells_is_cut_from_a_url() {
        let cases = [
            ("https://shop.example/p?a=1#top", "https://shop.example/p?a=1#top"),
            ("https://shop.example/p?a=1#jane@example.com", "https://shop.example/p?a=1"),
            ("https://shop.example/p?a=jane%40example.com", "https://shop.example/p"),
            ("https://shop.example/u/jane@example.com?a=1#b", "https://shop.example/"),
        ];
        for (text, expected) in cases {
            assert_eq!(cut(text.to_owned(), |text| tells(text, None)), expected);
        }
    }
}
