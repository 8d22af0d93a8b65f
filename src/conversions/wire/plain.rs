//! What is kept as it was sent must not tell who somebody is: `userData` is hashed, and everything else is looked
//! through for any e-mail address and for the event's own address, phone number and full name.
//!
//! A first or a last name alone is not looked for: whoever is called Rose may buy a rose.

use percent_encoding::percent_decode_str;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;
use url::Url;

use super::{SentEvent, UserData};
use crate::conversions::Fault;
use crate::conversions::identity::{decimal, is_digest, without_space};

/// The last digits of a phone number, by which it is known however its country is written; shorter numbers stand in many
/// others.
const DIGITS: usize = 8;

/// Letters of a first and a last name together, and of each: what is shorter is said of many things, sizes among them.
const LETTERS: (usize, usize) = (5, 2);

/// Letters of both written as one word, which others may be: Ban Ana is no banana.
const JOINED_LETTERS: usize = 10;

/// Where the scripts of Chinese, Japanese and Korean begin.
const SIGNS: char = '\u{2e80}';

/// Characters of a member's name that a message repeats.
const LONGEST_SHOWN: usize = 64;

const EXPECTED: &str = "expected no e-mail address, and neither the phone number nor the full name of the event: \
                        userData is where they are hashed";

/// How an `@` is written in HTML.
const ENTITIES: [&str; 3] = ["&#64;", "&#x40;", "&commat;"];

/// Refuses an event that tells who somebody is elsewhere than in `userData`; from the page's URL and from the user agent
/// that is cut.
pub(super) fn check(event: &mut SentEvent) -> Result<(), Fault> {
    let person = Person::of(&event.user);
    event.source_url = event.source_url.take().and_then(|url| cut(url, &person));
    let agent = event.user.user_agent.take().map(|agent| cut_words(agent, &person));
    event.user.user_agent = agent.filter(|agent| !agent.is_empty());
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
        if text.is_some_and(|text| person.is_told_by(text)) {
            return Err(Fault::at(field, EXPECTED));
        }
    }
    if custom.content_ids.iter().any(|id| person.is_told_by(id)) {
        return Err(Fault::at("customData.contentIds", EXPECTED));
    }
    for (name, value) in &custom.more {
        if person.is_told_by(name) {
            return Err(Fault::at("customData", EXPECTED));
        }
        if value_tells(value, &person) {
            let shown: String = name.chars().take(LONGEST_SHOWN).collect();
            return Err(Fault::at(format!("customData.{shown}"), EXPECTED));
        }
    }
    Ok(())
}

/// Whether the id that somebody has elsewhere tells who it is.
pub(super) fn external_id_tells(user: &UserData) -> bool {
    user.external_id.as_deref().is_some_and(|id| Person::of(user).is_told_by(id))
}

fn value_tells(value: &Value, person: &Person) -> bool {
    match value {
        Value::String(text) => person.is_told_by(text),
        Value::Number(number) => person.is_told_by(&number.to_string()),
        Value::Array(values) => values.iter().any(|value| value_tells(value, person)),
        Value::Object(members) => {
            members.iter().any(|(name, value)| person.is_told_by(name) || value_tells(value, person))
        }
        Value::Null | Value::Bool(_) => false,
    }
}

/// A URL without the parts that tell who somebody is: the fragment, then the query, then the path; none if its host does.
fn cut(text: String, person: &Person) -> Option<String> {
    if !person.is_told_by(&text) {
        return Some(text);
    }
    let mut url = Url::parse(&text).ok()?;
    url.set_fragment(None);
    if person.is_told_by(url.as_str()) {
        url.set_query(None);
    }
    if person.is_told_by(url.as_str()) {
        url.set_path("/");
    }
    (!person.is_told_by(url.as_str())).then(|| url.into())
}

/// A text without the words that tell who somebody is, or an empty one if only all of them do.
fn cut_words(text: String, person: &Person) -> String {
    if !person.is_told_by(&text) {
        return text;
    }
    let kept: Vec<&str> = text.split(' ').filter(|word| !person.is_told_by(word)).collect();
    let kept = kept.join(" ");
    if person.is_told_by(&kept) { String::new() } else { kept }
}

/// By what an event's own person is found, next to the e-mail addresses of everybody.
#[derive(Default)]
struct Person {
    email: Option<String>,
    phone: Option<String>,
    /// The words of the first and of the last name.
    names: Option<[Vec<String>; 2]>,
}

