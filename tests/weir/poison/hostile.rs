//! Generated events and bytes that are meant to hurt.

use uuid::Uuid;

use crate::harness::Random;

/// An event's JSON text at most.
pub(super) const LIMIT: usize = 64 * 1024;

/// In which way an event is hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    NoEvent,
    OddData,
    OddField,
    FieldTwice,
    OddTypeOrUrl,
    Moment,
    EscapedName,
    LongText,
    AtTheLimit,
    OverTheLimit,
    StringOfTheLimit,
    StringOverTheLimit,
}

/// All of them, the most fruitful one more often.
pub(super) const KINDS: [Kind; 15] = [
    Kind::NoEvent,
    Kind::OddData,
    Kind::OddField,
    Kind::FieldTwice,
    Kind::OddData,
    Kind::OddTypeOrUrl,
    Kind::Moment,
    Kind::OddData,
    Kind::EscapedName,
    Kind::LongText,
    Kind::AtTheLimit,
    Kind::OverTheLimit,
    Kind::StringOfTheLimit,
    Kind::StringOverTheLimit,
    Kind::OddData,
];

impl Kind {
    /// Whether such an event is taken, where that does not depend on the rest of it.
    pub(super) const fn is_taken(self) -> Option<bool> {
        match self {
            Self::EscapedName | Self::LongText | Self::AtTheLimit => Some(true),
            Self::NoEvent
            | Self::FieldTwice
            | Self::OverTheLimit
            | Self::StringOfTheLimit
            | Self::StringOverTheLimit => Some(false),
            Self::OddData | Self::OddField | Self::OddTypeOrUrl | Self::Moment => None,
        }
    }
}

/// An event of a batch: its text, and its id and `data` where these are plain to see.
pub(super) struct Sent {
    pub(super) text: String,
    pub(super) id: Uuid,
    pub(super) data: Option<String>,
}

/// Bytes that no JSON text may hold: not UTF-8, and control characters as they are.
pub(super) const SPOILERS: [&[u8]; 8] =
    [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\0", b"a\0b", b"\x1f"];

pub(super) fn one_of<'a>(random: &mut Random, choices: &[&'a str]) -> &'a str {
    let index = random.below(choices.len() as u64);
    choices[usize::try_from(index).unwrap()]
}

/// A piece of JSON text that the grammar allows and nobody expects.
pub(super) fn value(random: &mut Random, depth: u32) -> String {
    let times = |random: &mut Random, piece: &str, most: u64| {
        piece.repeat(usize::try_from(random.below(most)).unwrap())
    };
    match random.below(if depth > 3 { 4 } else { 9 }) {
        0 => one_of(
            random,
            &["1e400", "-0", "1E-999", "123456789012345678901234567890", "-9223372036854775809"],
        )
        .to_owned(),
        1 => one_of(
            random,
            &["null", "true", "\"\"", "[]", "{}", "\"\\ud800\"", "\"\\udfff\\ud800\"", "\"\\u0000\""],
        )
        .to_owned(),
        2 => one_of(
            random,
            &[
                "\"\\\\N\"",
                "\"\\\"'`;--\\t\\r\\n\"",
                "\"\u{202e}\u{7f}\u{fffe}🏴\"",
                "\"9999-99-99\"",
                "\"2299-12-31T23:59:59.999Z\"",
                "\"0000-01-01T00:00:00Z\"",
                "\"1900-01-01T00:00:00+14:00\"",
                "\"+10000-01-01T00:00:00Z\"",
            ],
        )
        .to_owned(),
        3 => {
            let piece = one_of(random, &["x", "é", "\\u00e9", "\\\\"]);
            format!("\"{}\"", times(random, piece, 70_000 / piece.len() as u64))
        }
        4 => {
            let levels = one_of(random, &["1", "62", "64", "66", "2000"]).parse().unwrap();
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        }
        5 => format!("[{}]", [value(random, depth + 1), value(random, depth + 1)].join(" ,\n")),
        6 => {
            let keys: Vec<String> =
                (0..random.below(300)).map(|key| format!("\"{}{key}\":{key}", random.next())).collect();
            format!("{{{}}}", keys.join(","))
        }
        _ => {
            let mut members = Vec::new();
            for _ in 0..random.below(5) {
                let long = times(random, "k", 10_000);
                let keys = ["", ".", "a.b", "a", "a", "\\u0000", "__proto__", "`\\\"", "\\ud83d", "A", &long];
                members.push(format!("\"{}\" : {}", one_of(random, &keys), value(random, depth + 1)));
            }
            format!("{{{}}}", members.join(","))
        }
    }
}

/// An event of this kind that several fit into a body.
pub(super) fn hostile(random: &mut Random, kind: Kind) -> Sent {
    loop {
        let sent = draw(random, kind);
        if sent.text.len() < 2 * LIMIT {
            return sent;
        }
    }
}

fn draw(random: &mut Random, kind: Kind) -> Sent {
    let id = Uuid::now_v7();
    let plain = format!(r#""type":"hostile","url":"/h","eventId":"{id}""#);
    let with_data = |data: String| {
        let text = format!(r#"{{{plain},"data":{data}}}"#);
        Sent { text, id, data: data.starts_with('{').then_some(data) }
    };
    let string = |length: usize| with_data(format!(r#"{{"a":"{}"}}"#, "x".repeat(length)));
    let sized = |length: usize| string(length - string(0).text.len());
    let text = match kind {
        Kind::NoEvent => value(random, 0),
        Kind::OddData => return with_data(value(random, 0)),
        Kind::OddField => {
            let fields = ["timestamp", "visitorId", "userId", "referrer", "no such field", ""];
            format!(r#"{{{plain},"{}":{}}}"#, one_of(random, &fields), value(random, 1))
        }
        Kind::FieldTwice => {
            let field = one_of(random, &["type", "url", "eventId"]);
            format!(r#"{{{plain},"{field}":{}}}"#, value(random, 2))
        }
        Kind::OddTypeOrUrl => {
            let (field, other) = if random.below(2) == 0 { ("type", "url") } else { ("url", "type") };
            format!(r#"{{"eventId":"{id}","{other}":"x","{field}":{}}}"#, value(random, 2))
        }
        Kind::Moment => format!(r#"{{{plain},"timestamp":"{}"}}"#, moment(random)),
        Kind::EscapedName => {
            let text = format!("{{{}}}", plain.replace("\"type\"", "\"t\\u0079pe\""));
            return Sent { text, id, data: Some("{}".to_owned()) };
        }
        Kind::LongText => return with_data(format!(r#"{{"a":"{}"}}"#, "é".repeat(32_000))),
        Kind::AtTheLimit => return sized(LIMIT),
        Kind::OverTheLimit => return sized(LIMIT + 1),
        Kind::StringOfTheLimit => return string(LIMIT),
        Kind::StringOverTheLimit => return string(LIMIT + 1),
    };
    Sent { text, id, data: None }
}

fn moment(random: &mut Random) -> String {
    let part = |random: &mut Random, end: u64| random.below(end);
    let (year, month, day) = (1_890 + part(random, 420), part(random, 14), part(random, 33));
    let (hour, minute) = (part(random, 26), part(random, 62));
    let zone = one_of(random, &["Z", "", "+0530", "-23:59", "+24:00"]);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:60{zone}")
        .replace(":60", one_of(random, &[":59", ":60", "", ":00.999999999999"]))
}
