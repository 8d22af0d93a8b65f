//! Content encodings: what `Content-Encoding` names, undone under a cap.
//!
//! The cap holds while inflating: however much a body claims to become, no more than the limit and one byte is ever
//! made of it, beside the window of the coding, which is held to 8 MiB. A body must be whole: cut, damaged, or
//! followed by anything, it is refused.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

use crate::retry::Retry;

/// The base-2 logarithm of the largest window, 8 MiB: as much as every decoder of zstd must offer, and browsers do.
const WINDOW_LOG_MAX: u32 = 23;
/// A brotli stream whose first four bits are set asks for a window of 16 MiB (RFC 7932, section 9.1).
const BROTLI_WINDOW_24: u8 = 0x0f;
/// What the first buffer is at least; it doubles from there.
const FIRST_BUFFER: usize = 4 * 1024;

/// A body cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InflateError {
    /// A coding that we do not know, or more than two.
    #[error("the content-encoding is not supported; expected at most two of gzip, deflate, br and zstd")]
    Unsupported,
    /// Not what the header says, or not all of it.
    #[error("the body is not {0} data, is cut, or goes on behind it; expected what content-encoding names")]
    Damaged(Coding),
    /// A window larger than we keep.
    #[error("the body asks for a {0} window over 8 MiB; expected no more")]
    Window(Coding),
    /// More than the limit after inflating.
    #[error("the body has over {limit} bytes after its content-encoding is undone; expected no more")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl InflateError {
    /// The stable word for it: `unsupported_encoding`, `bad_encoding` or `body_too_large`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported_encoding",
            Self::Damaged(_) | Self::Window(_) => "bad_encoding",
            Self::TooLarge { .. } => "body_too_large",
        }
    }

    /// The same body fails again.
    pub const fn retry(self) -> Retry {
        Retry::Never
    }
}

/// One way a body was made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952, in any number of members.
    Gzip,
    /// RFC 1950, or RFC 1951 alone as some clients send it.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, in any number of frames.
    Zstd,
}

impl Coding {
    fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () if is("br") => Some(Self::Brotli),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    fn inflate(self, body: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        let mut output = Output { limit, first: body.len().saturating_mul(4) };
        match self {
            Self::Gzip => {
                let mut reader = MultiGzDecoder::new(body);
                output.collect(|out| reader.read(out).map_err(|_| InflateError::Damaged(self)))
            }
            Self::Deflate => deflate(body, &mut output),
            Self::Brotli => brotli(body, &mut output),
            Self::Zstd => zstd(body, &mut output),
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "brotli",
            Self::Zstd => "zstd",
        })
    }
}

/// The codings of a body, in the order they were applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentEncodings([Option<Coding>; 2]);

impl ContentEncodings {
    /// Reads the values of a request's `Content-Encoding` headers: comma lists in any case, with `identity` and
    /// empty elements passed over. Fails with `unsupported_encoding`.
    pub fn parse<'h>(values: impl IntoIterator<Item = &'h [u8]>) -> Result<Self, InflateError> {
        let mut codings = [None; 2];
        let mut free = codings.iter_mut();
        let names = values.into_iter().flat_map(|value| value.split(|byte| *byte == b','));
        for name in names.map(<[u8]>::trim_ascii) {
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let coding = Coding::named(name).ok_or(InflateError::Unsupported)?;
            *free.next().ok_or(InflateError::Unsupported)? = Some(coding);
        }
        Ok(Self(codings))
    }

    /// Undoes the codings, the last one first. No result, and nothing between two codings, is over `limit` bytes.
    /// A body without codings is given back as it is, and an empty one stays empty. Fails with `bad_encoding` or
    /// `body_too_large`.
    pub fn inflate<'b>(&self, body: &'b [u8], limit: usize) -> Result<Cow<'b, [u8]>, InflateError> {
        if body.is_empty() {
            return Ok(Cow::Borrowed(body));
        }
        let mut body = Cow::Borrowed(body);
        for coding in self.0.iter().rev().flatten() {
            body = Cow::Owned(coding.inflate(&body, limit)?);
        }
        if body.len() > limit { Err(InflateError::TooLarge { limit }) } else { Ok(body) }
    }
}

