//! The demo: a project that anybody may send to, and its rows for the page that shows them.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::clickhouse::{ClickHouseError, ProjectKeyError, ShownEvent, Store};
use crate::http::{DemoError, DemoRow, Demonstrated};

/// The project's public key.
pub(crate) const DEMO_KEY: &str = "pk_live_demo";
const DEMO_PROJECT: &str = "demo";

/// Less than the operations listener allows an answer.
const ROWS_PATIENCE: Duration = Duration::from_secs(8);

/// How long a project waits for the tables, which a slow disk may not be done with when the collector serves.
const TABLES_PATIENCE: Duration = Duration::from_secs(30);
const TABLES_PAUSE: Duration = Duration::from_secs(1);
/// `UNKNOWN_TABLE` and `UNKNOWN_DATABASE`.
const NO_TABLES: [u32; 2] = [60, 81];

/// Its rows, from when the project is there.
#[derive(Default)]
pub(crate) struct Demo {
    store: OnceLock<Store>,
}

impl Demo {
    /// Makes the project unless it is there, as soon as there are tables. Any page may send to it.
    pub(crate) async fn prepare(&self, store: &Store) -> Result<(), ProjectKeyError> {
        let deadline = Instant::now() + TABLES_PATIENCE;
        loop {
            match store.create_project(DEMO_PROJECT, Some(DEMO_KEY), &[]).await {
                Ok(_) | Err(ProjectKeyError::Taken(_)) => break,
                Err(ProjectKeyError::ClickHouse(error)) if may_come(&error) && Instant::now() < deadline => {
                    sleep(TABLES_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        // Once is enough: it is always the same one.
        let _ = self.store.set(store.clone());
        Ok(())
    }

    async fn find(&self, ids: &[Uuid]) -> Result<Vec<DemoRow>, DemoError> {
        let store = self.store.get().ok_or(DemoError::Starting)?;
        match timeout(ROWS_PATIENCE, store.events_shown(DEMO_KEY, ids)).await {
            Ok(Ok(events)) => Ok(events.into_iter().map(row).collect()),
            Ok(Err(error)) => Err(DemoError::Away(error.to_string())),
            Err(_) => Err(DemoError::Away(format!("no answer within {} s", ROWS_PATIENCE.as_secs()))),
        }
    }
}

impl Demonstrated for Demo {
    fn rows<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<DemoRow>, DemoError>> {
        self.find(ids).boxed()
    }
}

/// Whether the tables may just not be there yet.
fn may_come(error: &ClickHouseError) -> bool {
    let is_late = matches!(error, ClickHouseError::Timeout(_));
    is_late || error.server_code().is_some_and(|code| NO_TABLES.contains(&code))
}

fn row(event: ShownEvent) -> DemoRow {
    let (event_id, received_at) = (event.event_id.to_string(), event.received_at().to_string());
    let ShownEvent { r#type, url, visitor_id, user_id, browser, os, device, properties, .. } = event;
    DemoRow { event_id, r#type, url, visitor_id, user_id, browser, os, device, received_at, properties }
}
