//! The lines that were not taken, with their numbers and the reasons, for whoever mends them.
//!
//! One JSON object a line, in the input's order: `{"file", "line", "reason", "event"}`; `text` stands in place of
//! `event` where the line is no JSON. So `jq -c 'select(.event) | .event'` gives the lines again, to be mended and
//! imported.
//!
//! The file is opened for the first such line. What lies there then is only cut where this import is known to have
//! written it; a file of anyone else's is given another name, and none is ever removed. It is locked while it is
//! written, so that of two imports with one file the second ends with a sentence.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::identity::mark;
use super::reader::Line;
use super::state::with_ending;

/// What an import has written so far: by that it knows its own file again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    /// Of the file's path.
    mark: String,
    pub(super) bytes: u64,
}

/// A file, whatever it is called: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(file: &fs::Metadata) -> Self {
        Self(file.dev(), file.ino())
    }

    /// None where there is no such file.
    pub(super) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }
}

pub(super) struct RejectedLines {
    path: PathBuf,
    /// The input's name.
    input: String,
    /// Files that it must not be.
    others: Vec<FileId>,
    /// Opened for the first line.
    file: Option<File>,
    written: Option<Written>,
    /// Whether what was written belongs to this import, and not to one that this starts over.
    goes_on: bool,
}

