//! What is known in memory: keys with a project, and apart from them keys without one, so that no flood of the
//! latter can push out the former.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::{Project, ProjectError, ProjectSettings};
use crate::near::{Edition, Near};

thread_local! {
    static NEAR: RefCell<Near<Arc<Project>>> = RefCell::default();
}

/// Both caches. Everybody reads them; the gathering task alone writes.
pub(super) struct Cache {
    known: moka::sync::Cache<String, Arc<Project>>,
    /// That of `known`: another one as soon as a project changes or goes, also when it is pushed out, since nobody
    /// would read it again from the source.
    edition: Arc<Edition>,
    /// With the moment after which the answer no longer counts. moka's own expiry frees the memory; this one
    /// decides, because it follows tokio's clock, which tests can turn.
    unknown: moka::sync::Cache<String, Instant>,
    unknown_expiry: Duration,
}

impl Cache {
    pub(super) fn new(settings: &ProjectSettings) -> Self {
        let edition = Arc::new(Edition::new());
        let pushed_out = Arc::clone(&edition);
        Self {
            known: moka::sync::Cache::builder()
                .max_capacity(settings.known_capacity)
                .eviction_listener(move |_, _, _| pushed_out.change())
                .build(),
            edition,
            unknown: moka::sync::Cache::builder()
                .max_capacity(settings.unknown_capacity)
                .time_to_live(settings.unknown_expiry)
                .build(),
            unknown_expiry: settings.unknown_expiry,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Result<Arc<Project>, ProjectError>> {
        let edition = self.edition.number();
        if let Some(project) = NEAR.with_borrow(|near| near.get(key, edition)) {
            return Some(Ok(project));
        }
        if let Some(project) = self.known.get(key) {
            NEAR.with_borrow_mut(|near| near.put(key, edition, Arc::clone(&project)));
            return Some(Ok(project));
        }
        let until = self.unknown.get(key)?;
        (Instant::now() < until).then_some(Err(ProjectError::Unknown))
    }

    /// Takes in what the source says of a key. Gives the project to answer with, and whether it is news.
    pub(super) fn learn(&self, key: &str, project: Project) -> (Arc<Project>, bool) {
        if let Some(held) = self.known.get(key).filter(|held| **held == project) {
            return (held, false);
        }
        for fault in project.origins.faults() {
            tracing::warn!(project = project.name, %fault, "an allowed origin matches nothing");
        }
        let project = Arc::new(project);
        self.known.insert(key.to_owned(), Arc::clone(&project));
        self.edition.change();
        self.unknown.invalidate(key);
        (project, true)
    }

    /// Takes in that a key has no project. Tells whether that is news.
    pub(super) fn deny(&self, key: String) -> bool {
        let was_known = self.known.remove(&key).is_some();
        if was_known {
            self.edition.change();
        }
        self.unknown.insert(key, Instant::now() + self.unknown_expiry);
        was_known
    }

    /// Forgets every denial: any of those keys may have a project by now.
    pub(super) fn forget_unknown(&self) {
        self.unknown.invalidate_all();
    }

    /// Every known key with its project, in no order.
    pub(super) fn known(&self) -> Vec<(String, Arc<Project>)> {
        self.known.iter().map(|(key, project)| (key.as_ref().clone(), project)).collect()
    }
}

#[cfg(test)]
impl Cache {
    /// Does now what moka otherwise does in passing.
    pub(super) fn prune(&self) {
        self.known.run_pending_tasks();
        self.unknown.run_pending_tasks();
    }

    pub(super) fn unknown_count(&self) -> u64 {
        self.unknown.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::project::AllowedOrigins;

    #[test]
    fn what_is_pushed_out_is_not_answered_from_nearby() {
        let cache = Cache::new(&ProjectSettings { known_capacity: 3, ..ProjectSettings::default() });
        let (id, origins) = (Uuid::from_u128(1), AllowedOrigins::default());
        let keys: Vec<_> = (0..20).map(|key| format!("pk_{key}")).collect();
        for key in &keys {
            cache.learn(key, Project { id, name: key.clone(), enabled: true, origins: origins.clone() });
        }
        let known = || keys.iter().filter(|key| cache.get(key).is_some()).count();
        // Puts them nearby, as many as moka still has.
        assert!(known() >= 3);
        cache.prune();
        assert_eq!(known(), 3);
    }
}
