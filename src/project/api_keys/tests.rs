//! The promises of [`ApiKeys`], against a source made by hand. Time is tokio's, and paused; the clock that keys are
//! trusted and expire by is turned along with it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;
use tokio::time;

use super::*;
use crate::project::SourceError;

// In milliseconds.
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// How long a change may take to be seen.
const SETTLED: i64 = 6_000;

#[derive(Clone, Default)]
struct Source(Arc<Table>);

#[derive(Default)]
struct Table {
    rows: Mutex<Vec<(KeyHash, ApiAccess)>>,
    version: AtomicU64,
    away: AtomicBool,
    lookups: AtomicU64,
}

impl Source {
    fn add(&self, key: &ApiKey, access: ApiAccess) {
        self.0.rows.lock().unwrap().push((key.hash(), access));
        self.0.version.fetch_add(1, Ordering::Relaxed);
    }

    fn revoke(&self, key: &ApiKey) {
        self.0.rows.lock().unwrap().retain(|(hash, _)| *hash != key.hash());
        self.0.version.fetch_add(1, Ordering::Relaxed);
    }

    fn be_away(&self, away: bool) {
        self.0.away.store(away, Ordering::Relaxed);
    }

    fn lookups(&self) -> u64 {
        self.0.lookups.load(Ordering::Relaxed)
    }

    fn answer<T>(&self, answer: T) -> Result<T, SourceError> {
        if self.0.away.load(Ordering::Relaxed) { Err(SourceError::failed("away")) } else { Ok(answer) }
    }
}

impl KeySource<ApiAccess> for Source {
    async fn lookup(&self, keys: Vec<KeyHash>) -> Result<Vec<(KeyHash, ApiAccess)>, SourceError> {
        self.0.lookups.fetch_add(1, Ordering::Relaxed);
        let rows = self.0.rows.lock().unwrap().clone();
        self.answer(rows.into_iter().filter(|(hash, _)| keys.contains(hash)).collect())
    }

    async fn fingerprint(&self) -> Result<u64, SourceError> {
        self.answer(self.0.version.load(Ordering::Relaxed))
    }
}

fn access() -> ApiAccess {
    ApiAccess {
        key_id: Uuid::from_u128(1),
        project_name: "shop".to_owned(),
        project: Uuid::from_u128(2),
        scope: Scope::Events,
        origins: AllowedOrigins::default(),
        expires_at: None,
        requests_per_minute: None,
    }
}

struct World {
    source: Source,
    clock: Clock,
    directory: TempDir,
    /// Gone while no collector runs.
    keys: Option<(ApiKeys, JoinHandle<()>)>,
}

