//! A segment that ClickHouse refused for the content of some row: its rows are sent in halves, and halves of halves,
//! until the guilty ones stand alone; those go to `rejected_events`, all others to their table.
//!
//! A row is to blame only if its table takes other rows, and a table that took some a moment ago may have begun to
//! refuse everything since: a constraint that somebody has added, a view that fails for every row. So before refused
//! rows are kept as guilty, a *witness* is heard: a part of the segment that the table has taken in this search goes
//! out again, under its own token. A table that works drops it as a repetition; one that refuses everything refuses
//! it too, because values are checked before repetitions are looked for. Then no row is blamed, and the segment is
//! parked.
//!
//! Where the table has taken nothing in this search, other segments are the witnesses: an INSERT that was begun after
//! an earlier search had found refused rows only. Until there is one the segment is parked.
//!
//! Either way a witness speaks for the table as it is: what was refused before it was altered is tried anew.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::held::{HeldRows, pieces};
use super::rows::{TableRows, token, token_prefix};
use super::send::open;
use super::{LoadError, Loader, Refused};
use crate::clickhouse::{Class, ClickHouseError, ServerTime};
use crate::failpoint;
use crate::journal::Segment;
use crate::metrics::figures;
use crate::row::Table;

/// So many parts are refused in a row before a witness is heard, or, where there is none, [single rows](SAMPLED) are
/// tried. A table that refuses everything must not be asked once for each row, or twice.
const REFUSED_IN_A_ROW: usize = 200;

/// So many rows are tried alone, wherever they stand, before a table counts as one that refuses everything.
const SAMPLED: usize = 32;

/// So many guilty rows are kept at once. What is kept stays so when a search is interrupted.
const KEPT_AT_ONCE: usize = 100;

/// So many rows are short enough to be sent again and again as a witness.
const SHORT: usize = 1_000;

/// So often a search begins anew because the tables were altered, before it is left for later.
const TIMES_ANEW: usize = 8;

/// A search for the guilty rows of one table of a segment.
struct Search<'a> {
    loader: &'a Loader,
    found: &'a TableRows,
    rows: HeldRows,
    /// What is still to be sent, breadth first: good rows are loaded in large pieces before the search narrows down.
    parts: VecDeque<Range<usize>>,
    /// Rows that were refused standing alone, with ClickHouse's code.
    refused: Vec<(usize, u32)>,
    /// A part that the table has taken in this search.
    witness: Option<Range<usize>>,
    begun: ServerTime,
    times_anew: usize,
    /// The earlier search that found no row but refused ones: an INSERT that was begun later bears witness too.
    earlier: Option<&'a Refused>,
    /// Parts refused since one was taken, or a witness was heard.
    refusals: usize,
    /// How many refusals in a row are borne without a witness before single rows are tried.
    patience: usize,
}

impl Loader {
    /// Sends a table's rows that are not stored yet, the guilty ones left out, which go to `rejected_events`.
    /// `earlier` is a search that found no row but refused ones.
    pub(super) async fn send_parted(
        &self,
        segment: &Segment,
        found: &TableRows,
        earlier: Option<&Refused>,
    ) -> Result<(), LoadError> {
        self.store.end_queries(&token_prefix(found.segment)).await?;
        let (reader, surveyed) = (open(&self.backlog, segment)?, found.clone());
        let read = tokio::task::spawn_blocking(move || HeldRows::read(reader, &surveyed));
        let rows = read.await.map_err(io::Error::other)??;
        let all = 0..rows.len();
        let mut search = Search {
            loader: self,
            found,
            rows,
            parts: VecDeque::new(),
            refused: Vec::new(),
            witness: None,
            begun: self.store.server_time().await?,
            times_anew: 0,
            earlier,
            refusals: 0,
            patience: if earlier.is_some() { 1 } else { REFUSED_IN_A_ROW },
        };
        search.parts = search.unsettled(all, true).await?.into();
        search.run().await
    }
}

