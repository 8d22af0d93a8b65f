//! The known keys on disk, for a start without the source.
//!
//! One JSON object: `{"version": 1, "keys": [{"key", "id", "name", "enabled", "origins": […]}, …]}`. It is
//! replaced as a whole (written beside, synced, renamed, the directory synced), so a crash leaves the old one or
//! the new one. Whatever cannot be read is left out with a warning: a snapshot is a convenience, not a record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AllowedOrigins, Project, Projects};

const VERSION: u32 = 1;

/// Bytes of a snapshot that are read; 10,000 keys take about 2 MB.
const READ_LIMIT: u64 = 256 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Snapshot {
    version: u32,
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: String,
    id: Uuid,
    name: String,
    enabled: bool,
    origins: Vec<String>,
}

/// The keys of the snapshot at `path`; none if there is no snapshot or it is no good.
pub(super) fn load(path: &Path) -> Vec<(String, Project)> {
    match read(path) {
        Ok(keys) => keys,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "ignoring the snapshot of project keys");
            Vec::new()
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<(String, Project)>> {
    let file = File::open(path)?.take(READ_LIMIT);
    let snapshot: Snapshot = serde_json::from_reader(BufReader::new(file))?;
    if snapshot.version != VERSION {
        let problem = format!("it has version {}, expected {VERSION}", snapshot.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let project = |entry: Entry| {
        let Entry { key, id, name, enabled, origins } = entry;
        (key, Project { id, name, enabled, origins: AllowedOrigins::stored(origins) })
    };
    let keys = snapshot.keys.into_iter().filter(|entry| entry.key.len() <= Projects::KEY_BYTES);
    Ok(keys.map(project).collect())
}

/// Replaces the snapshot at `path`; what was there stays whole until the new one is on disk.
pub(super) fn write(path: &Path, known: Vec<(String, Arc<Project>)>) -> io::Result<()> {
    let mut keys: Vec<Entry> = known.into_iter().map(Entry::from).collect();
    keys.sort_unstable_by(|a, b| a.key.cmp(&b.key));

    let beside = beside(path);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = BufWriter::new(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?);
    serde_json::to_writer(&mut file, &Snapshot { version: VERSION, keys })?;
    file.flush()?;
    file.get_ref().sync_all()?;
    fs::rename(&beside, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

impl From<(String, Arc<Project>)> for Entry {
    fn from((key, project): (String, Arc<Project>)) -> Self {
        let origins = project.origins.entries().map(str::to_owned).collect();
        Self { key, id: project.id, name: project.name.clone(), enabled: project.enabled, origins }
    }
}

/// The new snapshot until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn project(name: &str, origins: &[&str]) -> Project {
        let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
        let origins = AllowedOrigins::stored(origins);
        Project { id: Uuid::from_u128(7), name: name.to_owned(), enabled: true, origins }
    }

    #[test]
    fn what_is_written_is_read_and_only_its_owner_may() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("projects.json");
        let one = project("one", &["https://example.com", "nonsense"]);
        let two = Project { enabled: false, ..project("two", &[]) };
        fs::write(beside(&path), "left by a crash").unwrap();

        write(&path, vec![("b".into(), Arc::new(two.clone())), ("a".into(), Arc::new(one.clone()))]).unwrap();

        assert_eq!(load(&path), [("a".to_owned(), one.clone()), ("b".to_owned(), two)]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!beside(&path).exists());

        write(&path, vec![("a".into(), Arc::new(one.clone()))]).unwrap();
        assert_eq!(load(&path), [("a".to_owned(), one)]);
    }

    #[test]
    fn a_snapshot_that_is_no_good_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("projects.json");
        assert_eq!(load(&path), []);
        write(&path, vec![("a".into(), Arc::new(project("one", &[])))]).unwrap();
        let good = fs::read(&path).unwrap();
        assert_eq!(load(&path).len(), 1);

        let newer = String::from_utf8(good.clone()).unwrap().replace("\"version\":1", "\"version\":2");
        let bad: [&[u8]; 5] = [b"", b"[1,2]", b"\xff\xfe\x00", &good[..good.len() - 1], newer.as_bytes()];
        for bytes in bad {
            fs::write(&path, bytes).unwrap();
            assert_eq!(load(&path), [], "{}", String::from_utf8_lossy(bytes));
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(load(&path), []);
    }
}
