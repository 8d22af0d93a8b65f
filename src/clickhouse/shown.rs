//! A few events by their ids, as the demo page shows them.

use clickhouse::Row;
use serde::Deserialize;
use uuid::Uuid;

use super::{ClickHouseError, Store};
use crate::event::Timestamp;

/// What an event has become.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
#[allow(missing_docs, reason = "each field is the column of its name")]
pub struct ShownEvent {
    #[serde(with = "clickhouse::serde::uuid")]
    pub event_id: Uuid,
    pub r#type: String,
    pub url: String,
    pub visitor_id: String,
    pub user_id: String,
    pub browser: String,
    pub os: String,
    pub device: String,
    received_millis: i64,
    /// JSON.
    pub properties: String,
}

impl ShownEvent {
    /// When the collector received it.
    pub const fn received_at(&self) -> Timestamp {
        Timestamp::from_millis(self.received_millis)
    }
}

impl Store {
    /// Those events of a key's project that have these ids and were received within the last day, each once. The
    /// caller bounds `ids`, and with it the answer.
    pub async fn events_shown(&self, key: &str, ids: &[Uuid]) -> Result<Vec<ShownEvent>, ClickHouseError> {
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let query = self
            .client
            .query_raw(
                "SELECT event_id, toString(type) AS type, url, visitor_id, user_id, toString(browser) AS browser, \
                     toString(os) AS os, toString(device) AS device, \
                     toUnixTimestamp64Milli(received_at) AS received_millis, \
                     toJSONString(properties) AS properties \
                 FROM events \
                 WHERE project_id IN (SELECT project_id FROM project_keys FINAL WHERE key = {key:String}) \
                     AND received_at > now() - INTERVAL 1 DAY AND event_id IN {ids:Array(UUID)} \
                 LIMIT 1 BY event_id",
            )
            .param("key", key)
            .param("ids", ids);
        self.within(self.timeouts.query, query.fetch_all()).await
    }
}
