//! What stands behind a flag: times, sizes and names as people write them.

use std::time::Duration;

use bytesize::ByteSize;

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a time above zero like 500ms, 10s or 2m";
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; {expected}"))?;
    if duration.is_zero() { Err(expected.to_owned()) } else { Ok(duration) }
}

pub(super) fn parse_size(text: &str) -> Result<usize, String> {
    let expected = "expected a size above zero like 64KiB, 1MiB or 10GiB";
    let size: ByteSize = text.parse().map_err(|error| format!("{error}; {expected}"))?;
    let size = usize::try_from(size.as_u64()).map_err(|_| expected.to_owned())?;
    if size == 0 { Err(expected.to_owned()) } else { Ok(size) }
}

pub(super) fn parse_database(text: &str) -> Result<String, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(is_word) {
        return Err("expected 1 to 64 letters, digits and underscores".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units_and_are_above_zero() {
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("10"), Ok(10));
        for text in ["", "1", "0s", "-1s", "soon"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains("expected a time above zero"), "{text}: {error}");
        }
        for text in ["", "0", "-1", "1 furlong"] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains("expected a size above zero"), "{text}: {error}");
        }
    }

    #[test]
    fn a_database_is_named_by_a_word() {
        assert_eq!(parse_database("weir_2"), Ok("weir_2".to_owned()));
        for text in ["", "a b", "a;b", "a.b", &"x".repeat(65)] {
            assert!(parse_database(text).is_err(), "{text}");
        }
    }
}
