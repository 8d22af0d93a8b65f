//! The client: connections for queries and others for inserts, a deadline around each call.

use std::future::Future;
use std::time::Duration;

use clickhouse::query::Query;
use clickhouse::{Client, RowOwned, RowRead};
use tokio::time::Instant;

use super::connection::{Requests, connector, pool};
use super::{ClickHouseError, ClickHouseSettings};

/// How long each kind of call may take before it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A query that answers from small tables.
    pub query: Duration,
    /// One statement of a migration, and reading back what an insert has stored.
    pub statement: Duration,
    /// A piece of an insert's rows on its way into the socket.
    pub send: Duration,
    /// A whole insert, from its first byte to ClickHouse's confirmation.
    pub insert: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            query: Duration::from_secs(10),
            statement: Duration::from_mins(2),
            send: Duration::from_secs(30),
            insert: Duration::from_mins(3),
        }
    }
}

/// A ClickHouse and our tables in it. Clones share their connections, which live on the runtime that first uses
/// them: make all calls from one runtime.
#[derive(Clone)]
pub struct Store {
    /// For queries.
    pub(super) client: Client,
    pub(super) inserts: Requests,
    pub(super) database: String,
    pub(super) timeouts: Timeouts,
}

impl Store {
    /// A client; nothing is connected yet.
    pub fn new(settings: &ClickHouseSettings) -> Self {
        let connector = connector();
        let client = Client::with_http_client(pool().build(connector.clone()))
            .with_url(&settings.url)
            .with_database(&settings.database)
            .with_user(&settings.user)
            .with_password(settings.password.reveal())
            .with_product_info("weir", env!("CARGO_PKG_VERSION"));
        let inserts = Requests::new(settings, connector);
        Self { client, inserts, database: settings.database.clone(), timeouts: settings.timeouts }
    }

    /// The server's version; the proof that ClickHouse answers and knows us, since for a statement that answers
    /// nothing, an INSERT of rows aside, any HTTP 200 passes as a success. The database need not exist.
    pub async fn version(&self) -> Result<String, ClickHouseError> {
        let client = self.client.clone().with_database("system");
        self.fetch_one(self.timeouts.query, client.query_raw("SELECT version()")).await
    }

    /// Ends every query whose id begins like this and waits until they are gone, for [`Timeouts::statement`] at most.
    /// That none is running is a success. Behind a load balancer only the server that answers is asked.
    pub async fn end_queries(&self, prefix: &str) -> Result<(), ClickHouseError> {
        let deadline = Instant::now() + self.timeouts.statement;
        loop {
            let running = self
                .client
                .query_raw("SELECT count() FROM system.processes WHERE startsWith(query_id, {prefix:String})")
                .param("prefix", prefix);
            let running: u64 = self.fetch_one(self.timeouts.query, running).await?;
            if running == 0 {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClickHouseError::Timeout(self.timeouts.statement));
            }
            let kill = self
                .client
                .query_raw("KILL QUERY WHERE startsWith(query_id, {prefix:String}) SYNC FORMAT Null")
                .param("prefix", prefix)
                .execute();
            self.within(left, kill).await?;
            tokio::time::sleep(Duration::from_millis(50).min(left)).await;
        }
    }

    /// The first row of an answer that has one. The answer is read to its end: the client's own `fetch_one` leaves
    /// with the rest unread, which costs the connection, and the engine logs a broken pipe.
    pub(super) async fn fetch_one<T: RowOwned + RowRead>(
        &self,
        limit: Duration,
        query: Query,
    ) -> Result<T, ClickHouseError> {
        let rows = self.within(limit, query.fetch_all()).await?;
        rows.into_iter().next().ok_or_else(|| clickhouse::error::Error::RowNotFound.into())
    }

    /// Runs a call of the client under a deadline.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = clickhouse::error::Result<T>>,
    ) -> Result<T, ClickHouseError> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(clickhouse::error::Error::TimedOut)) | Err(_) => Err(ClickHouseError::Timeout(limit)),
            Ok(Err(error)) => Err(error.into()),
        }
    }
}
