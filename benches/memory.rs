//! A directory for the journal without a disk under it: what is measured is then the collector alone, and the
//! journal's writer can be held up where a disk would have it wait.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use weir::journal::{Directory, SegmentFile};

/// Files in memory. Their syncs do nothing but pass the gate.
pub struct Memory {
    files: Mutex<HashMap<String, File>>,
    keeps: bool,
    gate: Arc<Gate>,
}

#[derive(Clone)]
struct File {
    bytes: Arc<Mutex<Vec<u8>>>,
    keeps: bool,
    gate: Arc<Gate>,
}

/// Where the journal's writer can be held.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    arrived: bool,
}

impl Memory {
    /// A directory that keeps what is written, or forgets it at once, so that much can be.
    pub fn new(keeps: bool) -> Self {
        Self { files: Mutex::default(), keeps, gate: Arc::default() }
    }

    /// The gate that every sync of a file passes.
    pub fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }

    fn missing(name: &str) -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}"))
    }
}

impl Gate {
    /// Closes the gate.
    pub fn close(&self) {
        *lock(&self.state) = GateState { closed: true, arrived: false };
    }

    /// Waits until somebody is held at the closed gate.
    pub fn wait_for_arrival(&self) {
        let state = lock(&self.state);
        drop(self.changed.wait_while(state, |state| !state.arrived).unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets pass whoever is held.
    pub fn open(&self) {
        lock(&self.state).closed = false;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = lock(&self.state);
        state.arrived = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.closed).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Directory for Memory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let length = |file: &File| lock(&file.bytes).len() as u64;
        Ok(lock(&self.files).iter().map(|(name, file)| (name.clone(), length(file))).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let file = File { bytes: Arc::default(), keeps: self.keeps, gate: self.gate.clone() };
        lock(&self.files).insert(name.to_owned(), file.clone());
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let file = lock(&self.files).get(name).cloned();
        Ok(Box::new(file.ok_or_else(|| Self::missing(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or_else(|| Self::missing(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.files).remove(name).map(drop).ok_or_else(|| Self::missing(name))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl SegmentFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = lock(&self.bytes);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let read = buffer.len().min(bytes.len() - from);
        buffer[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, written: &[u8], offset: u64) -> io::Result<()> {
        if self.keeps {
            let mut bytes = lock(&self.bytes);
            bytes.resize(usize::try_from(offset).map_err(io::Error::other)?, 0);
            bytes.extend_from_slice(written);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        lock(&self.bytes).truncate(usize::try_from(length).map_err(io::Error::other)?);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
