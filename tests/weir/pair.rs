//! Two collectors on one ClickHouse, and a network between them and it that fails in every way.

use std::time::Duration;

use crate::harness::{
    Collector, Figures, Load, Proxy, Random, Setup, assert_exactly_once, eventually, kills,
};

fn let_pass(random: &mut Random, longest_ms: u64) {
    std::thread::sleep(Duration::from_millis(random.below(longest_ms)));
}

#[test]
fn two_collectors_killed_in_turns_lose_and_repeat_nothing() {
    let mut random = Random::seeded("kills of two collectors in turns");
    let [to_first, to_second, to_both] = [2, 2, 2].map(|clients| Load::start(clients, &mut random));
    // The engine belongs to the first, and dies with it.
    let mut first = Collector::start();
    let port = first.engine_port();
    let mut second = Setup::new().without_demo().on_server(first.setup(), port).start();
    to_first.aim(&first);
    to_second.aim(&second);
    for round in 0..kills(6) {
        let_pass(&mut random, 1_500);
        if round % 2 == 0 {
            // Whoever sends to both goes on with the other one, with what it was not promised yet too.
            to_both.aim(&second);
            let_pass(&mut random, 300);
            to_first.hold();
            let setup = first.kill();
            let_pass(&mut random, 800);
            first = setup.start();
            to_first.aim(&first);
        } else {
            to_both.aim(&first);
            let_pass(&mut random, 300);
            to_second.hold();
            second = second.kill().start();
            to_second.aim(&second);
        }
    }
    let sent: Vec<_> = [to_first, to_second, to_both].into_iter().flat_map(Load::finish).collect();
    second.await_loaded();
    first.await_loaded();
    assert_exactly_once(&first, &sent);
}

/// Runs a load through a proxy that does this, and counts.
#[track_caller]
fn assert_once_through(name: &str, breaks: impl FnOnce(&Proxy)) {
    let server = Collector::start();
    let proxy = Proxy::start(server.engine_port());
    let collector = Setup::new().without_demo().on_server(server.setup(), proxy.port()).start();
    let mut random = Random::seeded(name);
    let load = Load::start(2, &mut random);
    load.aim(&collector);
    breaks(&proxy);
    let sent = load.finish();
    assert!(sent.iter().all(|sent| sent.acknowledged && sent.lives == 1), "a client was not served");
    collector.await_loaded();
    assert_exactly_once(&server, &sent);
    // Each of them was sent to one collector in one life: there is no copy to be merged.
    let rows = server.sql("SELECT count(), uniqExact(event_id) FROM weir.events");
    assert_eq!(rows, format!("{0}\t{0}", sent.len()));
    let figures = Figures::parse(&collector.operations("/metrics").body);
    assert_eq!(figures.count("weir_rows_total{outcome=\"refused\"}"), 0);
    assert_eq!(figures.count("weir_journal_parked"), 0);
    eventually("ready", || (collector.operations("/readyz").json()["status"] == "ready").then_some(()));
}

#[test]
fn a_proxy_that_answers_500_for_a_while_parks_and_repeats_nothing() {
    assert_once_through("answers of 500", |proxy| {
        for round in 1..=2 {
            proxy.refuse_inserts(4);
            eventually("refused inserts", || (proxy.refused() == 4 * round).then_some(()));
        }
    });
}

#[test]
fn inserts_that_are_cut_off_in_the_middle_repeat_nothing() {
    assert_once_through("cut connections", |proxy| {
        for round in 1..=3 {
            proxy.cut_inserts(round);
            let cuts: usize = (1..=round).sum();
            eventually("inserts cut off", || (proxy.cuts() == cuts).then_some(()));
        }
    });
}

#[test]
fn a_slow_network_that_loses_answers_repeats_nothing() {
    assert_once_through("a slow network", |proxy| {
        proxy.slow_down(400);
        proxy.lose_answers(2);
        proxy.cut_inserts(2);
        eventually("lost answers", || (proxy.lost() == 2 && proxy.cuts() == 2).then_some(()));
        proxy.slow_down(0);
    });
}
