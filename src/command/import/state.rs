//! How far the import of a file has come, in a small file beside it.
//!
//! One JSON object, replaced as a whole after each request that the collector has answered: written beside, synced,
//! renamed. For a file that stays as it is only time depends on it: where it is lost, damaged, or older than the import,
//! lines are sent again, and their ids make that harmless. It also knows a file that has grown, and refuses one that has
//! changed; so one that cannot be read is an error, and the import begins anew only where it is told to.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::identity::{Identity, Known, mark};
use super::rejected::Written;

/// How the name of a state ends, and that of one being written.
pub(super) const STATE: &str = ".import.json";
pub(super) const NEW: &str = ".new";

const VERSION: u32 = 1;

/// Bytes of a state that are read; it takes some 500.
const READ_LIMIT: u64 = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// Where the events go. To begin anew elsewhere is what is meant there.
    destination: Destination,
    /// What the events' ids are made of: the file as it was when its import began.
    pub(super) identity: Identity,
    /// The file's first so many bytes, which are all that is imported, and what they are.
    pub(super) size: u64,
    content: Identity,
    /// Everything before this byte is done, and so many lines.
    pub(super) offset: u64,
    pub(super) line: u64,
    pub(super) sent: u64,
    pub(super) rejected: u64,
    /// The file of rejected lines, so that none stands there twice; of an import that this one starts over, while
    /// `rejected` is 0.
    pub(super) rejected_file: Option<Written>,
    /// What became of a last line without an end, which comes again if the file grows; not among the counts above.
    #[serde(default)]
    pub(super) unended: Unended,
    /// Whether all of it is done, a last line without an end included.
    pub(super) is_done: bool,
}

/// Lines without an end, of which a file has one at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unended {
    pub(super) sent: u64,
    pub(super) rejected: u64,
}

/// Where events go, and with which key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Destination {
    url: String,
    /// By which the key is known again.
    key: String,
}

impl Destination {
    pub(super) fn new(url: &str, key: &str) -> Self {
        Self { url: url.to_owned(), key: mark(key.as_bytes()) }
    }
}

/// What was imported has changed since. As another file its lines would be other events, those that are stored
/// already among them; and the user alone knows whether it is one.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "it has changed since {} of its events were imported. If it is a new file, --restart imports it as one. If lines of \
     it were mended, that would store all the others a second time: put the file back, and import the mended lines alone",
    HumanCount(*sent)
)]
pub(super) struct Changed {
    sent: u64,
}

/// What an import begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) state: State,
    /// What the user should know of how it begins.
    pub(super) notice: Option<String>,
}

impl State {
    /// The state to begin with, given the one that was left, and what the file is now.
    ///
    /// # Errors
    /// When what was imported has changed, unless a `restart` is asked for.
    pub(super) fn begin(
        left: Option<Self>,
        destination: &Destination,
        known: Known,
        size: u64,
        restart: bool,
    ) -> Result<Beginning, Changed> {
        let rejected_file = left.as_ref().and_then(|left| left.rejected_file.clone());
        let fresh = |identity: Identity| Self {
            version: VERSION,
            destination: destination.clone(),
            identity,
            size,
            content: known.whole.clone(),
            offset: 0,
            line: 0,
            sent: 0,
            rejected: 0,
            rejected_file: rejected_file.clone(),
            unended: Unended::default(),
            is_done: false,
        };
        let Some(left) = left else {
            return Ok(Beginning { state: fresh(known.whole.clone()), notice: None });
        };
        if known.earlier.as_ref() != Some(&left.content) {
            let sent = left.sent + left.unended.sent;
            if sent > 0 && !restart {
                return Err(Changed { sent });
            }
            return Ok(Beginning { state: fresh(known.whole.clone()), notice: None });
        }
        if restart {
            return Ok(Beginning { state: fresh(left.identity), notice: None });
        }
        if left.destination != *destination {
            let notice = "it was imported with another key or to another collector; the import starts over";
            return Ok(Beginning { state: fresh(left.identity), notice: Some(notice.to_owned()) });
        }
        let is_done = left.is_done && left.size == size;
        if is_done && left.rejected + left.unended.rejected > 0 {
            let notice =
                "lines of it were rejected; all of it is sent again, in case that they are taken now";
            return Ok(Beginning { state: fresh(left.identity), notice: Some(notice.to_owned()) });
        }
        let grown = if left.is_done { "it has grown; " } else { "" };
        let notice =
            (!is_done).then(|| format!("{grown}the import goes on behind line {}", HumanCount(left.line)));
        let notice = notice.filter(|_| left.line > 0);
        let unended = if is_done { left.unended } else { Unended::default() };
        Ok(Beginning { state: Self { size, content: known.whole, unended, is_done, ..left }, notice })
    }

    /// Back to the first line.
    pub(super) fn rewind(&mut self) {
        (self.offset, self.line, self.sent, self.rejected) = (0, 0, 0, 0);
        self.unended = Unended::default();
    }

    /// The state at `path`; none if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is no state of this version.
    pub(super) fn load(path: &Path) -> io::Result<Option<Self>> {
        let mut text = String::new();
        match File::open(path) {
            Ok(file) => file.take(READ_LIMIT).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let state: Self = serde_json::from_str(&text)?;
        if state.version != VERSION || state.offset > state.size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not one of this version"));
        }
        Ok(Some(state))
    }

    /// Replaces the state at `path`.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let beside = with_ending(path, NEW);
        let mut file = File::create(&beside)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_data()?;
        fs::rename(&beside, path)
    }
}

