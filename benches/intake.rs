//! The way of an event from its body to the journal's buffer, step by step as `weir::http`'s `events.rs` goes it, with
//! all that stands there in memory: the project, the user agent, the window of recent ids.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;
use weir::clock::Clock;
use weir::enrich::{AddressMode, TrustedProxies, UserAgents, Visitor, client_address, enrich};
use weir::event::{PayloadLimits, Source, Timestamp};
use weir::journal::{Appending, Directory, Entry, Item, Journal, JournalSettings};
use weir::payload::{self, Decoded};
use weir::project::{AllowedOrigins, KeySource, LookupSettings, Project, Projects, SourceError};
use weir::recent::{Claim, RecentEvents, Reservation};
use weir::row::Table;

use crate::bodies::{CHROME, PROJECT_KEY, RECEIVED_AT_MS};

/// Where the requests come from.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));

/// The page that sends the snippet's events.
const ORIGIN: &str = "https://www.example.com";

/// A window of recent ids that has been full before, as a collector's has when it has run for a while: it grows no
/// more, and now and then forgets the older half. It is small, since filling it must not take long under valgrind.
pub fn full_window() -> RecentEvents {
    const IDS: usize = 8_000;
    let recent = RecentEvents::new(IDS);
    let mut filling = recent.reservation(0);
    for id in 0..3 * IDS as u64 {
        filling.claim(Uuid::from_u128(2), Uuid::from_u64_pair(id, id));
    }
    filling.settle(true);
    recent
}

/// Everything that a request meets before the disk.
pub struct Intake {
    limits: PayloadLimits,
    clock: Clock,
    projects: Projects,
    agents: UserAgents,
    trusted_proxies: TrustedProxies,
    recent: RecentEvents,
    entry: Entry,
    runtime: Runtime,
}

struct OneProject;

impl KeySource<Project> for OneProject {
    async fn lookup(&self, keys: Vec<String>) -> Result<Vec<(String, Project)>, SourceError> {
        let project = || Project {
            id: Uuid::from_u128(1),
            name: "bench".to_owned(),
            enabled: true,
            origins: AllowedOrigins::stored(vec![ORIGIN.to_owned()]),
        };
        Ok(keys.into_iter().filter(|key| key == PROJECT_KEY).map(|key| (key, project())).collect())
    }

    async fn fingerprint(&self) -> Result<u64, SourceError> {
        Ok(0)
    }
}

impl Intake {
    /// An intake that knows the project and the browser of the [bodies](crate::bodies). Its clock stands still.
    pub fn new() -> Self {
        Self::with_window(RecentEvents::new(1_000_000))
    }

    /// The same with this window of recent ids.
    pub fn with_window(recent: RecentEvents) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let snapshot = folder().join("projects.json");
        let (projects, _) =
            Projects::start(OneProject, LookupSettings::default(), snapshot, runtime.handle());
        runtime.block_on(projects.find(PROJECT_KEY)).expect("the project");
        let intake = Self {
            limits: PayloadLimits::default(),
            clock: Clock::manual(Timestamp::from_millis(RECEIVED_AT_MS)),
            projects,
            agents: UserAgents::new(10_000).expect("the patterns that come with us are sound"),
            trusted_proxies: TrustedProxies::default(),
            recent,
            entry: Entry::new(),
            runtime,
        };
        intake.visitor();
        intake
    }

    /// A body's events.
    pub fn decode<'b>(&self, body: &'b [u8]) -> Decoded<'b> {
        payload::decode(body, &self.limits).expect("a sound body")
    }

    /// The project of a key that is known, and that takes the page's events.
    pub fn project(&self, key: &str) -> Uuid {
        let project = self.projects.cached(key).expect("a known key").expect("a project");
        project.admit(|| Some(ORIGIN)).expect("an allowed origin");
        project.id
    }

    /// The visitor whose browser is known.
    pub fn visitor(&self) -> Visitor<'static> {
        let client = client_address(PEER, std::iter::empty::<&[u8]>, &self.trusted_proxies);
        Visitor::new(client, AddressMode::Truncated, CHROME, &self.agents)
    }

    /// Appends the rows of all events, as the bytes that go to ClickHouse.
    pub fn rows(
        &self,
        decoded: &Decoded<'_>,
        project: Uuid,
        visitor: Option<&Visitor<'_>>,
        rows: &mut Vec<u8>,
    ) {
        let received_at = self.clock.now();
        for event in &decoded.events {
            enrich(event, project, decoded.source, visitor, decoded.sent_at, received_at).encode(rows);
        }
    }

    /// Puts a body's record together. The events' ids are reserved, and free again if that is dropped.
    pub fn record(&mut self, body: &[u8]) -> (&Entry, Reservation) {
        let received_at = self.clock.now();
        let decoded = self.decode(body);
        let project = self.project(&decoded.project_key);
        let visitor = (decoded.source == Source::Snippet).then(|| self.visitor());
        let mut reservation = self.recent.reservation(decoded.events.len());
        let entry = &mut self.entry;
        entry.clear();
        entry.record(Table::Events, received_at, |rows| {
            let mut events = 0;
            for event in &decoded.events {
                let claim = event.event_id.map_or(Claim::Ours, |id| reservation.claim(project, id));
                assert!(matches!(claim, Claim::Ours), "an event that was sent before");
                let visitor = visitor.as_ref();
                enrich(event, project, decoded.source, visitor, decoded.sent_at, received_at).encode(rows);
                events += 1;
            }
            events
        });
        (entry, reservation)
    }

    /// Hands a body's record to the journal.
    pub fn append(&mut self, body: &[u8], journal: &Journal) -> Taken {
        let (entry, reservation) = self.record(body);
        Taken { appending: journal.append(entry), reservation }
    }

    /// Waits until the records are durable, and lets the window know.
    pub fn finish(&self, taken: impl IntoIterator<Item = Taken>) {
        for Taken { appending, reservation } in taken {
            self.runtime.block_on(appending).expect("a journal that takes everything");
            reservation.settle(true);
        }
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self::new()
    }
}

/// A request whose records are on their way to the disk.
pub struct Taken {
    appending: Appending,
    reservation: Reservation,
}

/// A journal that never seals because of a segment's age, and never is full. Its clock stands still.
pub fn journal(directory: impl Directory) -> Journal {
    let settings = JournalSettings {
        segment_age: Duration::from_hours(1),
        max_bytes: u64::MAX,
        ..JournalSettings::default()
    };
    let clock = Clock::manual(Timestamp::from_millis(RECEIVED_AT_MS));
    Journal::open(Arc::new(directory), &settings, &clock).expect("a journal")
}

/// Reads every record of the first sealed segment, and counts its rows.
pub fn segment_rows(journal: &Journal) -> u64 {
    let backlog = journal.backlog();
    let (segment, _) = backlog.all().into_iter().next().expect("a sealed segment");
    let mut reader = backlog.read(&segment).expect("a file").expect("a sound head");
    let mut rows = 0;
    loop {
        match reader.next_item().expect("memory does not fail") {
            Item::Record(head, bytes) => rows += u64::from(black_box((head, bytes)).0.rows),
            Item::Damage { .. } => unreachable!("nothing damages memory"),
            Item::End { .. } => return rows,
        }
    }
}

/// Where the benches may write: a folder of their own under `target/`.
pub fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/benches");
    std::fs::create_dir_all(&folder).expect("a folder under target/");
    folder
}
