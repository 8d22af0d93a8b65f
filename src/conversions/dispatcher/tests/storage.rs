//! The queue's file in a simulation, and its writer.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::conversions::queue::{Queue, QueueOpener};

/// The queue's file, as it is but for the syncs: no power fails in a simulation, and each would take milliseconds.
pub(super) fn opener(folder: &Path) -> QueueOpener {
    let path = folder.join("queue.redb");
    Box::new(move || {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let backend = FileBackend::new(file.unwrap()).unwrap();
        Ok(redb::Builder::new().create_with_backend(Unsynced(backend)).unwrap())
    })
}

#[derive(Debug)]
struct Unsynced(FileBackend);

impl StorageBackend for Unsynced {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(offset, bytes)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

/// Returns when the writer has done all that it was given before.
pub(super) fn wait_for_writer(queue: &Queue) {
    // Nobody reads the rows, and the first has no number below.
    let _ = wait_for(queue.forget_outbox(0));
}

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until a future is ready which needs no runtime.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}
