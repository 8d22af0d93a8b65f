//! Which moments an event is stored with.
//!
//! | column | what it holds |
//! |---|---|
//! | `received_at` | when it came, by our clock |
//! | `timestamp` | when it happened, as well as we can tell |
//! | `claimed_timestamp` | the client's own word, where `timestamp` differs from it |
//! | `sort_time` | a moment that is the same each time the event is sent |
//!
//! `sort_time` is part of the key by which ClickHouse drops what was sent twice. It must therefore depend on
//! nothing but what the client repeats, its timestamp and its event id; the time of receipt serves only where the
//! id is ours and no second copy can carry it.

use uuid::{NoContext, Uuid};

use crate::event::Timestamp;

/// A client clock that is off by no more than this, in milliseconds, is left alone: queues, slow networks and
/// clocks set by hand account for less, and a time zone taken for UTC for nearly an hour at the least.
const TOLERATED_SKEW: u64 = 55 * 60 * 1_000;

/// How far past its receipt, in milliseconds, an event may claim to have happened.
const TOLERATED_FUTURE: i64 = 5 * 60 * 1_000;

/// The moments of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When it happened.
    pub timestamp: Timestamp,
    /// What it is sorted by.
    pub sort_time: Timestamp,
    /// The client's own timestamp, if another one is stored.
    pub claimed: Option<Timestamp>,
}

/// Settles the moments of an event from what its client says: its timestamp, its id, and the time on the client's
/// clock when it was sent.
pub fn resolve(
    claimed: Option<Timestamp>,
    event_id: Option<Uuid>,
    sent_at: Option<Timestamp>,
    received_at: Timestamp,
) -> Times {
    let sort_time = sort_time(claimed, event_id, received_at);
    let Some(claimed) = claimed else {
        return Times { timestamp: received_at, sort_time, claimed: None };
    };
    let corrected = claimed.shifted(sent_at.map_or(0, |sent_at| correction(sent_at, received_at)));
    let latest = received_at.as_millis().saturating_add(TOLERATED_FUTURE);
    let timestamp = if corrected.as_millis() > latest { received_at } else { corrected };
    Times { timestamp, sort_time, claimed: (timestamp != claimed).then_some(claimed) }
}

/// A new event id, a UUID v7 of this moment.
pub fn new_event_id(received_at: Timestamp) -> Uuid {
    let millis = u64::try_from(received_at.as_millis()).unwrap_or(0);
    let nanos = u32::try_from(millis % 1_000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, millis / 1_000, nanos))
}

/// What has to be added to the client's clock, in milliseconds.
fn correction(sent_at: Timestamp, received_at: Timestamp) -> i64 {
    let skew = received_at.as_millis().saturating_sub(sent_at.as_millis());
    if skew.unsigned_abs() > TOLERATED_SKEW { skew } else { 0 }
}

fn sort_time(claimed: Option<Timestamp>, event_id: Option<Uuid>, received_at: Timestamp) -> Timestamp {
    let moment = match (claimed, event_id) {
        (Some(claimed), _) => claimed,
        (None, Some(id)) => time_within(id).unwrap_or(Timestamp::EPOCH),
        (None, None) => received_at,
    };
    moment.clamp(Timestamp::MIN, Timestamp::MAX)
}

