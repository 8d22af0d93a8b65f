//! The table of project keys as the source of the project cache.

use super::{ProjectKey, Store};
use crate::project::{AllowedOrigins, Project, ProjectSource, SourceError};

impl ProjectSource for Store {
    async fn lookup(&self, keys: Vec<String>) -> Result<Vec<(String, Project)>, SourceError> {
        let found = Store::lookup(self, &keys).await.map_err(SourceError::failed)?;
        Ok(found.into_iter().map(|row| (row.key.clone(), row.into())).collect())
    }

    async fn fingerprint(&self) -> Result<u64, SourceError> {
        let fingerprint = Store::fingerprint(self).await.map_err(SourceError::failed)?;
        // Rows that cancel each other out in the hash still count.
        Ok(fingerprint.hash ^ fingerprint.count.rotate_left(32))
    }
}

impl From<ProjectKey> for Project {
    fn from(row: ProjectKey) -> Self {
        let origins = AllowedOrigins::stored(row.allowed_origins);
        Self { id: row.project_id, name: row.name, enabled: row.enabled, origins }
    }
}
