//! Whether our tables are still what they were: rows that a table refused say nothing about a table altered since.

use super::{ClickHouseError, Store};

/// A time by ClickHouse's own clock, in whole seconds; behind a load balancer, by one of its servers' clocks, which
/// have to agree to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTime(i64);

impl Store {
    /// What ClickHouse's clock says.
    pub async fn server_time(&self) -> Result<ServerTime, ClickHouseError> {
        let now = self.client.query_raw("SELECT toInt64(toUnixTimestamp(now()))");
        Ok(ServerTime(self.fetch_one(self.timeouts.query, now).await?))
    }

    /// Whether a table or view of the database was made or altered since then. ClickHouse notes it by the second: the
    /// second of `since` counts as well.
    pub async fn altered_since(&self, since: ServerTime) -> Result<bool, ClickHouseError> {
        let altered = self
            .client
            .query_raw(
                "SELECT count() FROM system.tables WHERE database = currentDatabase() \
                 AND toInt64(toUnixTimestamp(metadata_modification_time)) >= {since:Int64}",
            )
            .param("since", since.0);
        Ok(self.fetch_one::<u64>(self.timeouts.query, altered).await? > 0)
    }
}
