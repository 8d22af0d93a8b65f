//! `customData`: what is known of it, and what is passed through.

use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::currency;
use super::event::LONGEST_ID;
use super::members::{Members, string, string_or_number};
use crate::conversions::identity::trimmed;
use crate::conversions::{CustomData, Fault};

const PATH: &str = "customData";
const CONTENT_IDS: &str = "contentIds";
const KNOWN: [&str; 6] = ["value", "currency", "orderId", CONTENT_IDS, "contentName", "contentType"];

/// Bytes of its JSON text, `contentIds` not counted.
const MOST_BYTES: usize = 16 * 1024;
/// Values of `contentIds`.
const MOST_CONTENT_IDS: usize = 1_000;
/// Levels of arrays and objects in what is passed through, `customData` itself not counted.
const MOST_LEVELS: usize = 16;

/// What identifiers are called, in lower case without underscores, hyphens and a number behind.
#[rustfmt::skip]
const IDENTIFIERS: [&str; 29] = [
    "email", "emails", "emailaddress", "em", "mail",
    "phone", "phones", "phonenumber", "ph", "tel", "telephone", "telephonenumber", "telefon", "msisdn",
    "mobilephone", "mobilenumber", "cellphone",
    "firstname", "fn", "fname", "givenname", "forename", "vorname",
    "lastname", "ln", "lname", "surname", "familyname", "nachname",
];
/// Whose they are, before it; the name of one of these is an identifier as well.
const PERSONS: [&str; 9] =
    ["user", "customer", "buyer", "client", "contact", "recipient", "billing", "shipping", "full"];
/// But for these: what a user signs in with, a way to ship, a program.
const NOT_NAMES: [&str; 3] = ["username", "shippingname", "clientname"];
/// Characters that such a name has at most, with what may stand between its words.
const LONGEST_IDENTIFIER: usize = 32;

/// Reads an event's `customData`.
pub(super) fn read(event: &Members<'_>) -> Result<CustomData, Fault> {
    let Some(custom) = event.object(PATH, None)? else { return Ok(CustomData::default()) };
    let counted = custom.iter().filter(|(name, _)| *name != CONTENT_IDS);
    if counted.map(|(name, json)| name.len() + json.get().len()).sum::<usize>() > MOST_BYTES {
        return Err(Fault::at(
            PATH,
            format!("expected no more than {MOST_BYTES} bytes besides {CONTENT_IDS}"),
        ));
    }
    Ok(CustomData {
        value: value(&custom)?,
        currency: currency(&custom)?,
        order_id: custom.word_or_number("customData.orderId", LONGEST_ID)?,
        content_ids: content_ids(&custom)?,
        content_name: custom.text("customData.contentName", MOST_BYTES)?,
        content_type: custom.text("customData.contentType", LONGEST_ID)?,
        more: more(&custom)?,
    })
}

/// Whether a member of this name is an identifier, also as `user[email]` or `user.email`.
pub(super) fn identifies(name: &str) -> bool {
    let last = name.trim_end_matches(']').rsplit(['[', '.']).next().unwrap_or_default();
    if last.len() > LONGEST_IDENTIFIER {
        return false;
    }
    let plain = last.replace(['_', '-', ' '], "").to_ascii_lowercase();
    let plain = plain.trim_end_matches(|c: char| c.is_ascii_digit());
    let of_person = PERSONS.iter().find_map(|person| plain.strip_prefix(person));
    let is_name = of_person == Some("name") && !NOT_NAMES.contains(&plain);
    is_name || IDENTIFIERS.contains(&plain) || of_person.is_some_and(|of| IDENTIFIERS.contains(&of))
}

/// Whether a text is an e-mail address.
pub(super) fn is_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && domain.contains('.') && !domain.contains(['/', '@']) && !local.contains('/')
    })
}

