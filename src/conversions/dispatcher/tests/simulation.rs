//! The simulated world: hours pass in milliseconds, and nothing passes while anything is being done.
//!
//! Tokio's clock is paused, and goes to the next timer when nothing is left to do. It knows of the queue's readers, but
//! not of its writer, which is a thread: before the runtime rests, the writer is waited for. The injected clock is turned
//! with tokio's before anything wakes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response};
use tokio::runtime::Builder;
use tokio::time::{Instant, advance, sleep};
use uuid::Uuid;

use super::storage::{opener, wait_for_writer};
use crate::clock::Clock;
use crate::conversions::consent::{ConsentPolicy, Matching};
use crate::conversions::enrich::{EnrichSettings, Enricher};
use crate::conversions::forwarder::{Forwarder, Shared};
use crate::conversions::platform::find;
use crate::conversions::queue::{Incoming, Queue, QueueSettings};
use crate::conversions::sender::{Network, Sender};
use crate::conversions::{
    ConsentSignals, Conversion, CustomData, EnrichPolicy, Identity, Integration, Secret,
};
use crate::event::Timestamp;

/// When a simulation begins: Wed, 18 Nov 2026 11:06:40 GMT.
const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// How long conversions are tried.
const EXPIRE_AFTER: Duration = Duration::from_hours(72);

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Since the simulation began.
    pub(super) at: Duration,
    pub(super) url: String,
    /// Of its events, in their order as texts.
    pub(super) ids: Vec<String>,
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// With a status and a body.
    Answer(u16, String),
    /// The same, with this `Retry-After`.
    Later(u16, String),
    /// After a while.
    Late(Duration, Box<Reply>),
    /// The connection is cut.
    Cut,
    /// Not at all.
    Never,
    /// The request ends in a defect of ours.
    Defect,
}

type Script = Box<dyn FnMut(&Told) -> Reply + Send>;

/// All platforms there are.
struct Fake {
    begun: OnceLock<Instant>,
    told: Mutex<Vec<Told>>,
    script: Mutex<Script>,
    /// A request has ended since the writer was last waited for.
    ended: AtomicBool,
    /// Nothing is written but when a request has ended.
    quiet: AtomicBool,
}

impl Network for Fake {
    fn carry(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Vec<u8>>, String>> {
        let at = self.begun.get().unwrap().elapsed();
        let told = Told { at, url: request.uri().to_string(), ids: ids(request.body()) };
        let reply = (self.script.lock().unwrap())(&told);
        self.told.lock().unwrap().push(told);
        Box::pin(async {
            let _ends = Ends(&self.ended);
            carried(reply).await
        })
    }
}

/// Tells that a request has ended, in an answer or otherwise.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn carried(mut reply: Reply) -> Result<Response<Vec<u8>>, String> {
    let mut retry_after = None;
    while let Reply::Late(wait, then) = reply {
        sleep(wait).await;
        reply = *then;
    }
    let (status, body) = match reply {
        Reply::Answer(status, body) => (status, body),
        Reply::Later(status, asked) => {
            retry_after = Some(HeaderValue::from_str(&asked).unwrap());
            (status, String::new())
        }
        Reply::Cut => return Err("cannot be reached: connection reset".to_owned()),
        Reply::Defect => panic!("a defect, as a test has it"),
        Reply::Late(..) | Reply::Never => return std::future::pending().await,
    };
    let mut answer = Response::new(body.into_bytes());
    *answer.status_mut() = status.try_into().unwrap();
    answer.headers_mut().extend(retry_after.map(|value| (RETRY_AFTER, value)));
    Ok(answer)
}

/// Every id in a body, whatever the platform calls it.
fn ids(body: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(body).unwrap();
    let found: BTreeSet<&str> = text.match_indices("id-").map(|(at, _)| &text[at..at + ID]).collect();
    found.into_iter().map(str::to_owned).collect()
}

/// The length of an id.
const ID: usize = "id-00000".len();

pub(super) fn id(number: usize) -> String {
    format!("id-{number:05}")
}

