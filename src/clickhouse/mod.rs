//! Everything that speaks to ClickHouse: the client ([`Store`]), the tables and their migrations, project and API keys,
//! and the embedded [`Engine`], a real ClickHouse run as a child process where none is configured.
//!
//! Promises: every call ends within a time of its own; an insert that returned `Ok` is on ClickHouse's disk (our
//! tables sync it) and is not repeated by the same token; an error says by ClickHouse's own number whether the rows
//! are at fault. Passwords are never shown.

mod altered;
mod api_keys;
mod block;
mod confirm;
mod connection;
mod engine;
mod error;
mod insert;
mod key_sources;
mod migrate;
mod projects;
mod schema;
mod shown;
mod store;
mod stored;

use std::fmt;

pub use altered::ServerTime;
pub use api_keys::{ApiKeyGrant, ApiKeyRow, ApiKeyStoreError};
pub(crate) use connection::{Connector, connector, tls};
pub use engine::{CHILD_COMMAND, Engine, EngineError, EngineSettings, run_child};
pub use error::{Class, ClickHouseError};
pub use insert::{Insert, RowSource};
pub use migrate::MigrationError;
pub use projects::{Fingerprint, ProjectKey, ProjectKeyError};
pub use schema::{DegradedTable, SchemaDrift};
pub use shown::ShownEvent;
pub use store::{Store, Timeouts};
pub use stored::EventKey;

/// Where a ClickHouse is and who we are there.
#[derive(Clone, Debug)]
pub struct ClickHouseSettings {
    /// Its HTTP interface: `http://127.0.0.1:8123`.
    pub url: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Password,
    /// The database that holds our tables.
    pub database: String,
    /// How long calls may take.
    pub timeouts: Timeouts,
}

/// A password, which `Debug` does not show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Keeps a password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    /// The password, for those who must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Password {
    fn from(password: &str) -> Self {
        Self::new(password)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
