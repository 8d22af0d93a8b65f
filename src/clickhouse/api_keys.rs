//! API keys: what the lookup finds and what `weir key` changes. Nothing here ever sees a key, only its hash.

use std::num::NonZeroU32;

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::{ClickHouseError, Fingerprint, Store};
use crate::api_key::{KeyHash, Scope};
use crate::event::Timestamp;
use crate::retry::Retry;

/// Keys asked for in one query.
const KEYS_A_QUERY: usize = 500;

/// A row of `api_keys`, without the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// The key's id, which is no secret.
    pub key_id: Uuid,
    /// The project.
    pub project_id: Uuid,
    /// The project's name when the key was made.
    pub name: String,
    /// What the key may be used for: a [`Scope`]'s word, or one of another version.
    pub scope: String,
    /// Origins that may send with it; empty: any.
    pub allowed_origins: Vec<String>,
    /// Requests in a minute; `None`: what the collector is set to.
    pub requests_per_minute: Option<NonZeroU32>,
    /// When the key was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Whether it is refused.
    pub revoked: bool,
}

/// What a key to be made may be used for, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyGrant {
    /// What it is for.
    pub scope: Scope,
    /// Origins that may send with it; empty: any.
    pub allowed_origins: Vec<String>,
    /// Requests in a minute; `None`: what the collector is set to.
    pub requests_per_minute: Option<NonZeroU32>,
    /// From when on it is refused, later than 1970.
    pub expires_at: Option<Timestamp>,
}

/// An API key could not be made or revoked.
#[derive(Debug, Error)]
pub enum ApiKeyStoreError {
    /// No project has this name.
    #[error("there is no project {0:?}; `weir project list` shows them all, `weir project create` makes one")]
    UnknownProject(String),
    /// No key has this id.
    #[error("there is no API key {0}; `weir key list` shows them all")]
    UnknownKey(Uuid),
    /// ClickHouse refused, or cannot be reached.
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
}

impl ApiKeyStoreError {
    /// The error's stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownProject(_) => "unknown_project",
            Self::UnknownKey(_) => "unknown_api_key",
            Self::ClickHouse(error) => error.code(),
        }
    }

    /// Whether the same call can succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::ClickHouse(error) => error.retry(),
            Self::UnknownProject(_) | Self::UnknownKey(_) => Retry::Never,
        }
    }
}

#[derive(Row, Deserialize)]
struct StoredRow {
    key_hash: String,
    #[serde(with = "clickhouse::serde::uuid")]
    key_id: Uuid,
    #[serde(with = "clickhouse::serde::uuid")]
    project_id: Uuid,
    name: String,
    scope: String,
    allowed_origins: Vec<String>,
    requests_per_minute: u32,
    created: i64,
    expires: Option<i64>,
    revoked: bool,
}

impl StoredRow {
    /// The row with its key's hash, if it has one.
    fn read(self) -> (Option<KeyHash>, ApiKeyRow) {
        let row = ApiKeyRow {
            key_id: self.key_id,
            project_id: self.project_id,
            name: self.name,
            scope: self.scope,
            allowed_origins: self.allowed_origins,
            requests_per_minute: NonZeroU32::new(self.requests_per_minute),
            created_at: Timestamp::from_millis(self.created),
            expires_at: self.expires.map(Timestamp::from_millis),
            revoked: self.revoked,
        };
        (KeyHash::from_hex(&self.key_hash), row)
    }
}

const SELECT: &str = "SELECT key_hash, key_id, project_id, name, toString(scope) AS scope, allowed_origins, \
     requests_per_minute, toUnixTimestamp64Milli(created_at) AS created, \
     toUnixTimestamp64Milli(expires_at) AS expires, revoked FROM api_keys FINAL";

