//! What can be asked of the last committed state.

use std::collections::BTreeSet;

use redb::{ReadTransaction, ReadableTable as _};

use super::file::{Account, Broken};
use super::tables::{DEAD, OUTBOX, OutboxRow, SCHEDULE, WAITING, unreadable};
use super::{Count, DeadLetter, Key, Waiting};
use crate::conversions::Conversion;
use crate::event::Timestamp;
use crate::row::Table;

pub(super) fn conversion(json: &[u8]) -> Result<Conversion, Broken> {
    serde_json::from_slice(json).map_err(unreadable)
}

pub(super) fn due(
    file: &ReadTransaction,
    integration: &str,
    now: Timestamp,
    (most, bytes): (usize, usize),
    except: &BTreeSet<Key>,
) -> Result<Vec<Waiting>, Broken> {
    let (schedule, waiting) = (file.open_table(SCHEDULE)?, file.open_table(WAITING)?);
    let mut found = Vec::new();
    let mut taken = 0;
    for entry in schedule.range((integration, i64::MIN, 0)..=(integration, now.as_millis(), u64::MAX))? {
        if found.len() >= most {
            break;
        }
        let (place, _) = entry?;
        let (_, due, key) = place.value();
        if except.contains(&key) {
            continue;
        }
        let value = waiting.get((integration, key))?.ok_or_else(|| unreadable("it is not there"))?;
        let (_, since, _, attempts, _, json) = value.value();
        taken += json.len();
        if taken > bytes && !found.is_empty() {
            break;
        }
        let (since, due) = (Timestamp::from_millis(since), Timestamp::from_millis(due));
        let bytes = json.len();
        found.push(Waiting { key, conversion: conversion(json)?, attempts, since, due, bytes });
    }
    Ok(found)
}

pub(super) fn next_due(
    file: &ReadTransaction,
    integration: &str,
    except: &BTreeSet<Key>,
) -> Result<Option<Timestamp>, Broken> {
    let schedule = file.open_table(SCHEDULE)?;
    for entry in schedule.range((integration, i64::MIN, 0)..=(integration, i64::MAX, u64::MAX))? {
        let (place, _) = entry?;
        let (_, due, key) = place.value();
        if !except.contains(&key) {
            return Ok(Some(Timestamp::from_millis(due)));
        }
    }
    Ok(None)
}

pub(super) fn counts(file: &ReadTransaction, account: &Account) -> Result<Vec<Count>, Broken> {
    let waiting = file.open_table(WAITING)?;
    let mut counts = Vec::new();
    for (integration, (waits, dead)) in &account.integrations {
        if (*waits, *dead) == (0, 0) {
            continue;
        }
        // The lowest number was queued first.
        let mut all = waiting.range((integration.as_str(), 0)..=(integration.as_str(), u64::MAX))?;
        let oldest = all.next().transpose()?.map(|(_, value)| Timestamp::from_millis(value.value().1));
        counts.push(Count { integration: integration.clone(), waiting: *waits, dead: *dead, oldest });
    }
    Ok(counts)
}

pub(super) fn dead(
    file: &ReadTransaction,
    integration: &str,
    most: usize,
) -> Result<Vec<DeadLetter>, Broken> {
    let dead = file.open_table(DEAD)?;
    let mut letters = Vec::new();
    for entry in dead.range((integration, 0)..=(integration, u64::MAX))?.take(most) {
        let (_, value) = entry?;
        let (at, attempts, _, why, json) = value.value();
        let at = Timestamp::from_millis(at);
        letters.push(DeadLetter { conversion: conversion(json)?, attempts, why: why.to_owned(), at });
    }
    Ok(letters)
}

pub(super) fn outbox(file: &ReadTransaction, most: usize, bytes: usize) -> Result<Vec<OutboxRow>, Broken> {
    let mut rows = Vec::new();
    let mut taken = 0;
    for entry in file.open_table(OUTBOX)?.iter()?.take(most) {
        let (number, value) = entry?;
        let (tag, moment, row) = value.value();
        taken += row.len();
        if taken > bytes && !rows.is_empty() {
            break;
        }
        let table = Table::from_tag(tag).ok_or_else(|| unreadable("its table is unknown"))?;
        let received_at = Timestamp::from_millis(moment);
        rows.push(OutboxRow { number: number.value(), table, received_at, row: row.to_vec() });
    }
    Ok(rows)
}
