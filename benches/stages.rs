//! What an event costs on its way from a body's bytes to the journal's buffer, without network and disk:
//! `cargo bench --package weir-benches`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uuid::Uuid;
use weir::enrich::{AddressMode, UserAgents, Visitor, enrich};
use weir::event::{PayloadLimits, Timestamp};
use weir::journal::Entry;
use weir::payload;
use weir::row::Table;

const PAGE: &str = r#"{"type":"pageview","visitorId":"v_abc123","projectKey":"pk_live_xyz","url":"https://example.com/pricing?utm_source=news&utm_medium=mail","referrer":"https://google.com/search?q=weir","data":{"plan":"pro","seats":12,"trial":false},"timestamp":"2026-11-22T13:00:00.123Z","userId":"lead_456","eventId":"0199d3a4-5b6c-7def-8123-456789abcdef"}"#;

const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";

/// A server's batch of this many events.
fn batch(events: usize) -> String {
    let event = r#"{"type":"click","url":"/pricing","data":{"elementId":"plan-pro","position":3},"timestamp":"2026-11-22T13:00:00Z","visitorId":"v_abc123"}"#;
    let events = vec![event; events].join(",");
    format!(r#"{{"projectKey":"pk_live_xyz","userId":"lead_456","events":[{events}]}}"#)
}

fn intake(criterion: &mut Criterion) {
    let limits = PayloadLimits::default();
    let agents = UserAgents::new(1_000).expect("the patterns that come with us are sound");
    let received_at = Timestamp::from_millis(1_795_000_000_000);
    let client = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));
    let mut entry = Entry::new();
    let mut group = criterion.benchmark_group("intake");
    for (name, body, events) in [("page", PAGE.to_owned(), 1), ("batch of 100", batch(100), 100)] {
        group.throughput(Throughput::Elements(events));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let decoded = payload::decode(black_box(body.as_bytes()), &limits).expect("a sound body");
                let visitor = Visitor::new(client, AddressMode::Truncated, CHROME, &agents);
                entry.clear();
                entry.record(Table::Events, received_at, |rows| {
                    for event in &decoded.events {
                        let row =
                            enrich(event, Uuid::nil(), decoded.source, Some(&visitor), None, received_at);
                        row.encode(rows);
                    }
                    u32::try_from(decoded.events.len()).unwrap_or(u32::MAX)
                });
                black_box(entry.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, intake);
criterion_main!(benches);
