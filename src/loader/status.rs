//! What the loader has to say to operators, why ClickHouse does not take segments and which ones are parked; and
//! what they may ask of it, to try those now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::Refused;
use crate::metrics::figures;

/// Shared between the loader and the readiness answer.
#[derive(Clone, Default)]
pub struct LoaderStatus(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Somebody wants the parked segments to be tried now.
    retry: Notify,
}

#[derive(Default)]
struct State {
    /// The last failure, until a segment is loaded again.
    failure: Option<String>,
    parked: BTreeMap<u64, Parked>,
}

struct Parked {
    /// The search that found no row of a table but refused ones, if it is parked for that.
    refused: Option<Refused>,
    reason: String,
}

impl LoaderStatus {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// A segment was parked, or stays so; `refused` is the search that found no row but refused ones, if it is for
    /// that.
    pub(super) fn parked(&self, segment: u64, refused: Option<Refused>, reason: String) {
        let mut state = self.state();
        state.parked.insert(segment, Parked { refused, reason });
        show_parked(&state);
    }

    pub(super) fn refused(&self, segment: u64) -> Option<Refused> {
        self.state().parked.get(&segment)?.refused.clone()
    }

    /// A table has taken an INSERT that was begun then. Segments parked since before because it refused all of them
    /// need not wait any longer to learn which of their rows are to blame.
    pub(super) fn taken(&self, table: &str, begun: Instant) {
        let state = self.state();
        let waits = |refused: &Refused| refused.table == table && refused.at < begun;
        if state.parked.values().any(|parked| parked.refused.as_ref().is_some_and(waits)) {
            self.0.retry.notify_one();
        }
    }

    /// Has the parked segments tried at once instead of after their pause; gives how many they are.
    pub fn retry_parked(&self) -> usize {
        self.0.retry.notify_one();
        self.state().parked.len()
    }

    /// Returns once somebody wants the parked segments to be tried.
    pub(super) async fn retry_wanted(&self) {
        self.0.retry.notified().await;
    }

    /// Why a segment is parked, if it is.
    pub fn parked_for(&self, segment: u64) -> Option<String> {
        self.state().parked.get(&segment).map(|parked| parked.reason.clone())
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
