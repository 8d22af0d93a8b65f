//! The engine's configuration: who may come in by which door.
//!
//! A library's engine is `clickhouse local`, made for its one user's own files: its `default` user has no password
//! and cannot be taken away, and `SELECT file('/etc/passwd')` reads any file whatever its grants. So:
//!
//! - `default` is out of reach: every door of the listener (`http_handlers`) leads to one of the two users below,
//!   and ClickHouse refuses a request that brings credentials through a door with a user of its own. `default` runs
//!   our start-up statements and may do nothing else.
//! - `weir`: named in the header `X-ClickHouse-User`, with the password; all rights.
//! - `reader`: whoever brings no credentials. May read our database and what describes it, and change harmless
//!   settings. A page of another site is turned away by `Origin`, and by `Host` if it has its own name resolve to
//!   127.0.0.1. This door is there only if the process could confine itself (`confine.rs`), because of `file()`.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::EngineError;
use super::access::{Access, USER, write_private};

/// The configuration for a process that is confined, and for one that is not.
pub(super) const CONFINED: &str = "config-confined.xml";
pub(super) const UNCONFINED: &str = "config.xml";
pub(super) const USERS: &str = "users.xml";

/// What `reader` may read besides our database: what `/play` shows and completes with, and figures.
const PUBLIC_SYSTEM_TABLES: &[&str] = &[
    "asynchronous_metrics",
    "columns",
    "completions",
    "data_skipping_indices",
    "data_type_families",
    "databases",
    "events",
    "formats",
    "functions",
    "keywords",
    "merges",
    "metrics",
    "numbers",
    "one",
    "parts",
    "settings",
    "table_engines",
    "table_functions",
    "tables",
];

/// What `reader` may set, `/play`'s needs among it. None of them names a file.
const PUBLIC_SETTINGS: &[&str] = &[
    "add_http_cors_header",
    "asterisk_include_materialized_columns",
    "cancel_http_readonly_queries_on_client_close",
    "final",
    "http_wait_end_of_query",
    "join_use_nulls",
    "max_execution_time",
    "max_result_bytes",
    "max_result_rows",
    "output_format_json_quote_64bit_integers",
    "result_overflow_mode",
    "send_progress_in_http_headers",
    "session_timezone",
];

/// Writes the configuration's files into `dir`.
pub(super) fn write(dir: &Path, access: &Access, database: &str) -> Result<(), EngineError> {
    write_private(&dir.join(USERS), &users(access, database))?;
    let open = READER_DOOR.replace("{port}", &access.port.to_string());
    write_private(&dir.join(CONFINED), &CONFIG.replace("{anonymous}", &open))?;
    write_private(&dir.join(UNCONFINED), &CONFIG.replace("{anonymous}", ""))
}

fn users(access: &Access, database: &str) -> String {
    // Not the password itself: the process can read this file.
    let mut hash = String::new();
    for byte in Sha256::digest(access.password.reveal()) {
        let _ = write!(hash, "{byte:02x}");
    }
    let mut grants = format!("<query>GRANT SELECT ON {database}.*</query>");
    for table in PUBLIC_SYSTEM_TABLES {
        let _ = write!(grants, "<query>GRANT SELECT ON system.{table}</query>");
    }
    let mut settings = String::new();
    for setting in PUBLIC_SETTINGS {
        let _ = write!(settings, "<{setting}><changeable_in_readonly/></{setting}>");
    }
    USERS_XML
        .replace("{hash}", &hash)
        .replace("{user}", USER)
        .replace("{grants}", &grants)
        .replace("{settings}", &settings)
}

