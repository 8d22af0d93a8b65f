//! The tables of the file, and everything that changes them, within one transaction.

mod by_hand;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use redb::{ReadableTable as _, Table, TableDefinition, WriteTransaction};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::file::{Account, Broken};
use super::label::Label;
use super::look::Unreadable;
use super::steady::Times;
use super::told::{Status, Whose, conversion_row, delivery_row};
use super::{Accepted, Incoming, Key, LONGEST_DELAY, Outcome, QueueError, QueueSettings, Settled};
use crate::conversions::Conversion;
use crate::event::Timestamp;
use crate::row;

/// An integration, and a number.
type Place = (&'static str, u64);
/// Due, since, told, attempts, platform, and the conversion as JSON.
type WaitingValue = (i64, i64, i64, u32, &'static str, &'static [u8]);
/// At, attempts, platform, why, and the conversion as JSON.
type DeadValue = (i64, u32, &'static str, &'static str, &'static [u8]);

pub(super) const WAITING: TableDefinition<'_, Place, WaitingValue> = TableDefinition::new("waiting");
pub(super) const SCHEDULE: TableDefinition<'_, (&str, i64, u64), ()> = TableDefinition::new("schedule");
pub(super) const DEAD: TableDefinition<'_, Place, DeadValue> = TableDefinition::new("dead");
const SEEN: TableDefinition<'_, u128, i64> = TableDefinition::new("seen");
const EXPIRIES: TableDefinition<'_, (i64, u128), ()> = TableDefinition::new("expiries");
/// Tag of the table, the moment that says its month, and the row.
pub(super) const OUTBOX: TableDefinition<'_, u64, (u8, i64, &[u8])> = TableDefinition::new("outbox");

/// The even time and the machine's of the last transaction, under the one key there is.
pub(super) const TIMES: TableDefinition<'_, (), (i64, i64)> = TableDefinition::new("times");

/// Expired ids that a transaction forgets at least, if there are so many; and twice as many as it adds.
const FORGOTTEN_AT_ONCE: usize = 64;

/// A row that the journal is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// By what to forget it.
    pub number: u64,
    /// Where it belongs.
    pub table: row::Table,
    /// The moment that says in which month it is stored.
    pub received_at: Timestamp,
    /// Its bytes, RowBinary.
    pub row: Vec<u8>,
}

/// A waiting conversion as the file has it.
struct Held {
    due: i64,
    since: i64,
    /// The moment of the last row that told of it.
    told: i64,
    attempts: u32,
    platform: String,
    json: Vec<u8>,
}

/// The tables, open in a transaction that is not committed yet.
pub(super) struct Tables<'t> {
    waiting: Table<'t, Place, WaitingValue>,
    schedule: Table<'t, (&'static str, i64, u64), ()>,
    dead: Table<'t, Place, DeadValue>,
    seen: Table<'t, u128, i64>,
    expiries: Table<'t, (i64, u128), ()>,
    outbox: Table<'t, u64, (u8, i64, &'static [u8])>,
    times: Table<'t, (), (i64, i64)>,
    /// Now, by the machine's clock.
    now: i64,
    /// Now, by the time of the schedule.
    steady: i64,
    /// Ids that were added to `seen`.
    remembered: usize,
    changed: Changed,
}

/// What a transaction has changed, besides the tables.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) account: Account,
    /// Integrations for which conversions were queued.
    pub(super) arrived: BTreeSet<String>,
    /// There are new rows for the journal.
    pub(super) told: bool,
}