/// The moment in a UUID v7: its first 48 bits, milliseconds since 1970.
fn time_within(id: Uuid) -> Option<Timestamp> {
    let (upper, _) = id.as_u64_pair();
    let millis = i64::try_from(upper >> 16).ok()?;
    (id.get_version_num() == 7).then_some(Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_767_225_600_000;
    const MINUTE: i64 = 60_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_wrong_clock_is_corrected_before_the_future_is_cut_off() {
        // The client's timestamp and sentAt, and the stored timestamp, all in minutes from the receipt.
        let cases = [
            (None, None, 0),
            (None, Some(-600), 0),
            (Some(-3), None, -3),
            (Some(-600_000), None, -600_000),
            (Some(5), None, 5),
            (Some(6), None, 0),
            (Some(-3), Some(0), -3),
            (Some(-58), Some(-55), -58),
            (Some(-59), Some(-56), -3),
            (Some(53), Some(55), 0),
            (Some(54), Some(56), -2),
            (Some(600), Some(602), -2),
            (Some(600), Some(590), 0),
            (Some(600), Some(595), 5),
            (Some(-600), Some(-590), -10),
        ];
        for (claimed, sent_at, expected) in cases {
            let moment = |minutes: i64| at(NOW + minutes * MINUTE);
            let times = resolve(claimed.map(moment), None, sent_at.map(moment), at(NOW));
            assert_eq!(times.timestamp, moment(expected), "{claimed:?} sent at {sent_at:?}");
            let claim = claimed.filter(|claimed| *claimed != expected).map(moment);
            assert_eq!(times.claimed, claim, "{claimed:?} sent at {sent_at:?}");
        }
    }

    #[test]
    fn a_correction_starts_a_millisecond_past_55_minutes() {
        let claimed = NOW - 60 * MINUTE;
        for (skew, expected) in [(55 * MINUTE, claimed), (55 * MINUTE + 1, NOW - 5 * MINUTE + 1)] {
            let times = resolve(Some(at(claimed)), None, Some(at(NOW - skew)), at(NOW));
            assert_eq!(times.timestamp, at(expected));
        }
    }

    #[test]
    fn events_are_sorted_by_what_a_client_repeats() {
        let v7 = new_event_id(at(NOW - 7));
        let v4 = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
        let last_v7 = Uuid::from_u128(0xffff_ffff_ffff_7fff_bfff_ffff_ffff_ffff);
        let cases = [
            (Some(at(5)), Some(v7), at(5)),
            (Some(at(5)), Some(v4), at(5)),
            (Some(at(5)), None, at(5)),
            (Some(Timestamp::MAX), Some(v7), Timestamp::MAX),
            (None, Some(v7), at(NOW - 7)),
            (None, Some(v4), Timestamp::EPOCH),
            (None, Some(Uuid::nil()), Timestamp::EPOCH),
            (None, Some(Uuid::max()), Timestamp::EPOCH),
            (None, Some(last_v7), Timestamp::MAX),
            (None, None, at(NOW)),
        ];
        for (claimed, id, expected) in cases {
            assert_eq!(resolve(claimed, id, None, at(NOW)).sort_time, expected, "{claimed:?} {id:?}");
        }
    }

    #[test]
    fn our_ids_carry_the_moment_of_receipt_and_differ() {
        let (one, other) = (new_event_id(at(NOW + 123)), new_event_id(at(NOW + 123)));
        assert_ne!(one, other);
        assert_eq!(time_within(one), Some(at(NOW + 123)));
        assert_eq!(one.get_version(), Some(uuid::Version::SortRand));
        assert_eq!(time_within(new_event_id(Timestamp::MIN)), Some(Timestamp::EPOCH));
        assert_eq!(time_within(new_event_id(Timestamp::MAX)), Some(Timestamp::MAX));
    }

    fn moment() -> impl Strategy<Value = Timestamp> {
        (Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis()).prop_map(Timestamp::from_millis)
    }

    /// An id as a client sends it, half of them v7 of any time.
    fn id() -> impl Strategy<Value = Uuid> {
        any::<(u128, bool)>().prop_map(|(bits, v7)| {
            let bits = if v7 { bits & !(0xf << 76) | 7 << 76 } else { bits };
            Uuid::from_u128(bits)
        })
    }

    proptest! {
        #[test]
        fn sending_again_sorts_the_same(
            claimed in proptest::option::of(moment()),
            id in id(),
            first in (moment(), proptest::option::of(moment())),
            second in (moment(), proptest::option::of(moment())),
        ) {
            let one = resolve(claimed, Some(id), first.1, first.0);
            let two = resolve(claimed, Some(id), second.1, second.0);
            prop_assert_eq!(one.sort_time, two.sort_time);
        }

        #[test]
        fn every_moment_can_be_stored(
            claimed in proptest::option::of(any::<i64>()),
            id in proptest::option::of(id()),
            sent_at in proptest::option::of(any::<i64>()),
            received_at in moment(),
        ) {
            let times = resolve(claimed.map(at), id, sent_at.map(at), received_at);
            for moment in [times.timestamp, times.sort_time] {
                prop_assert!((Timestamp::MIN..=Timestamp::MAX).contains(&moment));
            }
            prop_assert!(times.timestamp.as_millis() <= received_at.as_millis() + TOLERATED_FUTURE);
        }
    }
}
