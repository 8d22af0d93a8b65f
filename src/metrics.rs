//! The figures a collector shows on `/metrics`: every name, its labels and its meaning stand here and nowhere
//! else. Labels are static words, or names of integrations, so their number is bounded by this file and `weir.toml`.
//!
//! Handles are registered once: a counter then costs one atomic addition, where looking a name up costs a hash of
//! it and its labels at each call.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds; from a memory hit to the longest insert that is waited for.
const DURATION_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

/// Installs the process's recorder. Call it once, before anything is counted; the handle renders `/metrics`.
///
/// # Errors
/// When the process has a recorder already.
pub fn install() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), DURATION_BUCKETS)?
        .install_recorder()
}

/// The process's figures.
pub fn figures() -> &'static Figures {
    static FIGURES: LazyLock<Figures> = LazyLock::new(Figures::register);
    &FIGURES
}

/// Counts an event that was refused, or a body refused as a whole, by the code of its refusal. Not on the way of an
/// event that is taken: the name and the code are looked up.
pub fn count_rejected(code: &'static str) {
    figures().events_rejected.increment(1);
    metrics::counter!(REJECTIONS, "reason" => code).increment(1);
}

/// Counts conversions of an integration, by what became of them.
pub fn count_conversions(integration: &str, outcome: &'static str, conversions: u64) {
    metrics::counter!(CONVERSIONS, "integration" => integration.to_owned(), "outcome" => outcome)
        .increment(conversions);
}

/// Notes how long an integration's platform took for an answer.
pub fn record_platform_seconds(integration: &str, latency: Duration) {
    metrics::histogram!(PLATFORM_SECONDS, "integration" => integration.to_owned()).record(latency);
}

/// Shows how many conversions of an integration wait, and how many are dead letters, and whether it is paused.
pub fn show_integration(integration: &str, waiting: u64, dead: u64, paused: bool) {
    let gauge = |name, value: f64| metrics::gauge!(name, "integration" => integration.to_owned()).set(value);
    #[allow(clippy::cast_precision_loss, reason = "a gauge of conversions")]
    let counted = [(CONVERSIONS_WAITING, waiting as f64), (CONVERSIONS_DEAD, dead as f64)];
    for (name, value) in counted {
        gauge(name, value);
    }
    gauge(INTEGRATION_PAUSED, f64::from(u8::from(paused)));
}

const CONVERSIONS: &str = "weir_conversions_total";
const PLATFORM_SECONDS: &str = "weir_platform_seconds";
const CONVERSIONS_WAITING: &str = "weir_conversions_waiting";
const CONVERSIONS_DEAD: &str = "weir_conversions_dead";
const INTEGRATION_PAUSED: &str = "weir_integration_paused";
const REJECTIONS: &str = "weir_rejections_total";

/// A handle for each figure.
#[allow(missing_docs, reason = "each figure is described by the text that `register` gives to Prometheus")]
pub struct Figures {
    pub connections_open: Gauge,
    pub connections_refused: Counter,
    pub requests: Requests,
    pub request_seconds: Histogram,
    pub panics: Counter,
    pub limited_address: Counter,
    pub limited_project: Counter,
    pub limited_api_key: Counter,

    pub events_accepted: Counter,
    pub events_repeated: Counter,
    events_rejected: Counter,
    pub rejections_unrecorded: Counter,

    pub project_keys: LookupFigures,
    pub api_keys: LookupFigures,
    pub agent_hits: Counter,
    pub agent_misses: Counter,

    pub journal_bytes: Gauge,
    pub journal_oldest_seconds: Gauge,
    pub journal_segments: Gauge,
    pub journal_parked: Gauge,
    pub journal_syncs: Counter,
    pub journal_sync_seconds: Histogram,
    pub journal_failures: Counter,
    pub journal_records_dropped: Counter,
    pub journal_bytes_dropped: Counter,

    pub insert_seconds: Histogram,
    pub inserts_done: Counter,
    pub inserts_retried: Counter,
    pub inserts_bisected: Counter,
    pub rows_loaded: Counter,
    pub rows_refused: Counter,
    pub engine_starts: Counter,
}

/// Looking up keys of one kind.
#[allow(missing_docs, reason = "each figure is described by the text that `register` gives to Prometheus")]
pub struct LookupFigures {
    pub hits: Counter,
    pub misses: Counter,
    pub queries: Counter,
    pub failed: Counter,
}

/// Answers by status.
pub struct Requests {
    known: Vec<(u16, Counter)>,
    other: Counter,
}

impl Requests {
    const STATUSES: [u16; 18] =
        [200, 201, 204, 207, 304, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 500, 502, 503];

    fn register() -> Self {
        const NAME: &str = "weir_requests_total";
        metrics::describe_counter!(NAME, "Answers of the public listener, by status.");
        let known = Self::STATUSES
            .map(|status| (status, metrics::counter!(NAME, "status" => status.to_string())))
            .into();
        Self { known, other: metrics::counter!(NAME, "status" => "other") }
    }

    /// Counts one answer.
    pub fn count(&self, status: u16) {
        let known = self.known.iter().find(|(known, _)| *known == status);
        known.map_or(&self.other, |(_, counter)| counter).increment(1);
    }
}

fn counter(name: &'static str, meaning: &'static str) -> Counter {
    metrics::describe_counter!(name, meaning);
    metrics::counter!(name)
}

fn gauge(name: &'static str, meaning: &'static str) -> Gauge {
    metrics::describe_gauge!(name, meaning);
    metrics::gauge!(name)
}

fn seconds(name: &'static str, meaning: &'static str) -> Histogram {
    metrics::describe_histogram!(name, Unit::Seconds, meaning);
    metrics::histogram!(name)
}

