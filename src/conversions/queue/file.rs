//! The queue's file: made, opened, closed after a failure and opened anew.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
};
use thiserror::Error;

use super::steady::Times;
use super::tables::{DEAD, OUTBOX, TIMES, Tables, WAITING, millis};
use super::{LONGEST_DELAY, QueueError, QueueSettings};
use crate::retry::Retry;

/// Memory for pages, in bytes: redb takes 1 GiB otherwise.
const CACHE: usize = 8 * 1024 * 1024;

/// A file that is no larger, in bytes, is not made smaller.
const LARGE: u64 = 64 * 1024 * 1024;

/// Nor is one of which more is in use: all of that may have to be moved, before anything is taken. It takes some two
/// seconds.
const MOST_MOVED: u64 = 32 * 1024 * 1024;

/// How long a file that failed is left alone before it is opened anew.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Gives the queue's storage, each time that it is opened.
pub type QueueOpener = Box<dyn Fn() -> Result<Database, QueueOpenError> + Send + Sync>;

/// Why there is no queue.
#[derive(Debug, Error)]
pub enum QueueOpenError {
    /// Another process has it open.
    #[error("the queue of conversions is in use by another process")]
    InUse,
    /// It is not what this version writes.
    #[error(
        "the queue of conversions is damaged, or of another version: {0}; move it away to begin with an empty one"
    )]
    Damaged(String),
    /// The filesystem refused it.
    #[error("the queue of conversions cannot be opened: {0}")]
    Io(#[source] io::Error),
    /// There is no thread for its writer.
    #[error("the queue of conversions has no thread to write with: {0}")]
    Thread(#[source] io::Error),
}

impl QueueOpenError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse => "queue_in_use",
            Self::Damaged(_) => "queue_damaged",
            Self::Io(_) => "queue_unreadable",
            Self::Thread(_) => "queue_without_thread",
        }
    }

    /// Whether the same call can succeed later.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::InUse | Self::Thread(_) => Retry::After(PAUSE),
            Self::Damaged(_) | Self::Io(_) => Retry::Never,
        }
    }
}

