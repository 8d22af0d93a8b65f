//! Refusals that are ready while the client is still sending: it must see the answer, not a reset.

use super::*;

const MEGABYTE: usize = 1_000_000;

#[test]
fn a_declared_length_over_the_cap_is_refused_before_the_body_comes() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client.send(head("POST", "/api/events", &["Content-Length: 65537"]));
    let reply = client.reply();
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));
    assert!(reply.body.contains("65536"), "the limit is named: {}", reply.body);
    assert!(reply.closes());
    reply.assert_readable_by_a_page();
}

#[test]
fn a_body_at_the_cap_is_accepted() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client.send(post(&"x".repeat(BODY_LIMIT)));
    assert_eq!(client.reply().body, format!(r#"{{"read":{BODY_LIMIT}}}"#));
}

/// As Python's `http.client` does: everything is sent before anything is read.
#[test]
fn a_client_that_sends_50_megabytes_first_sees_the_refusal_afterwards() {
    let server = Server::start(|_| {});
    for (target, status) in [("/api/events", 413), ("/api/events?refuse", 415), ("/nowhere", 404)] {
        let mut client = server.connect();
        client.send(head("POST", target, &[&format!("Content-Length: {}", 50 * MEGABYTE)]));
        let piece = vec![b'x'; MEGABYTE];
        for _ in 0..50 {
            client.send(&piece);
        }
        let reply = client.reply();
        assert_eq!(reply.status, status);
        assert!(reply.closes() && client.is_closed());
        reply.assert_readable_by_a_page();
    }
}

#[test]
fn a_chunked_body_is_refused_when_it_exceeds_the_cap() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client.send(head("POST", "/api/events", &["Transfer-Encoding: chunked"]));
    let chunk = format!("{:x}\r\n{}\r\n", 10_000, "x".repeat(10_000));
    for _ in 0..2_000 {
        client.send(&chunk);
    }
    let reply = client.reply();
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));
    assert!(reply.closes() && client.is_closed());
    reply.assert_readable_by_a_page();
}

#[test]
fn a_panic_before_the_body_was_read_is_seen_as_well() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client.send(head("POST", "/api/events?panic", &[&format!("Content-Length: {}", 8 * MEGABYTE)]));
    client.send(vec![b'x'; 8 * MEGABYTE]);
    let reply = client.reply();
    assert_eq!(reply.status, 500);
    assert!(reply.closes() && client.is_closed());
}

#[test]
fn a_client_that_asks_first_is_told_to_continue_or_refused_at_once() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client.send(head("POST", "/api/events", &["Content-Length: 5", "Expect: 100-continue"]));
    assert_eq!(client.reply().status, 100);
    client.send("hello");
    assert_eq!(client.reply().body, r#"{"read":5}"#);

    client.send(head("POST", "/api/events", &["Content-Length: 99999", "Expect: 100-continue"]));
    let reply = client.reply();
    assert_eq!(reply.status, 413, "the first status is the last");
    assert!(reply.closes());
}

#[test]
fn a_refused_client_cannot_go_on_sending() {
    let bytes = |settings: &mut ListenerSettings| {
        (settings.linger_bytes, settings.linger_timeout) = (MEGABYTE, 10 * PATIENCE);
    };
    let time = |settings: &mut ListenerSettings| {
        (settings.linger_bytes, settings.linger_timeout) = (usize::MAX, SHORT);
    };
    for server in [Server::start(bytes), Server::start(time)] {
        let mut client = server.connect();
        client.send(head("POST", "/api/events", &["Content-Length: 999999999999"]));
        let started = std::time::Instant::now();
        while client.try_send([b'x'; 1_000]).is_ok() {
            assert!(started.elapsed() < PATIENCE, "the collector goes on reading");
        }
    }
}

#[test]
fn what_is_no_http_is_400_and_a_head_over_its_limit_431() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client.send("this is not HTTP\r\n\r\n");
    assert_eq!(client.reply().status, 400);
    assert!(client.is_closed());

    let mut client = server.connect();
    client.send(head("POST", "/api/events", &[&format!("X-Large: {}", "x".repeat(5 * MEGABYTE))]));
    assert_eq!(client.reply().status, 431);
    assert!(client.is_closed());
}
