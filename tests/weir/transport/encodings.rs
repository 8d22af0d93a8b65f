//! Content encodings: every one of them is undone, damage is told, and a bomb costs a bounded amount of memory.

use super::{brotli, gzip, raw_deflate, zlib, zstd};
use crate::harness::{Collector, Findings, Setup};

const MEGABYTE: usize = 1024 * 1024;
const OK: &str = r#"200 {"received":1}"#;

/// A snippet's event whose `data` compresses like text does.
fn body(kind: &str) -> String {
    let words: Vec<_> = (0..2_000).map(|number| format!("word{}", number * 7_919 % 1_000)).collect();
    let words = words.join(" ");
    format!(
        r#"{{"projectKey":"pk_live_demo","type":"{kind}","visitorId":"v","url":"https://a.example/","data":{{"a":"{words}"}}}}"#
    )
}

type Encode = fn(&[u8]) -> Vec<u8>;

/// The name of each coding with what makes it.
const CODINGS: &[(&str, &str, Encode)] = &[
    ("gzip", "gzip", gzip),
    ("deflate", "deflate", zlib),
    ("raw deflate", "deflate", raw_deflate),
    ("br", "br", |body| brotli(body, 22)),
    ("zstd", "zstd", |body| zstd(body, 20)),
];

#[test]
fn every_coding_is_undone() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let mut sent = 0;
    let mut check = |case: &str, encoding: &[&str], bytes: Vec<u8>, expected: &str| {
        let headers: Vec<_> = encoding.iter().map(|value| ("Content-Encoding", *value)).collect();
        let answer = collector.post_with(&headers, bytes);
        sent += usize::from(answer.status == 200);
        findings.check(case, answer.gist(), expected);
    };
    for (case, encoding, encode) in CODINGS {
        check(case, &[encoding], encode(body(case).as_bytes()), OK);
        check(case, &[&encoding.to_uppercase()], encode(body("upper").as_bytes()), OK);
        check(case, &[&format!(" identity, {encoding} ,")], encode(body("listed").as_bytes()), OK);
        check(case, &[encoding], Vec::new(), "400 invalid_json");
        check(case, &[encoding], encode(b""), "400 invalid_json");
        check(case, &[encoding], encode(b"{"), "400 invalid_json");
    }
    let plain = || body("plain").into_bytes();
    check("x-gzip", &["x-gzip"], gzip(&plain()), OK);
    check("identity", &["identity"], plain(), OK);
    check("empty", &[""], plain(), OK);
    check("members", &["gzip"], [gzip(&plain()[..99]), gzip(&plain()[99..])].concat(), OK);
    check("frames", &["zstd"], [zstd(&plain()[..99], 20), zstd(&plain()[99..], 20)].concat(), OK);
    check("two, in one header", &["gzip, br"], brotli(&gzip(&plain()), 22), OK);
    check("two, in two headers", &["zstd", "deflate"], zlib(&zstd(&plain(), 20)), OK);
    check("the wrong order", &["br, gzip"], brotli(&gzip(&plain()), 22), "400 bad_encoding");
    for unknown in ["compress", "snappy", "aes128gcm", "gzip;q=1", "gzip gzip", "*", "gzip, br, zstd", "lz4"]
    {
        check(unknown, &[unknown], plain(), "415 unsupported_encoding");
    }
    check("none, but gzip", &[], gzip(&plain()), "400 invalid_json");
    collector.await_events(sent);
    let lengths = "SELECT uniqExact(data), min(length(data)) > 10000 FROM weir.events";
    findings.check("data", collector.sql(lengths), "1\t1");
    findings.report();
}

#[test]
fn a_damaged_body_is_told_so() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    for (case, encoding, encode) in CODINGS {
        let whole = encode(body(case).as_bytes());
        let mut post = |what: String, bytes: Vec<u8>| {
            let answer = collector.post_with(&[("Content-Encoding", encoding)], bytes);
            findings.check(format!("{case}, {what}"), answer.gist(), "400 bad_encoding");
        };
        for cut in [1, whole.len() / 2, whole.len() - 1] {
            post(format!("cut at {cut}"), whole[..cut].to_vec());
        }
        post("with garbage behind it".into(), [whole.as_slice(), b"garbage"].concat());
        post("with a zero behind it".into(), [whole.as_slice(), &[0]].concat());
        post("as plain JSON".into(), body(case).into_bytes());
        post("as another one".into(), if *encoding == "gzip" { zlib(b"x") } else { gzip(b"{}") });
        if *encoding == "gzip" || *case == "deflate" {
            // Their checksums find any damage.
            for at in [whole.len() / 3, whole.len() / 2, whole.len() - 2] {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x10;
                post(format!("damaged at {at}"), damaged);
            }
        }
    }
    findings.check("and the collector goes on", collector.post(body("after")).gist(), OK);
    findings.report();
}

#[test]
fn windows_are_held_to_8_mebibytes() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    // A window is declared when the data is larger, as a stream's length is not known to its encoder.
    let body = body("x");
    for (coding, window, encoded, expected) in [
        ("zstd", 23, zstd(body.as_bytes(), 23), OK),
        ("zstd", 24, zstd(body.as_bytes(), 24), "400 bad_encoding"),
        ("zstd", 27, zstd(body.as_bytes(), 27), "400 bad_encoding"),
        ("br", 22, brotli(body.as_bytes(), 22), OK),
        ("br", 23, brotli(body.as_bytes(), 23), OK),
        ("br", 24, brotli(body.as_bytes(), 24), "400 bad_encoding"),
    ] {
        let answer = collector.post_with(&[("Content-Encoding", coding)], encoded);
        findings.check(format!("{coding} with a window of 2^{window}"), answer.gist(), expected);
    }
    findings.report();
}

/// 24 MiB of JSON in some tens of kilobytes, sent by many at once.
#[test]
fn a_bomb_is_refused_in_bounded_memory() {
    let collector = Setup::new().with(&["--threads", "2"]).start();
    let mut findings = Findings::default();
    let pad = "x".repeat(24 * MEGABYTE);
    let bomb = body("bomb").replacen('{', &format!(r#"{{"pad":"{pad}","#), 1);
    let mut bombs: Vec<_> =
        CODINGS.iter().map(|(case, encoding, encode)| (*case, *encoding, encode(bomb.as_bytes()))).collect();
    bombs.push(("gzip in gzip", "gzip, gzip", gzip(&bombs[0].2)));
    bombs.push(("deflate in br", "deflate, br", brotli(&bombs[1].2, 22)));
    bombs.push(("zstd in zstd", "zstd, zstd", zstd(&bombs[4].2, 20)));
    findings.check("before", collector.post(body("before")).gist(), OK);
    let before = collector.peak_memory();
    for (case, encoding, bytes) in &bombs {
        findings.holds(format!("{case} is {} bytes", bytes.len()), bytes.len() < 100_000);
        std::thread::scope(|scope| {
            let post = || collector.post_with(&[("Content-Encoding", encoding)], bytes).gist();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(post)).collect();
            for answer in threads.into_iter().map(|thread| thread.join().unwrap()) {
                findings.check(case, answer, "413 body_too_large");
            }
        });
    }
    // Each of the two threads may hold 5 MiB, half of that from before it grew, and a window of 8; and the allocator keeps
    // for 10 ms what it is given back. Two bombs inflated would be 72.
    let grown = (collector.peak_memory() - before) / 1024;
    findings.holds(format!("memory grew by {grown} KiB"), grown < 48 * 1024);
    findings.check("after", collector.post(body("after")).gist(), OK);
    findings.report();
}
