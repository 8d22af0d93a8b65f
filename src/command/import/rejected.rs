//! The lines that were not taken, with their numbers and the reasons, for whoever mends them.
//!
//! One JSON object a line, in the input's order: `{"file", "line", "reason", "event"}`; `text` stands in place of
//! `event` where the line is no JSON. So `jq -c .event` gives the lines again, to be mended and imported. There is no
//! such file where every line was taken.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;

use super::reader::Line;

pub(super) struct RejectedLines {
    path: PathBuf,
    /// The input's name.
    input: String,
    /// Made with the first line.
    file: Option<File>,
    bytes: u64,
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
    /// Goes on behind the first `bytes` bytes of what an earlier import left at `path`; the rest of it is dropped.
    pub(super) fn open(path: PathBuf, input: String, bytes: u64) -> io::Result<Self> {
        let mut lines = Self { path, input, file: None, bytes: 0 };
        if bytes == 0 {
            match fs::remove_file(&lines.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => return Ok(lines),
            }
        }
        let file = OpenOptions::new().append(true).create(true).open(&lines.path)?;
        // Somebody may have taken it away, to mend it.
        lines.bytes = file.metadata()?.len().min(bytes);
        file.set_len(lines.bytes)?;
        lines.file = Some(file);
        Ok(lines)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes lines and syncs them.
    pub(super) fn write(&mut self, rejected: &[(Line, String)]) -> io::Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).create_new(true).open(&self.path)?,
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
            self.bytes += json.len() as u64;
        }
        out.flush()?;
        drop(out);
        file.sync_data()
    }
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
        let mut lines = RejectedLines::open(path.clone(), "a".to_owned(), 0).unwrap();
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
        assert_eq!(lines.bytes(), expected.len() as u64);
    }

    #[test]
    fn an_import_that_goes_on_repeats_no_line_and_one_that_starts_over_keeps_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rejected.ndjson");
        let open = |bytes| RejectedLines::open(path.clone(), "a".to_owned(), bytes).unwrap();
        let count = || fs::read_to_string(&path).unwrap().lines().count();
        let mut lines = open(0);
        lines.write(&[line(1, b"x")]).unwrap();
        let known = lines.bytes();
        lines.write(&[line(2, b"x")]).unwrap();

        let mut lines = open(known);
        assert_eq!((lines.bytes(), count()), (known, 1));
        lines.write(&[line(2, b"x")]).unwrap();
        assert_eq!(count(), 2);
        fs::remove_file(&path).unwrap();
        let mut lines = open(known);
        lines.write(&[line(3, b"x")]).unwrap();
        assert_eq!((count(), lines.bytes()), (1, known));
        open(0);
        assert!(!path.exists());
    }
}
