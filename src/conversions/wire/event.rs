//! One event's fields, but for `customData`.

use std::net::IpAddr;

use serde_json::value::RawValue;
use url::Url;

use super::members::{Members, string};
use super::plain;
use super::{EVENT_TYPES, Rejected, SentEvent, UserData, custom};
use crate::conversions::Fault;
use crate::conversions::consent::{GoogleConsent, SentConsent};
use crate::payload::timestamp;

/// Characters of an id.
pub(super) const LONGEST_ID: usize = 256;
/// Characters of a name: a platform's, a type's, a category's.
const LONGEST_NAME: usize = 100;
/// Characters of what is hashed.
const LONGEST_IDENTIFIER: usize = 512;
/// Characters of a URL.
const LONGEST_URL: usize = 8 * 1024;
/// Bytes of a user agent.
const LONGEST_USER_AGENT: usize = 1024;
/// Characters of a cookie: no browser keeps a longer one.
const LONGEST_COOKIE: usize = 4 * 1024;
/// Categories of consent.
const MOST_CATEGORIES: usize = 100;

const EVENT: &[&str] =
    &["platform", "eventType", "eventId", "timestamp", "sourceUrl", "userData", "customData", "consent"];
const USER: &[&str] =
    &["email", "phone", "firstName", "lastName", "externalId", "clientId", "ipAddress", "userAgent"];
const CONSENT: &[&str] = &["granted", "raw", "gpc", "google"];
const GOOGLE: &[&str] = &["ad_user_data", "adUserData", "ad_personalization", "adPersonalization"];

/// What some platforms call our types.
const ALIASES: [(&str, &str); 2] = [("generate_lead", "lead"), ("sign_up", "complete_registration")];

const URL_EXPECTED: &str = "expected an absolute http or https URL such as https://shop.example/thanks";
const TIME_EXPECTED: &str =
    "expected a moment between 1900 and 2299 in RFC 3339 such as 2026-11-15T10:30:00Z";

/// Reads an event.
pub(super) fn read(json: &RawValue) -> Result<SentEvent, Rejected> {
    let mut platform = None;
    read_noting(json, &mut platform).map_err(|fault| Rejected { platform, fault })
}

fn read_noting(json: &RawValue, noted: &mut Option<String>) -> Result<SentEvent, Fault> {
    let event = Members::of("", json, Some(EVENT))?;
    let platform = event.word("platform", LONGEST_NAME)?;
    let platform = platform.ok_or(Fault::at("platform", "expected the name of a platform"))?;
    *noted = Some(platform.clone());
    let event_type = event.word("eventType", LONGEST_NAME)?;
    let event_type =
        event_type.ok_or(Fault::at("eventType", "expected the name of an event such as purchase"))?;
    let moment = event.text("timestamp", LONGEST_NAME)?.map(|text| timestamp::parse(&text));
    let mut read = SentEvent {
        platform,
        event_type: ours(event_type),
        event_id: event.word("eventId", LONGEST_ID)?,
        timestamp: moment.map(|it| it.ok_or(Fault::at("timestamp", TIME_EXPECTED))).transpose()?,
        source_url: event.text("sourceUrl", LONGEST_URL)?.map(source_url).transpose()?,
        user: user_data(&event)?,
        custom: custom::read(&event)?,
        consent: consent(&event)?,
    };
    plain::check(&mut read)?;
    Ok(read)
}

/// One of our types whatever its case, or the text as it is.
pub(super) fn ours(text: String) -> String {
    let lower = text.to_ascii_lowercase();
    if let Some((_, ours)) = ALIASES.iter().find(|(alias, _)| *alias == lower) {
        return (*ours).to_owned();
    }
    if EVENT_TYPES.contains(&lower.as_str()) { lower } else { text }
}

/// A page's URL as it was given, if there is nothing in it that must not be kept.
fn source_url(text: String) -> Result<String, Fault> {
    let expected = || Fault::at("sourceUrl", URL_EXPECTED);
    let mut url = Url::parse(&text).map_err(|_| expected())?;
    let behind = text.get(url.scheme().len()..).unwrap_or_default();
    if !matches!(url.scheme(), "http" | "https") || !behind.starts_with("://") {
        return Err(expected());
    }
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let tells = |name: &str, value: &str| custom::identifies(name) || custom::is_address(value);
    let tells_who = url.query_pairs().any(|(name, value)| tells(&name, &value));
    let is_plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if is_plain && !has_credentials && !tells_who {
        return Ok(text);
    }
    if has_credentials {
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| expected())?;
    }
    if tells_who {
        let pairs = url.query_pairs().into_owned();
        let kept: Vec<(String, String)> = pairs.filter(|(name, value)| !tells(name, value)).collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
    }
    Ok(url.into())
}

