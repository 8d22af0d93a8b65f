//! What operators have done with the queue: dead letters are sent again, or deleted.

use std::collections::BTreeMap;

use super::{Key, Queue, QueueError, look};
use crate::metrics::count_conversions;

/// Dead letters that are queued again in one transaction, or conversions that are deleted.
pub(super) const CHANGED_AT_ONCE: usize = 500;

impl Queue {
    /// Queues the dead letters of an integration again, or all there are; says how many. They keep their ids, so that
    /// a platform that has one after all knows it, and these are remembered anew. Those that cannot be read stay where
    /// they are.
    pub async fn replay(&self, integration: Option<&str>) -> Result<usize, QueueError> {
        // What dies meanwhile again has a later number.
        let (before, remember) = (self.0.file.account()?.next, self.0.settings.remember);
        let mut replayed = 0;
        let mut place = Some((integration.unwrap_or_default().to_owned(), 0));
        while let Some((from, first)) = place {
            let integration = integration.map(str::to_owned);
            let (part, next) = self
                .write(move |tables| {
                    let part = (before, CHANGED_AT_ONCE);
                    tables.replay(integration.as_deref(), (&from, first), part, remember)
                })
                .await?;
            replayed += part;
            place = next;
        }
        Ok(replayed)
    }

    /// Deletes the first dead letters of an integration, or of all, at most so many; says how many, by integration.
    pub async fn discard_dead(
        &self,
        integration: Option<&str>,
        most: usize,
    ) -> Result<BTreeMap<String, usize>, QueueError> {
        let before = self.0.file.account()?.next;
        let (mut discarded, mut left) = (BTreeMap::new(), most);
        loop {
            let (integration, most) = (integration.map(str::to_owned), left.min(CHANGED_AT_ONCE));
            let look = move |file: &_| look::places_of_dead(file, integration.as_deref(), before, most);
            let places = self.read(look).await?;
            if places.is_empty() {
                return Ok(discarded);
            }
            // Those of a part may all be queued again meanwhile, and there is more.
            let part = self.discard_at(places).await?;
            left -= part.values().sum::<usize>();
            add(&mut discarded, part);
        }
    }

    /// Deletes every conversion of this id, waiting or dead, of an integration or of all; says how many, by integration.
    /// A request that is under way is not stopped. The id is remembered anew, so that a copy is not queued.
    pub async fn discard(
        &self,
        integration: Option<&str>,
        id: &str,
    ) -> Result<BTreeMap<String, usize>, QueueError> {
        let mut discarded = BTreeMap::new();
        loop {
            let (integration, id) = (integration.map(str::to_owned), id.to_owned());
            let look = move |file: &_| look::places_of_id(file, integration.as_deref(), &id);
            let places = self.read(look).await?;
            let mut left = places.len();
            for places in places.chunks(CHANGED_AT_ONCE) {
                let part = self.discard_at(places.to_vec()).await?;
                left -= part.values().sum::<usize>();
                add(&mut discarded, part);
            }
            // One that was not there any more may have got elsewhere.
            if left == 0 {
                return Ok(discarded);
            }
        }
    }

    async fn discard_at(&self, places: Vec<(String, Key)>) -> Result<BTreeMap<String, usize>, QueueError> {
        if places.is_empty() {
            return Ok(BTreeMap::new());
        }
        let remember = self.0.settings.remember;
        let discarded = self.write(move |tables| tables.discard(&places, remember)).await?;
        for (integration, count) in &discarded {
            count_conversions(integration, "discarded", *count as u64);
        }
        Ok(discarded)
    }
}

/// Adds counts to counts.
fn add(to: &mut BTreeMap<String, usize>, counts: BTreeMap<String, usize>) {
    for (name, count) in counts {
        *to.entry(name).or_default() += count;
    }
}
