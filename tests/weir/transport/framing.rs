//! Requests in pieces, one behind the other, and larger than anybody waits for.

use std::io::{Read as _, Write as _};

use std::time::{Duration, Instant};

use crate::harness::{Collector, Findings};

const OK: &str = r#"200 {"received":1}"#;
const MEGABYTE: usize = 1024 * 1024;

fn body(kind: &str) -> String {
    format!(r#"{{"projectKey":"pk_live_demo","type":"{kind}","visitorId":"v","url":"https://a.example/"}}"#)
}

fn head(more: &str) -> String {
    format!("POST /api/events HTTP/1.1\r\nHost: collect.test\r\n{more}\r\n")
}

fn whole(body: &str) -> String {
    format!("{}{body}", head(&format!("Content-Length: {}\r\n", body.len())))
}

fn chunked(pieces: &[&str]) -> String {
    let start = head("Transfer-Encoding: chunked\r\n");
    let chunk = |piece: &&str| format!("{:x}\r\n{piece}\r\n", piece.len());
    start + &pieces.iter().map(chunk).collect::<Vec<_>>().concat() + "0\r\n\r\n"
}

#[test]
fn a_connection_carries_requests_in_every_framing() {
    let collector = Collector::start();
    let mut client = collector.client();
    let mut findings = Findings::default();
    let text = body("x");
    let bytes: Vec<_> = text.split("").filter(|byte| !byte.is_empty()).collect();
    let mut received = 0;
    for (case, request, expected) in [
        ("a known length", whole(&text), OK),
        ("one chunk", chunked(&[&text]), OK),
        ("two chunks", chunked(&[&text[..9], &text[9..]]), OK),
        ("a chunk a byte", chunked(&bytes), OK),
        ("no chunk", chunked(&[]), "400 invalid_json"),
        ("a chunk's extension", chunked(&[&text]).replacen("\r\n{", ";a=b\r\n{", 1), OK),
        ("a trailer", chunked(&[&text]).replace("0\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n"), OK),
        ("no body at all", head(""), "400 invalid_json"),
        ("an absolute target", whole(&text).replacen("/api", "http://collect.test/api", 1), OK),
        ("lower-case names", whole(&text).replace("Content-Length", "content-length"), OK),
        ("after refusals", whole("{"), "400 invalid_json"),
        ("after a refusal", whole(&text), OK),
    ] {
        let answer = client.send_raw(request.as_bytes()).unwrap();
        received += usize::from(answer.status == 200);
        findings.check(case, answer.gist(), expected);
        findings.check(format!("{case}: Connection"), answer.header("connection"), None);
    }
    // However the bytes of a request are cut on their way.
    let request = chunked(&[&text[..20], &text[20..]]);
    for at in (1..request.len()).step_by(17) {
        client.write(&request.as_bytes()[..at]).unwrap();
        std::thread::yield_now();
        let answer = client.send_raw(&request.as_bytes()[at..]).unwrap();
        received += 1;
        findings.check(format!("cut at {at}"), answer.gist(), OK);
    }
    collector.await_events(received);
    findings.report();
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let collector = Collector::start();
    let mut client = collector.client();
    let mut findings = Findings::default();
    let get = "GET /nowhere HTTP/1.1\r\nHost: collect.test\r\n\r\n";
    let bad = body("x").replace("https://a.example/", "/path");
    let requests = [
        (whole(&body("a")), OK),
        (get.to_owned(), "404 not_found"),
        (chunked(&[&body("b")]), OK),
        (whole(&bad), "400 invalid_url url"),
        (whole(&body("c")), OK),
    ];
    let rounds = 40;
    let together: String = requests.iter().map(|(request, _)| request.as_str()).collect();
    client.write(together.repeat(rounds).as_bytes()).unwrap();
    for round in 0..rounds {
        for (number, (_, expected)) in requests.iter().enumerate() {
            findings.check(format!("{round}.{number}"), client.read_answer().unwrap().gist(), *expected);
        }
    }
    collector.await_events(3 * rounds);
    findings.report();
}

#[test]
fn a_connection_ends_when_its_client_says_so() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let old = whole(&body("x")).replace("HTTP/1.1", "HTTP/1.0");
    let close = whole(&body("x")).replace("Host:", "Connection: close\r\nHost:");
    for request in [old, close] {
        let mut client = collector.client();
        findings.check(&request, client.send_raw(request.as_bytes()).unwrap().gist(), OK);
        findings.holds(format!("{request}: stays open"), client.is_closed());
    }
    let mut client = collector.client();
    client.write(&whole(&body("lost")).as_bytes()[..100]).unwrap();
    drop(client);
    findings.check("after one that left", collector.post(body("x")).gist(), OK);
    collector.await_events(3);
    findings.report();
}

