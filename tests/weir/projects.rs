//! Projects made, changed and disabled while a collector runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::harness::{Client, Collector, Figures, Setup, eventually};

fn start() -> Collector {
    Setup::new().with(&["--project-refresh", "1s"]).start()
}

fn event(key: &str) -> String {
    format!(r#"{{"type":"a","visitorId":"v_1","projectKey":"{key}","url":"https://a.test/"}}"#)
}

#[track_caller]
fn status(collector: &Collector, key: &str) -> u16 {
    collector.post(event(key)).status
}

/// Waits for a change to be seen, which must take no longer than the contract says.
#[track_caller]
fn await_status(collector: &Collector, key: &str, expected: u16) {
    let begun = Instant::now();
    eventually(&format!("{expected} for {key}"), || (status(collector, key) == expected).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(10), "seen after {:?}", begun.elapsed());
}

#[test]
fn a_change_made_by_the_command_line_is_seen_by_a_running_collector() {
    let collector = start();
    let refused = collector.post(event("pk_live_shop"));
    assert_eq!((refused.status, refused.code().as_str()), (401, "unknown_project_key"));
    let made = collector.weir(&["project", "create", "shop", "--key", "pk_live_shop"]);
    assert_eq!(made, "pk_live_shop");
    await_status(&collector, "pk_live_shop", 200);
    let drawn = collector.weir(&["project", "create", "shop"]);
    assert!(drawn.starts_with("pk_live_") && drawn.len() > 24, "{drawn}");
    await_status(&collector, &drawn, 200);

    let list = collector.weir(&["project", "list"]);
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
    let shop: Vec<_> = lines.iter().filter(|line| line[1] == "shop").collect();
    assert_eq!(shop.len(), 2, "{list}");
    assert_eq!(shop[0][2], shop[1][2], "two keys of one project have one id: {list}");
    assert_eq!(&shop[0][3..], ["enabled", "any origin"], "{list}");

    collector.weir(&["project", "disable", "pk_live_shop"]);
    await_status(&collector, "pk_live_shop", 403);
    assert_eq!(collector.post(event("pk_live_shop")).code(), "project_disabled");
    assert_eq!(status(&collector, &drawn), 200, "the other key of the project");
    assert!(collector.weir(&["project", "list"]).contains("\tdisabled\t"));
}

#[test]
fn origins_are_held_to_the_list() {
    let collector = start();
    let origins = ["--origin", "https://shop.test", "--origin", "https://*.wild.test"];
    let arguments = ["project", "create", "shop", "--key", "pk_live_shop"];
    collector.weir(&[&arguments[..], &origins].concat());
    await_status(&collector, "pk_live_shop", 200);
    for (origin, expected) in [
        (None, 200),
        (Some("https://shop.test"), 200),
        (Some("https://a.wild.test"), 200),
        (Some("https://b.a.wild.test"), 200),
        (Some("https://wild.test"), 403),
        (Some("https://notwild.test"), 403),
        (Some("http://shop.test"), 403),
        (Some("https://shop.test:8443"), 403),
        (Some("https://shop.test.evil.test"), 403),
        (Some("null"), 403),
    ] {
        let headers: Vec<_> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
        let answer = collector.post_with(&headers, event("pk_live_shop"));
        assert_eq!(answer.status, expected, "{origin:?}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), origin, "{answer:?}");
        if expected == 403 {
            assert_eq!(answer.code(), "origin_not_allowed");
        }
        let anywhere = collector.post_with(&headers, event("pk_live_demo"));
        assert_eq!(anywhere.status, 200, "a project without a list: {origin:?}");
    }
}

#[test]
fn a_change_made_by_sql_is_seen_too() {
    let collector = start();
    assert_eq!(status(&collector, "pk_live_demo"), 200);
    let alter = |change: &str| {
        let settings = "SETTINGS mutations_sync = 1";
        collector.admin_sql(&format!(
            "ALTER TABLE weir.project_keys {change} WHERE key = 'pk_live_demo' {settings}"
        ));
    };
    alter("UPDATE enabled = false");
    await_status(&collector, "pk_live_demo", 403);
    alter("UPDATE enabled = true, allowed_origins = ['https://only.test']");
    await_status(&collector, "pk_live_demo", 200);
    let elsewhere = collector.post_with(&[("Origin", "https://else.test")], event("pk_live_demo"));
    assert_eq!(elsewhere.status, 403);
    alter("DELETE");
    await_status(&collector, "pk_live_demo", 401);
    collector.admin_sql(
        "INSERT INTO weir.project_keys (key, project_id, name, enabled) VALUES ('pk_live_demo', generateUUIDv4(), 'demo', true)",
    );
    await_status(&collector, "pk_live_demo", 200);
}

#[test]
fn a_flood_of_random_keys_costs_few_queries_and_harms_no_known_key() {
    const FLOODERS: usize = 48;
    const KEYS: usize = 25;
    let collector = start();
    assert_eq!(status(&collector, "pk_live_demo"), 200);
    let flooding = AtomicBool::new(true);
    let (known, answers) = std::thread::scope(|scope| {
        let known = scope.spawn(|| {
            let mut client = collector.client();
            let mut taken = 0;
            while flooding.load(Ordering::Relaxed) {
                let answer =
                    client.send("POST", "/api/events", &[], event("pk_live_demo").as_bytes()).unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
                taken += 1;
            }
            taken
        });
        let flood = || flood(collector.client(), KEYS);
        let flooders: Vec<_> = (0..FLOODERS).map(|_| scope.spawn(flood)).collect();
        let answers: Vec<u16> = flooders.into_iter().flat_map(|flooder| flooder.join().unwrap()).collect();
        flooding.store(false, Ordering::Relaxed);
        (known.join().unwrap(), answers)
    });
    assert!(known > 0);
    assert!(answers.iter().all(|status| [401, 503].contains(status)), "{answers:?}");
    let figures = Figures::parse(&collector.operations("/metrics").body);
    let misses = figures.count("weir_project_cache_total{outcome=\"miss\"}");
    let queries = figures.count("weir_project_queries_total");
    eprintln!(
        "{} keys of a flood, {misses} misses, {queries} queries; {known} of a known key",
        answers.len()
    );
    assert!(misses >= answers.len() as u64);
    assert!(queries < misses / 4, "{queries} queries for {misses} misses");
    // Told apart from a key that exists, as before.
    assert_eq!(status(&collector, &random_key()), 401);
}

fn random_key() -> String {
    format!("pk_live_{}", Uuid::new_v4().simple())
}

fn flood(mut client: Client, keys: usize) -> Vec<u16> {
    let send = |_| client.send("POST", "/api/events", &[], event(&random_key()).as_bytes()).unwrap().status;
    (0..keys).map(send).collect()
}
