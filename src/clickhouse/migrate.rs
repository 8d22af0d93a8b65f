//! The tables, made step by step from the numbered files in `sql/`.
//!
//! A file holds statements, each ended by a `;` at the end of a line. Every statement can be run again without harm
//! (`IF NOT EXISTS`), because two collectors may run them at once and because a number is recorded after its
//! statements have run, not with them. No file names a database: the client's is meant.

use clickhouse::sql::Identifier;
use thiserror::Error;
use tracing::{info, warn};

use super::{ClickHouseError, SchemaDrift, Store};
use crate::retry::Retry;

struct Migration {
    number: u32,
    name: &'static str,
    sql: &'static str,
}

/// Keeps account of the others, so it comes before them, each time.
const ACCOUNT: &str = include_str!("../../sql/0000_migrations.sql");

const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "events", sql: include_str!("../../sql/0001_events.sql") },
    Migration { number: 2, name: "rejected_events", sql: include_str!("../../sql/0002_rejected_events.sql") },
    Migration { number: 3, name: "project_keys", sql: include_str!("../../sql/0003_project_keys.sql") },
    Migration { number: 4, name: "api_events", sql: include_str!("../../sql/0004_api_events.sql") },
    Migration { number: 5, name: "api_keys", sql: include_str!("../../sql/0005_api_keys.sql") },
    Migration { number: 6, name: "conversions", sql: include_str!("../../sql/0006_conversions.sql") },
];

/// 57 `TABLE_ALREADY_EXISTS` and 82 `DATABASE_ALREADY_EXISTS`: another collector was faster.
const DONE_BY_ANOTHER: &[u32] = &[57, 82];

/// The tables are not as this version needs them.
#[derive(Debug, Error)]
pub enum MigrationError {
    /// ClickHouse refused a statement, or did not answer.
    #[error("migration {number} ({name}) failed: {source}")]
    Statement {
        /// The migration's number; 0 is the database and the account of migrations.
        number: u32,
        /// The migration's name.
        name: &'static str,
        /// What ClickHouse said.
        #[source]
        source: ClickHouseError,
    },
    /// The statements ran, and a table still is not what the code writes.
    #[error("the tables do not fit this version: {}", list(.0))]
    Drift(Vec<SchemaDrift>),
    /// The tables could not be looked at.
    #[error("the tables could not be checked: {0}")]
    Check(#[source] ClickHouseError),
}

impl MigrationError {
    /// The error's stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Statement { .. } => "migration_failed",
            Self::Drift(_) => "schema_drift",
            Self::Check(_) => "schema_unknown",
        }
    }

    /// Whether the same call can succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Statement { source, .. } | Self::Check(source) => source.retry(),
            Self::Drift(_) => Retry::Never,
        }
    }
}

fn list(drifts: &[SchemaDrift]) -> String {
    drifts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Store {
    /// Makes the database and whatever the tables lack, then checks that they are what the code writes. Safe to
    /// run again and from several collectors at once.
    pub async fn migrate(&self) -> Result<(), MigrationError> {
        let prepare = |source| MigrationError::Statement { number: 0, name: "migrations", source };
        self.create_database().await.map_err(prepare)?;
        self.run(ACCOUNT).await.map_err(prepare)?;
        let applied = self.applied().await.map_err(prepare)?;
        let newest = MIGRATIONS.iter().map(|migration| migration.number).max().unwrap_or(0);
        if let Some(newer) = applied.iter().copied().find(|number| *number > newest) {
            warn!(number = newer, known = newest, "the tables were migrated by a newer version");
        }
        for migration in MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.number)) {
            let Migration { number, name, sql } = *migration;
            let failed = |source| MigrationError::Statement { number, name, source };
            self.run(sql).await.map_err(failed)?;
            self.record(number, name).await.map_err(failed)?;
            info!(number, name, "migration applied");
        }
        let drifts = self.check_tables().await.map_err(MigrationError::Check)?;
        if drifts.is_empty() { Ok(()) } else { Err(MigrationError::Drift(drifts)) }
    }

    async fn create_database(&self) -> Result<(), ClickHouseError> {
        let client = self.client.clone().with_database("system");
        let limit = self.timeouts.statement;
        // Asked first: where a database is given to us, the right to make one often is not.
        let there = client
            .query_raw("SELECT count() FROM system.databases WHERE name = {name:String}")
            .param("name", &self.database);
        let there: u64 = self.fetch_one(limit, there).await?;
        if there > 0 {
            return Ok(());
        }
        let create = client.query("CREATE DATABASE IF NOT EXISTS ?").bind(Identifier(&self.database));
        unless_done(self.within(limit, create.execute()).await)
    }

    async fn run(&self, sql: &str) -> Result<(), ClickHouseError> {
        for statement in statements(sql) {
            let call = self.client.query_raw(&statement).execute();
            unless_done(self.within(self.timeouts.statement, call).await)?;
        }
        Ok(())
    }

    async fn applied(&self) -> Result<Vec<u32>, ClickHouseError> {
        let numbers = self.client.query_raw("SELECT DISTINCT number FROM migrations").fetch_all();
        self.within(self.timeouts.query, numbers).await
    }

    async fn record(&self, number: u32, name: &str) -> Result<(), ClickHouseError> {
        let insert = self
            .client
            .query_raw("INSERT INTO migrations (number, name) SELECT {number:UInt32}, {name:String}")
            .param("number", number)
            .param("name", name);
        self.within(self.timeouts.query, insert.execute()).await
    }
}

fn unless_done(result: Result<(), ClickHouseError>) -> Result<(), ClickHouseError> {
    match result {
        Err(error) if error.server_code().is_some_and(|code| DONE_BY_ANOTHER.contains(&code)) => Ok(()),
        other => other,
    }
}

/// The statements of a file, without the `;` that ends each.
fn statements(sql: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut statement = String::new();
    for line in sql.lines() {
        let text = line.trim_end();
        let is_comment = text.trim_start().starts_with("--");
        match text.strip_suffix(';') {
            Some(last) if !is_comment => {
                statement.push_str(last);
                all.push(std::mem::take(&mut statement));
            }
            _ => {
                statement.push_str(text);
                statement.push('\n');
            }
        }
    }
    if !statement.trim().is_empty() {
        all.push(statement);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_a_semicolon_at_the_end_of_a_line() {
        let sql = "-- about; both;\nCREATE a (b String COMMENT 'x; y')\nENGINE = c;  \n\nALTER d;\n\n";
        assert_eq!(
            statements(sql),
            ["-- about; both;\nCREATE a (b String COMMENT 'x; y')\nENGINE = c", "\nALTER d"]
        );
        assert_eq!(statements("SELECT 1"), ["SELECT 1\n"]);
        assert!(statements("\n \n").is_empty());
    }

    #[test]
    fn the_files_hold_whole_statements_that_can_be_run_again() {
        let files = MIGRATIONS.iter().map(|migration| migration.sql).chain([ACCOUNT]);
        for sql in files {
            for statement in statements(sql) {
                let code: Vec<&str> =
                    statement.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
                let code = code.join("\n");
                assert!(code.contains(" IF NOT EXISTS "), "{code}");
                assert_eq!(code.matches('(').count(), code.matches(')').count(), "{code}");
            }
        }
    }

    #[test]
    fn numbers_rise_one_by_one() {
        let numbers: Vec<u32> = MIGRATIONS.iter().map(|migration| migration.number).collect();
        assert_eq!(numbers, (1..=6).collect::<Vec<_>>());
    }
}