#[derive(Serialize)]
struct Entry<'a> {
    file: &'a str,
    line: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl RejectedLines {
    /// Lines to be written to `path`, where an earlier import has `written` what it knows of. Nothing is touched before
    /// there is a line to write.
    ///
    /// # Errors
    /// When it is one of `others`, under whatever name.
    pub(super) fn new(
        path: PathBuf,
        input: String,
        written: Option<Written>,
        goes_on: bool,
        others: Vec<FileId>,
    ) -> io::Result<Self> {
        let lines = Self { path, input, others, file: None, written, goes_on };
        lines.check()?;
        Ok(lines)
    }

    fn check(&self) -> io::Result<()> {
        if FileId::at(&self.path).is_some_and(|id| self.others.contains(&id)) {
            let shown = self.path.display();
            let problem = "is the file to import, or says how far that is; --rejected names another";
            return Err(io::Error::other(format!("{shown} {problem}")));
        }
        Ok(())
    }

    /// Opens the file behind what this import has written. Whatever else lies there is set aside.
    fn open(&mut self) -> io::Result<File> {
        self.check()?;
        let mark = mark(std::path::absolute(&self.path)?.as_os_str().as_encoded_bytes());
        let known = self.written.take().filter(|written| written.mark == mark);
        // Locked first: what an import that ends meanwhile has written is not ours to cut.
        let mut file = open_locked(&self.path)?;
        let found = file.metadata()?;
        let length = if found.is_file() { found.len() } else { 0 };
        // More than is known of was written when the import was killed, and is written again.
        let is_ours = known
            .as_ref()
            .is_some_and(|known| if self.goes_on { known.bytes <= length } else { known.bytes == length });
        let kept = known.filter(|_| is_ours && self.goes_on).map_or(0, |known| known.bytes);
        if length > 0 && is_ours {
            file.set_len(kept)?;
        } else if length > 0 {
            let aside = set_aside(&self.path)?;
            eprintln!("weir: {}: {} has what lay there", self.path.display(), aside.display());
            file = open_locked(&self.path)?;
        }
        self.written = Some(Written { mark, bytes: kept });
        self.goes_on = true;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is written so far, here or by an import before.
    pub(super) fn written(&self) -> Option<&Written> {
        self.written.as_ref()
    }

    /// Writes lines and syncs them.
    pub(super) fn write(&mut self, rejected: &[(Line, String)]) -> io::Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let file = self.file.insert(file);
        let mut out = BufWriter::new(&*file);
        for (line, reason) in rejected {
            let json = std::str::from_utf8(&line.text).ok().filter(|_| line.too_long.is_none());
            let event: Option<&RawValue> = json.and_then(|text| serde_json::from_str(text).ok());
            let text = event.is_none().then(|| String::from_utf8_lossy(&line.text).into_owned());
            let entry = Entry { file: &self.input, line: line.number, reason, event, text };
            let mut json = serde_json::to_vec(&entry)?;
            json.push(b'\n');
            out.write_all(&json)?;
            if let Some(written) = &mut self.written {
                written.bytes += json.len() as u64;
            }
        }
        out.flush()?;
        drop(out);
        match file.sync_data() {
            // A device, as /dev/null.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }
}

/// Opens a file for what is written behind its end, by nobody else meanwhile.
fn open_locked(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    // Where the filesystem knows no locks it is done without.
    if file.metadata()?.is_file()
        && let Err(TryLockError::WouldBlock) = file.try_lock()
    {
        return Err(io::Error::other("another import is writing it; --rejected names another file"));
    }
    Ok(file)
}

/// Gives a file another name that is free.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1.. {
        let ending = if number == 1 { ".old".to_owned() } else { format!(".old.{number}") };
        let aside = with_ending(path, &ending);
        match fs::symlink_metadata(&aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::rename(path, &aside)?;
                return Ok(aside);
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no name is left to set it aside"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, text: &[u8]) -> (Line, String) {
        let line = Line { number, text: text.to_vec(), too_long: None, end: 0, is_ended: true, digest: None };
        (line, format!("reason {number}"))
    }

    #[test]
    fn lines_are_written_with_number_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rejected.ndjson");
        let mut lines = RejectedLines::new(path.clone(), "a".to_owned(), None, false, vec![]).unwrap();
        lines.write(&[]).unwrap();
        assert!(!path.exists());
        lines.write(&[line(1, br#"{"x": 1}"#), line(7, b"\xffx")]).unwrap();
        let expected = concat!(
            r#"{"file":"a","line":1,"reason":"reason 1","event":{"x": 1}}"#,
            "\n",
            r#"{"file":"a","line":7,"reason":"reason 7","text":"�x"}"#,
            "\n"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(lines.written().unwrap().bytes, expected.len() as u64);
    }

    #[test]
    fn an_import_that_goes_on_repeats_no_line_and_one_that_starts_over_keeps_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rejected.ndjson");
        let open = |written: &Option<Written>, goes_on| {
            RejectedLines::new(path.clone(), "a".to_owned(), written.clone(), goes_on, vec![]).unwrap()
        };
        let count = || fs::read_to_string(&path).unwrap().lines().count();
        let mut lines = open(&None, false);
        lines.write(&[line(1, b"x")]).unwrap();
        let known = lines.written().cloned();
        lines.write(&[line(2, b"x")]).unwrap();
        drop(lines);

        let mut lines = open(&known, true);
        assert_eq!((lines.written().cloned(), count()), (known.clone(), 2), "it waits for a line to write");
        lines.write(&[line(2, b"x")]).unwrap();
        assert_eq!(count(), 2);
        let both = lines.written().cloned();
        drop(lines);
        let mut lines = open(&both, false);
        lines.write(&[line(1, b"x")]).unwrap();
        assert_eq!((count(), lines.written().cloned()), (1, known.clone()));
        fs::remove_file(&path).unwrap();
        let mut lines = open(&known, true);
        lines.write(&[line(3, b"x")]).unwrap();
        assert_eq!((count(), lines.written().cloned()), (1, known));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_two_imports_with_one_file_the_second_ends_with_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stdin.rejected.ndjson");
        let open = || RejectedLines::new(path.clone(), "stdin".to_owned(), None, false, vec![]).unwrap();
        let mut first = open();
        first.write(&[line(1, b"x")]).unwrap();
        let error = open().write(&[line(1, b"y")]).unwrap_err();
        assert_eq!(error.to_string(), "another import is writing it; --rejected names another file");
        first.write(&[line(2, b"x")]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), first.written().unwrap().bytes);
        drop(first);
        open().write(&[line(1, b"y")]).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the first one's are set aside");
        // A device is no file to be had alone.
        let to_nowhere =
            || RejectedLines::new("/dev/null".into(), "stdin".to_owned(), None, false, vec![]).unwrap();
        for lines in &mut [to_nowhere(), to_nowhere()] {
            lines.write(&[line(1, b"x")]).unwrap();
        }
    }

    #[test]
    fn what_an_import_has_not_written_is_set_aside_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let open = |written: Option<Written>, goes_on| {
            RejectedLines::new(path.clone(), "a".to_owned(), written, goes_on, vec![]).unwrap()
        };
        let elsewhere = Written { mark: mark(b"/elsewhere"), bytes: 2 };
        let longer = Written { mark: mark(path.as_os_str().as_encoded_bytes()), bytes: 10 };
        let shorter = Written { bytes: 2, ..longer.clone() };
        let cases = [(None, false), (Some(elsewhere), true), (Some(longer), true), (Some(shorter), false)];
        for (number, (written, goes_on)) in (1..).zip(cases) {
            fs::write(&path, format!("mine {number}")).unwrap();
            let mut lines = open(written, goes_on);
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("mine {number}"));
            lines.write(&[line(1, b"x")]).unwrap();
            let ending = if number == 1 { ".old".to_owned() } else { format!(".old.{number}") };
            let aside = fs::read_to_string(with_ending(&path, &ending)).unwrap();
            assert_eq!(aside, format!("mine {number}"));
            assert_eq!(fs::metadata(&path).unwrap().len(), lines.written().unwrap().bytes);
        }
    }
}