/// Ambiguous lengths are how one request is smuggled into another.
#[test]
fn a_length_that_can_be_read_in_two_ways_is_refused() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let text = body("smuggled");
    for more in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x10\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
    ] {
        let mut client = collector.client();
        let answer = client.send_raw(format!("{}{text}", head(more)).as_bytes()).unwrap();
        findings.check(more, answer.status, 400);
        findings.holds(format!("{more:?} stays open"), client.is_closed());
    }
    for chunk in ["zz\r\n", "-1\r\n", "fffffffffffffffff\r\n", "5\r\nabcdefgh\r\n"] {
        let request = head("Transfer-Encoding: chunked\r\n") + chunk;
        let mut client = collector.client();
        let answer = client.send_raw(request.as_bytes()).unwrap();
        findings.check(chunk, answer.gist(), "400 body_broken_off");
        findings.holds(format!("{chunk:?} stays open"), client.is_closed());
    }
    // Both lengths at once: the chunks count, and nothing behind them on this connection.
    let both = chunked(&[&body("chunks")]).replace("Host:", "Content-Length: 5\r\nHost:");
    let mut client = collector.client();
    let answer = client.send_raw(format!("{both}{}", whole(&text)).as_bytes()).unwrap();
    findings.holds(format!("both lengths: {answer:?}"), matches!(answer.status, 200 | 400));
    findings.holds("both lengths: stays open", client.is_closed());
    collector.await_loaded();
    findings.check("events", collector.sql("SELECT countIf(type = 'smuggled') FROM weir.events"), "0");
    findings.report();
}

#[test]
fn a_client_that_is_still_sending_sees_why_it_was_refused() {
    let collector = Collector::start();
    let mut findings = Findings::default();
    let length = 20 * MEGABYTE;
    let megabyte = vec![b'x'; MEGABYTE];
    for (case, start, expected) in [
        ("a declared length", head(&format!("Content-Length: {length}\r\n")), "413 body_too_large"),
        ("chunks", head(&format!("Transfer-Encoding: chunked\r\n\r\n{length:x}")), "413 body_too_large"),
        (
            "a coding",
            head(&format!("Content-Encoding: x\r\nContent-Length: {length}\r\n")),
            "415 unsupported_encoding",
        ),
    ] {
        let mut client = collector.client();
        client.write(start.as_bytes()).unwrap();
        // All of it before a look at the answer, as Python's and PHP's clients do.
        for _ in 0..20 {
            client.write(&megabyte).unwrap();
        }
        let answer = client.read_answer().unwrap();
        findings.check(case, answer.gist(), expected);
        findings.check(case, answer.header("connection"), Some("close"));
        findings.holds(format!("{case}: stays open"), client.is_closed());
    }
    // One that waits for leave to send is refused at once.
    let mut client = collector.client();
    let asked = Instant::now();
    let request = head(&format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"));
    findings.check("asking first", client.send_raw(request.as_bytes()).unwrap().gist(), "413 body_too_large");
    findings.holds("it had to wait", asked.elapsed() < Duration::from_secs(1));
    findings.report();
}

#[test]
fn a_client_that_has_closed_its_half_gets_its_answer() {
    let collector = Collector::start();
    let body = r#"{"projectKey":"pk_live_demo","events":[{"type":"t","url":"/"}]}"#;
    let head = format!("POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = std::net::TcpStream::connect(collector.listen).unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"received":1}"#), "{answer}");
}
