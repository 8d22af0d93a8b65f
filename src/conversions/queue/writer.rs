//! The writer: one thread that does in one transaction what has gathered, and then answers all of it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, Durability};
use tokio::sync::{mpsc, oneshot, watch};

use super::QueueError;
use super::file::{Account, Broken, PAUSE, QueueFile};
use super::steady::Steady;
use super::tables::{Changed, Tables};
use crate::failpoint;

/// Requests in one transaction, at most.
const GROUP: usize = 256;

/// A clock that differs by more, in milliseconds, was set.
pub(super) const SET: u64 = 1_000;

/// What one caller wants done.
pub(super) trait Job: Send {
    /// Does it, within a transaction.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), Broken>;
    /// Tells the caller, after the transaction.
    fn answer(self: Box<Self>, committed: Result<(), QueueError>);
}

/// A job made of a function.
pub(super) struct Work<F, T> {
    todo: Option<F>,
    done: Option<T>,
    answer: oneshot::Sender<Result<T, QueueError>>,
}

impl<F, T> Work<F, T> {
    pub(super) fn new(work: F, answer: oneshot::Sender<Result<T, QueueError>>) -> Self {
        Self { todo: Some(work), done: None, answer }
    }
}

impl<T, F> Job for Work<F, T>
where
    T: Send,
    F: FnOnce(&mut Tables<'_>) -> Result<T, Broken> + Send,
{
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), Broken> {
        if let Some(work) = self.todo.take() {
            self.done = Some(work(tables)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), QueueError>) {
        let Self { done, answer, .. } = *self;
        // Whoever does not wait any more has been told something else.
        let _ = answer.send(committed.and_then(|()| done.ok_or(QueueError::Failed)));
    }
}

pub(super) struct Writer {
    pub(super) file: Arc<QueueFile>,
    pub(super) signals: Arc<Signals>,
    pub(super) steady: Steady,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.file.close();
        self.signals.close();
    }
}

impl Writer {
    /// Works until nobody can ask for anything any more.
    pub(super) fn run(self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        let mut group = Vec::new();
        while let Some(first) = jobs.blocking_recv() {
            group.push(first);
            while group.len() < GROUP
                && let Ok(next) = jobs.try_recv()
            {
                group.push(next);
            }
            let committed = self.commit(&mut group);
            group.drain(..).for_each(|job| job.answer(committed));
            // Nobody may come whose request would try the disk.
            while self.file.is_broken() && jobs.is_empty() && !jobs.is_closed() {
                std::thread::sleep(PAUSE);
                let _ = self.file.opened();
            }
        }
        self.note_a_set_clock();
    }

    /// Has the next start know of a clock that was set after the last transaction.
    fn note_a_set_clock(&self) {
        let Ok(Account { times: Some(last), .. }) = self.file.account() else { return };
        if self.steady.ahead().abs_diff(last.ahead()) > SET {
            // Without it that start takes the change for time that has passed.
            let _ = self.commit(&mut []);
        }
    }

    fn commit(&self, group: &mut [Box<dyn Job>]) -> Result<(), QueueError> {
        let (database, account) = self.file.opened()?;
        // Over a file that was damaged meanwhile redb may panic: then this thread is needed still.
        let written = catch_unwind(AssertUnwindSafe(|| self.write(&database, account, group)));
        match written {
            Ok(Ok(changed)) => {
                self.file.committed(&database, changed.account);
                self.signals.tell(changed.arrived, changed.told);
                Ok(())
            }
            Ok(Err(error)) => {
                self.file.failed(&database, &error);
                Err(QueueError::Failed)
            }
            Err(_) => {
                self.file.failed(&database, &"redb has panicked");
                Err(QueueError::Failed)
            }
        }
    }

    fn write(
        &self,
        database: &Database,
        account: Account,
        group: &mut [Box<dyn Job>],
    ) -> Result<Changed, Broken> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut tables = Tables::open(&transaction, account, self.steady.now())?;
        for job in group {
            job.apply(&mut tables)?;
        }
        let changed = tables.finish()?;
        failpoint::reach("queue_committing");
        transaction.commit()?;
        failpoint::reach("queue_committed");
        Ok(changed)
    }
}

/// Who waits for what: for conversions of an integration, or for rows (`None`).
#[derive(Default)]
pub(super) struct Signals(Mutex<Listeners>);

#[derive(Default)]
struct Listeners {
    senders: HashMap<Option<String>, watch::Sender<()>>,
    closed: bool,
}

impl Signals {
    pub(super) fn of(&self, integration: Option<String>) -> Arrivals {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listeners.closed {
            return Arrivals(watch::Sender::new(()).subscribe());
        }
        let sender = listeners.senders.entry(integration).or_insert_with(|| watch::Sender::new(()));
        Arrivals(sender.subscribe())
    }

    fn tell(&self, arrived: impl IntoIterator<Item = String>, told: bool) {
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = told.then_some(None);
        for name in arrived.into_iter().map(Some).chain(rows) {
            if let Some(sender) = listeners.senders.get(&name) {
                sender.send_replace(());
            }
        }
    }

    fn close(&self) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *listeners = Listeners { senders: HashMap::new(), closed: true };
    }
}

/// Tells when something has come. What comes between two calls is told by the second one at once.
#[derive(Debug)]
pub struct Arrivals(watch::Receiver<()>);

impl Arrivals {
    /// Waits until something has come; `false` when the queue is closed and nothing will.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
