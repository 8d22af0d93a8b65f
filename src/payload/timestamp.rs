//! Moments as clients write them: RFC 3339 with either case of `T` and `Z`, and what SDKs send besides — a space
//! for the `T`, an offset without its colon or none at all (then it is UTC), no seconds.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event::Timestamp;

/// Reads a moment, cut (not rounded) to milliseconds; `None` if it is written in any other way, does not exist,
/// or lies outside [`Timestamp::MIN`] to [`Timestamp::MAX`]. A leap second (`:60` where one can be) is the last
/// millisecond before it.
pub fn parse(text: &str) -> Option<Timestamp> {
    // RFC 3339, and so `time`, lets any byte stand here.
    if !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    // Nearly every timestamp is strict, and `time` needs 12 ns for it.
    let moment = strict(text).or_else(|| strict(str::from_utf8(&completed(text.as_bytes())?).ok()?))?;
    let millis = moment.unix_timestamp() * 1_000 + i64::from(moment.millisecond());
    Some(Timestamp::from_millis(millis)).filter(|read| (Timestamp::MIN..=Timestamp::MAX).contains(read))
}

fn strict(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// The same moment with all that RFC 3339 asks for, so that one parser decides what exists.
fn completed(text: &[u8]) -> Option<[u8; 29]> {
    let mut strict = *b"0000-00-00T00:00:00.000+00:00";
    let (to_the_minute, mut rest) = text.split_first_chunk::<16>()?;
    strict[..16].copy_from_slice(to_the_minute);
    if let [b':', tens, ones, after @ ..] = rest {
        (strict[17], strict[18], rest) = (*tens, *ones, after);
        if let [b'.', after @ ..] = rest {
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let kept = digits.min(3);
            strict[20..20 + kept].copy_from_slice(&after[..kept]);
            rest = after.get(digits..).filter(|_| digits > 0)?;
        }
    }
    match rest {
        [] | [b'Z' | b'z'] => {}
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            strict[23..].copy_from_slice(&[*sign, *h1, *h2, b':', *m1, *m2]);
        }
        _ => return None,
    }
    Some(strict)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_moment_is_read() {
        for (text, expected) in [
            ("2025-01-15T10:30:00Z", "2025-01-15T10:30:00.000Z"),
            ("2025-01-15t10:30:00z", "2025-01-15T10:30:00.000Z"),
            ("2025-01-15 10:30:00Z", "2025-01-15T10:30:00.000Z"),
            ("2025-01-15T10:30:00.1239Z", "2025-01-15T10:30:00.123Z"),
            ("2025-01-15T10:30:00.9999999999999999999999999999Z", "2025-01-15T10:30:00.999Z"),
            ("2025-01-15T10:30:00.5", "2025-01-15T10:30:00.500Z"),
            ("2025-01-15T10:30:00.123456+0530", "2025-01-15T05:00:00.123Z"),
            ("2025-01-15T10:30:00+05:30", "2025-01-15T05:00:00.000Z"),
            ("2025-01-15T10:30:00+0530", "2025-01-15T05:00:00.000Z"),
            ("2025-01-15T10:30:00-0000", "2025-01-15T10:30:00.000Z"),
            ("2025-01-15T10:30:00", "2025-01-15T10:30:00.000Z"),
            ("2025-01-15T10:30", "2025-01-15T10:30:00.000Z"),
            ("2025-01-15 10:30Z", "2025-01-15T10:30:00.000Z"),
            ("2025-01-15 10:30-08:00", "2025-01-15T18:30:00.000Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999Z"),
            ("2016-12-31T23:59:60", "2016-12-31T23:59:59.999Z"),
            ("1900-01-01T00:00:00Z", "1900-01-01T00:00:00.000Z"),
            ("2299-12-31T23:59:59.9999999Z", "2299-12-31T23:59:59.999Z"),
            ("1899-12-31T23:30:00-01:00", "1900-01-01T00:30:00.000Z"),
        ] {
            assert_eq!(parse(text).map(|read| read.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_read() {
        for text in [
            "",
            "2025-01-15",
            "2025-01-15T",
            "2025-01-15T10",
            "2025-01-15T10Z",
            "2025-01-15T10:3",
            "2025-01-15x10:30:00Z",
            "2025-01-15_10:30:00Z",
            "2025-01-15é10:30:00Z",
            "2025/01/15T10:30:00Z",
            "20250115T103000Z",
            "2025-1-15T10:30:00Z",
            "2025-13-15T10:30:00Z",
            "2025-02-29T10:30:00Z",
            "2025-01-15T24:00:00Z",
            "2025-01-15T10:60:00Z",
            "2025-01-15T10:30:60Z",
            "2025-01-15T10:30:00.Z",
            "2025-01-15T10:30:00.",
            "2025-01-15T10:30:00,5Z",
            "2025-01-15T10:30.5Z",
            "2025-01-15T10:30:00+05",
            "2025-01-15T10:30:00+5:30",
            "2025-01-15T10:30:00+24:00",
            "2025-01-15T10:30:00+05:60",
            "2025-01-15T10:30:00 Z",
            "2025-01-15T10:30:00ZZ",
            "2025-01-15T10:30:00 UTC",
            " 2025-01-15T10:30:00Z",
            "2025-01-15T10:30:00Z ",
            "+2025-01-15T10:30:00Z",
            "12025-01-15T10:30:00Z",
            "1899-12-31T23:59:59.999Z",
            "1900-01-01T00:30:00+01:00",
            "2300-01-01T00:00:00Z",
            "2299-12-31T23:30:00-01:00",
            "1736937000",
            "Wed, 15 Jan 2025 10:30:00 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_read_back_as_it_was_written(
            millis in Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis(),
        ) {
            let moment = Timestamp::from_millis(millis);
            let text = moment.to_string();
            prop_assert_eq!(parse(&text), Some(moment));
            prop_assert_eq!(parse(&text.replace('T', " ").replace('Z', "")), Some(moment));
            prop_assert_eq!(parse(&text.replace('Z', "+0000")), Some(moment));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[ Tt]?[0-9:.,+Zz é-]{0,24}|.{0,40}") {
            if let Some(read) = parse(&text) {
                prop_assert!((Timestamp::MIN..=Timestamp::MAX).contains(&read));
            }
        }
    }
}
