//! The journal's files as a seam: the real directory, and whatever a test puts in its place to fail a write, lose
//! what was not synced, or run full.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A directory of segment files. Names are plain file names.
pub trait Directory: Send + Sync + 'static {
    /// Every file's name and length in bytes, in no order.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Makes a new, empty file.
    ///
    /// # Errors
    /// Also when a file of this name exists.
    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>>;
    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync(&self) -> io::Result<()>;
}

/// One open segment file.
pub trait SegmentFile: Send {
    /// Reads what there is from `offset` on, at most the buffer's length; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable, with the length needed to read it (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn cut(&self, length: u64) -> io::Result<()>;
}

/// A directory of the machine's filesystem, held by one process at a time.
#[derive(Debug)]
pub struct DiskDirectory {
    path: PathBuf,
    /// Holds the lock on `lock` as long as it is open.
    _lock: File,
}

impl DiskDirectory {
    /// Opens the directory, made readable by its owner only if there is none yet, and locks it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process holds it; whatever the filesystem says otherwise.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_directory(path)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join(LOCK))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }
}

const LOCK: &str = "lock";

/// Makes a directory and those it lies in, as far as there are none, each durable in its parent.
fn make_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        // The root, which is there.
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if !path.is_dir() {
        make_directory(parent)?;
        match fs::DirBuilder::new().mode(0o700).create(path) {
            // By another process, at the same time.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    match File::open(parent) {
        // Whoever may not read it did not make anything there: an operator did.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        parent => parent?.sync_all(),
    }
}

impl Directory for DiskDirectory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = entry.metadata()?;
            if metadata.is_file() && name != LOCK {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(self.path.join(name))?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl SegmentFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
