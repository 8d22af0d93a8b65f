//! How long each stage of an event's way takes, and the whole of it up to the journal's buffer:
//! `cargo bench --package weir-benches`. Where only two versions of the same code are compared, `make counts` is the
//! better witness: it counts instructions, which no neighbour on the machine changes.
//!
//! Decoding includes the checks of an event's fields, which follow on each field and have no life apart from it.
//! Compressing a segment for ClickHouse is not reachable from outside, and not here.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Builder;
use uuid::Uuid;
use weir::journal::{Directory, DiskDirectory};
use weir::payload::inflate::ContentEncodings;
use weir_benches::bodies::{PAGE, PROJECT_KEY, batch, batch_with_ids, full_page, gzip};
use weir_benches::intake::{Intake, folder, journal, segment_rows};
use weir_benches::memory::Memory;

/// Each body with how many events it holds.
fn bodies() -> [(&'static str, String, u64); 4] {
    [
        ("a page", PAGE.to_owned(), 1),
        ("a page with id", full_page(1), 1),
        ("a batch", batch(100), 100),
        ("a batch with ids", batch_with_ids(100, 1), 100),
    ]
}

fn inflate(criterion: &mut Criterion) {
    let gzipped = gzip(&batch(100));
    let encodings = ContentEncodings::parse([b"gzip".as_slice()]).expect("gzip is known");
    criterion.bench_function("inflate/a batch", |bencher| {
        bencher.iter(|| encodings.inflate(black_box(&gzipped), 1 << 20).expect("a sound body").len());
    });
}

fn decode(criterion: &mut Criterion) {
    let intake = Intake::new();
    let mut group = criterion.benchmark_group("decode");
    for (name, body, events) in bodies() {
        group.throughput(Throughput::Elements(events));
        group.bench_function(name, |bencher| {
            bencher.iter(|| drop(black_box(intake.decode(black_box(body.as_bytes())))));
        });
    }
}

fn lookups(criterion: &mut Criterion) {
    let intake = Intake::new();
    criterion.bench_function("project of a known key", |bencher| {
        bencher.iter(|| intake.project(black_box(PROJECT_KEY)));
    });
    criterion.bench_function("visitor of a known browser", |bencher| {
        bencher.iter(|| drop(black_box(intake.visitor())));
    });
}

fn rows(criterion: &mut Criterion) {
    let intake = Intake::new();
    let visitor = intake.visitor();
    let mut rows = Vec::new();
    let mut group = criterion.benchmark_group("rows");
    for (name, body, events) in bodies() {
        let decoded = intake.decode(body.as_bytes());
        group.throughput(Throughput::Elements(events));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                rows.clear();
                intake.rows(black_box(&decoded), Uuid::nil(), Some(&visitor), &mut rows);
                rows.len()
            });
        });
    }
}

/// From the body to the record that the journal takes. Ids are reserved, and set free again.
fn whole_path(criterion: &mut Criterion) {
    let mut intake = Intake::new();
    let mut group = criterion.benchmark_group("whole path");
    for (name, body, events) in bodies() {
        group.throughput(Throughput::Elements(events));
        group.bench_function(name, |bencher| {
            bencher.iter(|| intake.record(black_box(body.as_bytes())).0.len());
        });
    }
}

/// Pages handed over together, until all of them are durable: one alone, and as many as share a sync under load.
fn append(criterion: &mut Criterion) {
    append_to(criterion, "append without sync", Memory::new(false));
    let path = folder().join("journal");
    let disk = DiskDirectory::open(&path).expect("a folder under target/");
    append_to(criterion, "append with sync", disk);
    // Some hundred megabytes.
    std::fs::remove_dir_all(&path).expect("a folder of ours");
}

fn append_to(criterion: &mut Criterion, name: &str, directory: impl Directory) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let mut intake = Intake::new();
    let (entry, _) = intake.record(PAGE.as_bytes());
    let journal = journal(directory);
    let mut group = criterion.benchmark_group(name);
    for (together, requests) in [("a page", 1), ("64 pages", 64)] {
        group.throughput(Throughput::Elements(requests));
        group.bench_function(together, |bencher| {
            bencher.iter(|| {
                let appending: Vec<_> = (0..requests).map(|_| journal.append(entry)).collect();
                for appending in appending {
                    runtime.block_on(appending).expect("a journal that takes everything");
                }
            });
        });
    }
    journal.close();
}

/// A sealed segment's records, read back and checked as the loader does it.
fn segment(criterion: &mut Criterion) {
    let mut intake = Intake::new();
    let journal = journal(Memory::new(true));
    for _ in 0..500 {
        let taken = intake.append(PAGE.as_bytes(), &journal);
        intake.finish([taken]);
    }
    journal.close();
    let mut group = criterion.benchmark_group("read a segment");
    group.throughput(Throughput::Elements(500));
    group.bench_function("500 pages", |bencher| bencher.iter(|| segment_rows(&journal)));
}

criterion_group! {
    name = benches;
    // Short: what is looked for is a stage that takes half as long again, not the last percent.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .without_plots();
    targets = inflate, decode, lookups, rows, whole_path, append, segment
}
criterion_main!(benches);
