//! A directory in memory that does to the journal what disks do: it loses what was not synced, or half of it,
//! fails, fills up, and stops in the middle.
//!
//! A write or cut is volatile until a sync of its file, a name until a sync of the directory. What a failed sync
//! was to make durable stays in doubt for ever, as it does where the kernel drops dirty pages after an error: a
//! later sync of the same file answers `Ok` and makes durable only what came after.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::super::{Directory, SegmentFile};
use super::change::Change;

/// What the journal asks of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Create,
    Write,
    Sync,
    Cut,
    Rename,
    Remove,
    SyncDirectory,
}

/// Steps that fail.
#[derive(Debug)]
struct Fault {
    step: Step,
    /// Steps of this kind that succeed before the first that fails.
    after: usize,
    /// How many fail.
    times: usize,
    kind: io::ErrorKind,
    /// Bytes of a write that come through all the same.
    partial: usize,
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    /// As a process sees it.
    content: Vec<u8>,
    /// Not durable yet, in order; `true` for what a sync has failed to make durable.
    pending: Vec<(Change, bool)>,
    /// A write or sync has failed: nothing may be written any more.
    failed: bool,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

#[derive(Default)]
struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    faults: Vec<Fault>,
    capacity: Option<usize>,
    /// Changing steps that are still taken before the machine stops.
    steps_left: Option<usize>,
    /// The next step waits until it is released.
    held: bool,
    waits: bool,
    taken: Vec<Step>,
    violations: Vec<String>,
}

/// A disk in memory. Clones share it.
#[derive(Clone, Default)]
pub(super) struct MemoryDirectory(Arc<(Mutex<Disk>, Condvar)>);

impl MemoryDirectory {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.0.lock().unwrap()
    }

    /// Fails `times` steps of a kind, after the next `after` of them.
    pub(super) fn fail(&self, step: Step, after: usize, times: usize, kind: io::ErrorKind) {
        self.disk().faults.push(Fault { step, after, times, kind, partial: 0 });
    }

    /// Fails the next write after `partial` of its bytes.
    pub(super) fn tear(&self, partial: usize) {
        let kind = io::ErrorKind::StorageFull;
        self.disk().faults.push(Fault { step: Step::Write, after: 0, times: 1, kind, partial });
    }

    /// Takes no more than `bytes` in all files together; `None` for any number.
    pub(super) fn limit(&self, bytes: Option<usize>) {
        self.disk().capacity = bytes;
    }

    /// Stops the machine after so many more changing steps: those that follow fail and do nothing.
    pub(super) fn stop_after(&self, steps: usize) {
        self.disk().steps_left = Some(steps);
    }

    /// Lets the next step wait until [`release`](Self::release).
    pub(super) fn hold(&self) {
        self.disk().held = true;
    }

    /// Waits until a step waits.
    pub(super) fn until_held(&self) {
        drop(self.0.1.wait_while(self.disk(), |disk| !disk.waits).unwrap());
    }

    pub(super) fn release(&self) {
        self.disk().held = false;
        self.0.1.notify_all();
    }

    /// Waits until steps have been taken that `enough` is content with.
    pub(super) fn until(&self, mut enough: impl FnMut(&[Step]) -> bool) {
        drop(self.0.1.wait_while(self.disk(), |disk| !enough(&disk.taken)).unwrap());
    }

    /// The steps that have succeeded.
    pub(super) fn taken(&self) -> Vec<Step> {
        self.disk().taken.clone()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.disk().names.keys().cloned().collect()
    }

    /// What a process reads in a file.
    pub(super) fn content(&self, name: &str) -> Vec<u8> {
        let disk = self.disk();
        disk.files[disk.names[name]].content.clone()
    }

    /// Puts a file there, durably.
    pub(super) fn put(&self, name: &str, content: &[u8]) {
        let mut disk = self.disk();
        let file = File { durable: content.to_vec(), content: content.to_vec(), ..File::default() };
        disk.files.push(file);
        let file = disk.files.len() - 1;
        disk.names.insert(name.to_owned(), file);
        disk.durable_names.insert(name.to_owned(), file);
    }

    /// Lets a new process take over from one that was killed: what is not synced is still to be seen, and may be
    /// lost later. Only what failed syncs left in doubt is forgotten: no process can see that.
    pub(super) fn resume(&self) {
        let mut disk = self.disk();
        disk.steps_left = None;
        for file in &mut disk.files {
            file.failed = false;
            file.pending.iter_mut().for_each(|(_, doubtful)| *doubtful = false);
        }
    }

    /// Fails the test if the journal has done what it must not.
    pub(super) fn check(&self) {
        assert_eq!(self.disk().violations, Vec::<String>::new());
    }

    /// The disk as the machine finds it after a power cut. `pick` chooses, among the given number of ways, what
    /// becomes of each change that was not durable: nothing of it, all of it, or for a write a part.
    pub(super) fn crash(&self, mut pick: impl FnMut(usize) -> usize) -> Self {
        let disk = self.disk();
        let mut files = Vec::new();
        for file in &disk.files {
            let mut content = file.durable.clone();
            for (change, _) in &file.pending {
                match (pick(4), change) {
                    (0, _) => {}
                    (1, Change::Write(offset, bytes)) => {
                        let kept = bytes[..pick(bytes.len() + 1)].to_vec();
                        Change::Write(*offset, kept).apply(&mut content);
                    }
                    (2, Change::Write(offset, bytes)) => {
                        let lost = pick(bytes.len() + 1);
                        Change::Write(*offset + lost as u64, bytes[lost..].to_vec()).apply(&mut content);
                    }
                    (_, change) => change.apply(&mut content),
                }
            }
            files.push(File { durable: content.clone(), content, ..File::default() });
        }
        let mut names = disk.durable_names.clone();
        for change in &disk.pending_names {
            match (pick(3), change) {
                (0, _) => {}
                (_, NameChange::Create(name, file)) => drop(names.insert(name.clone(), *file)),
                (1, NameChange::Rename(_, to, file)) => drop(names.insert(to.clone(), *file)),
                (_, NameChange::Rename(from, to, file)) => {
                    names.remove(from);
                    names.insert(to.clone(), *file);
                }
                (_, NameChange::Remove(name)) => drop(names.remove(name)),
            }
        }
        let disk = Disk { files, names: names.clone(), durable_names: names, ..Disk::default() };
        Self(Arc::new((Mutex::new(disk), Condvar::new())))
    }

    /// Begins a step: waits where it is held, and fails where it is to fail, with the bytes that come through.
    fn begin(&self, step: Step) -> Result<MutexGuard<'_, Disk>, (MutexGuard<'_, Disk>, io::Error, usize)> {
        let mut disk = self.disk();
        if disk.held {
            disk.waits = true;
            self.0.1.notify_all();
            disk = self.0.1.wait_while(disk, |disk| disk.held).unwrap();
            disk.waits = false;
        }
        match &mut disk.steps_left {
            Some(0) => return Err((disk, io::Error::other("the machine has stopped"), 0)),
            Some(left) => *left -= 1,
            None => {}
        }
        let mut found = None;
        for fault in disk.faults.iter_mut().filter(|fault| fault.step == step) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 && found.is_none() {
                fault.times -= 1;
                found = Some((io::Error::from(fault.kind), fault.partial));
            }
        }
        if let Some((error, partial)) = found {
            return Err((disk, error, partial));
        }
        disk.taken.push(step);
        self.0.1.notify_all();
        Ok(disk)
    }

    fn step(&self, step: Step) -> io::Result<MutexGuard<'_, Disk>> {
        self.begin(step).map_err(|(_, error, _)| error)
    }
}

