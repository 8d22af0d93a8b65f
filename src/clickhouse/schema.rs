//! What the tables have to be, compared with what they are.

use std::fmt;

use clickhouse::Row;
use serde::Deserialize;

use super::{ClickHouseError, Store};
use crate::row::Table;

/// The columns of `project_keys` that the code reads and writes.
const PROJECT_KEY_COLUMNS: &[(&str, &str)] = &[
    ("key", "String"),
    ("project_id", "UUID"),
    ("name", "String"),
    ("allowed_origins", "Array(String)"),
    ("enabled", "Bool"),
    ("created_at", "DateTime64(3, 'UTC')"),
    ("updated_at", "DateTime64(3, 'UTC')"),
];

/// The columns of `api_keys` that the code reads and writes.
const API_KEY_COLUMNS: &[(&str, &str)] = &[
    ("key_hash", "String"),
    ("key_id", "UUID"),
    ("project_id", "UUID"),
    ("name", "String"),
    ("scope", "LowCardinality(String)"),
    ("allowed_origins", "Array(String)"),
    ("requests_per_minute", "UInt32"),
    ("created_at", "DateTime64(3, 'UTC')"),
    ("expires_at", "Nullable(DateTime64(3, 'UTC'))"),
    ("revoked", "Bool"),
    ("updated_at", "DateTime64(3, 'UTC')"),
];

/// The tables that hold keys, and their columns.
const KEY_TABLES: [(&str, &[(&str, &str)]); 2] =
    [("project_keys", PROJECT_KEY_COLUMNS), ("api_keys", API_KEY_COLUMNS)];

fn table_names() -> Vec<&'static str> {
    Table::ALL.map(Table::name).into_iter().chain(KEY_TABLES.map(|(name, _)| name)).collect()
}

/// One way in which a table is not what the code expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaDrift {
    /// The table.
    pub table: &'static str,
    /// The column; `None` where the table itself is missing.
    pub column: Option<&'static str>,
    /// The type that the code writes; empty where the table is missing.
    pub expected: &'static str,
    /// The type that the column has, with `ALIAS` or `MATERIALIZED` where it takes no values; `None` where it is
    /// missing.
    pub found: Option<String>,
}

impl fmt::Display for SchemaDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, column, expected, found } = self;
        match (column, found) {
            (None, _) => write!(f, "table {table} is missing"),
            (Some(column), None) => write!(f, "table {table} lacks column {column} {expected}"),
            (Some(column), Some(found)) => {
                write!(f, "column {column} of table {table} is {found}, expected {expected}")
            }
        }
    }
}

/// A table that works without keeping all that a 200 promises: made by hand, or by another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DegradedTable {
    /// The table.
    pub table: String,
    /// The settings that it lacks, with the least value that serves.
    pub lacks: Vec<&'static str>,
}

impl fmt::Display for DegradedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "table {} lacks {}: rows it confirms may be lost or repeated",
            self.table,
            self.lacks.join(", ")
        )
    }
}

#[derive(Row, Deserialize)]
struct ColumnRow {
    table: String,
    name: String,
    kind: String,
    default_kind: String,
}

#[derive(Row, Deserialize)]
struct TableRow {
    name: String,
    engine: String,
    engine_full: String,
}

#[derive(Row, Deserialize)]
struct DefaultRow {
    name: String,
    value: String,
}

const SYNC_SETTINGS: &[&str] =
    &["fsync_after_insert", "fsync_part_directory", "min_rows_to_fsync_after_merge"];
const TOKEN_SETTING: &str = "non_replicated_deduplication_window";

impl Store {
    /// Where the tables differ from what the code reads and writes; empty when all is well. Columns besides ours
    /// are nobody's fault.
    pub async fn check_tables(&self) -> Result<Vec<SchemaDrift>, ClickHouseError> {
        let columns = self
            .client
            .query_raw(
                "SELECT table, name, type AS kind, default_kind FROM system.columns \
                 WHERE database = {database:String} \
                 AND table IN {tables:Array(String)}",
            )
            .param("database", &self.database)
            .param("tables", table_names())
            .fetch_all::<ColumnRow>();
        let found = self.within(self.timeouts.query, columns).await?;
        let rows = Table::ALL.map(|table| (table.name(), table.columns()));
        Ok(rows
            .into_iter()
            .chain(KEY_TABLES)
            .flat_map(|(table, expected)| drifts(table, expected, &found))
            .collect())
    }

    /// Tables of ours whose settings lose confirmed rows in a power cut, or repeat retried ones. Views and
    /// Distributed tables, which hold nothing themselves, are not looked at, nor tables on a cloud's storage.
    pub async fn degraded_tables(&self) -> Result<Vec<DegradedTable>, ClickHouseError> {
        let tables = self
            .client
            .query_raw(
                "SELECT name, engine, engine_full FROM system.tables WHERE database = {database:String} \
                 AND name IN {tables:Array(String)}",
            )
            .param("database", &self.database)
            .param("tables", table_names())
            .fetch_all::<TableRow>();
        let tables = self.within(self.timeouts.query, tables).await?;
        let defaults = self
            .client
            .query_raw("SELECT name, value FROM system.merge_tree_settings")
            .fetch_all::<DefaultRow>();
        let defaults = self.within(self.timeouts.query, defaults).await?;
        Ok(tables
            .iter()
            .map(|table| DegradedTable { table: table.name.clone(), lacks: lacking(table, &defaults) })
            .filter(|table| !table.lacks.is_empty())
            .collect())
    }
}

