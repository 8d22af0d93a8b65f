//! The promises of [`Projects`], against a source made by hand. Time is tokio's, and paused: it moves on only
//! when everybody waits.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{self, Instant};

use super::*;

const QUERY: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Failing,
    Hanging,
    Panicking,
}

struct Table {
    rows: Mutex<BTreeMap<String, Project>>,
    version: AtomicU64,
    mood: Mutex<Mood>,
    /// The keys of each lookup so far.
    lookups: Mutex<Vec<Vec<String>>>,
}

#[derive(Clone)]
struct Source(Arc<Table>);

impl Source {
    fn new(keys: &[&str]) -> Self {
        let rows = keys.iter().map(|&key| (key.to_owned(), project(key))).collect();
        let (version, mood, lookups) = (AtomicU64::new(1), Mutex::new(Mood::Well), Mutex::default());
        Self(Arc::new(Table { rows: Mutex::new(rows), version, mood, lookups }))
    }

    fn feel(&self, mood: Mood) {
        *self.0.mood.lock().unwrap() = mood;
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Project>)) {
        change(&mut self.0.rows.lock().unwrap());
        self.0.version.fetch_add(1, Ordering::Relaxed);
    }

    fn disable(&self, key: &str) {
        self.change(|rows| rows.get_mut(key).unwrap().enabled = false);
    }

    /// The keys of each lookup since this was last asked.
    fn lookups(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.0.lookups.lock().unwrap())
    }

    async fn answer<T>(&self, answer: T) -> Result<T, SourceError> {
        let mood = *self.0.mood.lock().unwrap();
        match mood {
            Mood::Well => time::sleep(QUERY).await,
            Mood::Failing => return Err(SourceError::failed("away")),
            Mood::Hanging => std::future::pending().await,
            Mood::Panicking => panic!("as the test wants it"),
        }
        Ok(answer)
    }
}

impl KeySource<Project> for Source {
    async fn lookup(&self, keys: Vec<String>) -> Result<Vec<(String, Project)>, SourceError> {
        let found = {
            let rows = self.0.rows.lock().unwrap();
            keys.iter().filter_map(|key| Some((key.clone(), rows.get(key)?.clone()))).collect()
        };
        self.0.lookups.lock().unwrap().push(keys);
        self.answer(found).await
    }

    async fn fingerprint(&self) -> Result<u64, SourceError> {
        self.answer(self.0.version.load(Ordering::Relaxed)).await
    }
}

fn project(key: &str) -> Project {
    let name = format!("the project of {key}");
    Project { id: Uuid::from_u128(1), name, enabled: true, origins: AllowedOrigins::default() }
}

fn start(source: &Source, directory: &TempDir, settings: LookupSettings) -> Projects {
    Projects::start(source.clone(), settings, directory.path().join("projects.json"), &Handle::current()).0
}

async fn run(keys: &[&str]) -> (Source, Projects, TempDir) {
    let (source, directory) = (Source::new(keys), tempfile::tempdir().unwrap());
    let projects = start(&source, &directory, LookupSettings::default());
    settle().await;
    (source, projects, directory)
}

/// Waits as long as a change may take to be seen.
async fn settle() {
    time::sleep(LookupSettings::default().refresh + 10 * QUERY).await;
}

fn enabled(answer: Option<Result<Arc<Project>, ProjectError>>) -> bool {
    answer.unwrap().unwrap().enabled
}

#[tokio::test(start_paused = true)]
async fn a_key_is_looked_up_once_however_many_ask() {
    let (source, projects, _directory) = run(&["pk_a"]).await;
    assert_eq!(projects.cached("pk_a"), None);
    let mut askers = JoinSet::new();
    let ask = |askers: &mut JoinSet<_>| {
        for _ in 0..100 {
            let projects = projects.clone();
            askers.spawn(async move { projects.find("pk_a").await });
        }
    };
    ask(&mut askers);
    time::sleep(QUERY / 2).await;
    assert_eq!(projects.cached("pk_a"), None, "the query is still under way");
    ask(&mut askers);
    for answer in askers.join_all().await {
        assert_eq!(*answer.unwrap(), project("pk_a"));
    }
    assert_eq!(projects.find("pk_a").await.unwrap().name, "the project of pk_a");
    assert_eq!(source.lookups(), [["pk_a"]]);
}