fn value(custom: &Members<'_>) -> Result<Option<Number>, Fault> {
    let Some(json) = custom.value("customData.value")? else { return Ok(None) };
    let number = serde_json::from_str(json.get());
    number.map(Some).map_err(|_| Fault::at("customData.value", "expected a number"))
}

fn currency(custom: &Members<'_>) -> Result<Option<String>, Fault> {
    let Some(json) = custom.value("customData.currency")? else { return Ok(None) };
    let text = string(json);
    if text.as_deref().is_some_and(|text| trimmed(text).is_empty()) {
        return Ok(None);
    }
    let code = text.and_then(|text| currency::code(trimmed(&text)));
    code.map(Some).ok_or(Fault::at("customData.currency", "expected an ISO 4217 code"))
}

fn content_ids(custom: &Members<'_>) -> Result<Vec<String>, Fault> {
    let listed = custom.list("customData.contentIds", MOST_CONTENT_IDS, "expected an array of strings")?;
    listed.unwrap_or_default().into_iter().enumerate().map(|(index, json)| content_id(index, json)).collect()
}

fn content_id(index: usize, json: &RawValue) -> Result<String, Fault> {
    string_or_number(json).filter(|id| !id.is_empty() && id.chars().nth(LONGEST_ID).is_none()).ok_or_else(
        || {
            Fault::at(
                format!("customData.contentIds[{index}]"),
                format!("expected a string of 1 to {LONGEST_ID} characters"),
            )
        },
    )
}

/// Every member that is not known, as it stands there.
fn more(custom: &Members<'_>) -> Result<Map<String, Value>, Fault> {
    let mut more = Map::new();
    for (name, json) in custom.iter().filter(|(name, _)| !KNOWN.contains(name)) {
        // Its name may be anything, so that no fault tells it.
        let unreadable = |_| {
            Fault::at(PATH, format!("expected JSON of Unicode text and of no more than {MOST_LEVELS} levels"))
        };
        let value: Value = serde_json::from_str(json.get()).map_err(unreadable)?;
        if identifies(name) && may_identify(&value) {
            let path = format!("{PATH}.{name}");
            return Err(Fault::at(path, "expected in userData, where it is hashed"));
        }
        check(&value, MOST_LEVELS)?;
        if !value.is_null() && more.insert(name.to_owned(), value).is_some() {
            return Err(Fault::at(PATH, "expected every member once"));
        }
    }
    Ok(more)
}

/// Whether a value can be an identifier, as in `"mail": true` and `"phone": ""` it is none.
fn may_identify(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::String(text) => !trimmed(text).is_empty(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

/// Looks through a value for what must not be passed on.
fn check(value: &Value, levels: usize) -> Result<(), Fault> {
    let inner: Vec<&Value> = match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(members) => {
            let told = members.iter().find(|(name, value)| identifies(name) && may_identify(value));
            if let Some((name, _)) = told {
                let problem = format!("{name} within it is expected in userData, where it is hashed");
                return Err(Fault::at(PATH, problem));
            }
            members.values().collect()
        }
        _ => return Ok(()),
    };
    let Some(left) = levels.checked_sub(1) else {
        return Err(Fault::at(PATH, format!("expected no more than {MOST_LEVELS} levels within it")));
    };
    inner.into_iter().try_for_each(|value| check(value, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_known_by_their_names() {
        for name in [
            "email",
            "Email_2",
            "billing_email",
            "customerPhone",
            "customer-name",
            "fullName",
            "user[first_name]",
            "shipping.last_name",
            "Surname",
        ] {
            assert!(identifies(name), "{name}");
        }
        for name in
            ["name", "product_name", "username", "shippingName", "client_name", "mailing", "phone case", ""]
        {
            assert!(!identifies(name), "{name}");
        }
        for (value, expected) in [
            (Value::Bool(true), false),
            (Value::Null, false),
            (Value::from(" "), false),
            (Value::from("x"), true),
            (Value::from(5), true),
        ] {
            assert_eq!(may_identify(&value), expected, "{value}");
        }
    }
}
