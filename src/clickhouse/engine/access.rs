//! The files that an engine's directory holds besides its data: who may come in, and how it is configured.
//!
//! `access` is what another process of the same user needs to reach the engine:
//!
//! ```text
//! port=8123
//! password=9f0c…
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::super::{ClickHouseSettings, Password, Timeouts};
use super::EngineError;

const USER: &str = "weir";

/// What `default` may read besides our database: what `/play` shows and completes with, and figures.
const PUBLIC_SYSTEM_TABLES: &[&str] = &[
    "asynchronous_metrics",
    "build_options",
    "columns",
    "completions",
    "contributors",
    "data_skipping_indices",
    "data_type_families",
    "databases",
    "dimensions",
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
    "time_zones",
];

/// How to come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) port: u16,
    password: Password,
}

impl Access {
    /// The access of this directory's engine with its port set to `port`; the password is made once and kept, so
    /// that processes that know it go on working.
    pub(super) fn establish(dir: &Path, port: u16) -> Result<Self, EngineError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| EngineError::File { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let kept = Self::read(dir).map_err(at(&dir.join("access")))?;
        let password = kept.map_or_else(random_password, |kept| kept.password);
        let access = Self { port, password };
        write_private(&dir.join("access"), &access.to_string())?;
        Ok(access)
    }

    /// The access that is written in this directory, if one is.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(dir.join("access")) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
        };
        let password = value("password")?;
        // It goes into an XML file as it is.
        let is_ours = password.len() == 64 && password.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_ours.then_some(())?;
        Some(Self { port: value("port")?.parse().ok()?, password: Password::new(password) })
    }

    /// The client's settings.
    pub(super) fn client(&self, database: &str) -> ClickHouseSettings {
        ClickHouseSettings {
            url: format!("http://127.0.0.1:{}", self.port),
            user: USER.to_owned(),
            password: self.password.clone(),
            database: database.to_owned(),
            timeouts: Timeouts::default(),
        }
    }

    /// Writes the engine's configuration; gives the path of its main file.
    pub(super) fn configure(&self, dir: &Path, database: &str) -> Result<PathBuf, EngineError> {
        write_private(&dir.join("users.xml"), &self.users(database))?;
        let config = dir.join("config.xml");
        write_private(&config, CONFIG)?;
        Ok(config)
    }

    fn users(&self, database: &str) -> String {
        let grants: String = PUBLIC_SYSTEM_TABLES
            .iter()
            .map(|table| format!("<query>GRANT SELECT ON system.{table}</query>"))
            .chain([format!("<query>GRANT SELECT ON {database}.*</query>")])
            .collect();
        USERS
            .replace("{password}", self.password.reveal())
            .replace("{user}", USER)
            .replace("{grants}", &grants)
    }
}

impl std::fmt::Display for Access {
    /// The file's text, password included.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "port={}\npassword={}\n", self.port, self.password.reveal())
    }
}

fn random_password() -> Password {
    Password::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
}

/// Writes a file that its owner alone may read, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), EngineError> {
    let attempt = || {
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    attempt().map_err(|source| EngineError::File { path: path.to_owned(), source })
}

/// The caches' defaults come to 20 GB, for a machine of its own. System log tables stay off: this kind of server
/// has none unless they are configured.
const CONFIG: &str = "<clickhouse>
    <logger><console>1</console></logger>
    <log-level>warning</log-level>
    <users_config>users.xml</users_config>
    <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
    <max_concurrent_queries>100</max_concurrent_queries>
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
</clickhouse>
";

/// `default` is also who the engine's own start-up statements run as, and those open the listener: hence `SYSTEM
/// LISTEN`. With it, anyone on this machine can close the listener; the supervisor then starts the engine again.
const USERS: &str = "<clickhouse>
    <profiles>
        <default/>
        <reader>
            <max_memory_usage>1000000000</max_memory_usage>
            <max_memory_usage_for_user>1500000000</max_memory_usage_for_user>
            <allow_introspection_functions>0</allow_introspection_functions>
            <constraints>
                <max_memory_usage><max>1000000000</max><min>1000000</min></max_memory_usage>
                <max_memory_usage_for_user><const/></max_memory_usage_for_user>
                <allow_introspection_functions><const/></allow_introspection_functions>
            </constraints>
        </reader>
    </profiles>
    <quotas><default/></quotas>
    <users>
        <{user}>
            <password>{password}</password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
        </{user}>
        <default>
            <password></password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>reader</profile>
            <quota>default</quota>
            <grants><query>GRANT SYSTEM LISTEN ON *.*</query>{grants}</grants>
        </default>
    </users>
</clickhouse>
";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_password_is_made_once_and_shown_to_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("engine");
        let first = Access::establish(&dir, 8123).expect("access");
        let second = Access::establish(&dir, 9000).expect("access");
        assert_eq!(first.password, second.password);
        assert_eq!(Access::read(&dir).expect("a file"), Some(second.clone()));
        second.configure(&dir, "weir").expect("files");
        for file in ["access", "users.xml"] {
            let mode = fs::metadata(dir.join(file)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert!(!format!("{second:?}").contains(second.password.reveal()));
        assert_ne!(random_password(), random_password());
    }

    #[test]
    fn a_file_that_is_not_ours_is_no_access() {
        let whole = Access { port: 1, password: random_password() }.to_string();
        assert!(Access::parse(&whole).is_some());
        for text in ["", "port=1\n", &whole.replace("port=1", "port=x"), "port=1\npassword=</x>\n"] {
            assert_eq!(Access::parse(text), None, "{text:?}");
        }
    }
}
