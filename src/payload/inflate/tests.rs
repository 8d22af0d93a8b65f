use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

const TEXT: &[u8] = br#"{"projectKey":"pk","events":[{"type":"t","url":"/"},{"type":"t","url":"/"}]}"#;
const LIMIT: usize = 256 * 1024;

/// [`TEXT`] as a brotli encoder writes it, with a window of 4 MiB; the first byte holds the window.
const BROTLI_TEXT: &[u8] = b"\x1b\x4b\x00\x00\x04\xca\x6d\xa9\x5f\x7e\x58\x5f\xa8\x86\x28\x46\x93\x06\x51\x0d\x32\x06\x0e\
    \x39\x01\xff\x76\xa2\x50\x23\x69\xc1\x44\xce\xf3\xd6\xc1\x6e\x30\xfe\x4a\xff\x38\x6b\x20\xfa\x38\x78\x0d\x8e\x30\
    \x03\xe7\x22\xde\x9e\x14\x46\x4a\xd1\x12";
/// The same with the extension to large windows.
const BROTLI_LARGE: &[u8] = b"\x11\x5a\x2c\x01\x00\x10\x28\xb7\xa5\x7e\xf9\x61\x7d\xa1\x1a\xa2\x18\x4d\x1a\x44\x35\xc8\
    \x18\x38\xe4\x04\xfc\xdb\x89\x42\x8d\xa4\x05\x13\x39\xcf\x5b\x07\xbb\xc1\xf8\x2b\xfd\xe3\xac\x81\xe8\xe3\xe0\x35\
    \x38\xc2\x0c\x9c\x8b\x78\x7b\x52\x18\x29\x45\x4b";