impl Search<'_> {
    async fn run(&mut self) -> Result<(), LoadError> {
        loop {
            while let Some(part) = self.parts.pop_front() {
                match self.send(&part).await {
                    Ok(()) => self.taken(part),
                    Err(error) if error.class() == Class::Reject => self.refused(part, &error).await?,
                    Err(error) => return Err(error.into()),
                }
            }
            failpoint::reach("parted");
            self.keep().await?;
            if self.parts.is_empty() {
                return Ok(());
            }
        }
    }

    async fn send(&self, part: &Range<usize>) -> Result<(), ClickHouseError> {
        let (body, token) = self.rows.insert(self.found, part);
        self.loader.insert(&self.found.table.name, &token, pieces(body)).await
    }

    fn taken(&mut self, part: Range<usize>) {
        figures().rows_loaded.increment(part.len() as u64);
        self.refusals = 0;
        if self.witness.is_none() {
            self.try_again();
        }
        // The latest: ClickHouse forgets its token when so many others have come. But a short one.
        if self.witness.as_ref().is_none_or(|witness| part.len() <= witness.len().max(SHORT)) {
            self.witness = Some(part);
        }
        failpoint::reach("part_loaded");
    }

    /// Has rows tried again that were refused when their table may have been another: one that took nothing, say.
    fn try_again(&mut self) {
        self.parts.extend(self.refused.drain(..).map(|(row, _)| row..row + 1));
    }

    async fn refused(&mut self, part: Range<usize>, error: &ClickHouseError) -> Result<(), LoadError> {
        let code = error.server_code().unwrap_or_default();
        self.refusals += 1;
        // What was refused as a whole may be stored in part.
        for left in self.unsettled(part.clone(), false).await? {
            match part.len() {
                1 => self.refused.push((left.start, code)),
                _ => self.parts.extend(halves(left)),
            }
        }
        if self.witness.is_some() {
            if self.refusals >= REFUSED_IN_A_ROW {
                self.hear_witness(code).await?;
            }
        } else if self.refusals == self.patience {
            self.parts = single_out(std::mem::take(&mut self.parts), SAMPLED);
        } else if self.refusals >= self.patience + SAMPLED {
            self.hear_witness(code).await?;
        }
        if self.refused.len() >= KEPT_AT_ONCE && (self.witness.is_some() || self.earlier.is_some()) {
            self.keep().await?;
        }
        Ok(())
    }

    /// Has all refused rows tried again, because their table has been altered since.
    async fn begin_anew(&mut self) -> Result<(), LoadError> {
        self.times_anew += 1;
        if self.times_anew > TIMES_ANEW {
            return Err(LoadError::Altered);
        }
        // Another second of ClickHouse's clock has to begin, which notes by the second when a table is altered.
        sleep(Duration::from_secs(1)).await;
        self.begun = self.loader.store.server_time().await?;
        self.try_again();
        Ok(())
    }

    /// Fails unless the table takes rows now, or has taken others since all of these were refused.
    async fn hear_witness(&mut self, code: u32) -> Result<(), LoadError> {
        let heard = match (&self.witness, self.earlier) {
            (Some(part), _) => match self.send(part).await {
                Ok(()) => true,
                Err(error) if error.class() == Class::Reject => false,
                Err(error) => return Err(error.into()),
            },
            (None, Some(earlier)) => {
                self.loader.taken.since(&self.found.table.name, earlier.at)
                    && !self.loader.store.altered_since(earlier.begun).await?
            }
            (None, None) => false,
        };
        if !heard {
            return Err(LoadError::AllRefused {
                code,
                refused: Refused {
                    table: self.found.table.name.clone(),
                    at: Instant::now(),
                    begun: self.begun,
                },
            });
        }
        self.refusals = 0;
        Ok(())
    }

    /// Notes the refused rows as guilty, once a witness has been heard, and stores their events with the reason. A
    /// refused row of `rejected_events` itself is only counted.
    async fn keep(&mut self) -> Result<(), LoadError> {
        let Some((_, code)) = self.refused.last().copied() else { return Ok(()) };
        self.hear_witness(code).await?;
        // Then the table that took the witness may be another than the one that refused these rows.
        if self.loader.store.altered_since(self.begun).await? {
            return self.begin_anew().await;
        }
        // A drift that began meanwhile looks like guilty rows too.
        self.loader.check_drift(self.found).await?;
        // In the order of the segment, whatever way the search went: the same rows make the same bytes, and so the
        // same token.
        self.refused.sort_unstable();
        let table = Table::RejectedEvents;
        if self.found.table.tag == Table::Events.tag() {
            let mut body = table.header();
            let header = body.len();
            for (index, code) in &self.refused {
                self.rows.encode_refused(*index, *code, &mut body)?;
            }
            let checksum = crc32c::crc32c(&body[header..]);
            let token = token(self.found.segment, table.name(), self.refused.len() as u64, checksum);
            self.loader.insert(table.name(), &token, pieces(body)).await?;
            failpoint::reach("refused_kept");
        }
        let rows = self.refused.len();
        tracing::error!(table = self.found.table.name, rows, code, "clickhouse refused rows");
        figures().rows_refused.increment(rows as u64);
        self.refused.clear();
        Ok(())
    }

    /// The stretches of `part` whose events are not in the table; nor, if `kept` counts as well, among the refused
    /// ones that an interrupted search has kept.
    async fn unsettled(&self, part: Range<usize>, kept: bool) -> Result<Vec<Range<usize>>, LoadError> {
        let Some(keys) = self.rows.event_keys(part.clone())? else { return Ok(vec![part]) };
        let (first, last) = self.found.received;
        let wanted: HashSet<_> = keys.iter().copied().collect();
        let mut settled = self.loader.store.stored_event_ids(first, last, &wanted).await?;
        if kept {
            settled.extend(self.loader.store.refused_event_ids(first, last, &wanted).await?);
        }
        let mut left = Vec::new();
        let mut start = part.start;
        for (row, key) in part.clone().zip(&keys) {
            if settled.contains(key) {
                left.extend((start < row).then_some(start..row));
                start = row + 1;
            }
        }
        left.extend((start < part.end).then_some(start..part.end));
        Ok(left)
    }
}

