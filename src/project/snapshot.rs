//! The known keys on disk, for a start without the source.
//!
//! One JSON object: `{"version": 1, "confirmed_at": …, "keys": [{"key", …}, …]}`. `confirmed_at`, in milliseconds since
//! 1970, is when the source last stood behind the keys; keys that are trusted for ever have none. Of a project's key
//! there are "id", "name", "enabled" and "origins"; of an API key, whose "key" is its hash, what [`StoredAccess`] has.
//!
//! The file is replaced as a whole (written beside, synced, renamed, the directory synced), so a crash leaves the old
//! one or the new one. Whatever cannot be read is left out with a warning: a snapshot is a convenience, not a record.
//!
//! [`StoredAccess`]: super::api_keys::StoredAccess

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Keyed;
use super::lookup::Trust;
use crate::event::Timestamp;

const VERSION: u32 = 1;

/// Bytes of a snapshot that are read; 10,000 keys take about 2 MB.
const READ_LIMIT: u64 = 256 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Snapshot<S> {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confirmed_at: Option<i64>,
    keys: Vec<Entry<S>>,
}

#[derive(Serialize, Deserialize)]
struct Entry<S> {
    key: String,
    #[serde(flatten)]
    stored: S,
}

/// The keys of the snapshot at `path` that may still be trusted, and when the source last stood behind them. None if
/// there is no snapshot or it is no good: then the moment is now, since behind nothing anybody stands.
pub(super) fn load<T: Keyed>(path: &Path, trust: &Trust) -> (Vec<(T::Key, T)>, Timestamp) {
    let now = trust.clock.now();
    let problem = match read(path) {
        Ok((keys, told)) => {
            // A clock that has been put back must not make the keys last longer.
            let confirmed = told.map_or(Timestamp::MIN, |told| told.min(now));
            if trust.holds(confirmed) {
                return (keys, confirmed);
            }
            "it is too old to be trusted".to_owned()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), now),
        Err(error) => error.to_string(),
    };
    tracing::warn!(path = %path.display(), problem, "ignoring the snapshot of {}", T::KEYS);
    (Vec::new(), now)
}

type Known<T> = Vec<(<T as Keyed>::Key, T)>;

fn read<T: Keyed>(path: &Path) -> io::Result<(Known<T>, Option<Timestamp>)> {
    let file = File::open(path)?.take(READ_LIMIT);
    let snapshot: Snapshot<T::Stored> = serde_json::from_reader(BufReader::new(file))?;
    if snapshot.version != VERSION {
        let problem = format!("it has version {}, expected {VERSION}", snapshot.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let known = |entry: Entry<T::Stored>| Some((T::read_key(entry.key)?, T::restored(entry.stored)?));
    let keys = snapshot.keys.into_iter().filter_map(known).collect();
    Ok((keys, snapshot.confirmed_at.map(Timestamp::from_millis)))
}

/// Replaces the snapshot at `path`; what was there stays whole until the new one is on disk.
pub(super) fn write<T: Keyed>(
    path: &Path,
    known: Vec<(T::Key, Arc<T>)>,
    confirmed: Option<Timestamp>,
) -> io::Result<()> {
    let entry = |(key, value): (T::Key, Arc<T>)| Entry { key: T::key_text(&key), stored: value.stored() };
    let mut keys: Vec<_> = known.into_iter().map(entry).collect();
    keys.sort_unstable_by(|a, b| a.key.cmp(&b.key));

    let beside = beside(path);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = BufWriter::new(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?);
    let confirmed_at = confirmed.map(Timestamp::as_millis);
    serde_json::to_writer(&mut file, &Snapshot { version: VERSION, confirmed_at, keys })?;
    file.flush()?;
    file.get_ref().sync_all()?;
    fs::rename(&beside, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
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

    use uuid::Uuid;

    use super::super::{AllowedOrigins, Project};
    use super::*;
    use crate::clock::Clock;

    fn load(path: &Path) -> Vec<(String, Project)> {
        super::load(path, &Trust { limit: None, clock: Clock::system() }).0
    }

    fn write(path: &Path, known: Vec<(String, Arc<Project>)>) -> io::Result<()> {
        super::write(path, known, None)
    }

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
    fn the_snapshot_of_an_earlier_version_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("projects.json");
        let text = r#"{"version":1,"keys":[{"key":"a","id":"00000000-0000-0000-0000-000000000007","name":"one",
            "enabled":true,"origins":["https://example.com"]}]}"#;
        fs::write(&path, text).unwrap();
        assert_eq!(load(&path), [("a".to_owned(), project("one", &["https://example.com"]))]);
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