impl Person {
    fn of(user: &UserData) -> Self {
        let email = user.email.as_deref().map(|email| without_space(&spoken(email)));
        let phone = user.phone.as_deref().filter(|phone| !is_digest(phone)).map(digits);
        let last_digits = |digits: String| Some(digits.get(digits.len().checked_sub(DIGITS)?..)?.to_owned());
        // A number of one digit, over and over, is nobody's.
        let is_real = |digits: &String| digits.bytes().any(|digit| digit != digits.as_bytes()[0]);
        let name = |name: &Option<String>| {
            let name = name.as_deref().filter(|name| !is_digest(name)).map(spoken)?;
            let name: Vec<String> = words(&name).map(str::to_owned).collect();
            (!name.is_empty()).then_some(name)
        };
        let are_long = |[first, last]: &[Vec<String>; 2]| {
            let (first, last) = (letters(&first.concat()), letters(&last.concat()));
            first + last >= LETTERS.0 && first.min(last) >= LETTERS.1
        };
        Self {
            email: email.filter(|email| email.trim_matches('@').contains('@')),
            phone: phone.and_then(last_digits).filter(is_real),
            names: name(&user.first_name).zip(name(&user.last_name)).map(<[_; 2]>::from).filter(are_long),
        }
    }

    /// Whether a text says who it is, be it encoded once or twice, as in a URL within a URL.
    fn is_told_by(&self, text: &str) -> bool {
        let text = spoken(text);
        let holds = |email: &String| text.contains('@') && without_space(&text).contains(email);
        has_address(&text)
            || self.email.as_ref().is_some_and(holds)
            || self.phone.as_ref().is_some_and(|phone| digits(&text).contains(phone))
            || self.names.as_ref().is_some_and(|names| has_names(&text, names))
    }
}

/// Whether both names stand in a text as words, next to each other but for one word between them, or as one word.
fn has_names(text: &str, [first, last]: &[Vec<String>; 2]) -> bool {
    let words: Vec<&str> = words(text).collect();
    let joined = [first.concat() + &last.concat(), last.concat() + &first.concat()];
    let is_joined = |word: &&str| letters(word) >= JOINED_LETTERS && joined.iter().any(|it| it == word);
    // Where nothing stands between words, more may stand before and behind.
    let is_within = |joined: &String| joined.starts_with(|c| c >= SIGNS) && text.contains(joined);
    if words.iter().any(is_joined) || joined.iter().any(is_within) {
        return true;
    }
    let begins = |at: usize, name: &[String]| {
        words.get(at..at + name.len()).is_some_and(|words| words.iter().eq(name.iter()))
    };
    let follow = |one: &[String], other: &[String]| {
        let both = |at| begins(at, one) && (0..=1).any(|between| begins(at + one.len() + between, other));
        (0..words.len()).any(both)
    };
    follow(first, last) || follow(last, first)
}

/// How long a text is. Of scripts without letters a sign says as much as a word.
fn letters(text: &str) -> usize {
    text.chars().map(|c| if c >= SIGNS { JOINED_LETTERS / 2 } else { 1 }).sum()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

/// A text without its encodings, in one spelling of its letters.
fn spoken(text: &str) -> String {
    if text.is_ascii() && !text.contains(['%', '&']) {
        return text.to_ascii_lowercase();
    }
    let once = percent_decode_str(text).decode_utf8_lossy();
    let twice = percent_decode_str(&once).decode_utf8_lossy();
    let mut spoken = twice.nfkc().collect::<String>().to_lowercase();
    for entity in ENTITIES {
        if spoken.contains(entity) {
            spoken = spoken.replace(entity, "@");
        }
    }
    spoken
}

/// What follows on the last dot of a file's name and on that of no domain's.
const FILES: [&str; 15] = [
    "png", "jpg", "jpeg", "webp", "gif", "svg", "avif", "ico", "css", "js", "json", "tgz", "html", "pdf",
    "xml",
];

/// Whether there is an `@` between what can be a mailbox and a domain. Versions, prices and files are none:
/// `react@18.2.0`, `3kg@1.99`, `mug@2x.png`.
fn has_address(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let is_mailbox = |c: char| c.is_alphanumeric() || "._%+-!#$&'*=?^`{|}~\"".contains(c);
        let mailbox = text[..at].chars().next_back().is_some_and(is_mailbox);
        let domain: String =
            text[at + 1..].chars().take_while(|c| c.is_alphanumeric() || ".-".contains(*c)).collect();
        mailbox && is_domain(domain.trim_matches(['.', '-']))
    })
}

fn is_domain(text: &str) -> bool {
    let Some((_, top)) = text.rsplit_once('.') else { return false };
    let is_name = top.chars().count() > 1 && top.chars().all(char::is_alphabetic) && !FILES.contains(&top);
    is_name || top.starts_with("xn--")
}

