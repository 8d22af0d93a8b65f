//! Project keys: what the cache looks up and what `weir project` changes.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::{ClickHouseError, Store};
use crate::event::Timestamp;
use crate::retry::Retry;

/// Longest project key and longest project name, in bytes.
const TEXT_BYTES: usize = 200;

/// Keys asked for in one query.
const KEYS_A_QUERY: usize = 500;

/// A row of `project_keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectKey {
    /// The public key.
    pub key: String,
    /// The project; several keys may share it.
    pub project_id: Uuid,
    /// The project's name.
    pub name: String,
    /// Origins that may send; empty: any.
    pub allowed_origins: Vec<String>,
    /// Whether requests with this key are served.
    pub enabled: bool,
    /// When the key was made.
    pub created_at: Timestamp,
}

/// Two of them differ when any project key was added, changed or removed in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct Fingerprint {
    /// Keys.
    pub count: u64,
    /// A hash over all rows, whatever their order.
    pub hash: u64,
}

/// A project key could not be made or changed.
#[derive(Debug, Error)]
pub enum ProjectKeyError {
    /// The key to make is there already.
    #[error("the project key {0} is taken; choose another, or leave the key out to have one made")]
    Taken(String),
    /// The key to change is not there.
    #[error("there is no project key {0}; `weir project list` shows them all")]
    Unknown(String),
    /// A key or a name that cannot be used.
    #[error("a project's {what} is 1 to {TEXT_BYTES} bytes long{rule}")]
    Unusable {
        /// `key` or `name`.
        what: &'static str,
        /// What else holds.
        rule: &'static str,
    },
    /// ClickHouse refused, or cannot be reached.
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
}

impl ProjectKeyError {
    /// The error's stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Taken(_) => "project_key_taken",
            Self::Unknown(_) => "unknown_project_key",
            Self::Unusable { .. } => "unusable_project_key",
            Self::ClickHouse(error) => error.code(),
        }
    }

    /// Whether the same call can succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::ClickHouse(error) => error.retry(),
            _ => Retry::Never,
        }
    }
}

#[derive(Row, Deserialize)]
struct KeyRow {
    key: String,
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    name: String,
    allowed_origins: Vec<String>,
    enabled: bool,
    created: i64,
}

impl From<KeyRow> for ProjectKey {
    fn from(row: KeyRow) -> Self {
        let KeyRow { key, project_id, name, allowed_origins, enabled, created } = row;
        let created_at = Timestamp::from_millis(created);
        Self { key, project_id, name, allowed_origins, enabled, created_at }
    }
}

const SELECT: &str = "SELECT key, project_id, name, allowed_origins, enabled, \
     toUnixTimestamp64Milli(created_at) AS created FROM project_keys FINAL";

impl Store {
    /// Makes a key for the project with this name, and the project with it unless it has keys already. Without a
    /// `key` given, one is made: `pk_live_` and 128 random bits.
    pub async fn create_project(
        &self,
        name: &str,
        key: Option<&str>,
        origins: &[String],
    ) -> Result<ProjectKey, ProjectKeyError> {
        let key = key.map_or_else(|| format!("pk_live_{}", Uuid::new_v4().simple()), str::to_owned);
        check(name, &key)?;
        if !self.lookup(std::slice::from_ref(&key)).await?.is_empty() {
            return Err(ProjectKeyError::Taken(key));
        }
        let project_id = self.project_id(name).await?.unwrap_or_else(Uuid::new_v4);
        let insert = self
            .client
            .query_raw(
                "INSERT INTO project_keys (key, project_id, name, allowed_origins, enabled) \
                 SELECT {key:String}, {id:UUID}, {name:String}, {origins:Array(String)}, true",
            )
            .with_setting("async_insert", "0")
            .param("key", &key)
            .param("id", project_id.to_string())
            .param("name", name)
            .param("origins", origins);
        self.within(self.timeouts.query, insert.execute()).await?;
        // Of two that made the same key at once, one sees the other's row here.
        let stored = self.lookup(std::slice::from_ref(&key)).await?;
        stored.into_iter().find(|stored| stored.project_id == project_id).ok_or(ProjectKeyError::Taken(key))
    }

