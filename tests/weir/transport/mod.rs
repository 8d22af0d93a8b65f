//! How requests travel: as browsers send them, encoded, in pieces, one behind the other.

mod browsers;
mod encodings;
mod framing;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

/// A body as `Content-Encoding: gzip` announces it.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A body as `Content-Encoding: deflate` announces it.
fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A body as some clients take `deflate` to mean.
fn raw_deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A body as `Content-Encoding: zstd` announces it, with a window of `2^window` bytes.
fn zstd(body: &[u8], window: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(window).unwrap();
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A body as `Content-Encoding: br` announces it, with a window of `2^window` bytes.
fn brotli(body: &[u8], window: i32) -> Vec<u8> {
    let parameters = brotli::enc::BrotliEncoderParams { quality: 2, lgwin: window, ..Default::default() };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &*body, &mut compressed, &parameters).unwrap();
    compressed
}
