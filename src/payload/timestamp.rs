//! Moments as clients write them: RFC 3339 with either case of `T` and `Z`, and what SDKs send besides — a space
//! for the `T`, an offset without its colon or none at all (then it is UTC), no seconds.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event::Timestamp;

/// Reads a moment, cut (not rounded) to milliseconds; `None` if it is written in any other way, does not exist,
/// or lies outside [`Timestamp::MIN`] to [`Timestamp::MAX`]. A leap second (`:60` where one can be) is the last
/// millisecond before it.
pub fn parse(text: &str) -> Option<Timestamp> {
    let moment = plain(text.as_bytes()).or_else(|| of_any_spelling(text))?;
    (Timestamp::MIN..=Timestamp::MAX).contains(&moment).then_some(moment)
}

/// Reads the two spellings that nearly all have, JavaScript's `2025-01-15T10:30:00.123Z` and the same without a
/// fraction. All that is rare in them, leap seconds and moments that do not exist among it, is left to `time`, whose
/// parser takes 375 instructions; this one takes 200.
fn plain(text: &[u8]) -> Option<Timestamp> {
    let (to_the_day, behind) = text.split_first_chunk()?;
    let (to_the_minute, behind) = behind.split_first_chunk()?;
    let to_the_end = match behind {
        [colon, tens, ones, z] => [*colon, *tens, *ones, b'.', b'0', b'0', b'0', *z],
        _ => behind.try_into().ok()?,
    };
    let [y1, y2, y3, y4, _, m1, m2, _] = digits(*to_the_day, *b"0000-00-")?;
    let [d1, d2, _, hour1, hour2, _, minute1, minute2] = digits(*to_the_minute, *b"00T00:00")?;
    let [_, second1, second2, _, milli1, milli2, milli3, _] = digits(to_the_end, *b":00.000Z")?;
    let two = |tens, ones| u32::from(tens) * 10 + u32::from(ones);
    let (year, month, day) = (two(y1, y2) * 100 + two(y3, y4), two(m1, m2), two(d1, d2));
    let (hour, minute, second) = (two(hour1, hour2), two(minute1, minute2), two(second1, second2));
    let is_leap_year = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(is_leap_year),
        _ => return None,
    };
    if year < 1900 || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years are counted from March here, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    // That day is number 719,469 for the first of January 1970.
    let day = i64::from(day) - 719_469;
    let second = day * 86_400 + i64::from(hour * 3_600 + minute * 60 + second);
    let milli = i64::from(milli1) * 100 + i64::from(two(milli2, milli3));
    Some(Timestamp::from_millis(second * 1_000 + milli))
}

/// The digits that stand where `form` has a zero, if all else is as it is there; eight bytes at once.
#[inline]
fn digits(eight: [u8; 8], form: [u8; 8]) -> Option<[u8; 8]> {
    // What has to be added for more than a nine, or than nothing, to reach the highest bit.
    let reach = u64::from_ne_bytes(form.map(|byte| if byte == b'0' { 0x80 - 10 } else { 0x80 - 1 }));
    let found = u64::from_ne_bytes(eight) ^ u64::from_ne_bytes(form);
    let high = (found | found.wrapping_add(reach)) & 0x8080_8080_8080_8080;
    (high == 0).then(|| found.to_ne_bytes())
}

fn of_any_spelling(text: &str) -> Option<Timestamp> {
    // RFC 3339, and so `time`, lets any byte stand here.
    if !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let moment = strict(text).or_else(|| strict(str::from_utf8(&completed(text.as_bytes())?).ok()?))?;
    Some(Timestamp::from_millis(moment.unix_timestamp() * 1_000 + i64::from(moment.millisecond())))
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

    #[test]
    fn every_day_is_read_alike_by_both_parsers() {
        for year in 1_890..2_410 {
            for month in 0..=13 {
                for day in 0..=32 {
                    let text = format!("{year:04}-{month:02}-{day:02}T12:00:00Z");
                    let expected = of_any_spelling(&text).filter(|_| year >= 1_900);
                    assert_eq!(plain(text.as_bytes()), expected, "{text}");
                }
            }
        }
    }

    /// A moment as both parsers might read it, which need not exist, and whether all of its bytes are still in place.
    fn nearly_plain() -> impl Strategy<Value = (String, bool)> {
        let date = (1_900_u16..=9_999, 0_u8..=13, 0_u8..=32);
        let time = (0_u8..=25, 0_u8..=61, 0_u8..=61, prop::option::of(0_u16..=999));
        let other = prop::option::of((0_usize..20, "[ -~]"));
        (date, time, other).prop_map(|((year, month, day), (hour, minute, second, milli), other)| {
            let fraction = milli.map(|milli| format!(".{milli:03}")).unwrap_or_default();
            let mut text =
                format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z");
            let in_place = other.is_none();
            if let Some((place, byte)) = other {
                text.replace_range(place..=place, &byte);
            }
            (text, in_place)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]
        #[test]
        fn a_plain_moment_is_read_as_the_general_parser_reads_it((text, in_place) in nearly_plain()) {
            let (read, expected) = (plain(text.as_bytes()), of_any_spelling(&text));
            let is_leap_second = &text[17..19] == "60";
            if read.is_some() || in_place && !is_leap_second {
                prop_assert_eq!(read, expected);
            }
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
