//! What can be asked of the last committed state.

use std::collections::BTreeSet;

use redb::{ReadTransaction, ReadableTable as _};

use super::file::{Account, Broken};
use super::label::{Label, MADE_UP, read};
use super::steady::by_clock;
use super::tables::{DEAD, OUTBOX, OutboxRow, SCHEDULE, WAITING};
use super::{Count, DeadLetter, Key, Waiting};
use crate::event::Timestamp;
use crate::row::Table;

/// What is due.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) found: Vec<Waiting>,
    /// What stood among these, and can never be sent.
    pub(super) unreadable: Vec<Unreadable>,
}

/// An entry of the schedule of which no conversion can be made.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    pub(super) due: i64,
    pub(super) key: Key,
    pub(super) attempts: u32,
    pub(super) why: String,
}

pub(super) fn due(
    file: &ReadTransaction,
    integration: &str,
    (now, ahead): (Timestamp, i64),
    (most, bytes): (usize, usize),
    except: &BTreeSet<Key>,
) -> Result<Due, Broken> {
    let (schedule, waiting) = (file.open_table(SCHEDULE)?, file.open_table(WAITING)?);
    let Due { mut found, mut unreadable } = Due::default();
    let mut taken = 0;
    let now = now.as_millis().saturating_add(ahead);
    for entry in schedule.range((integration, i64::MIN, 0)..=(integration, now, u64::MAX))? {
        if found.len() + unreadable.len() >= most {
            break;
        }
        let (place, _) = entry?;
        let (_, due, key) = place.value();
        if except.contains(&key) {
            continue;
        }
        let Some(value) = waiting.get((integration, key))? else {
            unreadable.push(Unreadable { due, key, attempts: 0, why: "is not there".to_owned() });
            continue;
        };
        let (_, since, _, attempts, _, json) = value.value();
        let conversion = match read(json) {
            Ok(conversion) => conversion,
            Err(why) => {
                unreadable.push(Unreadable { due, key, attempts, why });
                continue;
            }
        };
        taken += json.len();
        if taken > bytes && !found.is_empty() {
            break;
        }
        let (since, due) = (by_clock(since, ahead), by_clock(due, ahead));
        let bytes = json.len();
        found.push(Waiting { key, conversion, attempts, since, due, bytes });
    }
    Ok(Due { found, unreadable })
}

/// Those of these keys that wait.
pub(super) fn waiting(
    file: &ReadTransaction,
    integration: &str,
    keys: Vec<Key>,
) -> Result<BTreeSet<Key>, Broken> {
    let waiting = file.open_table(WAITING)?;
    let mut found = BTreeSet::new();
    for key in keys {
        if waiting.get((integration, key))?.is_some() {
            found.insert(key);
        }
    }
    Ok(found)
}

pub(super) fn next_due(
    file: &ReadTransaction,
    integration: &str,
    ahead: i64,
    except: &BTreeSet<Key>,
) -> Result<Option<Timestamp>, Broken> {
    let schedule = file.open_table(SCHEDULE)?;
    for entry in schedule.range((integration, i64::MIN, 0)..=(integration, i64::MAX, u64::MAX))? {
        let (place, _) = entry?;
        let (_, due, key) = place.value();
        if !except.contains(&key) {
            return Ok(Some(by_clock(due, ahead)));
        }
    }
    Ok(None)
}

pub(super) fn counts(file: &ReadTransaction, account: &Account, ahead: i64) -> Result<Vec<Count>, Broken> {
    let waiting = file.open_table(WAITING)?;
    let mut counts = Vec::new();
    for (integration, (waits, dead)) in &account.integrations {
        if (*waits, *dead) == (0, 0) {
            continue;
        }
        // The lowest number was queued first.
        let mut all = waiting.range((integration.as_str(), 0)..=(integration.as_str(), u64::MAX))?;
        let oldest = all.next().transpose()?.map(|(_, value)| by_clock(value.value().1, ahead));
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
        let (place, value) = entry?;
        let (at, attempts, _, why, json) = value.value();
        let Label { id, event_type, occurred_at, .. } = Label::of(json, place.value().1);
        let (integration, why) = (integration.to_owned(), why.to_owned());
        let at = Timestamp::from_millis(at);
        letters.push(DeadLetter { integration, id, event_type, occurred_at, attempts, why, at });
    }
    Ok(letters)
}

pub(super) fn outbox(file: &ReadTransaction, most: usize, bytes: usize) -> Result<Vec<OutboxRow>, Broken> {
    let mut rows = Vec::new();
    let mut taken = 0;
    for entry in file.open_table(OUTBOX)?.iter()? {
        if rows.len() == most {
            break;
        }
        let (number, value) = entry?;
        let (tag, moment, row) = value.value();
        // A version that knows the table of another one tells of it.
        let Some(table) = Table::from_tag(tag) else { continue };
        taken += row.len();
        if taken > bytes && !rows.is_empty() {
            break;
        }
        let received_at = Timestamp::from_millis(moment);
        rows.push(OutboxRow { number: number.value(), table, received_at, row: row.to_vec() });
    }
    Ok(rows)
}

/// The first dead letters with lower numbers, of an integration or of all, at most so many.
pub(super) fn places_of_dead(
    file: &ReadTransaction,
    integration: Option<&str>,
    before: Key,
    most: usize,
) -> Result<Vec<(String, Key)>, Broken> {
    let dead = file.open_table(DEAD)?;
    let mut places = Vec::new();
    for entry in dead.range((integration.unwrap_or_default(), 0)..)? {
        let (place, _) = entry?;
        let (name, key) = place.value();
        if places.len() == most || integration.is_some_and(|integration| integration != name) {
            break;
        }
        if key < before {
            places.push((name.to_owned(), key));
        }
    }
    Ok(places)
}

/// Where conversions of this id are, waiting or dead, of an integration or of all. Looks at each that there is, and
/// reads those alone that can be meant.
pub(super) fn places_of_id(
    file: &ReadTransaction,
    integration: Option<&str>,
    id: &str,
) -> Result<Vec<(String, Key)>, Broken> {
    let mut places = Vec::new();
    let first = (integration.unwrap_or_default(), 0);
    let mention = mention(id);
    let mut look = |(name, key): (&str, Key), json: &[u8]| {
        let is_meant = integration.is_none_or(|integration| integration == name);
        if is_meant && may_have(json, id, &mention) && Label::of(json, key).id == id {
            places.push((name.to_owned(), key));
        }
        is_meant
    };
    for entry in file.open_table(WAITING)?.range(first..)? {
        let (place, value) = entry?;
        if !look(place.value(), value.value().5) {
            break;
        }
    }
    for entry in file.open_table(DEAD)?.range(first..)? {
        let (place, value) = entry?;
        if !look(place.value(), value.value().4) {
            break;
        }
    }
    Ok(places)
}

/// An id as it stands in JSON that was written here.
fn mention(id: &str) -> String {
    serde_json::Value::from(id).to_string()
}

/// Whether it is worth the while to read this. A search through its bytes takes a small part of that time.
fn may_have(json: &[u8], id: &str, mention: &str) -> bool {
    // One that is made up stands nowhere, and what is no text may be of another version.
    id.starts_with(MADE_UP) || str::from_utf8(json).map_or(true, |json| json.contains(mention))
}
