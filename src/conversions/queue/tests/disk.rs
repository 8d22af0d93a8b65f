//! Disks that fail, files that are damaged, and how many syncs many requests take.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::*;

/// What a test does to a disk.
#[derive(Debug, Default)]
struct Plan {
    fails: AtomicBool,
    syncs: AtomicUsize,
    held: Mutex<bool>,
    released: Condvar,
    /// Where to copy the file at each sync, and how often that was done.
    copies: Mutex<Option<(PathBuf, usize)>>,
}

impl Plan {
    fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.released.notify_all();
    }

    fn check(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) { Err(io::Error::other("no space left")) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct Disk(FileBackend, Arc<Plan>);

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.1.check()?;
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let held = self.1.held.lock().unwrap();
        drop(self.1.released.wait_while(held, |held| *held).unwrap());
        self.1.syncs.fetch_add(1, Ordering::SeqCst);
        self.1.check()?;
        self.0.sync_data()?;
        if let Some((folder, number)) = &mut *self.1.copies.lock().unwrap() {
            *number += 1;
            fs::copy(folder.join("planned"), folder.join(format!("copy{number}")))?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.check()?;
        self.0.write(offset, bytes)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

/// Opens a file on a disk that does as it is planned.
fn opener(path: PathBuf, plan: Arc<Plan>) -> QueueOpener {
    Box::new(move || {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let backend = FileBackend::new(file.unwrap()).unwrap();
        file::with_backend(Disk(backend, plan.clone()))
    })
}

/// A queue on a disk that does as it is planned.
fn planned(folder: &Path, plan: &Arc<Plan>) -> Queue {
    let opener = opener(folder.join("planned"), plan.clone());
    Queue::open_with(opener, &settings(), &Clock::manual(NOW)).unwrap()
}

#[tokio::test]
async fn many_requests_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Arc::default();
    let queue = planned(folder.path(), &plan);
    plan.hold(true);
    let mut requests = Vec::new();
    for number in 0..200 {
        let queue = queue.clone();
        requests.push(tokio::spawn(async move { queue.accept(many(META, number..=number)).await }));
    }
    // Each of them is polled once, and so has handed its conversion over.
    tokio::task::yield_now().await;
    let before = plan.syncs.load(Ordering::SeqCst);
    plan.hold(false);
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap(), [Accepted::Queued]);
    }
    let syncs = plan.syncs.load(Ordering::SeqCst) - before;
    assert!((2..=6).contains(&syncs), "{syncs} syncs: the first request alone, then all others");
    assert_eq!(queue.counts().await.unwrap(), [count(META, 200, 0, Some(NOW))]);
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Arc::default();
    let queue = planned(folder.path(), &plan);
    plan.hold(true);
    let mut accepting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.accept(many(META, 0..1)).await }
    });
    let patience = Duration::from_millis(100);
    assert!(tokio::time::timeout(patience, &mut accepting).await.is_err());
    assert_eq!(due(&queue, META, NOW).await, [""; 0], "nor is it sent before");
    plan.hold(false);
    assert_eq!(accepting.await.unwrap(), Ok(vec![Accepted::Queued]));
    assert_eq!(due(&queue, META, NOW).await, ["0"]);
}

#[tokio::test]
async fn a_disk_that_fails_is_said_and_used_again_when_it_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Arc::default();
    let queue = planned(folder.path(), &plan);
    queue.accept(many(META, 0..3)).await.unwrap();
    let rows = queue.take_outbox(100, usize::MAX).await.unwrap();
    plan.fails.store(true, Ordering::SeqCst);
    assert_eq!(queue.accept(many(META, 3..4)).await, Err(QueueError::Failed));
    assert_eq!(queue.check(), Err(QueueError::Failed));
    assert_eq!(queue.accept(many(META, 3..4)).await, Err(QueueError::Failed));
    let first = key_or_none(&queue).await;
    assert_eq!(first, None, "what cannot be read is not there for now");

    plan.fails.store(false, Ordering::SeqCst);
    // Without being asked for anything.
    let well = async {
        while queue.check().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), well).await.expect("it is opened anew");
    assert_eq!(queue.accept(many(META, 4..5)).await, Ok(vec![Accepted::Queued]));
    let mut ids = due(&queue, META, NOW).await;
    // What was refused may be there or not.
    ids.retain(|id| id != "3");
    assert_eq!(ids, ["0", "1", "2", "4"]);
    assert_eq!(queue.take_outbox(rows.len(), usize::MAX).await.unwrap(), rows);
}

async fn key_or_none(queue: &Queue) -> Option<Key> {
    let due = queue.due(META, NOW, ALL, &BTreeSet::new()).await;
    due.ok()?.first().map(|waiting| waiting.key)
}

#[test]
fn a_panic_over_a_file_is_a_sentence() {
    let opened = Queue::open_with(Box::new(|| panic!("on purpose")), &settings(), &Clock::manual(NOW));
    let Err(error) = opened else { panic!("there is no queue") };
    assert_eq!(error.code(), "queue_damaged");
}