    /// Every key, by project name and age.
    pub async fn list_projects(&self) -> Result<Vec<ProjectKey>, ClickHouseError> {
        self.fetch_keys("ORDER BY name, created_at, key", "").await
    }

    /// Has requests with this key refused from now on; again does nothing.
    pub async fn disable_project(&self, key: &str) -> Result<(), ProjectKeyError> {
        let found = self.lookup(&[key.to_owned()]).await?;
        let Some(found) = found.first() else {
            return Err(ProjectKeyError::Unknown(key.to_owned()));
        };
        if !found.enabled {
            return Ok(());
        }
        let disable = self
            .client
            .query_raw(
                "INSERT INTO project_keys \
                     (key, project_id, name, allowed_origins, enabled, created_at, updated_at) \
                 SELECT key, project_id, name, allowed_origins, false, created_at, \
                     greatest(now64(3, 'UTC'), addMilliseconds(updated_at, 1)) \
                 FROM project_keys FINAL WHERE key = {key:String}",
            )
            .with_setting("async_insert", "0")
            .param("key", key);
        Ok(self.within(self.timeouts.query, disable.execute()).await?)
    }

    /// The id of the project with this name.
    pub(super) async fn project_id(&self, name: &str) -> Result<Option<Uuid>, ClickHouseError> {
        let keys = self.fetch_keys("WHERE name = {value:String} LIMIT 1", name).await?;
        Ok(keys.first().map(|key| key.project_id))
    }

    /// The rows of those of `keys` that there are.
    pub async fn lookup(&self, keys: &[String]) -> Result<Vec<ProjectKey>, ClickHouseError> {
        let mut found = Vec::new();
        for some in keys.chunks(KEYS_A_QUERY) {
            found.extend(self.fetch_keys("WHERE key IN {value:Array(String)}", some).await?);
        }
        Ok(found)
    }

    /// What all project keys come to: cheap to ask for often.
    pub async fn fingerprint(&self) -> Result<Fingerprint, ClickHouseError> {
        let fingerprint = self.client.query_raw(
            "SELECT count() AS count, groupBitXor(sipHash64(key, project_id, name, allowed_origins, enabled, \
             updated_at)) AS hash FROM project_keys FINAL",
        );
        self.fetch_one(self.timeouts.query, fingerprint).await
    }

    async fn fetch_keys(
        &self,
        rest: &str,
        value: impl Serialize,
    ) -> Result<Vec<ProjectKey>, ClickHouseError> {
        let query = self.client.query_raw(&format!("{SELECT} {rest}")).param("value", value);
        let rows = self.within(self.timeouts.query, query.fetch_all::<KeyRow>());
        Ok(rows.await?.into_iter().map(ProjectKey::from).collect())
    }
}

fn check(name: &str, key: &str) -> Result<(), ProjectKeyError> {
    let fits = |text: &str| (1..=TEXT_BYTES).contains(&text.len());
    if !fits(name) || name.chars().any(char::is_control) {
        return Err(ProjectKeyError::Unusable { what: "name", rule: ", without control characters" });
    }
    if !fits(key) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ProjectKeyError::Unusable { what: "key", rule: " of printable ASCII without spaces" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_names_have_to_be_fit_for_a_url_and_a_line() {
        for (name, key, fits) in [
            ("shop", "pk_live_1", true),
            ("Mein Laden – Süd", "x", true),
            ("", "pk", false),
            ("shop", "", false),
            ("a\nb", "pk", false),
            ("shop", "pk live", false),
            ("shop", "pkü", false),
            ("shop", &"k".repeat(TEXT_BYTES + 1), false),
        ] {
            assert_eq!(check(name, key).is_ok(), fits, "{name:?} {key:?}");
        }
    }
}
