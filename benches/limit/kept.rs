//! The least that a durable answer takes: bodies gather in one buffer, a thread writes and syncs what has gathered, and
//! everything in it is answered together.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::{io, thread};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// The file is filled with zeros this far ahead, so that a sync need not tell where its blocks are.
const ROOM: usize = 8 * 1024 * 1024;

#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
pub(crate) struct Kept {
    gathered: Mutex<Gathered>,
    wake: Condvar,
}

impl Kept {
    /// Begins a file, and the thread that writes it.
    pub(crate) fn begin(path: &Path) -> io::Result<Arc<Self>> {
        let kept = Arc::new(Self::default());
        let (file, runtime, writer) = (File::create(path)?, Handle::current(), Arc::clone(&kept));
        // Whoever waits is told by its absence.
        thread::Builder::new().name("kept".to_owned()).spawn(move || writer.write(&file, &runtime))?;
        Ok(kept)
    }

    /// Hands a body over; its receiver hears when it is durable.
    pub(crate) fn add(self: &Arc<Self>, body: &[u8]) -> oneshot::Receiver<()> {
        let (durable, heard) = oneshot::channel();
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.bytes.extend_from_slice(body);
        gathered.waiting.push(durable);
        if gathered.waiting.len() == 1 {
            let kept = Arc::clone(self);
            // After everything that is ready now.
            tokio::spawn(async move {
                yield_now().await;
                kept.wake.notify_one();
            });
        }
        heard
    }

    fn write(&self, file: &File, runtime: &Handle) -> io::Result<()> {
        let zeros = vec![0; 64 * 1024];
        let (mut at, mut room) = (0, 0);
        loop {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            while gathered.waiting.is_empty() {
                gathered = self.wake.wait(gathered).unwrap_or_else(PoisonError::into_inner);
            }
            let Gathered { bytes, waiting } = std::mem::take(&mut *gathered);
            drop(gathered);
            file.write_all_at(&bytes, at)?;
            at += bytes.len() as u64;
            if at > room {
                room = at + ROOM as u64;
                for at in (at..room).step_by(zeros.len()) {
                    file.write_all_at(&zeros, at)?;
                }
            }
            file.sync_data()?;
            runtime.spawn(async move {
                for durable in waiting {
                    // Whoever has gone away needs no answer.
                    let _ = durable.send(());
                }
            });
        }
    }
}