fn drifts(
    table: &'static str,
    expected: &'static [(&'static str, &'static str)],
    found: &[ColumnRow],
) -> Vec<SchemaDrift> {
    let mut columns = found.iter().filter(|column| column.table == table).peekable();
    if columns.peek().is_none() {
        return vec![SchemaDrift { table, column: None, expected: "", found: None }];
    }
    let columns: Vec<_> = columns.collect();
    expected
        .iter()
        .filter_map(|(name, kind)| {
            let there = columns.iter().find(|column| column.name == *name).map(|column| as_found(column));
            let fits = there.as_deref() == Some(*kind);
            (!fits).then_some(SchemaDrift { table, column: Some(name), expected: kind, found: there })
        })
        .collect()
}

fn as_found(column: &ColumnRow) -> String {
    match column.default_kind.as_str() {
        "" | "DEFAULT" => column.kind.clone(),
        takes_no_values => format!("{takes_no_values} {}", column.kind),
    }
}

fn lacking(table: &TableRow, defaults: &[DefaultRow]) -> Vec<&'static str> {
    if !table.engine.ends_with("MergeTree") || table.engine.starts_with("Shared") {
        return Vec::new();
    }
    // Keys are few and rewritten whole: no tokens. Replicated tables have a window of their own.
    let holds_keys = KEY_TABLES.iter().any(|(name, _)| *name == table.name);
    let needs_token = !holds_keys && !table.engine.starts_with("Replicated");
    let needed = SYNC_SETTINGS.iter().copied().chain(needs_token.then_some(TOKEN_SETTING));
    needed.filter(|name| setting(&table.engine_full, name, defaults) == 0).collect()
}

/// A setting's value for a table: its own, else the server's default.
fn setting(engine_full: &str, name: &str, defaults: &[DefaultRow]) -> u64 {
    let own = engine_full
        .split_once(" SETTINGS ")
        .into_iter()
        .flat_map(|(_, settings)| settings.split(", "))
        .filter_map(|setting| setting.split_once(" = "))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let server =
        || defaults.iter().find(|default| default.name == name).map(|default| default.value.as_str());
    match own.or_else(server).map(str::trim) {
        Some("true") => 1,
        Some(value) => value.parse().unwrap_or(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str, default_kind: &str) -> ColumnRow {
        ColumnRow {
            table: "project_keys".into(),
            name: name.into(),
            kind: kind.into(),
            default_kind: default_kind.into(),
        }
    }

    #[test]
    fn a_drift_names_table_column_and_both_types() {
        let mut found: Vec<_> =
            PROJECT_KEY_COLUMNS.iter().map(|(name, kind)| column(name, kind, "")).collect();
        found.push(column("colour", "String", ""));
        assert!(drifts("project_keys", PROJECT_KEY_COLUMNS, &found).is_empty());

        found[0].kind = "FixedString(8)".into();
        found[4].default_kind = "ALIAS".into();
        found[5].default_kind = "DEFAULT".into();
        found.remove(6);
        let texts: Vec<_> =
            drifts("project_keys", PROJECT_KEY_COLUMNS, &found).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "column key of table project_keys is FixedString(8), expected String",
                "column enabled of table project_keys is ALIAS Bool, expected Bool",
                "table project_keys lacks column updated_at DateTime64(3, 'UTC')",
            ]
        );
        assert_eq!(drifts("events", &[("a", "b")], &found)[0].to_string(), "table events is missing");
    }

    #[test]
    fn a_table_is_degraded_by_what_neither_it_nor_the_server_sets() {
        let table = |engine: &str, settings: &str| TableRow {
            name: "events".into(),
            engine: engine.into(),
            engine_full: format!("{engine} ORDER BY a SETTINGS {settings}"),
        };
        let defaults = [DefaultRow { name: "fsync_part_directory".into(), value: "1".into() }];
        assert_eq!(
            lacking(&table("MergeTree", "fsync_after_insert = 1, index_granularity = 8192"), &defaults),
            ["min_rows_to_fsync_after_merge", TOKEN_SETTING]
        );
        assert_eq!(
            lacking(&table("ReplicatedMergeTree", "fsync_after_insert = true"), &defaults),
            ["min_rows_to_fsync_after_merge"]
        );
        assert!(lacking(&table("SharedMergeTree", "index_granularity = 8192"), &defaults).is_empty());
        assert!(lacking(&table("Distributed", "a = 1"), &defaults).is_empty());
    }
}
