//! What an event's id is made of where its line has none: UUID v5 of the file and the number of the line.
//!
//! The file is its content, by SHA-256, and not its name: the same file gives the same ids under any name and on any
//! machine, and files that differ in one byte have no id in common, however much of them is equal. A file that has
//! grown since it was imported is told by its beginning, and keeps what it was known by.
//!
//! Of a stream the end is not known when its first event is sent. There a line is known by all that came up to its
//! end: the same stream gives the same ids, and streams share ids for as long as they are equal.

use std::fmt::Write as _;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The name space of the ids; it must never change.
const NAMESPACE: Uuid = Uuid::from_u128(0x6841_c495_3102_42a9_915b_897b_aaa5_c367);

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// A SHA-256.
pub(super) type Digest = [u8; 32];

/// What a file is known by, as text: a SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity(String);

impl Identity {
    /// The id of the event on a line of the file.
    pub(super) fn event_id(&self, line: u64) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{} {line}", self.0).as_bytes())
    }
}

impl From<Digest> for Identity {
    fn from(digest: Digest) -> Self {
        Self(hex(&digest))
    }
}

/// The id of the event on a line of a stream, by the digest of the stream up to that line's end.
pub(super) fn stream_event_id(digest: &Digest) -> Uuid {
    Uuid::new_v5(&NAMESPACE, digest)
}

/// What a file holds at the moment, and what its first so many bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Its first `size` bytes.
    pub(super) whole: Identity,
    /// Its first `earlier` bytes; none where it has not so many.
    pub(super) earlier: Option<Identity>,
}

/// Reads the first `size` bytes of a file once, and knows those and the first `earlier` of them.
pub(super) fn know(file: &mut impl Read, size: u64, earlier: Option<u64>) -> io::Result<Known> {
    let mut hash = Sha256::new();
    let earlier = earlier.filter(|earlier| *earlier <= size);
    let first = earlier.unwrap_or(0);
    feed(&mut hash, &mut file.take(first), first)?;
    let beginning = Digest::from(hash.clone().finalize());
    feed(&mut hash, &mut file.take(size - first), size - first)?;
    let whole = Digest::from(hash.finalize());
    Ok(Known { whole: whole.into(), earlier: earlier.map(|_| beginning.into()) })
}

fn feed(hash: &mut Sha256, input: &mut impl Read, expected: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut left = expected;
    loop {
        match input.read(&mut buffer) {
            Ok(0) if left == 0 => return Ok(()),
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile")),
            Ok(length) => {
                hash.update(&buffer[..length]);
                left -= length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A few characters by which a text is known again, without the text: a key's, a path's.
pub(super) fn mark(text: &[u8]) -> String {
    hex(&Sha256::digest(text)[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(content: &str) -> Identity {
        know(&mut content.as_bytes(), content.len() as u64, None).unwrap().whole
    }

    #[test]
    fn ids_are_those_they_have_always_been() {
        let id = identity("a\nb\n").event_id(2);
        assert_eq!(id.to_string(), "e511d1be-ee51-563b-9802-fbe8199f1721");
        let id = stream_event_id(&Sha256::digest(b"a\nb").into());
        assert_eq!(id.to_string(), "ec2f63a4-dee6-548a-b71d-c54b23f16d64");
    }

    #[test]
    fn files_that_differ_share_no_id_and_lines_of_one_do_not_either() {
        let mut ids = std::collections::BTreeSet::new();
        for content in ["", "a\n", "a\na\n", "a\na", "b\n"] {
            let identity = identity(content);
            ids.extend((1..=3).map(|line| identity.event_id(line)));
        }
        assert_eq!(ids.len(), 15);
    }

    #[test]
    fn a_file_that_has_grown_is_told_by_its_beginning() {
        let content = "a\nb\nc\n";
        let know = |size, earlier| know(&mut content.as_bytes(), size, earlier).unwrap();
        let grown = know(6, Some(4));
        assert_eq!((grown.whole, grown.earlier), (identity(content), Some(identity("a\nb\n"))));
        assert_eq!(know(6, Some(6)).earlier, Some(identity(content)));
        assert_eq!(know(4, Some(6)), Known { whole: identity("a\nb\n"), earlier: None });
    }

    #[test]
    fn a_file_that_becomes_shorter_while_it_is_read_is_an_error() {
        let error = know(&mut &b"abc"[..], 4, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
