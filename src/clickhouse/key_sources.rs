//! The tables of keys as the sources of the lookups.

use super::{ApiKeyRow, Fingerprint, ProjectKey, Store};
use crate::api_key::KeyHash;
use crate::project::{AllowedOrigins, ApiAccess, KeySource, Project, SourceError};

impl KeySource<Project> for Store {
    async fn lookup(&self, keys: Vec<String>) -> Result<Vec<(String, Project)>, SourceError> {
        let found = Store::lookup(self, &keys).await.map_err(SourceError::failed)?;
        Ok(found.into_iter().map(|row| (row.key.clone(), row.into())).collect())
    }

    async fn fingerprint(&self) -> Result<u64, SourceError> {
        Ok(Store::fingerprint(self).await.map_err(SourceError::failed)?.number())
    }
}

impl KeySource<ApiAccess> for Store {
    /// Of those that may be used: for a revoked key there is nothing, and for one of a scope that this version does
    /// not know.
    async fn lookup(&self, keys: Vec<KeyHash>) -> Result<Vec<(KeyHash, ApiAccess)>, SourceError> {
        let found = self.lookup_api_keys(&keys).await.map_err(SourceError::failed)?;
        Ok(found.into_iter().filter(|(_, row)| !row.revoked).filter_map(access).collect())
    }

    async fn fingerprint(&self) -> Result<u64, SourceError> {
        Ok(self.api_keys_fingerprint().await.map_err(SourceError::failed)?.number())
    }
}

impl Fingerprint {
    fn number(self) -> u64 {
        // Rows that cancel each other out in the hash still count.
        self.hash ^ self.count.rotate_left(32)
    }
}

impl From<ProjectKey> for Project {
    fn from(row: ProjectKey) -> Self {
        let origins = AllowedOrigins::stored(row.allowed_origins);
        Self { id: row.project_id, name: row.name, enabled: row.enabled, origins }
    }
}

fn access((hash, row): (KeyHash, ApiKeyRow)) -> Option<(KeyHash, ApiAccess)> {
    let Ok(scope) = row.scope.parse() else {
        tracing::warn!(key = %row.key_id, scope = row.scope, "an API key is for something that this version does not know");
        return None;
    };
    let access = ApiAccess {
        key_id: row.key_id,
        project: row.project_id,
        project_name: row.name,
        scope,
        origins: AllowedOrigins::stored(row.allowed_origins),
        expires_at: row.expires_at,
        requests_per_minute: row.requests_per_minute,
    };
    Some((hash, access))
}
