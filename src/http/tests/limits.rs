//! What a slow client, or too many of them, can hold open.

use super::*;

#[test]
fn a_head_that_comes_too_slowly_is_408() {
    let server = Server::start(|settings| settings.header_timeout = SHORT);
    let cases: [(&str, Option<&str>); 3] = [
        ("", None),
        ("POST /api/events HTTP/1.1\r\nHost: local", None),
        (
            "POST /api/events HTTP/1.1\r\nOrigin: https://shop.example\r\nX-Half: ",
            Some("https://shop.example"),
        ),
    ];
    for (begun, origin) in cases {
        let mut client = server.connect();
        client.send(begun);
        let reply = client.reply();
        assert_eq!((reply.status, reply.code().as_str()), (408, "headers_too_slow"), "{begun:?}");
        assert!(reply.closes() && client.is_closed(), "{begun:?}");
        assert!(reply.headers["vary"].contains("origin"), "{begun:?}");
        assert!(reply.headers["date"].ends_with(" GMT"), "{begun:?}");
        if origin.is_some() {
            reply.assert_readable_by_a_page();
        }
    }
}

#[test]
fn a_backend_is_told_so_in_its_own_words() {
    let server = Server::start(|settings| settings.header_timeout = SHORT);
    let mut client = server.connect();
    client.send("POST /api/v1/events HTTP/1.1\r\nX-Half: ");
    let reply = client.reply();
    assert_eq!((reply.status, reply.closes()), (408, true));
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("did not arrive within"), "{detail}");
    assert_eq!(body.as_object().unwrap().len(), 1);
}

#[test]
fn a_head_that_trickles_in_has_no_more_time_than_another() {
    let server = Server::start(|settings| settings.header_timeout = SHORT);
    let mut client = server.connect();
    client.send(post("the first request takes no time"));
    assert_eq!(client.reply().status, 200);
    client.send("POST /api/events HTTP/1.1\r\nOrigin: https://shop.example\r\nX-Slow: ");
    trickle(&mut client);
    let reply = client.reply();
    assert_eq!(reply.status, 408);
    reply.assert_readable_by_a_page();
}

#[test]
fn a_body_that_comes_too_slowly_is_408() {
    let server = Server::start(|settings| settings.body_timeout = SHORT);
    let length = ["Content-Length: 1000"];
    let mut stalling = server.connect();
    stalling.send(head("POST", "/api/events", &length) + "x");
    let mut trickling = server.connect();
    trickling.send(head("POST", "/api/events", &length));
    trickle(&mut trickling);
    for mut client in [stalling, trickling] {
        let reply = client.reply();
        assert_eq!((reply.status, reply.code().as_str()), (408, "body_too_slow"));
        assert!(reply.closes());
        reply.assert_readable_by_a_page();
    }
}

/// Sends a byte now and then until the server answers.
fn trickle(client: &mut Client) {
    for _ in 0..500 {
        if client.hears_within(Duration::from_millis(20)) {
            return;
        }
        let _ = client.try_send("x");
    }
    panic!("the server goes on listening");
}

#[test]
fn a_resting_connection_is_closed_in_silence() {
    let server = Server::start(|settings| settings.idle_timeout = SHORT);
    let mut client = server.connect();
    client.send(post("x"));
    assert_eq!(client.reply().status, 200);
    assert!(client.is_closed());
}

#[test]
fn a_connection_may_rest_longer_than_a_head_may_take() {
    let server = Server::start(|settings| settings.header_timeout = SHORT);
    let mut client = server.connect();
    client.send(post("x"));
    assert_eq!(client.reply().status, 200);
    assert!(!client.hears_within(3 * SHORT));
    client.send(post("x"));
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_request_being_answered_has_no_deadline_of_its_client() {
    let server = Server::start(|settings| {
        settings.header_timeout = SHORT;
        settings.idle_timeout = SHORT;
    });
    let mut client = server.connect();
    client.send(head("POST", "/api/events?wait", &[]));
    server.entered.recv_timeout(PATIENCE).unwrap();
    assert!(!client.hears_within(3 * SHORT));
    server.gate.send_replace(true);
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_connection_over_the_cap_waits_for_a_free_place() {
    let server = Server::start(|settings| settings.max_connections = 2);
    let mut inside = [server.connect(), server.connect()];
    for client in &mut inside {
        client.send(post("x"));
        assert_eq!(client.reply().status, 200);
    }
    let mut outside = server.connect();
    outside.send(post("x"));
    assert!(!outside.hears_within(SHORT), "the cap does not hold");
    drop(inside);
    assert_eq!(outside.reply().status, 200);
}

#[test]
fn a_client_that_does_not_read_its_answer_gives_its_place_up() {
    let server = Server::start(|settings| {
        settings.max_connections = 1;
        settings.idle_timeout = SHORT;
    });
    let mut deaf = server.connect();
    deaf.send(head("POST", "/api/events?large", &[]));
    let mut next = server.connect();
    next.send(post("x"));
    assert_eq!(next.reply().status, 200);
}