fn digits(text: &str) -> String {
    text.chars().filter_map(decimal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jane() -> Person {
        let told = |text: &str| Some(text.to_owned());
        Person::of(&UserData {
            email: told(" Jane.Doe@localhost"),
            phone: told("+49 (171) 5559-8764"),
            first_name: told("Janefirst "),
            last_name: told("Doé-Last"),
            ..UserData::default()
        })
    }

    #[test]
    fn addresses_are_found_wherever_they_stand() {
        for text in [
            "jane@example.com",
            "https://shop.example/account/jane@example.com",
            "https://shop.example/?next=https%3A%2F%2Fa.example%2F%3Fto%3Djane%2540example.com",
            "order of j.d+x@mail.example.co.uk, thanks",
            "jane%40example.com",
            "jäne@exämple.de",
            "jane@x.com",
            "jane@2x.com",
            "jane＠example.com",
            "jane&#64;example.com",
            "\"jane d\"@example.com",
        ] {
            assert!(Person::default().is_told_by(text), "{text}");
        }
        for text in [
            "",
            "@",
            "a@b",
            "jane @ example.com",
            "@example.com",
            "npm i a@1",
            "react@18.2.0",
            "unpkg.com/lib@1.2.3/x.js",
            "Apples 3kg@1.99",
            "https://cdn.shop.example/mug_400x@2x.progressive.jpg",
            "hero@mobile.webp",
            "lodash@4.17.21.min.js",
            "https://a.example/@jane",
            "1 @ 2.5",
        ] {
            assert!(!Person::default().is_told_by(text), "{text}");
        }
    }

    #[test]
    fn the_events_own_person_is_found_however_it_is_written() {
        for text in [
            "JANE.DOE@localhost",
            "jane.doe @ localhost",
            "+49 171 55598764",
            "tel:4917155598764",
            "017155598764",
            "0171-5559-8764",
            "a=%2B49-171-555-98764&b",
            "+٤٩ ١٧١ ٥٥٥٩٨٧٦٤",
            "Mrs. Janefirst T. Doé-Last",
            "/user/doe\u{301}-last.JANEFIRST/",
            "janefirstdoélast85",
            "/u/janefirst.doé-last85",
        ] {
            assert!(jane().is_told_by(text), "{text}");
        }
        for text in [
            "order 49171",
            "Janefirst",
            "doé-last",
            "localhost",
            "98764 17155",
            "Janefirsts doé-last",
            "janefirst of all that is doé-last",
        ] {
            assert!(!jane().is_told_by(text), "{text}");
        }
    }

    #[test]
    fn short_names_are_found_too() {
        let told = |text: &str| Some(text.to_owned());
        for (first, last, text) in [
            ("Wei", "Li", "for Wei Li"),
            ("Annabelle", "Ng", "https://shop.example/u/ng-annabelle?a=1"),
            ("志明", "王", "給王志明先生"),
            ("明", "李", "李明"),
        ] {
            let user = UserData { first_name: told(first), last_name: told(last), ..UserData::default() };
            assert!(Person::of(&user).is_told_by(text), "{text}");
        }
    }

    #[test]
    fn names_are_found_as_words_only() {
        let told = |text: &str| Some(text.to_owned());
        for (first, last, text) in [
            ("Dan", "Lee", "Dance top with sleeves"),
            ("Ana", "Ban", "banana"),
            ("Ray", "King", "spray for baking"),
            ("James", "James", "James tea"),
            ("M.", "Brown", "Tee - M / Brown"),
            ("Ari", "Win", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Safari/537.36"),
        ] {
            let user = UserData { first_name: told(first), last_name: told(last), ..UserData::default() };
            assert!(!Person::of(&user).is_told_by(text), "{text}");
        }
    }

    #[test]
    fn what_is_hashed_already_or_too_short_is_not_looked_for() {
        let digest = "12345678".repeat(8);
        let told = |text: &str| Some(text.to_owned());
        let person = Person::of(&UserData {
            email: told(&digest),
            phone: told(&digest),
            first_name: told("Jo"),
            last_name: told("Li"),
            ..UserData::default()
        });
        for text in [&*digest, "12345678", "jo li"] {
            assert!(!person.is_told_by(text), "{text}");
        }
        let nobody = Person::of(&UserData { phone: told("0000000000"), ..UserData::default() });
        assert!(!nobody.is_told_by("order 20260000000012"));
    }

    #[test]
    fn only_what_tells_is_cut_from_a_url() {
        let cases = [
            ("https://shop.example/p?a=1#top", Some("https://shop.example/p?a=1#top")),
            ("https://shop.example/p?a=1#jane@example.com", Some("https://shop.example/p?a=1")),
            ("https://shop.example/p?a=jane%40example.com", Some("https://shop.example/p")),
            ("https://shop.example/u/jane@example.com?a=1#b", Some("https://shop.example/")),
            ("https://shop.example/u/janefirst.do%C3%A9-last/?a=1", Some("https://shop.example/")),
            ("https://017155598764.example/p", None),
        ];
        for (text, expected) in cases {
            assert_eq!(cut(text.to_owned(), &jane()).as_deref(), expected);
        }
    }

    #[test]
    fn only_the_words_that_tell_are_cut_from_a_user_agent() {
        let cases = [
            ("Mozilla/5.0 (X11; Linux x86_64) A/1", "Mozilla/5.0 (X11; Linux x86_64) A/1"),
            ("App/1.0 (jane@example.com; 4917155598764) B/2", "App/1.0 B/2"),
            ("App/1.0 +49 171 5559 8764", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(cut_words(text.to_owned(), &jane()), expected);
        }
    }
}