/// The caches' defaults come to 20 GB, for a machine of its own. System log tables stay off: this kind of server has
/// none unless they are configured. Its default of one thread a core for scheduled tasks is too few for our tables: on
/// two cores it warned of paused tasks five times a second, with 32 threads never.
const CONFIG: &str = "<clickhouse>
    <logger><console>1</console></logger>
    <log-level>warning</log-level>
    <users_config>users.xml</users_config>
    <access_control_improvements>
        <settings_constraints_replace_previous>true</settings_constraints_replace_previous>
    </access_control_improvements>
    <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
    <max_concurrent_queries>100</max_concurrent_queries>
    <background_schedule_pool_size>32</background_schedule_pool_size>
    <mark_cache_size>134217728</mark_cache_size>
    <index_mark_cache_size>16777216</index_mark_cache_size>
    <primary_index_cache_size>67108864</primary_index_cache_size>
    <vector_similarity_index_cache_size>16777216</vector_similarity_index_cache_size>
    <text_index_tokens_cache_size>16777216</text_index_tokens_cache_size>
    <text_index_header_cache_size>16777216</text_index_header_cache_size>
    <text_index_postings_cache_size>16777216</text_index_postings_cache_size>
    <parquet_metadata_cache_size>16777216</parquet_metadata_cache_size>
    <iceberg_metadata_files_cache_size>16777216</iceberg_metadata_files_cache_size>
    <paimon_metadata_files_cache_size>16777216</paimon_metadata_files_cache_size>
    <http_handlers>
        <rule>
            <headers><X-ClickHouse-User>weir</X-ClickHouse-User></headers>
            <handler><type>dynamic_query_handler</type><query_param_name>query</query_param_name></handler>
        </rule>
        <rule><url>/ping</url><handler><type>ping</type></handler></rule>{anonymous}
        <rule>
            <handler>
                <type>static</type>
                <status>403</status>
                <content_type>text/plain</content_type>
                <response_content>Name user and password in X-ClickHouse-User and X-ClickHouse-Key.
</response_content>
            </handler>
        </rule>
    </http_handlers>
</clickhouse>
";

/// A header that is absent is matched as an empty one.
const READER_DOOR: &str = "
        <rule><url>/play</url><handler><type>play</type></handler></rule>
        <rule>
            <url>regex:^/(\\?.*)?$</url>
            <headers>
                <Host>regex:^(127\\.0\\.0\\.1|localhost):{port}$</Host>
                <Origin>regex:^(http://(127\\.0\\.0\\.1|localhost):{port})?$</Origin>
            </headers>
            <handler>
                <type>dynamic_query_handler</type>
                <query_param_name>query</query_param_name>
                <user>reader</user>
            </handler>
        </rule>";

const USERS_XML: &str = "<clickhouse>
    <profiles>
        <default/>
        <reader>
            <readonly>1</readonly>
            <max_memory_usage>1000000000</max_memory_usage>
            <max_memory_usage_for_user>1500000000</max_memory_usage_for_user>
            <allow_introspection_functions>0</allow_introspection_functions>
            <constraints>{settings}</constraints>
        </reader>
    </profiles>
    <quotas><default/></quotas>
    <users>
        <{user}>
            <password_sha256_hex>{hash}</password_sha256_hex>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
        </{user}>
        <reader>
            <no_password/>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>reader</profile>
            <quota>default</quota>
            <grants>{grants}</grants>
        </reader>
        <default>
            <password></password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants>
                <query>GRANT SYSTEM LISTEN ON *.*</query>
                <query>GRANT SELECT ON system.numbers</query>
            </grants>
        </default>
    </users>
</clickhouse>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_but_access_holds_the_password_and_only_the_confined_have_an_open_door() {
        let dir = tempfile::tempdir().expect("a directory");
        let access = Access::establish(dir.path(), 8123).expect("access");
        write(dir.path(), &access, "weir").expect("files");
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("a file");
        for name in [CONFINED, UNCONFINED, USERS] {
            assert!(!text(name).contains(access.password.reveal()), "{name}");
            assert!(!text(name).contains(['{', '}']), "{name} has a gap left");
        }
        assert!(text(CONFINED).contains("<user>reader</user>"));
        assert!(!text(UNCONFINED).contains("reader"));
    }
}