#[test]
fn a_queue_is_its_owners_and_one_process_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a").join("conversions");
    let queue = open(&path, &Clock::manual(NOW));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("queue.redb"))), (0o700, 0o600));
    let second = Queue::open(&path, &settings(), &Clock::manual(NOW));
    let Err(error) = second else { panic!("two have it") };
    assert_eq!(error.code(), "queue_in_use");
    queue.close();
    open(&path, &Clock::manual(NOW)).close();
}

#[test]
fn what_was_left_half_made_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("queue.redb.new"), vec![0; 100_000]).unwrap();
    open(folder.path(), &Clock::manual(NOW)).close();
}

#[tokio::test]
async fn a_damaged_file_is_said_and_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.redb");
    let clock = Clock::manual(NOW);
    let queue = open(folder.path(), &clock);
    queue.accept(many(META, 0..100)).await.unwrap();
    let (ids, rows) = (due(&queue, META, NOW).await, queue.take_outbox(1_000, usize::MAX).await.unwrap());
    queue.close();
    let whole = fs::read(&path).unwrap();

    let mut refused = 0;
    for page in (0..whole.len()).step_by(4_096) {
        let mut damaged = whole.clone();
        damaged[page..(page + 64).min(whole.len())].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&path, damaged).unwrap();
        match Queue::open(folder.path(), &settings(), &clock) {
            Ok(queue) => {
                assert_eq!(due(&queue, META, NOW).await, ids, "page {page}");
                assert_eq!(queue.take_outbox(1_000, usize::MAX).await.unwrap(), rows, "page {page}");
                queue.close();
            }
            Err(error) => {
                assert_eq!(error.code(), "queue_damaged", "page {page}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused} of {} pages", whole.len() / 4_096);

    for other in [&b"no database at all"[..], &whole[..whole.len() / 2]] {
        fs::write(&path, other).unwrap();
        let Err(error) = Queue::open(folder.path(), &settings(), &clock) else { panic!("it is none") };
        let text = error.to_string();
        assert!(text.starts_with("the queue of conversions is damaged, or of another version: "), "{text}");
    }
}

/// What a queue has left that was full: a file that is large for the conversions in it, and their ids.
async fn drained(folder: &Path, plan: &Arc<Plan>) -> Vec<String> {
    let queue = planned(folder, plan);
    for round in 0..10 {
        queue.accept(many(META, round * 200..(round + 1) * 200)).await.unwrap();
    }
    let waiting = queue.due(META, NOW, ALL, &BTreeSet::new()).await.unwrap();
    let ends = waiting.iter().enumerate().filter(|(place, _)| place % 20 != 0);
    let ends = ends.map(|(_, waiting)| (waiting.key, settled(Outcome::Sent, 1)));
    queue.settle(META, ends.collect()).await.unwrap();
    let last = queue.take_outbox(100_000, usize::MAX).await.unwrap().last().unwrap().number;
    queue.forget_outbox(last).await.unwrap();
    let left = due(&queue, META, NOW).await;
    assert_eq!(left.len(), 100);
    queue.close();
    left
}

#[tokio::test]
async fn a_file_that_is_mostly_unused_is_made_smaller_and_loses_nothing_at_any_step() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Arc::default();
    let left = drained(folder.path(), &plan).await;
    let path = folder.path().join("planned");
    let before = fs::metadata(&path).unwrap().len();
    let mut database = opener(path.clone(), plan.clone())().unwrap();
    file::shrink(&mut database, before).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), before, "it is not large enough");
    *plan.copies.lock().unwrap() = Some((folder.path().to_owned(), 0));
    file::shrink(&mut database, before / 2).unwrap();
    let copies = plan.copies.lock().unwrap().take().unwrap().1;
    drop(database);
    let after = fs::metadata(&path).unwrap().len();
    assert!(after < before / 2, "{before} bytes before, {after} after");
    assert_eq!(due(&planned(folder.path(), &plan), META, NOW).await, left);
    assert!(copies > 1, "{copies} syncs");
    for copy in 1..=copies {
        // Whatever step it dies at.
        let opener = opener(folder.path().join(format!("copy{copy}")), Arc::default());
        let queue = Queue::open_with(opener, &settings(), &Clock::manual(NOW)).unwrap();
        assert_eq!(due(&queue, META, NOW).await, left, "copy {copy} of {copies}");
    }
}

#[tokio::test]
async fn a_disk_that_fails_while_the_file_is_made_smaller_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Arc::default();
    let left = drained(folder.path(), &plan).await;
    let mut database = opener(folder.path().join("planned"), plan.clone())().unwrap();
    plan.fails.store(true, Ordering::SeqCst);
    assert!(file::shrink(&mut database, 0).is_err());
    drop(database);
    plan.fails.store(false, Ordering::SeqCst);
    assert_eq!(due(&planned(folder.path(), &plan), META, NOW).await, left);
}
