//! One segment: read through, what it holds sent, and deleted.

use std::io;
use std::time::Instant;

use uuid::Uuid;

use super::rows::{InsertBody, TableRows, token_prefix};
use super::{LoadError, Loader, Refused};
use crate::clickhouse::{Class, ClickHouseError, Insert, RowSource};
use crate::failpoint;
use crate::journal::{Backlog, Segment, SegmentReader, SegmentState};
use crate::metrics::figures;

impl Loader {
    /// Sends the tables' rows of a segment and deletes it. `refused` is the earlier search that found no row but
    /// refused ones, if it is parked for that.
    pub(super) async fn send(
        &self,
        segment: &mut Segment,
        tables: &[TableRows],
        refused: Option<Refused>,
    ) -> Result<(), LoadError> {
        for rows in tables {
            if segment.state == SegmentState::Whole {
                match self.send_whole(segment, rows).await {
                    Ok(()) => continue,
                    Err(LoadError::ClickHouse(error)) if error.server_code().is_some() => {
                        self.check_drift(rows).await?;
                        if error.class() == Class::Retry {
                            return Err(error.into());
                        }
                        tracing::warn!(segment = segment.number, %error, "parting a segment that is refused");
                        figures().inserts_bisected.increment(1);
                    }
                    Err(error) => {
                        if matches!(error, LoadError::ClickHouse(ClickHouseError::Source(_))) {
                            // It has changed on the disk: from now on its rows go out under other tokens.
                            self.backlog.part(segment)?;
                        }
                        return Err(error);
                    }
                }
            }
            self.backlog.part(segment)?;
            let earlier = refused.as_ref().filter(|refused| refused.table == rows.table.name);
            self.send_parted(segment, rows, earlier).await?;
        }
        segment.confirmed = true;
        failpoint::reach("confirmed");
        Ok(self.backlog.delete(segment)?)
    }

    /// Reads the segment through, after settling it where that has to be done first. `None` when there is nothing to
    /// send: the file was deleted by an attempt that could not finish, or nothing in it can be read and it is set
    /// aside.
    pub(super) async fn survey(&self, segment: &mut Segment) -> Result<Option<Vec<TableRows>>, LoadError> {
        let backlog = self.backlog.clone();
        let mut found = segment.clone();
        let read = tokio::task::spawn_blocking(move || {
            let tables = read_through(&backlog, &mut found);
            (found, tables)
        });
        // What was settled is settled, also where reading failed afterwards.
        let (found, tables) = read.await.map_err(io::Error::other)?;
        *segment = found;
        Ok(tables?)
    }

    async fn send_whole(&self, segment: &Segment, rows: &TableRows) -> Result<(), LoadError> {
        let body = InsertBody::new(open(&self.backlog, segment)?, rows);
        let sent = self.insert(&rows.table.name, &rows.token(), body).await;
        if matches!(sent, Err(ClickHouseError::Timeout(_))) {
            // It may be running still; the next attempt would only make it two.
            self.store.end_queries(&token_prefix(rows.segment)).await?;
        }
        sent?;
        figures().rows_loaded.increment(rows.rows);
        tracing::debug!(segment = segment.number, table = rows.table.name, rows = rows.rows, "loaded");
        Ok(())
    }

    pub(super) async fn insert(
        &self,
        table: &str,
        token: &str,
        body: impl RowSource,
    ) -> Result<(), ClickHouseError> {
        let begun = Instant::now();
        // The attempts of one token have ids of their own: a query that is still running keeps its id.
        let query_id = format!("{token}-{:08x}", Uuid::new_v4().as_fields().0);
        let result = self.store.insert(&Insert { table, token, query_id: &query_id }, body).await;
        figures().insert_seconds.record(begun.elapsed());
        if result.is_ok() {
            figures().inserts_done.increment(1);
            self.taken.note(table, begun);
            self.status.taken(table, begun);
        }
        result
    }

    /// A refusal may be the table's fault: then no row is to blame.
    pub(super) async fn check_drift(&self, rows: &TableRows) -> Result<(), LoadError> {
        let drifts = self.store.check_tables().await?;
        match drifts.iter().find(|drift| drift.table == rows.table.name) {
            None => Ok(()),
            Some(drift) => Err(LoadError::Drift(drift.to_string())),
        }
    }
}

fn read_through(backlog: &Backlog, segment: &mut Segment) -> io::Result<Option<Vec<TableRows>>> {
    let found = backlog.find(segment)?;
    if segment.confirmed {
        // An earlier attempt could not remove it, or not durably. Sent again, its token may be forgotten by now.
        backlog.delete(segment)?;
        return Ok(None);
    }
    if !found {
        tracing::error!(segment = segment.number, bytes = segment.bytes, "the file of a segment is gone");
        figures().journal_bytes_dropped.increment(segment.bytes);
        figures().journal_records_dropped.increment(1);
        backlog.delete(segment)?;
        return Ok(None);
    }
    let Some(mut reader) = backlog.read(segment)? else {
        backlog.set_aside(segment)?;
        return Ok(None);
    };
    if segment.unsettled {
        backlog.settle(segment, &mut reader)?;
        reader = open(backlog, segment)?;
    }
    let (tables, damaged) = TableRows::survey(&mut reader, segment.bytes, !segment.damage_told)?;
    segment.damage_told |= damaged;
    if damaged && tables.is_empty() {
        backlog.set_aside(segment)?;
        return Ok(None);
    }
    if damaged {
        // What is left of it may have been sent with the rest.
        backlog.part(segment)?;
    }
    Ok(Some(tables))
}

pub(super) fn open(backlog: &Backlog, segment: &Segment) -> io::Result<SegmentReader> {
    backlog.read(segment)?.ok_or_else(|| io::Error::other("its head is damaged"))
}