impl Store {
    /// Makes a key with this hash for the project with this name.
    pub async fn create_api_key(
        &self,
        project: &str,
        hash: KeyHash,
        grant: &ApiKeyGrant,
    ) -> Result<ApiKeyRow, ApiKeyStoreError> {
        let project_id = self.project_id(project).await?;
        let project_id = project_id.ok_or_else(|| ApiKeyStoreError::UnknownProject(project.to_owned()))?;
        let key_id = Uuid::now_v7();
        let insert = self
            .client
            .query_raw(
                "INSERT INTO api_keys (key_hash, key_id, project_id, name, scope, allowed_origins, \
                     requests_per_minute, expires_at, revoked) \
                 SELECT {hash:String}, {id:UUID}, {project:UUID}, {name:String}, {scope:String}, \
                     {origins:Array(String)}, {requests:UInt32}, \
                     if({expires:Int64} = 0, NULL, fromUnixTimestamp64Milli({expires:Int64}, 'UTC')), false",
            )
            .with_setting("async_insert", "0")
            .param("hash", hash.to_hex())
            .param("id", key_id.to_string())
            .param("project", project_id.to_string())
            .param("name", project)
            .param("scope", grant.scope.as_str())
            .param("origins", &grant.allowed_origins)
            .param("requests", grant.requests_per_minute.map_or(0, NonZeroU32::get))
            .param("expires", grant.expires_at.map_or(0, Timestamp::as_millis));
        self.within(self.timeouts.query, insert.execute()).await?;
        self.api_key(key_id).await
    }

    /// Every API key, by project name and age.
    pub async fn list_api_keys(&self) -> Result<Vec<ApiKeyRow>, ClickHouseError> {
        let rows = self.fetch_api_keys("ORDER BY name, created_at, key_id", "").await?;
        Ok(rows.into_iter().map(|row| row.read().1).collect())
    }

    /// Has requests with this key refused from now on; again does nothing.
    pub async fn revoke_api_key(&self, key_id: Uuid) -> Result<(), ApiKeyStoreError> {
        if self.api_key(key_id).await?.revoked {
            return Ok(());
        }
        let revoke = self
            .client
            .query_raw(
                "INSERT INTO api_keys (key_hash, key_id, project_id, name, scope, allowed_origins, \
                     requests_per_minute, created_at, expires_at, revoked, updated_at) \
                 SELECT key_hash, key_id, project_id, name, scope, allowed_origins, requests_per_minute, created_at, \
                     expires_at, true, greatest(now64(3, 'UTC'), addMilliseconds(updated_at, 1)) \
                 FROM api_keys FINAL WHERE key_id = {id:UUID}",
            )
            .with_setting("async_insert", "0")
            .param("id", key_id.to_string());
        Ok(self.within(self.timeouts.query, revoke.execute()).await?)
    }

    /// The rows of those of the hashed keys that there are, revoked and expired ones included.
    pub async fn lookup_api_keys(
        &self,
        keys: &[KeyHash],
    ) -> Result<Vec<(KeyHash, ApiKeyRow)>, ClickHouseError> {
        let mut found = Vec::new();
        for some in keys.chunks(KEYS_A_QUERY) {
            let hashes: Vec<String> = some.iter().map(KeyHash::to_hex).collect();
            let rows = self.fetch_api_keys("WHERE key_hash IN {value:Array(String)}", hashes).await?;
            found.extend(rows.into_iter().filter_map(|row| match row.read() {
                (Some(hash), row) => Some((hash, row)),
                (None, _) => None,
            }));
        }
        Ok(found)
    }

    /// What all API keys come to: cheap to ask for often.
    pub async fn api_keys_fingerprint(&self) -> Result<Fingerprint, ClickHouseError> {
        let fingerprint = self.client.query_raw(
            "SELECT count() AS count, groupBitXor(sipHash64(key_hash, key_id, project_id, scope, allowed_origins, \
             requests_per_minute, ifNull(toUnixTimestamp64Milli(expires_at), 0), revoked, updated_at)) AS hash \
             FROM api_keys FINAL",
        );
        self.fetch_one(self.timeouts.query, fingerprint).await
    }

    async fn api_key(&self, key_id: Uuid) -> Result<ApiKeyRow, ApiKeyStoreError> {
        let rows = self.fetch_api_keys("WHERE key_id = {value:UUID}", key_id.to_string()).await?;
        let row = rows.into_iter().next().ok_or(ApiKeyStoreError::UnknownKey(key_id))?;
        Ok(row.read().1)
    }

    async fn fetch_api_keys(
        &self,
        rest: &str,
        value: impl Serialize,
    ) -> Result<Vec<StoredRow>, ClickHouseError> {
        let query = self.client.query_raw(&format!("{SELECT} {rest}")).param("value", value);
        self.within(self.timeouts.query, query.fetch_all()).await
    }
}
