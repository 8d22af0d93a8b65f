//! What operators do with conversions: they have dead letters sent again, and delete what is not to be kept.

use std::collections::BTreeMap;
use std::time::Duration;

use redb::ReadableTable as _;

use super::{Held, Tables, fingerprint, fingerprint_of};
use crate::conversions::queue::Key;
use crate::conversions::queue::file::Broken;
use crate::conversions::queue::label::{Label, read};
use crate::conversions::queue::told::{Status, Whose};

/// What is said of a conversion that was deleted. Its status is the last one that there is.
const DISCARDED: &str = "discarded by an operator";

impl Tables<'_> {
    /// Looks at so many dead letters, from a place on, and queues those with lower numbers again that can be read; says
    /// how many, and where to go on. Their ids are remembered for so long from now on.
    pub(in super::super) fn replay(
        &mut self,
        integration: Option<&str>,
        (from, first): (&str, Key),
        (before, most): (Key, usize),
        remember: Duration,
    ) -> Result<(usize, Option<(String, Key)>), Broken> {
        let (mut found, mut looked_at, mut next) = (Vec::new(), 0, None);
        for entry in self.dead.range((from, first)..)? {
            let (place, value) = entry?;
            let (name, key) = place.value();
            if integration.is_some_and(|integration| integration != name) {
                break;
            }
            if looked_at == most {
                next = Some((name.to_owned(), key));
                break;
            }
            looked_at += 1;
            let (at, _, platform, _, json) = value.value();
            if key < before
                && let Ok(conversion) = read(json)
            {
                found.push((name.to_owned(), key, at, platform.to_owned(), conversion, json.to_vec()));
            }
        }
        let replayed = found.len();
        for (name, key, at, platform, conversion, json) in found {
            self.dead.remove((name.as_str(), key))?;
            self.changed.account.integrations.entry(name).or_default().1 -= 1;
            self.remember(fingerprint_of(&conversion), remember)?;
            self.enqueue(&platform, &conversion, json, self.now.max(at + 1))?;
        }
        Ok((replayed, next))
    }

    /// Deletes the conversions at these places that wait or are dead, and tells so; says how many, by integration.
    /// Their ids are remembered for so long from now on.
    pub(in super::super) fn discard(
        &mut self,
        places: &[(String, Key)],
        remember: Duration,
    ) -> Result<BTreeMap<String, usize>, Broken> {
        let mut discarded = BTreeMap::new();
        for (integration, key) in places {
            let Some(gone) = self.take(integration, *key)? else { continue };
            self.changed.account.bytes -= gone.json.len() as u64;
            let Label { id, project_id, .. } = Label::of(&gone.json, *key);
            self.remember(fingerprint(project_id, integration, &id), remember)?;
            let whose = Whose { platform: &gone.platform, integration, id: &id, project_id };
            let at = self.now.max(gone.told + 1);
            self.tell(whose, at, (Status::Dead, gone.attempts), (DISCARDED, 0))?;
            *discarded.entry(integration.clone()).or_default() += 1;
        }
        Ok(discarded)
    }

    /// Removes a conversion that waits or is dead.
    fn take(&mut self, integration: &str, key: Key) -> Result<Option<Held>, Broken> {
        if let Some(held) = self.held(integration, key)? {
            self.release(integration, key, &held)?;
            return Ok(Some(held));
        }
        let dead = self.dead.remove((integration, key))?.map(|value| {
            let (told, attempts, platform, _, json) = value.value();
            let (platform, json) = (platform.to_owned(), json.to_vec());
            Held { due: told, since: told, told, attempts, platform, json }
        });
        if dead.is_some() {
            self.changed.account.integrations.entry(integration.to_owned()).or_default().1 -= 1;
        }
        Ok(dead)
    }
}
