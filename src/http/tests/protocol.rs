//! Routes, CORS, keep-alive, panics.

use super::*;

#[test]
fn a_connection_carries_one_request_after_another() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    for body in ["", "one", "and another"] {
        client.send(post(body));
        let reply = client.reply();
        assert_eq!((reply.status, reply.body), (200, format!(r#"{{"read":{}}}"#, body.len())));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client.send(post("1") + &post("22") + &head("GET", "/", &[]) + &post("4444"));
    let replies: Vec<_> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies.iter().map(|reply| reply.status).collect::<Vec<_>>(), [200, 200, 404, 200]);
    assert_eq!(replies[3].body, r#"{"read":4}"#);
}

#[test]
fn a_chunked_body_is_read_whole() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client.send(head("POST", "/api/events", &["Transfer-Encoding: chunked"]));
    client.send("3\r\nabc\r\n");
    client.send("a\r\n0123456789\r\n0\r\nTrailer: passed over\r\n\r\n");
    assert_eq!(client.reply().body, r#"{"read":13}"#);
    client.send(post("the connection goes on"));
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_damaged_chunk_is_400() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client
        .send(head("POST", "/api/events", &["Transfer-Encoding: chunked"]) + "3\r\nabc\r\nnot a length\r\n");
    let reply = client.reply();
    assert_eq!((reply.status, reply.code().as_str()), (400, "body_broken_off"));
    reply.assert_readable_by_a_page();
    assert!(reply.closes() && client.is_closed());
}

#[test]
fn routes_are_matched_by_path_and_method() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    let cases = [
        ("POST", "/api/events", 200, None, ""),
        ("POST", "/api/events?source=beacon", 200, None, ""),
        ("POST", "/api/events/", 404, None, "not_found"),
        ("POST", "/", 404, None, "not_found"),
        ("GET", "/favicon.ico", 404, None, "not_found"),
        ("GET", "/api/events", 405, Some("POST"), "method_not_allowed"),
        ("DELETE", "/api/events", 405, Some("POST"), "method_not_allowed"),
        ("HEAD", "/api/events", 405, Some("POST"), ""),
    ];
    for (method, target, status, allow, code) in cases {
        client.send(head(method, target, &[]));
        let reply = client.reply_to(method);
        assert_eq!(reply.status, status, "{method} {target}");
        assert_eq!(reply.headers.get("allow").map(String::as_str), allow, "{method} {target}");
        reply.assert_readable_by_a_page();
        if !code.is_empty() {
            assert_eq!(reply.code(), code, "{method} {target}");
        }
    }
}

#[test]
fn a_preflight_as_chromium_sends_it_is_granted_for_a_day() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    let asked = ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"];
    for target in ["/api/events", "/no/such/path"] {
        client.send(head("OPTIONS", target, &asked));
        let reply = client.reply();
        assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{target}");
        assert_eq!(reply.headers["access-control-allow-origin"], "https://shop.example");
        assert_eq!(reply.headers["access-control-allow-credentials"], "true");
        assert_eq!(reply.headers["access-control-allow-headers"], "content-type");
        assert!(reply.headers["access-control-allow-methods"].contains("POST"));
        assert_eq!(reply.headers["access-control-max-age"], "86400");
    }
}

#[test]
fn origins_are_echoed_null_too_and_absent_ones_are_not_invented() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    for (origin, echoed) in [("Origin: null\r\n", Some("null")), ("", None)] {
        for (method, status) in [("POST", 200), ("OPTIONS", 200), ("GET", 405)] {
            client.send(format!("{method} /api/events HTTP/1.1\r\nHost: localhost\r\n{origin}\r\n"));
            let reply = client.reply();
            assert_eq!(reply.status, status, "{method} {origin}");
            let allowed = reply.headers.get("access-control-allow-origin").map(String::as_str);
            assert_eq!(allowed, echoed, "{method} {origin}");
            assert!(reply.headers["vary"].contains("origin"), "{method} {origin}");
        }
    }
}

#[test]
fn a_panic_is_500_and_the_collector_goes_on() {
    let server = Server::start(|_| {});
    let mut client = server.connect();
    client.send(head("POST", "/api/events?panic", &[]));
    let reply = client.reply();
    assert_eq!((reply.status, reply.code().as_str()), (500, "internal"));
    assert!(!reply.body.contains("as the test asked for"), "the cause is not for clients");
    reply.assert_readable_by_a_page();
    client.send(post("on the same connection"));
    assert_eq!(client.reply().status, 200);
    let mut another = server.connect();
    another.send(post("on another one"));
    assert_eq!(another.reply().status, 200);
}

#[test]
fn every_thread_serves_the_same_port() {
    let server = Server::start(|settings| settings.threads = 3);
    let mut clients: Vec<_> = (0..24).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(post("x"));
    }
    for client in &mut clients {
        assert_eq!(client.reply().status, 200);
    }
}

#[test]
fn a_port_that_another_collector_listens_on_is_taken() {
    let server = Server::start(|_| {});
    let settings = ListenerSettings { address: server.address, ..ListenerSettings::default() };
    let error = Listener::bind(settings).err().expect("the port is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}
