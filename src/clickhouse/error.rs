//! What went wrong between us and ClickHouse, and what the loader may do about it.

use std::time::Duration;

use clickhouse::error::Error as ClientError;
use thiserror::Error;

use crate::retry::Retry;

/// As much of an answer as an error keeps, in bytes: enough for ClickHouse's sentence, not for a proxy's page.
const MESSAGE_BYTES: usize = 600;

/// A call to ClickHouse that failed.
#[derive(Debug, Error)]
pub enum ClickHouseError {
    /// It answered with an error; `server_code` is ClickHouse's number, absent when a proxy answered instead.
    #[error("clickhouse refused: {message}")]
    Server {
        /// The number in `Code: 60. DB::…`.
        server_code: Option<u32>,
        /// Its text, cut.
        message: String,
    },
    /// The connection could not be made, or broke.
    #[error("clickhouse cannot be reached: {0}")]
    Network(String),
    /// No answer within the call's time. What was asked for may still happen.
    #[error("clickhouse did not answer within {0:?}")]
    Timeout(Duration),
    /// The rows could not be read where they come from; nothing was inserted.
    #[error("the rows to insert could not be read: {0}")]
    Source(#[source] std::io::Error),
    /// An answer that is not ClickHouse's.
    #[error("what answers at the ClickHouse URL is not ClickHouse, or a version we cannot read: {0}")]
    Unreadable(String),
}

/// What an error of an insert says about its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing: the same rows can go in later.
    Retry,
    /// At least one row is one that these tables will never take.
    Reject,
}

/// The codes that speak of values and not of the server, its tables or its load. Every code not listed is
/// retried: a row set aside wrongly is lost to its owner, one retried too long is only late.
///
/// All but those marked were seen from a table with a materialized column, a constraint or a view that a value
/// broke. Left out on purpose: 16, 44, 47, 53 and 60 are the table's fault and hit every row alike.
const DATA_CODES: &[u32] = &[
    6,   // CANNOT_PARSE_TEXT
    25,  // CANNOT_PARSE_ESCAPE_SEQUENCE (not seen)
    26,  // CANNOT_PARSE_QUOTED_STRING (not seen)
    27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED (not seen)
    33,  // CANNOT_READ_ALL_DATA: a row that ends too early; a cut connection gets no answer at all
    38,  // CANNOT_PARSE_DATE
    41,  // CANNOT_PARSE_DATETIME
    69,  // ARGUMENT_OUT_OF_BOUND
    70,  // CANNOT_CONVERT_TYPE
    72,  // CANNOT_PARSE_NUMBER
    117, // INCORRECT_DATA: also a header that the table does not match, so look at the tables first
    130, // CANNOT_READ_ARRAY_FROM_TEXT
    131, // TOO_LARGE_STRING_SIZE
    153, // ILLEGAL_DIVISION
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE (not seen)
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN (not seen)
    376, // CANNOT_PARSE_UUID
    395, // FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
    407, // DECIMAL_OVERFLOW
    467, // CANNOT_PARSE_BOOL
    469, // VIOLATED_CONSTRAINT
    675, // CANNOT_PARSE_IPV4
    676, // CANNOT_PARSE_IPV6 (not seen)
    691, // UNKNOWN_ELEMENT_OF_ENUM
];

impl ClickHouseError {
    /// ClickHouse's own number for the error, if the answer has one.
    pub fn server_code(&self) -> Option<u32> {
        match self {
            Self::Server { server_code, .. } => *server_code,
            _ => None,
        }
    }

    /// What it says about the rows of an insert. A 117 may be a table that has drifted: ask
    /// [`check_tables`](super::Store::check_tables) before blaming a row.
    pub fn class(&self) -> Class {
        match self.server_code() {
            Some(code) if DATA_CODES.contains(&code) => Class::Reject,
            _ => Class::Retry,
        }
    }

    /// The error's stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Server { .. } => "clickhouse_refused",
            Self::Network(_) => "clickhouse_unreachable",
            Self::Timeout(_) => "clickhouse_timeout",
            Self::Source(_) => "rows_unreadable",
            Self::Unreadable(_) => "clickhouse_unreadable",
        }
    }

    /// Whether the same call can succeed later.
    pub fn retry(&self) -> Retry {
        match self.class() {
            Class::Reject => Retry::Never,
            Class::Retry => Retry::After(Duration::from_secs(1)),
        }
    }
}

impl From<ClientError> for ClickHouseError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::BadResponse(text) => {
                Self::Server { server_code: server_code(&text), message: cut(&text) }
            }
            ClientError::Network(source) => Self::Network(cut(&sentence(source.as_ref()))),
            ClientError::TimedOut => Self::Timeout(Duration::ZERO),
            other => Self::Unreadable(cut(&sentence(&other))),
        }
    }
}

/// ClickHouse's number in an error's text, which begins `Code: 60. DB::Exception: …` (or is `Code: 60` alone,
/// where only the header came). Anything else, a proxy's page say, has none, whatever numbers stand in it.
pub(super) fn server_code(text: &str) -> Option<u32> {
    let after = text.trim_start().strip_prefix("Code: ")?;
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let (digits, rest) = after.split_at(end);
    if !rest.trim_end().is_empty() && !rest.starts_with('.') {
        return None;
    }
    digits.parse().ok()
}

/// An error with its causes: hyper's own text stops at `client error (Connect)`.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

pub(super) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(MESSAGE_BYTES);
    if end == text.len() { text.to_owned() } else { format!("{}…", &text[..end]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_read_from_the_start_of_the_text_alone() {
        for (text, code) in [
            ("Code: 60. DB::Exception: Table weir.events does not exist. (UNKNOWN_TABLE)", Some(60)),
            ("Code: 53. DB::Exception: Type mismatch", Some(53)),
            ("Code: 530. DB::Exception: x", Some(530)),
            ("Code: 210. DB::NetException: Address already in use", Some(210)),
            ("Code: 241", Some(241)),
            ("Code: 241\n", Some(241)),
            ("\nCode: 6. DB::Exception", Some(6)),
            ("<html><h1>502 Bad Gateway</h1>Code: 53. DB::</html>", None),
            ("Code: 403 Forbidden", None),
            ("Code: . DB::Exception", None),
            ("Code: 99999999999. DB::Exception", None),
            ("Poco::Exception. Code: 1000, e.code() = 104", None),
            ("502 Bad Gateway", None),
            ("", None),
        ] {
            assert_eq!(server_code(text), code, "{text:?}");
        }
    }

    #[test]
    fn only_listed_codes_blame_the_rows() {
        let class = |text: &str| ClickHouseError::from(ClientError::BadResponse(text.to_owned())).class();
        for code in DATA_CODES {
            assert_eq!(class(&format!("Code: {code}. DB::Exception: x")), Class::Reject);
        }
        for code in [1, 16, 44, 47, 53, 60, 81, 160, 202, 216, 241, 242, 252, 516, 999] {
            assert_eq!(class(&format!("Code: {code}. DB::Exception: x")), Class::Retry, "{code}");
        }
        assert_eq!(class("<html>Code: 117. nginx</html>"), Class::Retry);
        assert_eq!(ClickHouseError::Timeout(Duration::from_secs(1)).class(), Class::Retry);
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        let error = ClickHouseError::from(ClientError::BadResponse("ü".repeat(10_000)));
        assert!(error.to_string().len() < MESSAGE_BYTES + 64);
    }
}
