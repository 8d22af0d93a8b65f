//! The words every other module speaks: an event as a client sent it, the moment something happened, and the
//! limits that hold for both wire formats.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A moment in milliseconds since 1970 UTC: what `DateTime64(3, 'UTC')` stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);
    /// 1900-01-01T00:00:00.000Z, the first moment that `DateTime64(3)` holds.
    pub const MIN: Self = Self(-2_208_988_800_000);
    /// 2299-12-31T23:59:59.999Z, the last moment that `DateTime64(3)` holds.
    pub const MAX: Self = Self(10_413_791_999_999);

    /// The moment that lies `millis` milliseconds after 1970, or before it.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment moved by `millis`, held within [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub fn shifted(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis)).clamp(Self::MIN, Self::MAX)
    }

    /// Year and month in UTC as one number, 202601 for January 2026: ClickHouse's `toYYYYMM`.
    pub fn month(self) -> u32 {
        let date = time::OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1_000))
            .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        u32::try_from(date.year()).unwrap_or(0) * 100 + u32::from(u8::from(date.month()))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .map_err(|_| fmt::Error)?;
        let (hour, minute, second, milli) = date.to_hms_milli();
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", date.date())
    }
}

/// Who sent an event, as the `source` column says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A page: address, user agent and bot flag are its visitor's.
    Snippet,
    /// A server-side SDK: its connection says nothing about its users.
    Sdk,
    /// A backend with an API key: nor does its connection, but its data may.
    Api,
}

impl Source {
    /// The word that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snippet => "snippet",
            Self::Sdk => "sdk",
            Self::Api => "api",
        }
    }
}

/// One valid event, borrowing from the body it came in. Absent texts are empty, absent `data` is `{}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// `pageview`, `click`, `form_submit`, or any name; never empty.
    pub kind: Cow<'a, str>,
    /// The client's own id, the same each time it sends this event again.
    pub event_id: Option<Uuid>,
    /// The snippet's anonymous id.
    pub visitor_id: Cow<'a, str>,
    /// The id that the product knows its user by.
    pub user_id: Cow<'a, str>,
    /// Where it happened; a batch may give a path. Empty only for a backend's event whose data tells none.
    pub url: Cow<'a, str>,
    /// The page before.
    pub referrer: Cow<'a, str>,
    /// A JSON object, byte for byte as it was sent.
    pub data: &'a str,
    /// When it happened by the client's clock, uncorrected, between [`Timestamp::MIN`] and [`Timestamp::MAX`].
    pub timestamp: Option<Timestamp>,
}

/// What a payload may hold. Sizes are in bytes unless a name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// A body as it travels.
    pub body: usize,
    /// A body after its content encodings are undone.
    pub inflated: usize,
    /// One event's JSON text.
    pub event: usize,
    /// Events in one batch.
    pub events: usize,
    /// Characters in an event's type.
    pub type_chars: usize,
    /// An event's url, and its referrer.
    pub url: usize,
    /// A visitor's or a user's id. A batch gives them once for all of its events, so that a long one would be
    /// multiplied by their number.
    pub id: usize,
    /// Levels of arrays and objects in `data`, itself included.
    pub depth: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self {
            body: 1024 * 1024,
            inflated: 5 * 1024 * 1024,
            event: 64 * 1024,
            events: 1_000,
            type_chars: 200,
            url: 8 * 1024,
            id: 1024,
            depth: 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_last_moment_are_those_of_date_time_64() {
        assert_eq!(Timestamp::MIN.to_string(), "1900-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::MAX.to_string(), "2299-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_month_is_counted_in_utc() {
        let last_of_january = Timestamp::from_millis(1_769_903_999_999);
        assert_eq!(last_of_january.to_string(), "2026-01-31T23:59:59.999Z");
        assert_eq!(last_of_january.month(), 202_601);
        assert_eq!(last_of_january.shifted(1).month(), 202_602);
        assert_eq!(Timestamp::from_millis(-1).month(), 196_912);
    }

    #[test]
    fn a_shift_stays_within_what_can_be_stored() {
        assert_eq!(Timestamp::MAX.shifted(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.shifted(i64::MIN), Timestamp::MIN);
    }
}
