//! When a table last took rows: what tells a row that is to blame from a table that refuses everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Taken(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Taken {
    /// Notes that the table has taken the rows of an INSERT begun at this moment. An INSERT works by the table as it
    /// was when it began: one that ends after a constraint was added says nothing about the constraint.
    pub(super) fn note(&self, table: &str, begun: Instant) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = taken.entry(table.to_owned()).or_insert(begun);
        *last = begun.max(*last);
    }

    /// Whether the table has taken an INSERT that was begun after this moment.
    pub(super) fn since(&self, table: &str, moment: Instant) -> bool {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get(table).is_some_and(|last| *last > moment)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_counts_is_when_an_insert_began() {
        let taken = Taken::default();
        let moments: Vec<Instant> =
            (0..3).map(|second| Instant::now() + Duration::from_secs(second)).collect();
        assert!(!taken.since("events", moments[0]));
        taken.note("events", moments[2]);
        // It began earlier, and took longer.
        taken.note("events", moments[0]);
        assert!(taken.since("events", moments[1]));
        assert!(!taken.since("events", moments[2]));
        assert!(!taken.since("rejected_events", moments[0]));
    }
}
