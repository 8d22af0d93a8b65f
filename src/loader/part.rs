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
//! a row was refused. Until there is one the segment is parked.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::time::Instant;

use super::held::{HeldRows, pieces};
use super::rows::{TableRows, token, token_prefix};
use super::send::open;
use super::{LoadError, Loader};
use crate::clickhouse::{Class, ClickHouseError};
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

/// A search for the guilty rows of one table of a segment.
struct Search<'a> {
    loader: &'a Loader,
    found: &'a TableRows,
    rows: HeldRows,
    /// What is still to be sent, breadth first: good rows are loaded in large pieces before the search narrows down.
    parts: VecDeque<Range<usize>>,
    /// Rows that were refused standing alone, with ClickHouse's code.
    refused: Vec<(usize, u32)>,
    /// The shortest part that the table has taken in this search.
    witness: Option<Range<usize>>,
    /// When an earlier search ended, with every row refused: an INSERT that was begun later bears witness too.
    refused_since: Option<Instant>,
    /// Parts refused since one was taken, or a witness was heard.
    refusals: usize,
    /// How many refusals in a row are borne without a witness before single rows are tried.
    patience: usize,
}

impl Loader {
    /// Sends a table's rows that are not stored yet, the guilty ones left out, which go to `rejected_events`.
    /// `refused_since` is when an earlier search of them ended, with every row refused.
    pub(super) async fn send_parted(
        &self,
        segment: &Segment,
        found: &TableRows,
        refused_since: Option<Instant>,
    ) -> Result<(), LoadError> {
        self.store.end_queries(&token_prefix(found.segment)).await?;
        let rows = HeldRows::read(open(&self.backlog, segment)?, found)?;
        let all = 0..rows.len();
        let mut search = Search {
            loader: self,
            found,
            rows,
            parts: VecDeque::new(),
            refused: Vec::new(),
            witness: None,
            refused_since,
            refusals: 0,
            patience: if refused_since.is_some() { 1 } else { REFUSED_IN_A_ROW },
        };
        search.parts = search.unsettled(all, true).await?.into();
        search.run().await
    }
}

impl Search<'_> {
    async fn run(&mut self) -> Result<(), LoadError> {
        while let Some(part) = self.parts.pop_front() {
            match self.send(&part).await {
                Ok(()) => self.taken(part),
                Err(error) if error.class() == Class::Reject => self.refused(part, &error).await?,
                Err(error) => return Err(error.into()),
            }
        }
        failpoint::reach("parted");
        self.keep().await
    }

    async fn send(&self, part: &Range<usize>) -> Result<(), ClickHouseError> {
        let (body, token) = self.rows.insert(self.found, part);
        self.loader.insert(&self.found.table.name, &token, pieces(body)).await
    }

    fn taken(&mut self, part: Range<usize>) {
        figures().rows_loaded.increment(part.len() as u64);
        self.refusals = 0;
        match &self.witness {
            None => {
                self.try_again();
                self.witness = Some(part);
            }
            Some(shortest) if part.len() < shortest.len() => self.witness = Some(part),
            Some(_) => {}
        }
        failpoint::reach("part_loaded");
    }

    /// Has rows tried again that were refused before their table was seen to take any: it may have been put right
    /// since.
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
            if self.refused.len() >= KEPT_AT_ONCE {
                self.keep().await?;
            }
        } else if self.refusals == self.patience {
            self.parts = single_out(std::mem::take(&mut self.parts), SAMPLED);
        } else if self.refusals >= self.patience + SAMPLED {
            self.hear_witness(code).await?;
        }
        Ok(())
    }

    /// Fails unless the table takes rows now, or has taken others since all of these were refused.
    async fn hear_witness(&mut self, code: u32) -> Result<(), LoadError> {
        let heard = match &self.witness {
            Some(part) => match self.send(part).await {
                Ok(()) => true,
                Err(error) if error.class() == Class::Reject => false,
                Err(error) => return Err(error.into()),
            },
            None => {
                self.refused_since.is_some_and(|since| self.loader.taken.since(&self.found.table.name, since))
            }
        };
        if !heard {
            return Err(LoadError::AllRefused { code, since: Instant::now() });
        }
        self.refusals = 0;
        Ok(())
    }

    /// Notes the refused rows as guilty, once a witness has been heard, and stores their events with the reason. A
    /// refused row of `rejected_events` itself is only counted.
    async fn keep(&mut self) -> Result<(), LoadError> {
        let Some((_, code)) = self.refused.last().copied() else { return Ok(()) };
        self.hear_witness(code).await?;
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
