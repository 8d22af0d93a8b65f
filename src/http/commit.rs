//! A request's records on their way to the disk, and the event ids that hang on them.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::journal::{Appending, JournalError};
use crate::recent::{Outcome, Reservation};

/// Events, by their place in the batch, that another request is writing.
pub(super) type Elsewhere = Vec<(usize, Arc<Outcome>)>;

/// Settles the reserved ids by what becomes of the records, even when the client goes away before that: its next
/// attempt must not find ids free whose records the journal is still writing.
pub(super) struct Commit {
    under_way: Option<(Appending, Reservation)>,
    events: usize,
}

impl Commit {
    /// A commit of so many events.
    pub(super) fn new(appending: Appending, reservation: Reservation, events: usize) -> Self {
        Self { under_way: Some((appending, reservation)), events }
    }

    /// Returns when the records are durable, and says how many events they hold.
    pub(super) async fn finish(&mut self) -> Result<usize, JournalError> {
        let Some((appending, _)) = &mut self.under_way else { return Ok(0) };
        let result = appending.await;
        if let Some((_, reservation)) = self.under_way.take() {
            reservation.settle(result.is_ok());
        }
        result.map(|()| self.events)
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        let Some((appending, reservation)) = self.under_way.take() else { return };
        if !reservation.is_empty()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { reservation.settle(appending.await.is_ok()) });
        }
    }
}