#[tokio::test(start_paused = true)]
async fn what_gathers_during_a_query_shares_the_next_one() {
    let (source, projects, _directory) = run(&["pk_1", "pk_3"]).await;
    let mut askers = JoinSet::new();
    for key in 0..2_500 {
        let projects = projects.clone();
        askers
            .spawn(async move { projects.find(&format!("pk_{key}")).await.map(|found| found.name.clone()) });
    }
    let found = askers.join_all().await.into_iter().filter_map(Result::ok).collect::<Vec<_>>();
    assert_eq!(found.len(), 2);
    let sizes: Vec<_> = source.lookups().iter().map(Vec::len).collect();
    assert!(sizes.len() <= 4 && sizes.iter().all(|size| *size <= 1_000), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 2_500);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_random_keys_is_bounded_and_pushes_out_no_known_key() {
    let known: Vec<_> = (0..100).map(|key| format!("pk_known_{key}")).collect();
    let source = Source::new(&known.iter().map(String::as_str).collect::<Vec<_>>());
    let directory = tempfile::tempdir().unwrap();
    let settings = LookupSettings { known_capacity: 200, unknown_capacity: 1_000, ..Default::default() };
    let projects = start(&source, &directory, settings);
    for key in &known {
        projects.find(key).await.unwrap();
    }
    source.lookups();

    let mut askers = JoinSet::new();
    for key in 0..50_000 {
        let projects = projects.clone();
        askers.spawn(async move { projects.find(&format!("random {key}")).await });
    }
    let answers = askers.join_all().await;
    let count = |error| answers.iter().filter(|answer| **answer == Err(error)).count();
    assert_eq!(count(ProjectError::Unknown) + count(ProjectError::Unavailable), 50_000);
    assert!(count(ProjectError::Unknown) >= 10_000, "those that could wait were answered");
    let lookups = source.lookups();
    assert!(lookups.len() <= 50 && lookups.iter().all(|keys| keys.len() <= 1_000), "{}", lookups.len());

    for key in &known {
        assert_eq!(*projects.cached(key).unwrap().unwrap(), project(key));
    }
    projects.lookup.cache.prune();
    assert!(projects.lookup.cache.unknown_count() <= 1_000);
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_out_is_not_answered_from_nearby() {
    let (source, directory) = (Source::new(&[]), tempfile::tempdir().unwrap());
    let projects = start(&source, &directory, LookupSettings { known_capacity: 3, ..Default::default() });
    let keys: Vec<_> = (0..20).map(|key| format!("pk_{key}")).collect();
    for key in &keys {
        projects.lookup.cache.learn(key, project(key));
    }
    let known = || keys.iter().filter(|key| projects.cached(key).is_some()).count();
    // Puts them nearby, as many as moka still has.
    assert!(known() >= 3);
    projects.lookup.cache.prune();
    assert_eq!(known(), 3);
}

#[tokio::test(start_paused = true)]
async fn known_keys_are_answered_for_as_long_as_the_source_is_away() {
    let (source, projects, _directory) = run(&["pk_a", "pk_new"]).await;
    projects.find("pk_a").await.unwrap();
    assert_eq!(projects.find("pk_none").await, Err(ProjectError::Unknown));
    for mood in [Mood::Failing, Mood::Hanging, Mood::Panicking] {
        source.feel(mood);
        time::sleep(Duration::from_hours(1)).await;
        assert!(enabled(projects.cached("pk_a")));
        assert_eq!(projects.find("pk_new").await, Err(ProjectError::Unavailable));
        assert_eq!(projects.find("pk_none").await, Err(ProjectError::Unavailable), "its denial is too old");
    }
    source.disable("pk_a");
    source.feel(Mood::Well);
    settle().await;
    assert!(!enabled(projects.cached("pk_a")));
    assert!(projects.find("pk_new").await.is_ok());
    assert_eq!(projects.find("pk_none").await, Err(ProjectError::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_failing_source_is_not_asked_for_each_miss() {
    let (source, projects, _directory) = run(&[]).await;
    source.feel(Mood::Failing);
    let begin = Instant::now();
    let mut asked = 0;
    while begin.elapsed() < Duration::from_secs(10) {
        assert_eq!(projects.find(&format!("pk_{asked}")).await, Err(ProjectError::Unavailable));
        asked += 1;
        time::sleep(Duration::from_millis(1)).await;
    }
    let lookups = source.lookups().len();
    assert!(asked > 5_000 && lookups <= 11, "{lookups} lookups for {asked} misses");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_timeout() {
    let (source, projects, _directory) = run(&[]).await;
    source.feel(Mood::Hanging);
    let mut askers = JoinSet::new();
    for key in 0..20_000 {
        let projects = projects.clone();
        askers.spawn(async move {
            let begin = Instant::now();
            (projects.find(&format!("pk_{key}")).await, begin.elapsed())
        });
        if key % 20 == 0 {
            time::sleep(Duration::from_millis(20)).await;
        }
    }
    for (answer, waited) in askers.join_all().await {
        assert_eq!(answer, Err(ProjectError::Unavailable));
        assert!(waited <= Duration::from_millis(3_001), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_and_nothing_is_read_without_one() {
    let (source, projects, _directory) = run(&["pk_a", "pk_b", "pk_c"]).await;
    for key in ["pk_a", "pk_b", "pk_c"] {
        projects.find(key).await.unwrap();
    }
    assert_eq!(projects.find("pk_late").await, Err(ProjectError::Unknown));
    source.lookups();
    time::sleep(Duration::from_secs(20)).await;
    assert_eq!(source.lookups().len(), 0);

    let held = projects.cached("pk_c").unwrap().unwrap();
    assert!(
        enabled(projects.cached("pk_a")) && enabled(projects.cached("pk_b")),
        "this thread has them at hand"
    );
    source.disable("pk_a");
    source.change(|rows| _ = rows.remove("pk_b"));
    settle().await;
    assert!(!enabled(projects.cached("pk_a")));
    assert_eq!(projects.cached("pk_b"), Some(Err(ProjectError::Unknown)));
    assert!(Arc::ptr_eq(&held, &projects.cached("pk_c").unwrap().unwrap()));
    assert_eq!(source.lookups().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_remembered_until_something_changes_or_it_expires() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(&[]);
    let patient = Duration::from_mins(10);
    let settings = LookupSettings { unknown_expiry: patient, ..Default::default() };
    let projects = start(&source, &directory, settings);
    assert_eq!(projects.find("pk_late").await, Err(ProjectError::Unknown));
    assert_eq!(projects.find("pk_late").await, Err(ProjectError::Unknown));
    assert_eq!(source.lookups(), [["pk_late"]]);

    source.change(|rows| _ = rows.insert("pk_late".into(), project("pk_late")));
    assert_eq!(projects.cached("pk_late"), Some(Err(ProjectError::Unknown)));
    settle().await;
    assert!(projects.find("pk_late").await.is_ok());

    assert_eq!(projects.find("pk_none").await, Err(ProjectError::Unknown));
    time::sleep(Duration::from_secs(599)).await;
    assert_eq!(projects.cached("pk_none"), Some(Err(ProjectError::Unknown)));
    time::sleep(Duration::from_secs(1)).await;
    assert_eq!(projects.cached("pk_none"), None);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_under_way_during_a_change_does_not_outlive_it() {
    let (source, projects, _directory) = run(&["pk_a"]).await;
    let asking = tokio::spawn({
        let projects = projects.clone();
        async move { projects.find("pk_a").await }
    });
    time::sleep(QUERY / 2).await;
    source.disable("pk_a");
    assert!(asking.await.unwrap().unwrap().enabled, "read before the change");
    settle().await;
    assert!(!enabled(projects.cached("pk_a")));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_missed_is_seen_by_the_next_full_reading() {
    let (source, projects, _directory) = run(&["pk_a"]).await;
    projects.find("pk_a").await.unwrap();
    source.disable("pk_a");
    source.0.version.fetch_sub(1, Ordering::Relaxed);
    settle().await;
    assert!(enabled(projects.cached("pk_a")), "nothing told of the change");
    time::sleep(LookupSettings::default().reread + LookupSettings::default().refresh).await;
    assert!(!enabled(projects.cached("pk_a")));
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_answers_after_a_start_without_the_source() {
    let (source, projects, directory) = run(&["pk_a", "pk_b"]).await;
    projects.find("pk_a").await.unwrap();
    projects.find("pk_b").await.unwrap();
    settle().await;
    drop(projects);

    source.feel(Mood::Failing);
    let projects = start(&source, &directory, LookupSettings::default());
    assert!(enabled(projects.cached("pk_a")), "before any task has run");
    settle().await;
    assert!(enabled(projects.cached("pk_b")));
    assert_eq!(projects.find("pk_none").await, Err(ProjectError::Unavailable));

    // What changed while nobody looked is taken in at the first success, and into the snapshot.
    source.disable("pk_a");
    source.change(|rows| _ = rows.remove("pk_b"));
    source.feel(Mood::Well);
    settle().await;
    settle().await;
    drop(projects);
    source.feel(Mood::Failing);
    let projects = start(&source, &directory, LookupSettings::default());
    assert!(!enabled(projects.cached("pk_a")));
    assert_eq!(projects.cached("pk_b"), None);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_impossible_length_is_unknown_without_a_lookup() {
    let (source, projects, _directory) = run(&[]).await;
    assert_eq!(projects.find(&"k".repeat(201)).await, Err(ProjectError::Unknown));
    assert_eq!(projects.find("").await, Err(ProjectError::Unknown));
    assert_eq!(source.lookups().len(), 0);
    assert_eq!(projects.find(&"k".repeat(200)).await, Err(ProjectError::Unknown));
    assert_eq!(source.lookups().len(), 1);
}

#[test]
fn callers_are_answered_when_the_runtime_of_the_task_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(&["pk_a", "pk_b"]);
    source.feel(Mood::Hanging);
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (theirs, ours) = (build(), build());
    let path = directory.path().join("projects.json");
    let (projects, _task) = Projects::start(source.clone(), LookupSettings::default(), path, theirs.handle());
    let asking = ours.spawn({
        let projects = projects.clone();
        async move { projects.find("pk_a").await }
    });
    ours.block_on(tokio::task::yield_now());
    drop(theirs);
    assert_eq!(ours.block_on(asking).unwrap(), Err(ProjectError::Unavailable));
    assert_eq!(ours.block_on(projects.find("pk_b")), Err(ProjectError::Unavailable));
}

#[test]
fn a_disabled_project_and_a_foreign_page_are_turned_away() {
    let origins = AllowedOrigins::stored(vec!["https://example.com".into()]);
    let open = Project { origins, ..project("pk_a") };
    assert_eq!(open.admit(|| Some("https://example.com")), Ok(()));
    assert_eq!(open.admit(|| None), Ok(()));
    assert_eq!(open.admit(|| Some("null")), Err(ProjectError::OriginNotAllowed));
    let closed = Project { enabled: false, ..open };
    assert_eq!(closed.admit(|| Some("https://example.com")), Err(ProjectError::Disabled));
}