impl World {
    fn start() -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_769_903_999_999));
        let (source, directory) = (Source::default(), tempfile::tempdir().unwrap());
        let mut world = Self { source, clock, directory, keys: None };
        world.run();
        world
    }

    fn snapshot(&self) -> PathBuf {
        self.directory.path().join("api-keys.json")
    }

    fn started(&self, snapshot: &Path) -> (ApiKeys, JoinHandle<()>) {
        let (source, clock) = (self.source.clone(), self.clock.clone());
        ApiKeys::start(source, ApiKeySettings::default(), snapshot.to_owned(), clock, &Handle::current())
    }

    fn run(&mut self) {
        self.keys = Some(self.started(&self.snapshot()));
    }

    /// Ends the collector as a shutdown does.
    async fn stop(&mut self) {
        let (keys, task) = self.keys.take().unwrap();
        drop(keys);
        task.await.unwrap();
    }

    /// Lets time go by.
    async fn pass(&self, time: i64) {
        let mut left = time;
        while left > 0 {
            let step = left.min(MINUTE);
            self.clock.set(self.clock.now().shifted(step));
            time::sleep(Duration::from_millis(step.unsigned_abs())).await;
            left -= step;
        }
    }

    async fn find(&self, key: &ApiKey) -> Result<Arc<ApiAccess>, ApiKeyError> {
        self.keys.as_ref().unwrap().0.find(Some(key.expose().as_bytes()), Scope::Events, None).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_key_is_refused_without_a_lookup() {
    let world = World::start();
    let key = ApiKey::generate();
    let mistyped = key.expose().replace('_', "-");
    let (cut, longer) = (&key.expose()[..56], format!("{}0", key.expose()));
    let keys = &world.keys.as_ref().unwrap().0;
    for presented in [
        None,
        Some(&b""[..]),
        Some(b"\xff\xfe"),
        Some(mistyped.as_bytes()),
        Some(cut.as_bytes()),
        Some(longer.as_bytes()),
    ] {
        assert_eq!(
            keys.find(presented, Scope::Events, None).await,
            Err(ApiKeyError::Missing),
            "{presented:?}"
        );
    }
    assert_eq!(world.source.lookups(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_does_what_it_is_for_until_it_expires() {
    let world = World::start();
    let key = ApiKey::generate();
    let end = world.clock.now().shifted(HOUR);
    let origins = AllowedOrigins::stored(vec!["https://a.test".to_owned()]);
    let requests_per_minute = NonZeroU32::new(60);
    let access = ApiAccess { origins, expires_at: Some(end), requests_per_minute, ..access() };
    world.source.add(&key, access.clone());
    let keys = &world.keys.as_ref().unwrap().0;
    for (scope, origin, expected) in [
        (Scope::Events, None, Ok(())),
        (Scope::Events, Some("https://a.test"), Ok(())),
        (Scope::Events, Some("https://b.test"), Err(ApiKeyError::OriginNotAllowed)),
        (Scope::Events, Some("null"), Err(ApiKeyError::OriginNotAllowed)),
        (Scope::Conversions, None, Err(ApiKeyError::Scope)),
        (Scope::Conversions, Some("https://b.test"), Err(ApiKeyError::Scope)),
    ] {
        let found = keys.find(Some(key.expose().as_bytes()), scope, origin).await;
        assert_eq!(found.map(|found| assert_eq!(*found, access)), expected, "{scope} {origin:?}");
    }
    assert_eq!(world.source.lookups(), 1);

    world.clock.set(end.shifted(-1));
    assert!(world.find(&key).await.is_ok());
    world.clock.set(end);
    assert_eq!(world.find(&key).await, Err(ApiKeyError::Missing));
}

#[tokio::test(start_paused = true)]
async fn unknown_and_revoked_keys_are_remembered_and_changes_are_seen() {
    let world = World::start();
    let key = ApiKey::generate();
    for _ in 0..100 {
        assert_eq!(world.find(&key).await, Err(ApiKeyError::Missing));
    }
    assert_eq!(world.source.lookups(), 1);
    world.source.add(&key, access());
    world.pass(SETTLED).await;
    assert!(world.find(&key).await.is_ok());

    world.source.revoke(&key);
    world.pass(SETTLED).await;
    let asked = world.source.lookups();
    for _ in 0..100 {
        assert_eq!(world.find(&key).await, Err(ApiKeyError::Missing));
    }
    assert_eq!(world.source.lookups(), asked);
}

#[tokio::test(start_paused = true)]
async fn without_the_sources_word_a_known_key_works_for_a_day() {
    let world = World::start();
    let (known, unknown) = (ApiKey::generate(), ApiKey::generate());
    world.source.add(&known, access());
    assert!(world.find(&known).await.is_ok());
    world.pass(2 * DAY).await;
    world.source.be_away(true);
    world.pass(DAY - 2 * MINUTE).await;
    assert!(world.find(&known).await.is_ok());
    assert_eq!(world.find(&unknown).await, Err(ApiKeyError::Unavailable));
    world.pass(3 * MINUTE).await;
    assert_eq!(world.find(&known).await, Err(ApiKeyError::Unavailable));

    world.source.be_away(false);
    world.pass(SETTLED).await;
    assert!(world.find(&known).await.is_ok());
    assert_eq!(world.find(&unknown).await, Err(ApiKeyError::Missing));
}

#[tokio::test(start_paused = true)]
async fn the_day_does_not_begin_anew_with_a_start() {
    let mut world = World::start();
    let key = ApiKey::generate();
    world.source.add(&key, access());
    assert!(world.find(&key).await.is_ok());
    world.pass(DAY).await;
    world.source.be_away(true);
    for _ in 0..3 {
        world.pass(7 * HOUR).await;
        world.stop().await;
        world.run();
        assert!(world.find(&key).await.is_ok());
    }
    world.pass(3 * HOUR - 2 * MINUTE).await;
    assert!(world.find(&key).await.is_ok());
    world.pass(3 * MINUTE).await;
    assert_eq!(world.find(&key).await, Err(ApiKeyError::Unavailable));
    world.stop().await;
    world.run();
    assert_eq!(world.find(&key).await, Err(ApiKeyError::Unavailable), "a snapshot that is too old");

    // Nobody has to wait for a refresh where the source can be asked.
    world.stop().await;
    world.source.be_away(false);
    world.run();
    assert!(world.find(&key).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_has_hashes_and_a_moment_that_keeps_up() {
    let world = World::start();
    let key = ApiKey::generate();
    let origins = AllowedOrigins::stored(vec!["https://a.test".to_owned(), "nonsense".to_owned()]);
    let end = Some(world.clock.now().shifted(30 * DAY));
    let whole = ApiAccess { origins, expires_at: end, requests_per_minute: NonZeroU32::new(7), ..access() };
    world.source.add(&key, whole.clone());
    assert!(world.find(&key).await.is_ok());
    world.pass(5 * DAY).await;

    // As a crash leaves it.
    let text = std::fs::read_to_string(world.snapshot()).unwrap();
    assert!(text.contains(&key.hash().to_hex()) && !text.contains(key.expose()), "{text}");
    assert!(!text.contains("weir_sk_"), "{text}");
    let mode = std::fs::metadata(world.snapshot()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let elsewhere = world.directory.path().join("copy.json");
    std::fs::copy(world.snapshot(), &elsewhere).unwrap();
    world.source.be_away(true);
    world.pass(DAY - HOUR - 2 * MINUTE).await;
    let (keys, _task) = world.started(&elsewhere);
    let found = keys.find(Some(key.expose().as_bytes()), Scope::Events, None).await;
    assert_eq!(*found.unwrap(), whole, "an hour may be lost, and no more");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_put_back_does_not_make_a_key_last() {
    let mut world = World::start();
    let key = ApiKey::generate();
    world.source.add(&key, access());
    assert!(world.find(&key).await.is_ok());
    world.pass(SETTLED).await;
    world.stop().await;
    world.source.be_away(true);
    world.clock.set(world.clock.now().shifted(-300 * DAY));
    world.run();
    world.pass(DAY - MINUTE).await;
    assert!(world.find(&key).await.is_ok());
    world.pass(2 * MINUTE).await;
    assert_eq!(world.find(&key).await, Err(ApiKeyError::Unavailable));
}
