//! What the loader has to say to operators: why ClickHouse does not take segments, and which ones are parked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::metrics::figures;

/// Shared between the loader and the readiness answer.
#[derive(Clone, Default)]
pub struct LoaderStatus(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The last failure, until a segment is loaded again.
    failure: Option<String>,
    parked: BTreeMap<u64, Parked>,
}

struct Parked {
    /// When its table first refused a row, if it has refused all that was tried.
    refused_since: Option<Instant>,
    reason: String,
}

impl LoaderStatus {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failed(&self, reason: String) {
        self.state().failure = Some(reason);
    }

    pub(super) fn loaded(&self, segment: u64) {
        let mut state = self.state();
        state.failure = None;
        state.parked.remove(&segment);
        show_parked(&state);
    }

    /// A segment was parked, or stays so. `refused_since` is when its table first refused a
    /// row, if it has refused all that was tried.
    pub(super) fn parked(&self, segment: u64, refused_since: Option<Instant>, reason: String) {
        let mut state = self.state();
        state.parked.insert(segment, Parked { refused_since, reason });
        show_parked(&state);
    }

    pub(super) fn refused_since(&self, segment: u64) -> Option<Instant> {
        self.state().parked.get(&segment)?.refused_since
    }

    /// What keeps segments from ClickHouse now, a sentence each; nothing when all is well.
    pub fn reasons(&self) -> Vec<String> {
        let state = self.state();
        let mut reasons: Vec<String> = state
            .failure
            .iter()
            .map(|failure| format!("clickhouse does not take segments: {failure}"))
            .collect();
        if let Some((segment, Parked { reason, .. })) = state.parked.first_key_value() {
            let count = state.parked.len();
            reasons.push(format!("{count} segments are parked, the first is {segment}: {reason}"));
        }
        reasons
    }
}

#[allow(clippy::cast_precision_loss, reason = "a gauge of segments")]
fn show_parked(state: &State) {
    figures().journal_parked.set(state.parked.len() as f64);
}