/// Where inflated bytes are gathered.
struct Output {
    limit: usize,
    first: usize,
}

impl Output {
    /// Calls `fill` with room for more until it puts nothing there.
    fn collect(
        &mut self,
        mut fill: impl FnMut(&mut [u8]) -> Result<usize, InflateError>,
    ) -> Result<Vec<u8>, InflateError> {
        // One byte more than may be, to tell a body that just fits from one that does not.
        let most = self.limit.saturating_add(1);
        let mut out = vec![0; self.first.max(FIRST_BUFFER).min(most)];
        let mut filled = 0;
        loop {
            if filled == most {
                return Err(InflateError::TooLarge { limit: self.limit });
            }
            if filled == out.len() {
                let grown = filled.saturating_mul(2).min(most);
                out.reserve_exact(grown - filled);
                out.resize(grown, 0);
            }
            match fill(&mut out[filled..])? {
                0 => break,
                more => filled += more,
            }
        }
        out.truncate(filled);
        Ok(out)
    }
}

fn deflate(body: &[u8], output: &mut Output) -> Result<Vec<u8>, InflateError> {
    let damaged = InflateError::Damaged(Coding::Deflate);
    let mut state = Decompress::new(has_zlib_header(body));
    let (mut rest, mut done) = (body, false);
    output.collect(|out| {
        if done {
            return Ok(0);
        }
        let (read, written) = (state.total_in(), state.total_out());
        let status = state.decompress(rest, out, FlushDecompress::None).map_err(|_| damaged)?;
        rest = usize::try_from(state.total_in() - read).ok().and_then(|read| rest.get(read..)).unwrap_or(&[]);
        done = status == Status::StreamEnd;
        let written = usize::try_from(state.total_out() - written).unwrap_or(0);
        if done { rest.is_empty() } else { written > 0 }.then_some(written).ok_or(damaged)
    })
}

/// Whether `deflate` is meant as HTTP does, in zlib's wrapping. A bare stream never looks like it: its first byte
/// would begin a stored block with padding that no encoder writes.
fn has_zlib_header(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x8f == 0x08 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

fn brotli(body: &[u8], output: &mut Output) -> Result<Vec<u8>, InflateError> {
    if body.first().is_some_and(|first| first & 0x0f == BROTLI_WINDOW_24) {
        return Err(InflateError::Window(Coding::Brotli));
    }
    // Strict: without the extension to windows of up to 1 GiB.
    let mut state =
        BrotliState::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
    let (mut left, mut at, mut total, mut done) = (body.len(), 0, 0, false);
    output.collect(|out| {
        if done {
            return Ok(0);
        }
        let (mut room, mut written) = (out.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut at,
            body,
            &mut room,
            &mut written,
            out,
            &mut total,
            &mut state,
        );
        done = matches!(result, BrotliResult::ResultSuccess);
        let sound = match result {
            BrotliResult::ResultSuccess => left == 0,
            BrotliResult::NeedsMoreOutput => written > 0,
            BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => false,
        };
        sound.then_some(written).ok_or(InflateError::Damaged(Coding::Brotli))
    })
}

fn zstd(body: &[u8], output: &mut Output) -> Result<Vec<u8>, InflateError> {
    let damaged = InflateError::Damaged(Coding::Zstd);
    let mut reader = zstd::stream::read::Decoder::with_buffer(body).map_err(|_| damaged)?;
    reader.window_log_max(WINDOW_LOG_MAX).map_err(|_| damaged)?;
    output.collect(|out| reader.read(out).map_err(|_| damaged))
}

#[cfg(test)]
mod tests;