impl<'t> Tables<'t> {
    /// Opens all of them, making those that there are not.
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        account: Account,
        now: Times,
    ) -> Result<Self, Broken> {
        Ok(Self {
            waiting: transaction.open_table(WAITING)?,
            schedule: transaction.open_table(SCHEDULE)?,
            dead: transaction.open_table(DEAD)?,
            seen: transaction.open_table(SEEN)?,
            expiries: transaction.open_table(EXPIRIES)?,
            outbox: transaction.open_table(OUTBOX)?,
            times: transaction.open_table(TIMES)?,
            now: now.clock,
            steady: now.steady,
            remembered: 0,
            changed: Changed { account, ..Changed::default() },
        })
    }

    /// Writes down when this was, and forgets some of the ids that have expired.
    pub(super) fn finish(mut self) -> Result<Changed, Broken> {
        self.times.insert((), (self.steady, self.now))?;
        self.changed.account.times = Some(Times { steady: self.steady, clock: self.now });
        for _ in 0..FORGOTTEN_AT_ONCE + 2 * self.remembered {
            let first = self.expiries.first()?.map(|(key, _)| key.value());
            let Some((until, fingerprint)) = first.filter(|(until, _)| *until <= self.steady) else { break };
            self.expiries.remove((until, fingerprint))?;
            self.seen.remove(fingerprint)?;
        }
        Ok(self.changed)
    }

    /// Queues a request's conversions, or none if there is no room.
    pub(super) fn accept(
        &mut self,
        incoming: &[Incoming],
        settings: &QueueSettings,
    ) -> Result<Result<Vec<Accepted>, QueueError>, Broken> {
        let mut queued = HashSet::new();
        let mut accepted = Vec::with_capacity(incoming.len());
        for incoming in incoming {
            accepted.push(match incoming {
                Incoming::Denied { .. } => Accepted::Denied,
                Incoming::Queue { conversion, .. } => {
                    let fingerprint = fingerprint_of(conversion);
                    let repeated = self.is_seen(fingerprint)? || !queued.insert(fingerprint);
                    if repeated { Accepted::Repeated } else { Accepted::Queued }
                }
            });
        }
        // A request of copies alone needs none.
        let adds = accepted.iter().any(|accepted| *accepted != Accepted::Repeated);
        if adds && !self.changed.account.has_room(queued.len() as u64, settings) {
            return Ok(Err(QueueError::Full));
        }
        for (incoming, accepted) in incoming.iter().zip(&accepted) {
            match (incoming, accepted) {
                (Incoming::Denied { platform, conversion, why }, _) => {
                    self.tell_received(platform, conversion, false)?;
                    let whose = Whose::of(platform, conversion);
                    self.tell(whose, self.now, (Status::ConsentDenied, 0), (why, 0))?;
                }
                (Incoming::Queue { platform, conversion }, Accepted::Queued) => {
                    self.remember(fingerprint_of(conversion), settings.remember)?;
                    self.tell_received(platform, conversion, true)?;
                    let json = serde_json::to_vec(conversion).map_err(unwritable)?;
                    self.changed.account.bytes += json.len() as u64;
                    self.enqueue(platform, conversion, json, self.now)?;
                }
                (Incoming::Queue { .. }, _) => {}
            }
        }
        Ok(Ok(accepted))
    }

    /// Has a conversion wait, and tells so. Its bytes are accounted for already.
    fn enqueue(
        &mut self,
        platform: &str,
        conversion: &Conversion,
        json: Vec<u8>,
        told: i64,
    ) -> Result<(), Broken> {
        let number = self.number();
        let now = self.steady;
        let held = Held { due: now, since: now, told, attempts: 0, platform: platform.to_owned(), json };
        self.hold(&conversion.integration, number, &held)?;
        self.schedule.insert((conversion.integration.as_str(), now, number), ())?;
        let account = &mut self.changed.account;
        account.waiting += 1;
        account.integrations.entry(conversion.integration.clone()).or_default().0 += 1;
        self.changed.arrived.insert(conversion.integration.clone());
        self.tell(Whose::of(platform, conversion), told, (Status::Queued, 0), ("", 0))
    }

    fn number(&mut self) -> u64 {
        let number = self.changed.account.next;
        self.changed.account.next += 1;
        number
    }

    fn hold(&mut self, integration: &str, key: Key, held: &Held) -> Result<(), Broken> {
        let Held { due, since, told, attempts, platform, json } = held;
        self.waiting
            .insert((integration, key), (*due, *since, *told, *attempts, platform.as_str(), &json[..]))?;
        Ok(())
    }

    fn held(&self, integration: &str, key: Key) -> Result<Option<Held>, Broken> {
        Ok(self.waiting.get((integration, key))?.map(|value| {
            let (due, since, told, attempts, platform, json) = value.value();
            Held { due, since, told, attempts, platform: platform.to_owned(), json: json.to_vec() }
        }))
    }

    /// Writes down how an attempt ended; does nothing, and says `false`, if the conversion does not wait.
    pub(super) fn settle(&mut self, integration: &str, key: Key, settled: &Settled) -> Result<bool, Broken> {
        let Some(mut held) = self.held(integration, key)? else { return Ok(false) };
        held.attempts = settled.attempt;
        held.told = self.now.max(held.told + 1);
        let status = match settled.outcome {
            Outcome::Sent => {
                self.release(integration, key, &held)?;
                self.changed.account.bytes -= held.json.len() as u64;
                Status::Sent
            }
            Outcome::Retry { due } => {
                self.schedule.remove((integration, held.due, key))?;
                let delay = due.as_millis().saturating_sub(self.now);
                held.due = self.steady.saturating_add(delay.min(millis(LONGEST_DELAY)));
                self.schedule.insert((integration, held.due, key), ())?;
                self.hold(integration, key, &held)?;
                Status::Retrying
            }
            Outcome::Paused => {
                self.hold(integration, key, &held)?;
                Status::Paused
            }
            Outcome::Dead => {
                self.release(integration, key, &held)?;
                let dead =
                    (held.told, held.attempts, &*held.platform, settled.answer.as_str(), &held.json[..]);
                self.dead.insert((integration, key), dead)?;
                self.changed.account.integrations.entry(integration.to_owned()).or_default().1 += 1;
                Status::Dead
            }
        };
        let latency = u32::try_from(settled.latency.as_millis()).unwrap_or(u32::MAX);
        let said = (settled.answer.as_str(), latency);
        let label = Label::of(&held.json, key);
        let whose =
            Whose { platform: &held.platform, integration, id: &label.id, project_id: label.project_id };
        self.tell(whose, held.told, (status, settled.attempt), said)?;
        Ok(true)
    }

    /// Makes a dead letter of a conversion that cannot be read, so that it does not come again; `false` if there is none.
    pub(super) fn bury(&mut self, integration: &str, unreadable: &Unreadable) -> Result<bool, Broken> {
        let Unreadable { due, key, attempts, why } = unreadable;
        self.schedule.remove((integration, *due, *key))?;
        let (outcome, attempt, answer) = (Outcome::Dead, *attempts, why.clone());
        self.settle(integration, *key, &Settled { outcome, attempt, answer, latency: Duration::ZERO })
    }

    fn release(&mut self, integration: &str, key: Key, held: &Held) -> Result<(), Broken> {
        self.waiting.remove((integration, key))?;
        self.schedule.remove((integration, held.due, key))?;
        self.changed.account.waiting -= 1;
        self.changed.account.integrations.entry(integration.to_owned()).or_default().0 -= 1;
        Ok(())
    }

    /// Removes the rows up to this number, but for those of tables that this version does not know.
    pub(super) fn forget_outbox(&mut self, up_to: u64) -> Result<(), Broken> {
        let mut forgotten = 0;
        self.outbox.retain_in(..=up_to, |_, (tag, _, row)| {
            let is_known = row::Table::from_tag(tag).is_some();
            forgotten += if is_known { row.len() as u64 } else { 0 };
            !is_known
        })?;
        self.changed.account.bytes -= forgotten;
        Ok(())
    }

    /// How many ids there are in `seen`; `expiries` has as many.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> Result<u64, Broken> {
        use redb::ReadableTableMetadata as _;

        assert_eq!(self.seen.len()?, self.expiries.len()?);
        Ok(self.seen.len()?)
    }

    fn is_seen(&self, fingerprint: u128) -> Result<bool, Broken> {
        Ok(self.seen.get(fingerprint)?.is_some_and(|until| until.value() > self.steady))
    }

    /// Remembers an id from now on, for so long.
    fn remember(&mut self, fingerprint: u128, lasts: Duration) -> Result<(), Broken> {
        let until = self.steady.saturating_add(millis(lasts));
        let expired = self.seen.insert(fingerprint, until)?.map(|expired| expired.value());
        if let Some(expired) = expired {
            self.expiries.remove((expired, fingerprint))?;
        }
        self.expiries.insert((until, fingerprint), ())?;
        self.remembered += 1;
        Ok(())
    }

    /// Tells that a conversion came; who it was only if that was agreed to.
    fn tell_received(&mut self, platform: &str, conversion: &Conversion, agreed: bool) -> Result<(), Broken> {
        let row = conversion_row(platform, conversion, agreed);
        self.put(row::Table::Conversions, conversion.received_at.as_millis(), &row)
    }

    /// Tells what became of a conversion.
    fn tell(
        &mut self,
        whose: Whose<'_>,
        at: i64,
        step: (Status, u32),
        said: (&str, u32),
    ) -> Result<(), Broken> {
        let row = delivery_row(whose, Timestamp::from_millis(at), step, said);
        self.put(row::Table::ConversionDeliveries, at, &row)
    }

    fn put(&mut self, table: row::Table, moment: i64, row: &[u8]) -> Result<(), Broken> {
        let number = self.number();
        self.outbox.insert(number, (table.tag(), moment, row))?;
        self.changed.account.bytes += row.len() as u64;
        self.changed.told = true;
        Ok(())
    }
}

fn unwritable(error: impl std::fmt::Display) -> Broken {
    redb::Error::Corrupted(format!("a conversion makes no JSON: {error}")).into()
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn fingerprint_of(conversion: &Conversion) -> u128 {
    fingerprint(conversion.project_id, &conversion.integration, &conversion.id)
}

/// An id is unique within its project and integration only. 16 bytes, however long they are, and no id among them.
fn fingerprint(project_id: Uuid, integration: &str, id: &str) -> u128 {
    let mut hash = Sha256::new();
    hash.update(project_id.as_bytes());
    hash.update((integration.len() as u64).to_be_bytes());
    hash.update(integration);
    hash.update(id);
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk::<16>().map_or(0, |first| u128::from_be_bytes(*first))
}
