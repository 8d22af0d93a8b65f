//! Starts that cannot be: what the process says, and how it ends.

use std::net::TcpListener;

use crate::harness::{Collector, Setup, eventually, free_port};

#[test]
fn a_bad_setting_ends_with_64_and_names_the_setting() {
    for (arguments, named) in [
        (&["--listen", "nowhere"][..], "--listen"),
        (&["--max-body", "0"], "--max-body"),
        (&["--max-event", "6MiB"], "--max-event"),
        (&["--segment-age", "0s"], "--segment-age"),
        (&["--segment-age", "1"], "--segment-age"),
        (&["--journal-max", "1KiB"], "--journal-max"),
        (&["--api-key-grace", "7s"], "--api-key-grace"),
        (&["--journal-waiting", "1MiB"], "--journal-waiting"),
        (&["--threads", "0"], "--threads"),
        (&["--clickhouse-url", "ftp://a.test"], "--clickhouse-url"),
        (&["--clickhouse-url", "http://"], "--clickhouse-url"),
        (&["--clickhouse-url", "http://user:secret@a.test"], "--clickhouse-url"),
        (&["--clickhouse-database", "a b"], "--clickhouse-database"),
        (&["--trusted-proxies", "10.0.0.0/40"], "--trusted-proxies"),
        (&["--client-address", "none-at-all"], "--client-address"),
        (&["--log-format", "xml"], "--log-format"),
        (&["--log", "weir=loud"], "--log"),
        (&["--log", "loud"], "--log"),
        (&["--engine-lib", "/nonexistent/libchdb.so"], "/nonexistent/libchdb.so"),
        (&["--script-path", "weir.js"], "--script-path"),
        (&["--script-path", "/weir.js?v=1"], "--script-path"),
        (&["--script-path", "/api/weir.js"], "--script-path"),
        (&["--events-path", "/weir.js"], "--events-path"),
        (&["--events-path", "/api/v1/events"], "--events-path"),
        (&["--events-path", "/"], "--events-path"),
        (&["--lissten", "127.0.0.1:0"], "--lissten"),
    ] {
        let (code, said) = Setup::new().with(arguments).spawn().await_end();
        assert_eq!(code, Some(64), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
    }
    for (name, value, flag) in [
        ("WEIR_ENGINE_PORT", "99999", "--engine-port"),
        ("WEIR_DEGRADED_AFTER", "soon", "--degraded-after"),
        ("WEIR_ENGINE_LIB", "/nonexistent/libchdb.so", "WEIR_ENGINE_LIB"),
        ("WEIR_CLICKHOUSE_URL", "clickhouse:8123", "WEIR_CLICKHOUSE_URL"),
    ] {
        let setup = Setup::new().without_port().env(name, value);
        let (code, said) = setup.spawn().await_end();
        assert_eq!(code, Some(64), "{name}={value}: {said}");
        assert!(said.contains(flag), "{name}={value}: {said}");
    }
}

/// The one line that a start ended with.
#[track_caller]
fn sentence(setup: Setup) -> String {
    let (code, said) = setup.spawn().await_end();
    assert_eq!(code, Some(1), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("weir: ")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    lines[0].to_owned()
}

#[test]
fn a_second_collector_on_one_folder_is_told_so() {
    let first = Collector::start();
    let said = sentence(first.setup().clone());
    assert!(said.contains("in use by another collector") && said.contains("--data-dir"), "{said}");
    assert_eq!(first.operations("/readyz").json()["status"], "ready");
}

#[test]
fn a_busy_port_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = holder.local_addr().unwrap().to_string();
    for flag in ["--listen", "--ops-listen"] {
        let said = sentence(Setup::new().with(&[flag, &busy]));
        assert!(said.contains(flag) && said.contains(&busy), "{said}");
    }
    let port = holder.local_addr().unwrap().port();
    let said = sentence(Setup::new().without_port().env("WEIR_ENGINE_PORT", &port.to_string()));
    assert!(said.contains("--engine-port") && said.contains(&port.to_string()), "{said}");
}

#[test]
fn a_demo_without_clickhouse_says_why_it_cannot_be() {
    let dead = format!("http://127.0.0.1:{}", free_port());
    let said = sentence(Setup::new().env("WEIR_CLICKHOUSE_URL", &dead));
    assert!(said.contains("demo project") && said.contains("cannot be reached"), "{said}");
}

#[test]
fn a_stop_while_starting_is_done_at_once() {
    let starting = Setup::new().spawn();
    // Signals are heard before anything is opened.
    eventually("a start", || starting.setup().data_dir().join("engine/access").exists().then_some(()));
    starting.signal("TERM");
    let (code, said) = starting.await_end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopped"), "{said}");
}
