//! Which events ClickHouse holds already: what the loader asks before rows go out under another token.

use std::collections::HashSet;

use clickhouse::Row;
use serde::Deserialize;
use uuid::Uuid;

use super::{ClickHouseError, Store};
use crate::event::Timestamp;
use crate::row::REFUSED_BY_CLICKHOUSE;

/// An event's identity across everything that is stored: its project and its id.
pub type EventKey = (Uuid, Uuid);

/// More projects than this are not named in a query: reading a few rows too many is cheaper.
const PROJECTS_NAMED: usize = 200;

/// More events than this are not named in a query either: reading a range is cheaper than parsing so many ids.
const EVENTS_NAMED: usize = 500;

const STORED: &str = "SELECT project_id, event_id FROM events WHERE true";

/// The row's JSON may be cut, but not before its event id, which is its fourth member: those before it are short. And
/// no value before it holds a quote that is not escaped.
const REFUSED: &str = "SELECT project_id, \
     toUUIDOrZero(extract(event, '\"event_id\":\"([0-9a-f-]{36})\"')) AS event_id \
     FROM rejected_events WHERE reason = {reason:String}";

#[derive(Row, Deserialize)]
struct StoredId {
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    #[serde(with = "clickhouse::serde::uuid")]
    event_id: Uuid,
}

impl Store {
    /// Which of `wanted` are stored among the events received from `first` to `last`, both included. Memory is
    /// bounded by `wanted`, whatever the range holds.
    pub async fn stored_event_ids(
        &self,
        first: Timestamp,
        last: Timestamp,
        wanted: &HashSet<EventKey>,
    ) -> Result<HashSet<EventKey>, ClickHouseError> {
        self.event_ids(STORED, first, last, wanted).await
    }

    /// Which of `wanted` ClickHouse has refused and are kept in `rejected_events` for that, among those received from
    /// `first` to `last`, both included.
    pub async fn refused_event_ids(
        &self,
        first: Timestamp,
        last: Timestamp,
        wanted: &HashSet<EventKey>,
    ) -> Result<HashSet<EventKey>, ClickHouseError> {
        self.event_ids(REFUSED, first, last, wanted).await
    }

    async fn event_ids(
        &self,
        select: &str,
        first: Timestamp,
        last: Timestamp,
        wanted: &HashSet<EventKey>,
    ) -> Result<HashSet<EventKey>, ClickHouseError> {
        let projects: HashSet<String> = wanted.iter().map(|(project, _)| project.to_string()).collect();
        let mut sql = format!(
            "{select} AND received_at >= fromUnixTimestamp64Milli({{first:Int64}}, 'UTC') \
             AND received_at <= fromUnixTimestamp64Milli({{last:Int64}}, 'UTC')"
        );
        let named = projects.len() <= PROJECTS_NAMED;
        if named {
            sql.push_str(" AND project_id IN {projects:Array(UUID)}");
        }
        let events_named = wanted.len() <= EVENTS_NAMED;
        if events_named {
            sql.push_str(" AND event_id IN {events:Array(UUID)}");
        }
        let mut query = self
            .client
            .query_raw(&sql)
            // On replicas: what a quorum has confirmed, not what this one happens to hold.
            .with_setting("select_sequential_consistency", "1")
            .param("reason", REFUSED_BY_CLICKHOUSE)
            .param("first", first.as_millis())
            .param("last", last.as_millis());
        if named {
            query = query.param("projects", projects.iter().collect::<Vec<_>>());
        }
        if events_named {
            let events: Vec<String> = wanted.iter().map(|(_, event)| event.to_string()).collect();
            query = query.param("events", events);
        }
        self.within(self.timeouts.statement, async {
            let mut stored = HashSet::new();
            let mut cursor = query.fetch::<StoredId>()?;
            while let Some(row) = cursor.next().await? {
                let key = (row.project_id, row.event_id);
                if wanted.contains(&key) {
                    stored.insert(key);
                }
            }
            Ok(stored)
        })
        .await
    }
}
