//! From a backend's secret key to what it may do.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::lookup::{Lookup, NotFound, Trust};
use super::{AllowedOrigins, KeySource, Keyed, LookupSettings};
use crate::api_key::{ApiKey, KeyHash, Scope};
use crate::clock::Clock;
use crate::event::Timestamp;
use crate::metrics::{LookupFigures, figures};
use crate::retry::Retry;

/// What an API key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAccess {
    /// The key's id, which is no secret.
    pub key_id: Uuid,
    /// The project that it sends for: what rows carry.
    pub project: Uuid,
    /// The project's name: what `weir.toml` calls it.
    pub project_name: String,
    /// What it may be used for.
    pub scope: Scope,
    /// The pages that may use it.
    pub origins: AllowedOrigins,
    /// From when on it is worth nothing; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// Requests that it may make in a minute; `None`: as many as is usual.
    pub requests_per_minute: Option<NonZeroU32>,
}

impl ApiAccess {
    /// Whether the key may be used so, at this moment.
    fn admit(&self, now: Timestamp, scope: Scope, origin: Option<&str>) -> Result<(), ApiKeyError> {
        if self.expires_at.is_some_and(|end| now >= end) {
            return Err(ApiKeyError::Missing);
        }
        if self.scope != scope {
            return Err(ApiKeyError::Scope);
        }
        if !self.origins.allow(origin) {
            return Err(ApiKeyError::OriginNotAllowed);
        }
        Ok(())
    }
}

/// Why a request may not do what its API key is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ApiKeyError {
    /// There is none, or it is malformed, unknown, revoked or expired: who tries keys is not told which.
    #[error("the API key is missing or not valid; expected a key as `weir key create` makes it")]
    Missing,
    /// The key is for something else.
    #[error("the API key may not be used for this; expected a key of another scope")]
    Scope,
    /// The page is not on the key's list.
    #[error("the request's Origin is not among those that the API key allows")]
    OriginNotAllowed,
    /// The key is not known here, or has not been confirmed for too long, and the source cannot be asked.
    #[error("the API key cannot be looked up at the moment; send the request again later")]
    Unavailable,
}

impl ApiKeyError {
    /// The stable name of this error.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "invalid_api_key",
            Self::Scope => "api_key_scope",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::Unavailable => "api_key_lookup_unavailable",
        }
    }

    /// Whether the same request can succeed later.
    pub const fn retry(self) -> Retry {
        match self {
            Self::Unavailable => Retry::After(Duration::from_secs(2)),
            Self::Missing | Self::Scope | Self::OriginNotAllowed => Retry::Never,
        }
    }
}

impl From<NotFound> for ApiKeyError {
    fn from(reason: NotFound) -> Self {
        match reason {
            NotFound::Unknown => Self::Missing,
            NotFound::Unavailable => Self::Unavailable,
        }
    }
}

/// What the snapshot has of an API key besides its hash.
#[derive(Serialize, Deserialize)]
#[doc(hidden)]
pub struct StoredAccess {
    id: Uuid,
    project: Uuid,
    /// Not in snapshots of versions before conversions.
    #[serde(default)]
    project_name: String,
    scope: String,
    origins: Vec<String>,
    /// Milliseconds since 1970.
    expires_at: Option<i64>,
    requests_per_minute: Option<NonZeroU32>,
}

impl Keyed for ApiAccess {
    type Key = KeyHash;
    type Stored = StoredAccess;
    const KEYS: &'static str = "API keys";

    fn figures() -> &'static LookupFigures {
        &figures().api_keys
    }

    fn label(&self) -> String {
        format!("API key {}", self.key_id)
    }

    fn origins(&self) -> &AllowedOrigins {
        &self.origins
    }

    fn key_text(key: &KeyHash) -> String {
        key.to_hex()
    }

    fn read_key(text: String) -> Option<KeyHash> {
        KeyHash::from_hex(&text)
    }

    fn stored(&self) -> StoredAccess {
        StoredAccess {
            id: self.key_id,
            project: self.project,
            project_name: self.project_name.clone(),
            scope: self.scope.as_str().to_owned(),
            origins: self.origins.entries().map(str::to_owned).collect(),
            expires_at: self.expires_at.map(Timestamp::as_millis),
            requests_per_minute: self.requests_per_minute,
        }
    }

    fn restored(stored: StoredAccess) -> Option<Self> {
        let StoredAccess { id, project, project_name, scope, origins, expires_at, requests_per_minute } =
            stored;
        let scope = scope.parse().ok()?;
        // Where its conversions go is found by that name; without it, the key is looked up anew.
        if scope == Scope::Conversions && project_name.is_empty() {
            return None;
        }
        Some(Self {
            key_id: id,
            project,
            project_name,
            scope,
            origins: AllowedOrigins::stored(origins),
            expires_at: expires_at.map(Timestamp::from_millis),
            requests_per_minute,
        })
    }
}

/// How API keys are cached, looked up and trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeySettings {
    /// As for project keys.
    pub lookup: LookupSettings,
    /// How long known keys work after the source's last word; then they are unavailable.
    pub grace: Duration,
}

impl Default for ApiKeySettings {
    fn default() -> Self {
        Self { lookup: LookupSettings::default(), grace: Duration::from_hours(24) }
    }
}

/// The API keys of a collector. Clones share everything; when the last one goes, so does the task behind them.
#[derive(Clone)]
pub struct ApiKeys {
    lookup: Lookup<ApiAccess>,
    trust: Trust,
}

impl ApiKeys {
    /// Takes up the snapshot at this path, if there is one, and starts to answer. `source` is only ever called
    /// on `runtime`; whoever calls [`find`](Self::find) may run on another. The task behind them ends when the last
    /// clone is gone and the snapshot is written, which takes as long as the disk.
    pub fn start(
        source: impl KeySource<ApiAccess>,
        settings: ApiKeySettings,
        snapshot: PathBuf,
        clock: Clock,
        runtime: &Handle,
    ) -> (Self, JoinHandle<()>) {
        let ApiKeySettings { lookup, grace } = settings;
        let trust = Trust { limit: Some(grace), clock };
        let (lookup, task) = Lookup::start(source, lookup, snapshot, trust.clone(), runtime);
        (Self { lookup, trust }, task)
    }

    /// What the key that a request presents stands for, if it may be used for `scope` from this `Origin` now. From
    /// the source where memory has no answer; text that cannot be a key costs no lookup. Waits no longer than
    /// [`LookupSettings::lookup_timeout`], on a runtime with its timer enabled.
    ///
    /// # Errors
    /// See [`ApiKeyError`].
    pub async fn find(
        &self,
        presented: Option<&[u8]>,
        scope: Scope,
        origin: Option<&str>,
    ) -> Result<Arc<ApiAccess>, ApiKeyError> {
        let text = presented.and_then(|presented| str::from_utf8(presented).ok());
        let hash = text.and_then(ApiKey::parse).ok_or(ApiKeyError::Missing)?.hash();
        let access = match self.lookup.cached(&hash) {
            Some(answer) => answer?,
            None => self.lookup.ask(hash).await?,
        };
        access.admit(self.trust.clock.now(), scope, origin)?;
        if !self.trust.holds(self.lookup.cache.confirmed()) {
            return Err(ApiKeyError::Unavailable);
        }
        Ok(access)
    }
}

#[cfg(test)]
mod tests;