impl From<Broken> for QueueOpenError {
    fn from(Broken(error): Broken) -> Self {
        match *error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::Io(error)
                if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Io(error)
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// What redb says. After any of it the file is opened anew.
#[derive(Debug)]
pub(super) struct Broken(Box<redb::Error>);

impl<E> From<E> for Broken
where
    redb::Error: From<E>,
{
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// What the file holds, counted once when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// The next number.
    pub(super) next: u64,
    pub(super) waiting: u64,
    /// Of conversions and of rows for the journal.
    pub(super) bytes: u64,
    /// A moment of the schedule's time that has passed.
    pub(super) latest: i64,
    /// When the last transaction was; `None` before the first.
    pub(super) times: Option<Times>,
    /// Waiting and dead, of each integration.
    pub(super) integrations: BTreeMap<String, (u64, u64)>,
}

impl Account {
    /// Whether so many conversions more may be queued.
    pub(super) fn has_room(&self, more: u64, settings: &QueueSettings) -> bool {
        self.waiting + more <= settings.max_events && self.bytes < settings.max_bytes
    }

    fn read(database: &Database) -> Result<Self, Broken> {
        let file = database.begin_read()?;
        let mut account = Self::default();
        let mut last = None;
        for entry in file.open_table(WAITING)?.iter()? {
            let (key, value) = entry?;
            let (integration, number) = key.value();
            last = last.max(Some(number));
            account.waiting += 1;
            let (due, since, _, _, _, json) = value.value();
            account.bytes += json.len() as u64;
            account.latest = account.latest.max(since).max(due.saturating_sub(millis(LONGEST_DELAY)));
            account.integrations.entry(integration.to_owned()).or_default().0 += 1;
        }
        for entry in file.open_table(DEAD)?.iter()? {
            let (key, value) = entry?;
            let (integration, number) = key.value();
            last = last.max(Some(number));
            account.bytes += value.value().4.len() as u64;
            account.integrations.entry(integration.to_owned()).or_default().1 += 1;
        }
        for entry in file.open_table(OUTBOX)?.iter()? {
            let (number, value) = entry?;
            last = last.max(Some(number.value()));
            account.bytes += value.value().2.len() as u64;
        }
        account.next = last.map_or(0, |last| last + 1);
        let times = file.open_table(TIMES)?.get(())?;
        account.times = times.map(|times| times.value()).map(|(steady, clock)| Times { steady, clock });
        Ok(account)
    }
}

/// The storage as long as it is well.
pub(super) struct QueueFile {
    opener: QueueOpener,
    state: Mutex<State>,
    /// Held by who opens it anew, which may take long: `state` is not.
    opening: Mutex<()>,
}

enum State {
    Open(Arc<Database>, Account),
    /// It failed, and was last tried then. No number below the second was free: some may be of what is under way.
    Broken(Instant, u64),
    Closed,
}

impl QueueFile {
    pub(super) fn open(opener: QueueOpener) -> Result<Self, QueueOpenError> {
        let (database, account) = opened(&opener, true)?;
        let state = Mutex::new(State::Open(database, account));
        Ok(Self { opener, state, opening: Mutex::new(()) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The storage and what it holds, opened anew if it failed some time ago.
    pub(super) fn opened(&self) -> Result<(Arc<Database>, Account), QueueError> {
        match &*self.state() {
            State::Open(database, account) => return Ok((database.clone(), account.clone())),
            State::Broken(tried, _) if tried.elapsed() < PAUSE => return Err(QueueError::Failed),
            State::Broken(..) => {}
            State::Closed => return Err(QueueError::Closed),
        }
        let _opening = match self.opening.try_lock() {
            Ok(opening) => opening,
            Err(TryLockError::Poisoned(opening)) => opening.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(QueueError::Failed),
        };
        let opened = opened(&self.opener, false);
        let mut state = self.state();
        match (opened, &*state) {
            (Ok((database, mut account)), State::Broken(_, next)) => {
                account.next = account.next.max(*next);
                tracing::info!("the queue is open again");
                *state = State::Open(database.clone(), account.clone());
                return Ok((database, account));
            }
            (Err(error), &State::Broken(_, next)) => {
                tracing::error!(%error, "the queue stays closed");
                *state = State::Broken(Instant::now(), next);
            }
            _ => {}
        }
        Err(QueueError::Failed)
    }

    /// What there is, as of the last commit.
    pub(super) fn account(&self) -> Result<Account, QueueError> {
        match &*self.state() {
            State::Open(_, account) => Ok(account.clone()),
            State::Broken(..) => Err(QueueError::Failed),
            State::Closed => Err(QueueError::Closed),
        }
    }

    /// Whether it has failed and is not open again.
    pub(super) fn is_broken(&self) -> bool {
        matches!(&*self.state(), State::Broken(..))
    }

    /// Notes what a commit has made of the account.
    pub(super) fn committed(&self, database: &Arc<Database>, changed: Account) {
        if let State::Open(open, account) = &mut *self.state()
            && Arc::ptr_eq(open, database)
        {
            *account = changed;
        }
    }

    /// Gives up a storage that failed.
    pub(super) fn failed(&self, database: &Arc<Database>, error: &dyn std::fmt::Display) {
        let mut state = self.state();
        if let State::Open(open, account) = &*state
            && Arc::ptr_eq(open, database)
        {
            tracing::error!(%error, "the queue has failed and is opened anew");
            *state = State::Broken(Instant::now(), account.next);
        }
    }

    pub(super) fn close(&self) {
        *self.state() = State::Closed;
    }

    /// Looks into the last committed state.
    pub(super) fn read<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, Broken>,
    ) -> Result<T, QueueError> {
        let (database, _) = self.opened()?;
        let looked = database.begin_read().map_err(Broken::from).and_then(|file| look(&file));
        looked.map_err(|Broken(error)| {
            self.failed(&database, &error);
            QueueError::Failed
        })
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Over a file that it has not written itself, redb may panic.
fn opened(opener: &QueueOpener, shrinks: bool) -> Result<(Arc<Database>, Account), QueueOpenError> {
    catch_unwind(AssertUnwindSafe(|| open_and_count(opener, shrinks)))
        .unwrap_or_else(|_| Err(QueueOpenError::Damaged("it cannot be read".to_owned())))
}

fn open_and_count(opener: &QueueOpener, shrinks: bool) -> Result<(Arc<Database>, Account), QueueOpenError> {
    let mut database = opener()?;
    // Tables of another shape are seen here and not later.
    let prepared = database.begin_write().map_err(Broken::from).and_then(|transaction| {
        drop(Tables::open(&transaction, Account::default(), Times { steady: 0, clock: 0 })?);
        Ok(transaction.commit()?)
    });
    prepared?;
    let account = Account::read(&database)?;
    if shrinks
        && account.bytes <= MOST_MOVED
        && let Err(error) = shrink(&mut database, LARGE)
    {
        tracing::warn!(%error, "the queue's file stays as large as it is");
        // What has failed is not used any further.
        drop(database);
        return open_and_count(opener, false);
    }
    Ok((Arc::new(database), account))
}

/// Gives the file system back what nothing in the file needs any more, if that is most of it. A queue that was full uses
/// its file again from the beginning, but leaves it large.
pub(super) fn shrink(database: &mut Database, large: u64) -> Result<(), Broken> {
    let transaction = database.begin_write()?;
    let stats = transaction.stats()?;
    transaction.abort()?;
    let used = stats.allocated_pages() * stats.page_size() as u64;
    let length = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
    if length <= large || used > MOST_MOVED || used > length / 4 {
        return Ok(());
    }
    let begun = Instant::now();
    database.compact()?;
    tracing::info!(
        used,
        from = length,
        seconds = begun.elapsed().as_secs_f64(),
        "made the queue's file smaller"
    );
    Ok(())
}

/// Opens `queue.redb` in a folder, which is made if there is none.
pub(super) fn opener(folder: &Path) -> Result<QueueOpener, QueueOpenError> {
    let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(folder);
    made.map_err(QueueOpenError::Io)?;
    let folder = folder.to_owned();
    Ok(Box::new(move || {
        let path = folder.join("queue.redb");
        if !path.try_exists().map_err(QueueOpenError::Io)? {
            make(&folder, &path)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(QueueOpenError::Io)?;
        open(file)
    }))
}

/// Makes an empty queue under another name first: redb does not open a file that it was killed while making.
fn make(folder: &Path, path: &PathBuf) -> Result<(), QueueOpenError> {
    let beside = folder.join("queue.redb.new");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&beside);
    drop(open(file.map_err(QueueOpenError::Io)?)?);
    let renamed = fs::rename(&beside, path).and_then(|()| File::open(folder)?.sync_all());
    renamed.and_then(|()| sync_parent(folder)).map_err(QueueOpenError::Io)
}

fn sync_parent(folder: &Path) -> io::Result<()> {
    match folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn open(file: File) -> Result<Database, QueueOpenError> {
    with_backend(FileBackend::new(file).map_err(Broken::from)?)
}

/// Opens a storage and looks through all of it: redb may panic over a damaged one otherwise, long after.
pub(super) fn with_backend(backend: impl StorageBackend) -> Result<Database, QueueOpenError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    let opened: Result<Database, DatabaseError> = builder.create_with_backend(backend);
    Ok(opened.map_err(Broken::from)?)
}
