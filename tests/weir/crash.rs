//! Kills at random moments, under load: nothing that was acknowledged is lost, nothing is there twice. `make soak` has
//! ten times as many of them. The crash matrix (`matrix.rs`) has the moments that chance seldom finds.

use std::time::Duration;

use crate::harness::{
    Collector, Load, Random, Setup, assert_exactly_once, eventually, kills, signal_process,
};

const CLIENTS: usize = 4;

/// Lets the load go on for a while: anything from the first request to several segments.
fn let_pass(random: &mut Random, longest_ms: u64) {
    std::thread::sleep(Duration::from_millis(random.below(longest_ms)));
}

/// Kills the engine, if it runs at the moment.
fn kill_engine(collector: &Collector) -> bool {
    let pid = collector.engine_pid();
    pid.inspect(|pid| signal_process(*pid, "KILL")).is_some()
}

#[track_caller]
fn finish(load: Load, collector: &Collector) {
    let sent = load.finish();
    collector.await_loaded();
    assert_exactly_once(collector, &sent);
}

#[test]
fn a_collector_that_dies_all_the_time_beside_a_server_loses_and_repeats_nothing() {
    let mut random = Random::seeded("kills beside a server");
    let server = Collector::start();
    let load = Load::start(CLIENTS, &mut random);
    let mut setup = Setup::new().without_demo().on_server(server.setup(), server.engine_port());
    for _ in 0..kills(20) {
        let collector = setup.start();
        load.aim(&collector);
        // Up to two segments, the first one on its way.
        let_pass(&mut random, 1_500);
        load.hold();
        setup = collector.kill();
    }
    let collector = setup.start();
    load.aim(&collector);
    let sent = load.finish();
    collector.await_loaded();
    assert_exactly_once(&server, &sent);
}

#[test]
fn a_collector_that_is_killed_again_and_again_loses_and_repeats_nothing() {
    let mut random = Random::seeded("kills of the collector");
    let load = Load::start(CLIENTS, &mut random);
    let mut setup = Setup::new();
    for _ in 0..kills(4) {
        let collector = setup.start();
        load.aim(&collector);
        let_pass(&mut random, 2_500);
        load.hold();
        setup = collector.kill();
        // And once more while it is still finding out what is left.
        if random.below(2) == 0 {
            let starting = setup.spawn();
            let_pass(&mut random, 1_000);
            setup = starting.kill();
        }
    }
    let collector = setup.start();
    load.aim(&collector);
    finish(load, &collector);
}

#[test]
fn an_engine_that_is_killed_comes_back_and_has_everything_once() {
    let mut random = Random::seeded("kills of the engine");
    let load = Load::start(CLIENTS, &mut random);
    let collector = Collector::start();
    load.aim(&collector);
    for _ in 0..kills(5) {
        let_pass(&mut random, 2_000);
        let before = eventually("a running engine", || collector.engine_pid());
        signal_process(before, "KILL");
        eventually("another engine", || collector.engine_pid().filter(|pid| *pid != before));
        eventually("an engine that answers", || collector.try_sql("SELECT 1").ok());
    }
    let sent = load.finish();
    // The collector lived through all of it: plainly counted, there is no copy.
    assert!(sent.iter().all(|sent| sent.lives <= 1));
    collector.await_loaded();
    assert_exactly_once(&collector, &sent);
}

#[test]
fn both_killed_together_lose_and_repeat_nothing() {
    let mut random = Random::seeded("kills of both");
    let load = Load::start(CLIENTS, &mut random);
    let mut setup = Setup::new();
    let mut engines = 0;
    for _ in 0..kills(4) {
        let collector = setup.start();
        load.aim(&collector);
        let_pass(&mut random, 2_000);
        engines += usize::from(kill_engine(&collector));
        // The engine may be on its way back by now.
        let_pass(&mut random, 600);
        load.hold();
        setup = collector.kill();
    }
    assert!(engines > 0, "no engine was found to kill");
    let collector = setup.start();
    load.aim(&collector);
    finish(load, &collector);
}