/// The two halves of a part; less where it is too short.
fn halves(part: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let middle = part.start + part.len() / 2;
    [part.start..middle, middle..part.end].into_iter().filter(|half| !half.is_empty())
}

/// Puts up to `count` single rows of these parts first, wherever they stand. Their distances are uneven, so that no
/// order of good and guilty rows hides the good ones.
fn single_out(mut parts: VecDeque<Range<usize>>, count: usize) -> VecDeque<Range<usize>> {
    let mut chosen = VecDeque::new();
    for nth in 0..count {
        // The longest part: rows are singled out from all over the segment.
        let Some(longest) = (0..parts.len()).max_by_key(|index| parts[*index].len()) else { break };
        let Some(part) = parts.remove(longest) else { break };
        // Between a quarter and three quarters.
        let row = part.start + part.len() / 4 + (nth * 7 % 11) * part.len() / 22;
        chosen.push_back(row..row + 1);
        parts.extend([part.start..row, row + 1..part.end].into_iter().filter(|rest| !rest.is_empty()));
    }
    chosen.extend(parts);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singled_out_rows_come_first_and_none_is_lost() {
        for (rows, count, single) in [(1, 5, 1), (2, 5, 2), (7, 3, 3), (1_000, 32, 32), (500_000, 32, 32)] {
            let parts = VecDeque::from(vec![0..rows / 3, rows / 3..rows]);
            let parts: VecDeque<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let parts = single_out(parts, count);
            assert!(parts.iter().take(single).all(|part| part.len() == 1), "{parts:?}");
            let mut all: Vec<usize> = parts.into_iter().flatten().collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..rows), "of {rows} rows");
        }
    }

    #[test]
    fn every_second_or_third_row_does_not_hide_the_others() {
        for period in 2..=10 {
            let chosen = single_out(VecDeque::from([0..500, 500..1_000]), SAMPLED);
            let starts: Vec<usize> = chosen.iter().take(SAMPLED).map(|part| part.start % period).collect();
            assert!(starts.iter().any(|start| *start != starts[0]), "{starts:?}");
        }
    }
}