/// Requests refused by one kind of limit.
fn limited(limit: &'static str) -> Counter {
    metrics::counter!("weir_requests_limited_total", "limit" => limit)
}

/// One counter of a family that is told apart by `outcome`.
fn outcome(name: &'static str, outcome: &'static str) -> Counter {
    metrics::counter!(name, "outcome" => outcome)
}

impl Figures {
    #[allow(clippy::too_many_lines, reason = "a list of every figure, to be read from top to bottom")]
    fn register() -> Self {
        metrics::describe_counter!("weir_events_total", "Events of the APIs, by outcome.");
        metrics::describe_counter!(REJECTIONS, "Rejected events of the APIs, by the code of their refusal.");
        metrics::describe_counter!(
            "weir_requests_limited_total",
            "Requests answered 429 because they were over a limit of requests a minute, by the limit."
        );
        metrics::describe_counter!("weir_project_cache_total", "Project keys looked up, by outcome.");
        metrics::describe_counter!("weir_api_key_cache_total", "API keys looked up, by outcome.");
        metrics::describe_counter!("weir_agent_cache_total", "User agents looked up, by outcome.");
        metrics::describe_counter!(CONVERSIONS, "Conversions of an integration, by what became of them.");
        metrics::describe_histogram!(PLATFORM_SECONDS, Unit::Seconds, "Duration of a platform's answer.");
        metrics::describe_gauge!(CONVERSIONS_WAITING, "Conversions that wait to be sent.");
        metrics::describe_gauge!(
            CONVERSIONS_DEAD,
            "Conversions that will not be sent unless they are replayed."
        );
        metrics::describe_gauge!(
            INTEGRATION_PAUSED,
            "1 while an integration sends nothing until it is resumed."
        );
        metrics::describe_counter!("weir_inserts_total", "INSERTs into ClickHouse, by outcome.");
        metrics::describe_counter!("weir_rows_total", "Rows that left the journal, by outcome.");
        Self {
            connections_open: gauge("weir_connections_open", "Connections open on the public listener."),
            connections_refused: counter(
                "weir_connections_refused_total",
                "Connections that had to wait because the cap on open ones was reached.",
            ),
            requests: Requests::register(),
            request_seconds: seconds("weir_request_seconds", "From the head of a request to its answer."),
            panics: counter("weir_panics_total", "Defects of ours: requests answered 500 after a panic."),

            limited_address: limited("address"),
            limited_project: limited("project"),
            limited_api_key: limited("api_key"),

            events_accepted: outcome("weir_events_total", "accepted"),
            events_repeated: outcome("weir_events_total", "repeated"),
            events_rejected: outcome("weir_events_total", "rejected"),
            rejections_unrecorded: counter(
                "weir_rejections_unrecorded_total",
                "Rejected events over their project's cap, counted but not kept in rejected_events.",
            ),

            project_keys: LookupFigures {
                hits: outcome("weir_project_cache_total", "hit"),
                misses: outcome("weir_project_cache_total", "miss"),
                queries: counter(
                    "weir_project_queries_total",
                    "Queries for project keys: lookups of many keys each, and the regular look for changes.",
                ),
                failed: counter(
                    "weir_project_lookups_failed_total",
                    "Queries for project keys that failed, and keys refused because too many were waiting.",
                ),
            },
            api_keys: LookupFigures {
                hits: outcome("weir_api_key_cache_total", "hit"),
                misses: outcome("weir_api_key_cache_total", "miss"),
                queries: counter(
                    "weir_api_key_queries_total",
                    "Queries for API keys: lookups of many keys each, and the regular look for changes.",
                ),
                failed: counter(
                    "weir_api_key_lookups_failed_total",
                    "Queries for API keys that failed, and keys refused because too many were waiting.",
                ),
            },
            agent_hits: outcome("weir_agent_cache_total", "hit"),
            agent_misses: outcome("weir_agent_cache_total", "miss"),

            journal_bytes: gauge("weir_journal_bytes", "Bytes of segments not yet confirmed by ClickHouse."),
            journal_oldest_seconds: gauge(
                "weir_journal_oldest_seconds",
                "Age of the oldest event not yet confirmed by ClickHouse.",
            ),
            journal_segments: gauge("weir_journal_segments", "Sealed segments waiting for ClickHouse."),
            journal_parked: gauge(
                "weir_journal_parked",
                "Sealed segments that ClickHouse refuses as a whole until its tables are put right.",
            ),
            journal_syncs: counter(
                "weir_journal_syncs_total",
                "Group commits: one write and one fdatasync each.",
            ),
            journal_sync_seconds: seconds("weir_journal_sync_seconds", "Duration of a group commit."),
            journal_failures: counter(
                "weir_journal_failures_total",
                "Group commits that failed; their requests were answered 503.",
            ),
            journal_records_dropped: counter(
                "weir_journal_records_dropped_total",
                "Damaged records left out when a segment was read.",
            ),
            journal_bytes_dropped: counter(
                "weir_journal_bytes_dropped_total",
                "Bytes of segments left out because they were torn or damaged.",
            ),

            insert_seconds: seconds("weir_insert_seconds", "Duration of an INSERT, failed ones included."),
            inserts_done: outcome("weir_inserts_total", "done"),
            inserts_retried: outcome("weir_inserts_total", "retried"),
            inserts_bisected: outcome("weir_inserts_total", "bisected"),
            rows_loaded: outcome("weir_rows_total", "loaded"),
            rows_refused: outcome("weir_rows_total", "refused"),
            engine_starts: counter("weir_engine_starts_total", "Starts of the embedded engine."),
        }
    }
}
