//! An input's lines, one after the other, in bounded memory: of a line that is too long only its beginning is kept.
//!
//! Lines end with LF or CRLF; the last one may end with the input. A byte order mark before the first is left out.

use std::io;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use super::identity::Digest;

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// What is kept of a line that is too long, to recognise it by.
const BEGINNING: usize = 1_000;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One line of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    /// The text without its line end; of a line that is too long, its beginning.
    pub(super) text: Vec<u8>,
    /// The whole length in bytes, where that is too long.
    pub(super) too_long: Option<u64>,
    /// Where the next line begins, in bytes from the input's beginning.
    pub(super) end: u64,
    /// Whether it has a line end; without one, more of it may be written yet.
    pub(super) is_ended: bool,
    /// SHA-256 of the input from its beginning up to this line's end, where that is asked for.
    pub(super) digest: Option<Digest>,
}

/// Reads lines.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    /// The longest line, in bytes.
    longest: usize,
    /// What has been read of the next line, up to the longest with its byte order mark and CR.
    partial: Vec<u8>,
    /// The bytes that have been read of it.
    partial_length: u64,
    number: u64,
    position: u64,
    hash: Option<Sha256>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads what stands behind `line` lines and `position` bytes.
    pub(super) fn new(input: R, longest: usize, line: u64, position: u64) -> Self {
        Self {
            input: BufReader::with_capacity(CHUNK, input),
            longest,
            partial: Vec::new(),
            partial_length: 0,
            number: line,
            position,
            hash: None,
        }
    }

    /// Gives each line the digest of all that was read up to its end.
    pub(super) fn with_digests(mut self) -> Self {
        self.hash = Some(Sha256::new());
        self
    }

    /// The next line; none at the input's end. It may be dropped and called again: nothing is lost.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let available = self.input.fill_buf().await?;
            if available.is_empty() {
                let is_left = self.partial_length > 0;
                return Ok(is_left.then(|| self.take(false)));
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let piece = &available[..end.unwrap_or(available.len())];
            let room = (self.longest + BYTE_ORDER_MARK.len() + 1).saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if let Some(hash) = &mut self.hash {
                hash.update(piece);
            }
            let length = piece.len();
            self.partial_length += length as u64;
            self.input.consume(length + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Some(self.take(true)));
            }
        }
    }

    /// Bytes from the input's beginning to where the last line that was read has ended.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    fn take(&mut self, is_ended: bool) -> Line {
        let mut text = &self.partial[..];
        let length = std::mem::take(&mut self.partial_length);
        self.number += 1;
        self.position += length + u64::from(is_ended);
        let digest = self.hash.as_ref().map(|hash| hash.clone().finalize().into());
        if let Some(hash) = &mut self.hash {
            hash.update(b"\n");
        }
        let is_cut = (text.len() as u64) < length;
        if is_ended && !is_cut {
            text = text.strip_suffix(b"\r").unwrap_or(text);
        }
        if self.number == 1 {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        let too_long = (is_cut || text.len() > self.longest).then_some(length);
        if too_long.is_some() {
            text = &text[..text.len().min(BEGINNING)];
        }
        // A copy, which is no larger than it has to be: many lines are held at once.
        let text = text.to_vec();
        self.partial.clear();
        Line { number: self.number, text, too_long, end: self.position, is_ended, digest }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read(input: &[u8], longest: usize) -> Vec<Line> {
        let mut lines = Lines::new(input, longest, 0, 0).with_digests();
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push(line);
        }
        read
    }

    #[tokio::test]
    async fn lines_have_numbers_and_ends() {
        let read = read(b"\xEF\xBB\xBFone\r\n\ntwo\xEF\xBB\xBF\nlast\r", 100).await;
        let found: Vec<_> =
            read.iter().map(|line| (line.number, &line.text[..], line.end, line.is_ended)).collect();
        let expected: [(u64, &[u8], u64, bool); 4] = [
            (1, b"one", 8, true),
            (2, b"", 9, true),
            (3, b"two\xEF\xBB\xBF", 16, true),
            (4, b"last\r", 21, false),
        ];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn what_stands_behind_a_line_goes_on_counting() {
        let mut lines = Lines::new(&b"c\n"[..], 100, 2, 4);
        let line = lines.next().await.unwrap().unwrap();
        assert_eq!((line.number, line.end, line.digest), (3, 6, None));
    }

    #[tokio::test]
    async fn of_a_line_that_is_too_long_its_beginning_is_kept_and_the_next_one_is_whole() {
        let long = "x".repeat(3 * CHUNK);
        let read = read(format!("{long}\r\nnext\n12345\n123456\n").as_bytes(), 5).await;
        assert_eq!(read[0].too_long, Some(3 * CHUNK as u64 + 1));
        assert_eq!(read[0].text.len(), 9, "no more is ever held than the longest line takes");
        assert_eq!((read[1].text.as_slice(), read[1].too_long), (&b"next"[..], None));
        assert_eq!((read[2].text.as_slice(), read[2].too_long), (&b"12345"[..], None));
        assert_eq!(read[3].too_long, Some(6));
    }

    #[tokio::test]
    async fn what_is_kept_of_a_line_takes_no_more_memory_than_it_has_bytes() {
        let input = format!("{}\nshort\n", "x".repeat(2 * CHUNK));
        for (longest, kept) in [(CHUNK, BEGINNING), (2 * CHUNK, 2 * CHUNK)] {
            for (line, kept) in read(input.as_bytes(), longest).await.iter().zip([kept, 5]) {
                assert_eq!((line.text.len(), line.text.capacity()), (kept, kept));
            }
        }
    }

    #[tokio::test]
    async fn a_byte_order_mark_does_not_hide_that_a_line_is_too_long() {
        for (text, is_too_long) in
            [("12345", false), ("123456", true), ("1234567", true), ("123456789", true)]
        {
            for end in ["", "\n", "\r\n"] {
                let line = &read(format!("\u{feff}{text}{end}").as_bytes(), 5).await[0];
                assert_eq!(line.too_long.is_some(), is_too_long, "{text} {end:?}");
                assert!(is_too_long || line.text == text.as_bytes(), "{line:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_is_given_up_in_the_middle_of_a_line_loses_nothing() {
        use tokio::io::AsyncWriteExt as _;
        let (mut writer, input) = tokio::io::duplex(64);
        let mut lines = Lines::new(input, 100, 0, 0);
        writer.write_all(b"on").await.unwrap();
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(10), lines.next());
        assert!(waiting.await.is_err());
        writer.write_all(b"e\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap().text, b"one");
    }

    #[tokio::test]
    async fn a_digest_is_of_everything_up_to_its_line_whether_that_is_ended_or_not() {
        let (ended, open) = (read(b"a\nb\n", 9).await, read(b"a\nb", 9).await);
        assert_eq!(ended[1].digest, open[1].digest);
        assert_eq!(ended[1].digest, Some(Sha256::digest(b"a\nb").into()));
        let other = read(b"c\nb\n", 9).await;
        assert_ne!(ended[1].digest, other[1].digest);
    }

    proptest! {
        #[test]
        fn ends_and_texts_make_up_the_input(lines in proptest::collection::vec("[a-z]{0,8}", 0..20)) {
            let input = lines.join("\n");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(read(input.as_bytes(), 8));
            let mut start = 0;
            for line in &read {
                let text = &input.as_bytes()[start..usize::try_from(line.end).unwrap()];
                prop_assert_eq!(text.strip_suffix(b"\n").unwrap_or(text), line.text.as_slice());
                start = usize::try_from(line.end).unwrap();
            }
            prop_assert_eq!(start, input.len());
        }
    }
}
