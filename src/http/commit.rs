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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;
    use crate::clock::Clock;
    use crate::event::Timestamp;
    use crate::journal::{DiskDirectory, Entry, Journal, JournalSettings};
    use crate::recent::{Claim, RecentEvents};
    use crate::row::Table;

    const EVENT: Uuid = Uuid::from_u128(7);

    fn claim(window: &RecentEvents) -> (Claim, Reservation) {
        let mut reservation = window.reservation(1);
        (reservation.claim(Uuid::nil(), EVENT), reservation)
    }

    /// A journal, and an event on its way into it.
    fn begin(folder: &tempfile::TempDir, window: &RecentEvents, closed: bool) -> (Journal, Commit) {
        let clock = Clock::manual(Timestamp::EPOCH);
        let directory = Arc::new(DiskDirectory::open(folder.path()).unwrap());
        let journal = Journal::open(directory, &JournalSettings::default(), &clock).unwrap();
        if closed {
            journal.close();
        }
        let (first, reservation) = claim(window);
        assert!(matches!(first, Claim::Ours));
        let mut entry = Entry::new();
        entry.record(Table::Events, Timestamp::EPOCH, |rows| {
            rows.push(0);
            1
        });
        let appending = journal.append(&entry);
        (journal, Commit::new(appending, reservation, 1))
    }

    #[tokio::test]
    async fn the_id_of_an_event_whose_client_has_left_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let window = RecentEvents::new(1_000);
        let (_journal, mut commit) = begin(&folder, &window, false);
        assert!(commit.finish().now_or_never().is_none(), "nothing is durable yet");
        drop(commit);
        let (Claim::Pending(outcome), _) = claim(&window) else { panic!("the journal still writes it") };
        assert!(outcome.is_stored().await);
        assert!(matches!(claim(&window).0, Claim::Stored));
    }

    #[tokio::test]
    async fn the_id_of_an_event_that_fails_without_its_client_is_free_again() {
        let folder = tempfile::tempdir().unwrap();
        let window = RecentEvents::new(1_000);
        let (_journal, commit) = begin(&folder, &window, true);
        drop(commit);
        let (Claim::Pending(outcome), _) = claim(&window) else {
            panic!("nobody has looked what became of it")
        };
        assert!(!outcome.is_stored().await);
        assert!(matches!(claim(&window).0, Claim::Ours));
    }
}