impl Directory for MemoryDirectory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.disk();
        let length = |file: usize| disk.files[file].content.len() as u64;
        Ok(disk.names.iter().rev().map(|(name, file)| (name.clone(), length(*file))).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let mut disk = self.step(Step::Create)?;
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.files.push(File::default());
        let file = disk.files.len() - 1;
        disk.names.insert(name.to_owned(), file);
        disk.pending_names.push(NameChange::Create(name.to_owned(), file));
        Ok(Box::new(MemoryFile { directory: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let file = *self.disk().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile { directory: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.step(Step::Rename)?;
        let file = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), file);
        disk.pending_names.push(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.step(Step::Remove)?;
        disk.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        disk.pending_names.push(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.step(Step::SyncDirectory)?;
        disk.pending_names.clear();
        disk.durable_names = disk.names.clone();
        Ok(())
    }
}

struct MemoryFile {
    directory: MemoryDirectory,
    file: usize,
}

impl Disk {
    fn change(&mut self, file: usize, change: Change) {
        let file = &mut self.files[file];
        change.apply(&mut file.content);
        file.pending.push((change, false));
    }

    /// How many of `bytes` the disk takes there: what lies in the file already takes no more.
    fn room(&self, file: usize, offset: usize, bytes: usize) -> usize {
        let Some(capacity) = self.capacity else { return bytes };
        let used: usize = self.names.values().map(|file| self.files[*file].content.len()).sum();
        let longest = self.files[file].content.len() + capacity.saturating_sub(used);
        longest.saturating_sub(offset).min(bytes)
    }
}

impl SegmentFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.directory.disk();
        let content = &disk.files[self.file].content;
        let rest = content.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        // Never more than 1,000 bytes at once, as a disk may.
        let length = rest.len().min(buffer.len()).min(1_000);
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut disk, error, written) = match self.directory.begin(Step::Write) {
            Ok(disk) => {
                let room = disk.room(self.file, usize::try_from(offset).unwrap(), bytes.len());
                let error = (room < bytes.len()).then(|| io::ErrorKind::StorageFull.into());
                (disk, error, room)
            }
            Err((disk, error, partial)) => (disk, Some(error), partial.min(bytes.len())),
        };
        if disk.files[self.file].failed {
            disk.violations.push(format!("file {} was written again after it had failed", self.file));
        }
        if written > 0 {
            disk.change(self.file, Change::Write(offset, bytes[..written].to_vec()));
        }
        let Some(error) = error else { return Ok(()) };
        // Zeros are room: the records before them do not depend on it.
        disk.files[self.file].failed |= bytes.iter().any(|byte| *byte != 0);
        Err(error)
    }

    fn sync(&self) -> io::Result<()> {
        match self.directory.begin(Step::Sync) {
            Ok(mut disk) => {
                let file = &mut disk.files[self.file];
                for (change, doubtful) in std::mem::take(&mut file.pending) {
                    if doubtful {
                        file.pending.push((change, true));
                        continue;
                    }
                    if let Change::Cut(length) = change {
                        file.pending.retain_mut(|(earlier, _)| earlier.cut(length));
                    }
                    change.apply(&mut file.durable);
                }
                Ok(())
            }
            Err((mut disk, error, _)) => {
                let file = &mut disk.files[self.file];
                file.failed = true;
                for (_, doubtful) in &mut file.pending {
                    *doubtful = true;
                }
                Err(error)
            }
        }
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut disk = self.directory.step(Step::Cut)?;
        disk.change(self.file, Change::Cut(length));
        Ok(())
    }
}