/// 64 MiB of spaces.
const BROTLI_BOMB: &[u8] = b"\xcb\xff\xff\x3f\x00\x24\x40\xe2\xb1\x40\x72\xef\xff\xf8\xff\xff\x07\x80\x04\x40\x1c\x16\
    \x80\xee\xfd\x1f\xff\xff\xff\x00\x90\x00\x88\xc3\x02\xd0\xbd\xff\xe3\xff\xff\x1f\x00\x12\x00\x71\x58\x00\xba\xf7\
    \x7f\xfc\xff\xff\x03\x40\x02\x20\x0e\x0b\x40\xf7\xfe\x8f\xff\xff\x7f\x00\x48\x00\xc4\x61\x01\xe8\xde\xff\xf1\xff\
    \xff\x0f\x00\x09\x80\x38\x2c\x00\xdd\xfb\x3f\xfe\xff\xff\x01\x20\x01\x10\x87\x05\xa0\x7b\xff\x37";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn bare_deflate(body: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A brotli stream that only stores (RFC 7932, section 9.2): window bits 16, then blocks of up to 64 KiB.
fn stored_brotli(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // The first block's header shares its byte with the window's single bit; one of metadata takes it alone.
    out.extend_from_slice(&[0b0000_1100]);
    for block in body.chunks(65_536) {
        let length = u32::try_from(block.len() - 1).unwrap();
        out.extend_from_slice(&(length << 3 | 1 << 19).to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    out.push(0b11);
    out
}

fn inflate(header: &str, body: &[u8], limit: usize) -> Result<Vec<u8>, &'static str> {
    let encodings = ContentEncodings::parse([header.as_bytes()]).map_err(InflateError::code)?;
    encodings.inflate(body, limit).map(Cow::into_owned).map_err(InflateError::code)
}

fn every_coding() -> [(&'static str, Vec<u8>); 5] {
    [
        ("gzip", gzip(TEXT)),
        ("deflate", zlib(TEXT, 6)),
        ("deflate", bare_deflate(TEXT, 6)),
        ("br", BROTLI_TEXT.to_vec()),
        ("zstd", zstd(TEXT, 20)),
    ]
}

#[test]
fn codings_are_read_as_they_are_written() {
    let parse = |values: &[&str]| ContentEncodings::parse(values.iter().map(|value| value.as_bytes()));
    let two = |first, second| Ok(ContentEncodings([first, second]));
    for values in [&[][..], &[""], &["identity"], &[" , Identity,"], &["", "identity"]] {
        assert_eq!(parse(values), two(None, None), "{values:?}");
    }
    for values in [&["gzip"][..], &["GZip"], &["x-gzip"], &["X-GZIP "], &["identity, gzip"], &["", "gzip"]] {
        assert_eq!(parse(values), two(Some(Coding::Gzip), None), "{values:?}");
    }
    assert_eq!(parse(&["deflate,br"]), two(Some(Coding::Deflate), Some(Coding::Brotli)));
    assert_eq!(parse(&["deflate", "\tzstd"]), two(Some(Coding::Deflate), Some(Coding::Zstd)));
    for values in
        [&["compress"][..], &["gzip;q=1"], &["gzip br"], &["*"], &["gzip", "nope"], &["br,br,br"], &["é"]]
    {
        let error = parse(values).unwrap_err();
        assert_eq!((error, error.code()), (InflateError::Unsupported, "unsupported_encoding"), "{values:?}");
        assert!(error.to_string().ends_with("expected at most two of gzip, deflate, br and zstd"));
    }
}

#[test]
fn every_coding_is_undone_up_to_the_limit() {
    for (header, body) in every_coding() {
        assert_eq!(inflate(header, &body, TEXT.len()).as_deref(), Ok(TEXT), "{header}");
        assert_eq!(inflate(header, &body, TEXT.len() - 1), Err("body_too_large"), "{header}");
        assert_eq!(inflate(header, &body, 0), Err("body_too_large"), "{header}");
    }
    assert_eq!(inflate("", TEXT, TEXT.len()).as_deref(), Ok(TEXT));
    assert_eq!(inflate("", TEXT, TEXT.len() - 1), Err("body_too_large"));
}

#[test]
fn codings_are_undone_in_reverse() {
    assert_eq!(inflate("gzip, zstd", &zstd(&gzip(TEXT), 20), LIMIT).as_deref(), Ok(TEXT));
    assert_eq!(inflate("deflate, gzip", &gzip(&zlib(TEXT, 6)), LIMIT).as_deref(), Ok(TEXT));
    assert_eq!(inflate("gzip, deflate", &gzip(&zlib(TEXT, 6)), LIMIT), Err("bad_encoding"));
}

#[test]
fn members_and_frames_are_joined() {
    assert_eq!(
        inflate("gzip", &[gzip(b"{\"a\":"), gzip(b"1}")].concat(), LIMIT).as_deref(),
        Ok(&b"{\"a\":1}"[..])
    );
    let frames = [zstd(b"{\"a\":", 20), zstd(b"1}", 20)].concat();
    assert_eq!(inflate("zstd", &frames, LIMIT).as_deref(), Ok(&b"{\"a\":1}"[..]));
}

#[test]
fn an_empty_body_stays_empty_and_an_empty_stream_becomes_one() {
    for header in ["gzip", "deflate", "br", "zstd", "gzip, br"] {
        assert_eq!(inflate(header, b"", LIMIT), Ok(vec![]), "{header}");
    }
    assert_eq!(inflate("gzip", &gzip(b""), LIMIT), Ok(vec![]));
    assert_eq!(inflate("deflate", &zlib(b"", 6), LIMIT), Ok(vec![]));
    assert_eq!(inflate("br", &stored_brotli(b""), LIMIT), Ok(vec![]));
    assert_eq!(inflate("zstd", &zstd(b"", 20), LIMIT), Ok(vec![]));
}

#[test]
fn a_body_that_is_cut_anywhere_is_refused() {
    for (header, body) in every_coding() {
        for end in 1..body.len() {
            assert_eq!(inflate(header, &body[..end], LIMIT), Err("bad_encoding"), "{header} cut to {end}");
        }
    }
}

#[test]
fn a_body_that_goes_on_is_refused() {
    for (header, body) in every_coding() {
        for more in [&b"\0"[..], b"\n", b"{}", &[0xff; 40]] {
            let body = [&body, more].concat();
            assert_eq!(inflate(header, &body, LIMIT), Err("bad_encoding"), "{header} and {more:?}");
        }
    }
}

#[test]
fn a_body_in_another_coding_is_refused() {
    for header in ["gzip", "deflate", "br", "zstd"] {
        assert_eq!(inflate(header, TEXT, LIMIT), Err("bad_encoding"), "{header}");
    }
    assert_eq!(inflate("gzip", &zlib(TEXT, 6), LIMIT), Err("bad_encoding"));
    assert_eq!(inflate("zstd", &gzip(TEXT), LIMIT), Err("bad_encoding"));
}

#[test]
fn a_bomb_costs_no_more_than_the_limit() {
    let bomb = vec![b' '; 8 * LIMIT];
    for (header, body) in [
        ("gzip", gzip(&bomb)),
        ("deflate", zlib(&bomb, 6)),
        ("deflate", bare_deflate(&bomb, 6)),
        ("br", BROTLI_BOMB.to_vec()),
        ("zstd", zstd(&bomb, 20)),
        ("gzip, gzip", gzip(&gzip(&bomb))),
    ] {
        assert_eq!(inflate(header, &body, LIMIT), Err("body_too_large"), "{header}");
    }
    let mut output = Output { limit: LIMIT, first: usize::MAX };
    let mut given = 0;
    let refused = output.collect(|out| {
        given += out.len();
        Ok(out.len())
    });
    assert_eq!((refused, given), (Err(InflateError::TooLarge { limit: LIMIT }), LIMIT + 1));
}

#[test]
fn windows_over_8_mib_are_refused() {
    // More text than the window, or the frame would ask for less.
    let long = TEXT.repeat(9 * 1024 * 1024 / TEXT.len());
    let limit = long.len();
    assert_eq!(inflate("zstd", &zstd(&long, 23), limit).as_deref(), Ok(&*long));
    assert_eq!(inflate("zstd", &zstd(&long, 24), limit), Err("bad_encoding"));
    let window = |bits: u8| [&[BROTLI_TEXT[0] & 0xf0 | (bits - 17) << 1 | 1], &BROTLI_TEXT[1..]].concat();
    assert_eq!(inflate("br", &window(22), LIMIT).as_deref(), Ok(TEXT));
    assert_eq!(inflate("br", &window(23), LIMIT).as_deref(), Ok(TEXT));
    assert_eq!(inflate("br", &window(24), LIMIT), Err("bad_encoding"));
    assert_eq!(inflate("br", BROTLI_LARGE, LIMIT), Err("bad_encoding"));
}

#[test]
fn messages_name_the_limit_and_the_coding() {
    assert_eq!(
        InflateError::TooLarge { limit: 5 }.to_string(),
        "the body has over 5 bytes after its content-encoding is undone; expected no more"
    );
    assert_eq!(
        InflateError::Window(Coding::Brotli).to_string(),
        "the body asks for a brotli window over 8 MiB; expected no more"
    );
    assert!(InflateError::Damaged(Coding::Zstd).to_string().starts_with("the body is not zstd data"));
    assert_eq!(InflateError::Unsupported.retry(), Retry::Never);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_body_comes_back_as_it_was(
        body in prop::collection::vec(any::<u8>(), 0..3_000), copies in 1..20_usize, level in 0..10_u32,
    ) {
        let body = body.repeat(copies);
        for (header, encoded) in [
            ("gzip", gzip(&body)),
            ("deflate", zlib(&body, level)),
            ("deflate", bare_deflate(&body, level)),
            ("br", stored_brotli(&body)),
            ("zstd", zstd(&body, 20)),
        ] {
            let inflated = inflate(header, &encoded, body.len());
            prop_assert_eq!(inflated.as_deref(), Ok(&*body), "{}", header);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_break_the_limit(
        body in prop::collection::vec(any::<u8>(), 1..300), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut damaged: Vec<_> = every_coding().into();
        for (_, encoded) in &mut damaged {
            let place = place.index(encoded.len());
            encoded[place] = byte;
        }
        damaged.extend(["gzip", "deflate", "br", "zstd"].map(|header| (header, body.clone())));
        for (header, encoded) in damaged {
            match inflate(header, &encoded, 100) {
                Ok(inflated) => prop_assert!(inflated.len() <= 100),
                Err(code) => prop_assert!(code == "bad_encoding" || code == "body_too_large"),
            }
        }
    }
}
