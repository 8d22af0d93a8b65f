//! What the queue should do, as simple as can be.

use super::*;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) id: u8,
    pub(super) due: i64,
    pub(super) arrival: usize,
    pub(super) attempts: u32,
    pub(super) spoiled: bool,
}

#[derive(Default)]
pub(super) struct Model {
    /// By the time of the schedule.
    pub(super) now: i64,
    /// How far that is ahead of the clock.
    pub(super) ahead: i64,
    pub(super) arrivals: usize,
    pub(super) waiting: BTreeMap<&'static str, Vec<Item>>,
    /// In the order of arrival.
    pub(super) dead: BTreeMap<&'static str, Vec<Item>>,
    pub(super) seen: BTreeMap<(&'static str, u8), i64>,
    /// Integration, id, and status; that of a row of `conversions` is empty.
    pub(super) outbox: Vec<(String, String, String)>,
}

/// In milliseconds.
pub(super) const REMEMBER: i64 = 10_000;
pub(super) const MOST: usize = 12;
pub(super) const START: i64 = 1_000_000_000;
/// The clock is set by multiples of this, in milliseconds: less goes for time that has passed.
pub(super) const SET: i64 = 2_000;

impl Model {
    pub(super) fn clock(&self) -> Timestamp {
        Timestamp::from_millis(self.now - self.ahead)
    }

    pub(super) fn replay(&mut self, only: Option<&str>) -> usize {
        let mut replayed = 0;
        let mut names = NAMES;
        names.sort_unstable();
        for name in names.into_iter().filter(|name| only.is_none_or(|only| only == *name)) {
            let letters = self.dead.remove(name).unwrap_or_default();
            let (stay, go): (Vec<_>, Vec<_>) = letters.into_iter().partition(|item| item.spoiled);
            replayed += go.len();
            for item in go {
                self.seen.insert((name, item.id), self.now + REMEMBER);
                self.enqueue(name, item.id);
            }
            self.dead.insert(name, stay);
        }
        replayed
    }

    pub(super) fn discard_dead(&mut self, only: Option<&str>, most: usize) -> BTreeMap<String, usize> {
        let dead = self.dead.iter().filter(|(name, _)| only.is_none_or(|only| only == **name));
        let all = dead.flat_map(|(name, items)| items.iter().map(|item| (*name, item.id)));
        let gone: Vec<_> = all.take(most).collect();
        for (name, _) in &gone {
            self.dead.entry(name).or_default().remove(0);
        }
        self.discarded(&gone)
    }

    pub(super) fn discard(&mut self, only: Option<&str>, id: u8) -> BTreeMap<String, usize> {
        let mut gone = Vec::new();
        for items in [&mut self.waiting, &mut self.dead] {
            for (name, items) in items.iter_mut().filter(|(name, _)| only.is_none_or(|only| only == **name)) {
                gone.extend(items.extract_if(.., |item| item.id == id).map(|item| (*name, item.id)));
            }
        }
        self.discarded(&gone)
    }

    pub(super) fn discarded(&mut self, gone: &[(&'static str, u8)]) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (name, id) in gone {
            self.seen.insert((name, *id), self.now + REMEMBER);
            self.tell(name, *id, "dead");
            *counts.entry((*name).to_owned()).or_default() += 1;
        }
        counts
    }

    pub(super) fn tell(&mut self, name: &str, id: u8, status: &str) {
        self.outbox.push((name.to_owned(), id.to_string(), status.to_owned()));
    }

    pub(super) fn enqueue(&mut self, name: &'static str, id: u8) {
        let item = Item { id, due: self.now, arrival: self.arrivals, attempts: 0, spoiled: false };
        self.arrivals += 1;
        self.waiting.entry(name).or_default().push(item);
        self.tell(name, id, "queued");
    }

    pub(super) fn accept(&mut self, request: &[(usize, u8, bool)]) -> Result<Vec<Accepted>, QueueError> {
        let mut fresh = BTreeSet::new();
        let mut accepted = Vec::new();
        for (name, id, denied) in request {
            let seen = self.seen.get(&(NAMES[*name], *id)).is_some_and(|until| *until > self.now);
            accepted.push(match denied {
                true => Accepted::Denied,
                false if seen || !fresh.insert((*name, *id)) => Accepted::Repeated,
                false => Accepted::Queued,
            });
        }
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        if waiting + fresh.len() > MOST && accepted.iter().any(|accepted| *accepted != Accepted::Repeated) {
            return Err(QueueError::Full);
        }
        for ((name, id, _), accepted) in request.iter().zip(&accepted) {
            let name = NAMES[*name];
            match accepted {
                Accepted::Queued => {
                    self.seen.insert((name, *id), self.now + REMEMBER);
                    self.tell(name, *id, "");
                    self.enqueue(name, *id);
                }
                Accepted::Denied => {
                    self.tell(name, *id, "");
                    self.tell(name, *id, "consent_denied");
                }
                Accepted::Repeated => {}
            }
        }
        Ok(accepted)
    }

    /// What waits, in the order in which it is to be sent.
    pub(super) fn queue(&self, name: &str) -> Vec<Item> {
        let mut items = self.waiting.get(name).cloned().unwrap_or_default();
        items.sort_by_key(|item| (item.due, item.arrival));
        items
    }

    pub(super) fn settle(&mut self, name: &'static str, arrival: usize, end: End) {
        let items = self.waiting.entry(name).or_default();
        let Some(place) = items.iter().position(|item| item.arrival == arrival) else { return };
        items[place].attempts += 1;
        self.end(name, place, end);
    }

    pub(super) fn end(&mut self, name: &'static str, place: usize, end: End) {
        let items = self.waiting.entry(name).or_default();
        let id = items[place].id;
        let status = match end {
            End::Sent => {
                items.remove(place);
                "sent"
            }
            End::Retry(later) => {
                items[place].due = self.now + later;
                "retrying"
            }
            End::Paused => "paused",
            End::Dead => {
                let item = items.remove(place);
                let dead = self.dead.entry(name).or_default();
                dead.push(item);
                dead.sort_by_key(|item| item.arrival);
                "dead"
            }
        };
        self.tell(name, id, status);
    }
}
