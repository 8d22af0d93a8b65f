//! When a table last took rows: what tells a row that is to blame from a table that refuses everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Taken(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Taken {
    /// Notes that the table takes rows.
    pub(super) fn note(&self, table: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned(), Instant::now());
    }

    /// Whether the table has taken rows since this moment.
    pub(super) fn since(&self, table: &str, moment: Instant) -> bool {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get(table).is_some_and(|last| *last > moment)
    }
}