/// Where the state of a file is: beside it, or in `folder` under a name that tells files of the same name apart.
pub(super) fn state_path(file: &Path, folder: Option<&Path>) -> io::Result<PathBuf> {
    let Some(folder) = folder else { return Ok(with_ending(file, STATE)) };
    let whole = file.canonicalize()?;
    let name = Path::new(whole.file_name().unwrap_or_default());
    let mark = mark(whole.as_os_str().as_encoded_bytes());
    Ok(folder.join(with_ending(name, &format!(".{mark}{STATE}"))))
}

/// A path with something behind its name.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::identity::know;
    use super::*;

    fn known(content: &str, earlier: Option<&State>) -> Known {
        let earlier = earlier.map(|state| state.size);
        know(&mut content.as_bytes(), content.len() as u64, earlier).unwrap()
    }

    fn begin(content: &str, left: Option<&State>, key: &str, restart: bool) -> Beginning {
        try_begin(content, left, key, restart).unwrap()
    }

    fn try_begin(
        content: &str,
        left: Option<&State>,
        key: &str,
        restart: bool,
    ) -> Result<Beginning, Changed> {
        let destination = Destination::new("http://a.test", key);
        State::begin(left.cloned(), &destination, known(content, left), content.len() as u64, restart)
    }

    fn half_done(content: &str) -> State {
        let state = begin(content, None, "key", false).state;
        State { offset: 2, line: 1, sent: 1, ..state }
    }

    #[test]
    fn an_import_goes_on_where_it_was() {
        let left = half_done("a\nb\n");
        let Beginning { state, notice } = begin("a\nb\n", Some(&left), "key", false);
        assert_eq!(state, left);
        assert_eq!(notice.as_deref(), Some("the import goes on behind line 1"));

        let done = State { offset: 4, line: 2, is_done: true, ..left };
        let same = Beginning { state: done.clone(), notice: None };
        assert_eq!(begin("a\nb\n", Some(&done), "key", false), same);

        let rejected = State { rejected: 1, ..done };
        let Beginning { state, notice } = begin("a\nb\n", Some(&rejected), "key", false);
        assert_eq!((state.offset, state.rejected, &state.identity), (0, 0, &rejected.identity));
        assert!(notice.unwrap().contains("were rejected"));
    }

    #[test]
    fn a_file_that_has_grown_goes_on_and_its_lines_keep_their_ids() {
        let done = State { offset: 4, line: 2, is_done: true, ..half_done("a\nb\n") };
        let Beginning { state, notice } = begin("a\nb\nc\n", Some(&done), "key", false);
        assert_eq!((state.offset, state.line, state.size, state.is_done), (4, 2, 6, false));
        assert_eq!(state.identity, done.identity);
        assert!(notice.unwrap().contains("has grown"));
        // And again, told by what it was when it was read last.
        let Beginning { state: again, .. } = begin("a\nb\nc\nd\n", Some(&state), "key", false);
        assert_eq!((again.offset, &again.identity), (4, &done.identity));
    }

    #[test]
    fn a_file_that_has_changed_is_a_new_one_only_if_the_user_says_so() {
        let left = half_done("a\nb\n");
        for content in ["a\nc\n", "a\n", ""] {
            let changed = try_begin(content, Some(&left), "key", false);
            assert_eq!(changed, Err(Changed { sent: 1 }), "{content}");
            let elsewhere = try_begin(content, Some(&left), "other key", false);
            assert_eq!(elsewhere, Err(Changed { sent: 1 }), "{content}: it may be a mended file there, too");
            let unended = State { sent: 0, unended: Unended { sent: 1, rejected: 0 }, ..left.clone() };
            assert_eq!(try_begin(content, Some(&unended), "key", false), Err(Changed { sent: 1 }));
            let untouched = State { sent: 0, ..left.clone() };
            for new in [
                begin(content, Some(&left), "key", true),
                begin(content, Some(&left), "other key", true),
                begin(content, Some(&untouched), "key", false),
            ] {
                assert_eq!((new.state.offset, new.state.sent), (0, 0));
                assert_ne!(new.state.identity, left.identity, "other events have other ids");
            }
        }
    }

    #[test]
    fn what_was_imported_elsewhere_starts_over_and_so_does_what_is_told_to() {
        let left = half_done("a\nb\n");
        let elsewhere = begin("a\nb\n", Some(&left), "other key", false);
        assert_eq!((elsewhere.state.offset, &elsewhere.state.identity), (0, &left.identity));
        assert!(elsewhere.notice.unwrap().contains("another key"));

        let again = begin("a\nb\nc\n", Some(&left), "key", true);
        assert_eq!((again.state.offset, again.state.identity), (0, left.identity));
        assert_eq!(again.notice, None);
    }

    #[test]
    fn what_is_saved_is_loaded_and_what_is_no_state_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.import.json");
        assert_eq!(State::load(&path).unwrap(), None);
        let state = half_done("a\nb\n");
        state.save(&path).unwrap();
        state.save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), Some(state.clone()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("\"key\":\"key\""), "{text}");
        let newer = text.replace("\"version\":1", "\"version\":2");
        let beyond = text.replace("\"offset\":2", "\"offset\":5");
        for bad in ["", "{}", "[]", &text[..text.len() / 2], &newer, &beyond] {
            fs::write(&path, bad).unwrap();
            assert!(State::load(&path).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_of_one_name_have_states_of_their_own_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            state_path(&file, Some(Path::new("/states"))).unwrap()
        };
        let (one, two) = (file("one/a.ndjson"), file("two/a.ndjson"));
        assert_ne!(one, two);
        assert!(one.to_str().unwrap().starts_with("/states/a.ndjson."), "{}", one.display());
        assert_eq!(state_path(Path::new("x/a"), None).unwrap(), Path::new("x/a.import.json"));
    }
}
