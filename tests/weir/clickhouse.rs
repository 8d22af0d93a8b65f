//! Against the real engine, which `make engine` fetches: without it these tests fail.

mod api_keys;
mod conversions;
mod engine;
mod hostile;
mod migrations;
mod projects;
mod rows;

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use weir::clickhouse::{ClickHouseSettings, Engine, EngineSettings, Store};

use crate::harness::free_port;

/// An engine of a test's own, in a directory that goes with it.
struct Server {
    engine: Engine,
    settings: EngineSettings,
    dir: TempDir,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = settings(dir.path().join("engine"));
        let engine = Engine::start(settings.clone()).await.expect("the engine starts");
        Self { engine, settings, dir }
    }

    /// With the tables made.
    async fn with_tables() -> (Self, Store) {
        let server = Self::start().await;
        let store = server.store();
        store.migrate().await.expect("the tables are made");
        (server, store)
    }

    fn store(&self) -> Store {
        Store::new(&self.engine.access())
    }

    /// Runs a statement with all rights; gives its answer.
    async fn sql(&self, sql: &str) -> String {
        let mut access = self.engine.access();
        if sql.starts_with("CREATE DATABASE") {
            "system".clone_into(&mut access.database);
        }
        answer(&access, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn stop(self) {
        self.engine.stop().await;
        drop(self.dir);
    }
}

fn settings(data_dir: PathBuf) -> EngineSettings {
    EngineSettings {
        data_dir,
        port: free_port(),
        database: "weir".to_owned(),
        library: None,
        executable: Some(env!("CARGO_BIN_EXE_weir").into()),
    }
}

fn client(access: &ClickHouseSettings) -> clickhouse::Client {
    clickhouse::Client::default()
        .with_url(&access.url)
        .with_user(&access.user)
        .with_password(access.password.reveal())
        .with_database(&access.database)
}

/// What a statement answers, as tab-separated text.
async fn answer(access: &ClickHouseSettings, sql: &str) -> Result<String, clickhouse::error::Error> {
    let bytes = client(access).query_raw(sql).fetch_bytes("TSV")?.collect().await?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Waits until `holds`, for a minute at most.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(Instant::now() < deadline, "waited a minute for: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