fn user_data(event: &Members<'_>) -> Result<UserData, Fault> {
    let Some(user) = event.object("userData", Some(USER))? else { return Ok(UserData::default()) };
    let ip_address = user.text("userData.ipAddress", LONGEST_NAME)?.map(|text| {
        let address = text.parse().map(|address: IpAddr| address.to_canonical());
        address.map_err(|_| Fault::at("userData.ipAddress", "expected an IPv4 or IPv6 address"))
    });
    Ok(UserData {
        email: user.text("userData.email", LONGEST_IDENTIFIER)?,
        phone: user.text_or_number("userData.phone", LONGEST_IDENTIFIER)?,
        first_name: user.text("userData.firstName", LONGEST_IDENTIFIER)?,
        last_name: user.text("userData.lastName", LONGEST_IDENTIFIER)?,
        external_id: user.word_or_number("userData.externalId", LONGEST_ID)?,
        client_id: user.word("userData.clientId", LONGEST_ID)?,
        ip_address: ip_address.transpose()?,
        user_agent: user.text("userData.userAgent", usize::MAX)?.map(|mut text| {
            text.truncate(text.floor_char_boundary(LONGEST_USER_AGENT));
            text
        }),
    })
}

fn consent(event: &Members<'_>) -> Result<SentConsent, Fault> {
    let Some(consent) = event.object("consent", Some(CONSENT))? else { return Ok(SentConsent::default()) };
    let granted = consent.list("consent.granted", MOST_CATEGORIES, "expected an array of strings")?;
    Ok(SentConsent {
        granted: granted
            .map(|list| list.into_iter().enumerate().map(|(index, json)| category(index, json)).collect())
            .transpose()?,
        raw: cookie(&consent)?,
        gpc: global_privacy_control(&consent)?,
        google: google(&consent)?,
    })
}

fn category(index: usize, json: &RawValue) -> Result<String, Fault> {
    string(json).filter(|text| text.chars().nth(LONGEST_NAME).is_none()).ok_or_else(|| {
        Fault::at(
            format!("consent.granted[{index}]"),
            format!("expected a string of no more than {LONGEST_NAME} characters"),
        )
    })
}

/// The cookie's value. An empty one is not absent: it grants nothing.
fn cookie(consent: &Members<'_>) -> Result<Option<String>, Fault> {
    let Some(json) = consent.value("consent.raw")? else { return Ok(None) };
    let text = string(json).filter(|text| text.chars().nth(LONGEST_COOKIE).is_none());
    let expected = || format!("expected a string of no more than {LONGEST_COOKIE} characters");
    text.map(Some).ok_or_else(|| Fault::at("consent.raw", expected()))
}

fn global_privacy_control(consent: &Members<'_>) -> Result<Option<bool>, Fault> {
    match consent.value("consent.gpc")?.map(RawValue::get) {
        None => Ok(None),
        Some("true" | "1" | "\"1\"") => Ok(Some(true)),
        Some("false" | "0" | "\"0\"") => Ok(Some(false)),
        Some(_) => Err(Fault::at("consent.gpc", "expected a boolean")),
    }
}

fn google(consent: &Members<'_>) -> Result<GoogleConsent, Fault> {
    let Some(google) = consent.object("consent.google", Some(GOOGLE))? else {
        return Ok(GoogleConsent::default());
    };
    Ok(GoogleConsent {
        ad_user_data: signal(&google, "consent.google.ad_user_data", "consent.google.adUserData")?,
        ad_personalization: signal(
            &google,
            "consent.google.ad_personalization",
            "consent.google.adPersonalization",
        )?,
    })
}

/// A signal under either of its names. Of two that differ, the one that denies counts.
fn signal(google: &Members<'_>, path: &'static str, alias: &'static str) -> Result<Option<bool>, Fault> {
    let read = |path| {
        let Some(json) = google.value(path)? else { return Ok(None) };
        let word = string(json).map(|word| word.to_ascii_uppercase());
        match (json.get(), word.as_deref()) {
            ("true", _) | (_, Some("GRANTED")) => Ok(Some(true)),
            ("false", _) | (_, Some("DENIED")) => Ok(Some(false)),
            _ => Err(Fault::at(path, "expected a boolean, GRANTED or DENIED")),
        }
    };
    Ok(match (read(path)?, read(alias)?) {
        (Some(one), Some(other)) => Some(one && other),
        (one, other) => one.or(other),
    })
}