/// An integration with nothing of its own but what its platform cannot do without.
pub(super) fn platform(name: &str) -> Integration {
    let settings: &[(&'static str, &str)] = match name {
        "ga4" => &[("measurement_id", "G-1"), ("api_secret", "s")],
        "google_ads" => &[("customer_id", "1"), ("conversion_action", "2"), ("access_token", "t")],
        "pinterest" => &[("ad_account_id", "1"), ("access_token", "t")],
        "twitter" => &[("pixel_id", "1"), ("event_tag_id", "tw-1-2"), ("pixel_token", "t")],
        "webhook" => &[("url", "https://crm.example/hook"), ("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZI")],
        _ => &[("pixel_id", "1"), ("access_token", "t")],
    };
    let platform = find(name).unwrap();
    let setting =
        |key: &str| settings.iter().find(|(own, _)| *own == key).map(|(_, value)| (*value).to_owned());
    let base_url = if name == "webhook" {
        "https://crm.example".to_owned()
    } else {
        platform.base_url(&setting).to_owned()
    };
    Integration {
        name: format!("shop/{name}"),
        project: "shop".to_owned(),
        platform,
        base_url,
        settings: settings.iter().map(|(key, value)| (*key, Secret::new(*value))).collect(),
        default_country_code: None,
        limited_data_use: false,
        consent: ConsentPolicy {
            required: true,
            categories: vec!["marketing".to_owned()],
            matching: Matching::Any,
        },
        event_names: BTreeMap::new(),
        rate: None,
        enrich: EnrichPolicy::default(),
    }
}

/// An integration whose purchases are worth what their pages say, which cannot be had.
pub(super) fn with_pages(name: &str) -> Integration {
    let hosts = vec!["shop.example".to_owned()];
    let enrich = EnrichPolicy { hosts, events: vec!["purchase".to_owned()] };
    Integration { enrich, ..platform(name) }
}

/// What a platform answers that has taken everything.
pub(super) fn taken(told: &Told) -> Reply {
    let events = told.ids.len();
    let host = told.url.split('/').nth(2).unwrap_or_default();
    let answer = match host {
        "graph.facebook.com" => format!(r#"{{"events_received":{events}}}"#),
        "business-api.tiktok.com" => r#"{"code":0,"message":"OK"}"#.to_owned(),
        "datamanager.googleapis.com" => r#"{"requestId":"r"}"#.to_owned(),
        "googleads.googleapis.com" => r#"{"results":[{"gclid":"g"}]}"#.to_owned(),
        "tr.snapchat.com" => r#"{"status":"VALID"}"#.to_owned(),
        "api.pinterest.com" => {
            format!(r#"{{"num_events_received":{events},"num_events_processed":{events}}}"#)
        }
        "ads-api.x.com" => format!(r#"{{"data":{{"conversions_processed":{events}}}}}"#),
        _ => String::new(),
    };
    Reply::Answer(200, answer)
}

/// What a test has of a simulation.
pub(super) struct World {
    pub(super) forwarder: Forwarder,
    queue: Queue,
    fake: Arc<Fake>,
    clock: Clock,
}

impl World {
    /// Since it began.
    pub(super) fn now(&self) -> Duration {
        self.fake.begun.get().unwrap().elapsed()
    }

    /// The moment on the simulated clock.
    pub(super) fn moment(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets a long time pass in which nothing becomes too old: the writer need not be waited for each time that
    /// somebody looks whether there is something to do.
    pub(super) async fn pass(&self, time: Duration) {
        self.fake.quiet.store(true, Ordering::Relaxed);
        sleep(time).await;
        self.fake.quiet.store(false, Ordering::Relaxed);
    }

    /// Goes on to a later moment at once: of what happens on the way only the last is seen.
    pub(super) async fn skip(&self, time: Duration) {
        self.clock.set(self.moment().shifted(i64::try_from(time.as_millis()).unwrap()));
        advance(time).await;
    }

    /// Queues conversions of these numbers, all of one user, that happen now.
    pub(super) async fn queue(&self, integration: &Integration, numbers: impl IntoIterator<Item = usize>) {
        self.queue_with(integration, numbers, |_| {}).await;
    }

    /// The same, each with a change.
    pub(super) async fn queue_with(
        &self,
        integration: &Integration,
        numbers: impl IntoIterator<Item = usize>,
        change: impl Fn(&mut Conversion),
    ) {
        let incoming = |number| {
            let mut conversion = Conversion {
                id: id(number),
                project_id: Uuid::from_u128(7),
                integration: integration.name.clone(),
                event_type: "purchase".to_owned(),
                occurred_at: self.clock.now(),
                received_at: self.clock.now(),
                // Of no host whose pages are looked at.
                source_url: Some("https://elsewhere.example/".to_owned()),
                identity: Identity {
                    email: Some("e".repeat(64)),
                    client_id: Some("1.2".to_owned()),
                    ..Identity::default()
                },
                custom: CustomData::default(),
                consent: ConsentSignals::default(),
            };
            change(&mut conversion);
            Incoming::Queue { platform: integration.platform.name(), conversion }
        };
        let incoming = numbers.into_iter().map(incoming).collect();
        self.forwarder.accept(incoming).await.unwrap();
    }

    /// Every request so far.
    pub(super) fn told(&self) -> Vec<Told> {
        self.fake.told.lock().unwrap().clone()
    }

    /// How often each id was told.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for id in self.told().into_iter().flat_map(|told| told.ids) {
            *counts.entry(id).or_default() += 1;
        }
        counts
    }

    /// Answers otherwise from now on.
    pub(super) fn answer(&self, script: impl FnMut(&Told) -> Reply + Send + 'static) {
        *self.fake.script.lock().unwrap() = Box::new(script);
    }

    /// Another forwarder, as after a new start.
    pub(super) fn begin(&self, integrations: &[Integration]) -> Forwarder {
        begin(&self.queue, &self.clock, &self.fake, integrations)
    }

    /// How many conversions wait, and how many are dead.
    pub(super) async fn left(&self) -> (u64, u64) {
        let counts = self.queue.counts().await.unwrap();
        counts.iter().fold((0, 0), |(waiting, dead), count| (waiting + count.waiting, dead + count.dead))
    }

    /// Why an integration is paused.
    pub(super) async fn paused(&self) -> Option<String> {
        let reports = self.forwarder.report().await.unwrap();
        reports.into_iter().find_map(|report| report.paused).map(|pause| pause.why)
    }
}

/// Runs a test in a world with these integrations.
pub(super) fn simulate(
    integrations: &[Integration],
    script: impl FnMut(&Told) -> Reply + Send + 'static,
    test: impl AsyncFnOnce(&World),
) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let opener = opener(folder.path());
    let queue = Queue::open_with(opener, &QueueSettings::default(), &clock).unwrap();
    let script: Script = Box::new(script);
    let fake = Fake {
        begun: OnceLock::new(),
        told: Mutex::default(),
        script: Mutex::new(script),
        ended: AtomicBool::new(false),
        quiet: AtomicBool::new(false),
    };
    let fake = Arc::new(fake);
    let (writer, resting) = (queue.clone(), Arc::clone(&fake));
    let (turned, from) = (clock.clone(), Arc::clone(&fake));
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || {
            if resting.ended.swap(false, Ordering::Relaxed) || !resting.quiet.load(Ordering::Relaxed) {
                wait_for_writer(&writer);
            }
        })
        .on_thread_unpark(move || {
            let since = from.begun.get().map(Instant::elapsed).unwrap_or_default();
            turned.set(START.shifted(i64::try_from(since.as_millis()).unwrap()));
        })
        .build()
        .unwrap();
    runtime.block_on(async {
        fake.begun.set(Instant::now()).unwrap();
        let forwarder = begin(&queue, &clock, &fake, integrations);
        let world = World { forwarder, queue: queue.clone(), fake, clock };
        test(&world).await;
        world.forwarder.stop().await;
    });
    drop(runtime);
    queue.close();
}

fn begin(queue: &Queue, clock: &Clock, fake: &Arc<Fake>, integrations: &[Integration]) -> Forwarder {
    let shared = Shared {
        queue: queue.clone(),
        clock: clock.clone(),
        sender: Sender::over(fake.clone()),
        enricher: Enricher::new(EnrichSettings::new(clock.clone())),
        expire_after: EXPIRE_AFTER,
    };
    Forwarder::of(shared, integrations.to_vec())
}
