//! The end of a listener.

use super::*;

#[test]
fn a_request_in_flight_is_answered_and_a_resting_connection_closed() {
    let mut server = Server::start(|settings| settings.drain_timeout = PATIENCE);
    let mut resting = server.connect();
    resting.send(post("x"));
    assert_eq!(resting.reply().status, 200);
    let mut busy = server.connect();
    busy.send(head("POST", "/api/events?wait", &[]));
    server.entered.recv_timeout(PATIENCE).unwrap();

    server.stop.send_replace(true);
    assert!(resting.is_closed());
    let late = TcpStream::connect(server.address).expect_err("nobody listens any more");
    assert_eq!(late.kind(), ErrorKind::ConnectionRefused);

    server.gate.send_replace(true);
    let reply = busy.reply();
    assert_eq!(reply.status, 200);
    assert!(reply.closes() && busy.is_closed());
    server.join().unwrap();
}

#[test]
fn a_request_that_outlasts_the_drain_is_cut_off() {
    let mut server = Server::start(|settings| settings.threads = 2);
    let mut busy = server.connect();
    busy.send(head("POST", "/api/events?wait", &[]));
    server.entered.recv_timeout(PATIENCE).unwrap();
    server.stop.send_replace(true);
    server.join().unwrap();
    assert!(busy.is_closed());
}

#[test]
fn a_listener_at_its_cap_can_be_shut_down() {
    let mut server = Server::start(|settings| settings.max_connections = 1);
    let mut inside = server.connect();
    inside.send(post("x"));
    assert_eq!(inside.reply().status, 200);
    let _outside = server.connect();
    server.stop.send_replace(true);
    assert!(inside.is_closed());
    server.join().unwrap();
}
