//! The private listener: is the collector alive, is it ready, what has it counted, what waits in its journal.
//!
//! A load balancer asks `/readyz` and takes a collector that answers 503 out of rotation. That must happen only
//! when events cannot be made durable: with ClickHouse away, taking every collector out would lose what the journal
//! is there to keep.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::{DefaultOnFailure, TraceLayer};
use tracing::Level;

use super::answer::{Answer, json, text};
use super::demo::{self, DemoPage, Demonstrated};
use super::forwarding;
use super::listener::raised;
use super::rejection::Rejection;
use super::routes::{Route, find};
use crate::conversions::{Forwarder, platform};

/// Probes and scrapers are few; whoever holds more connections waits.
const MAX_CONNECTIONS: usize = 64;
/// For a head, and between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// For an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For the answer of what changes something: it may look at every conversion there is, and sync many times.
const CHANGE_TIMEOUT: Duration = Duration::from_mins(5);
/// How often histograms are folded, so that their memory stays bounded when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// How well a collector stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// All is well.
    Ready,
    /// Events are accepted and kept, but something behind that is wrong.
    Degraded,
    /// Starting, draining, or unable to make events durable: send nothing here.
    Unavailable,
}

/// What `/readyz` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// The word that decides the status.
    pub status: Standing,
    /// Sentences for people; empty when all is well.
    pub reasons: Vec<String>,
}

/// What `/journal` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalReport {
    /// Where the journal is.
    pub folder: PathBuf,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// Its sealed segments, oldest first.
    pub segments: Vec<SegmentReport>,
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// Name of its file.
    pub file: String,
    /// `waiting`, `loading` or `parked`.
    pub state: String,
    /// When its first event came, in RFC 3339.
    pub oldest: String,
    /// Why it is parked, if it is.
    pub reason: Option<String>,
}

/// What `/journal/retry` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryReport {
    /// How many parked segments are tried now.
    pub parked: usize,
}

/// What the private listener shows and does. Nothing of it may wait.
pub trait Operated: Send + Sync + 'static {
    /// How the collector stands.
    fn readiness(&self) -> Readiness;
    /// What waits in its journal.
    fn journal(&self) -> JournalReport;
    /// Has parked segments tried now.
    fn retry_parked(&self) -> RetryReport;
}

/// What both listeners answer, in the words of `OpenAPI` 3.1; by hand, and held against a running collector by
/// `tests/weir/openapi.rs`. Only the platforms are named as they are in their own list.
static OPENAPI: LazyLock<Bytes> =
    LazyLock::new(|| include_str!("openapi.json").replace("{platforms}", &platform::names()).into());

#[derive(Clone, Copy)]
enum Endpoint {
    Health,
    Readiness,
    Metrics,
    Journal,
    RetryParked,
    OpenApi,
    Demo,
    DemoRows,
    Conversions(forwarding::Endpoint),
}

static ROUTES: [Route<Endpoint>; 11] = [
    ("/healthz", Method::GET, Endpoint::Health),
    ("/healthz", Method::HEAD, Endpoint::Health),
    ("/readyz", Method::GET, Endpoint::Readiness),
    ("/readyz", Method::HEAD, Endpoint::Readiness),
    ("/metrics", Method::GET, Endpoint::Metrics),
    ("/metrics", Method::HEAD, Endpoint::Metrics),
    ("/journal", Method::GET, Endpoint::Journal),
    ("/journal", Method::HEAD, Endpoint::Journal),
    ("/journal/retry", Method::POST, Endpoint::RetryParked),
    ("/openapi.json", Method::GET, Endpoint::OpenApi),
    ("/openapi.json", Method::HEAD, Endpoint::OpenApi),
];

/// These only where there is a demo.
static DEMO_ROUTES: [Route<Endpoint>; 4] = [
    ("/demo", Method::GET, Endpoint::Demo),
    ("/demo", Method::HEAD, Endpoint::Demo),
    ("/demo/rows", Method::GET, Endpoint::DemoRows),
    ("/demo/rows", Method::HEAD, Endpoint::DemoRows),
];

/// The private listener's answers.
pub struct Operations<O> {
    metrics: PrometheusHandle,
    collector: Arc<O>,
    table: Vec<Route<Endpoint>>,
    demo: Option<(DemoPage, Arc<dyn Demonstrated>)>,
    forwarder: Option<Forwarder>,
}

impl<O: Operated> Operations<O> {
    /// Answers from a collector and its figures.
    pub fn new(metrics: PrometheusHandle, collector: Arc<O>) -> Self {
        Self { metrics, collector, table: ROUTES.to_vec(), demo: None, forwarder: None }
    }

    /// The same, with a demo page and what stands behind it.
    #[must_use]
    pub fn with_demo(mut self, page: DemoPage, demonstrated: Arc<dyn Demonstrated>) -> Self {
        self.table.extend(DEMO_ROUTES.iter().cloned());
        self.demo = Some((page, demonstrated));
        self
    }

    /// The same, with what operators can do about conversions.
    #[must_use]
    pub fn with_conversions(mut self, forwarder: Forwarder) -> Self {
        for (path, method, endpoint) in &forwarding::ROUTES {
            self.table.push((path, method.clone(), Endpoint::Conversions(*endpoint)));
        }
        self.forwarder = Some(forwarder);
        self
    }

    /// Serves until `shutdown` has turned true or its sender is gone; then every connection is dropped.
    ///
    /// Shut it down after the public listener, so that `/readyz` can say that the collector is draining.
    pub async fn serve(self, listener: TcpListener, mut shutdown: watch::Receiver<bool>) {
        let operations = Arc::new(self);
        let mut connections = tokio::task::JoinSet::new();
        let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut upkeep = interval(UPKEEP);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = accept(&listener, &seats) => match accepted {
                    Ok((stream, permit)) => {
                        let operations = Arc::clone(&operations);
                        connections.spawn(async move {
                            operations.converse(stream).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection on the operations listener");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_ended) = connections.join_next() => {}
                _ = upkeep.tick() => operations.metrics.run_upkeep(),
                () = raised(&mut shutdown) => return,
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let routes = tower::service_fn(move |request: Request<Incoming>| {
            let operations = Arc::clone(&self);
            let patience = if request.method().is_safe() { ANSWER_TIMEOUT } else { CHANGE_TIMEOUT };
            let answer = tower::service_fn(move |request: Request<Incoming>| {
                let operations = Arc::clone(&operations);
                async move { Ok::<_, Infallible>(operations.answer(&request).await) }
            });
            TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, patience)
                .layer(answer)
                .oneshot(request)
        });
        let service = ServiceBuilder::new()
            // A 503 of `/readyz` is an answer, not an error of ours.
            .layer(TraceLayer::new_for_http().on_failure(DefaultOnFailure::new().level(Level::DEBUG)))
            .service(routes);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection of the operations listener ended early");
        }
    }

    async fn answer<B>(&self, request: &Request<B>) -> Answer {
        let endpoint = match find(&self.table, request.method(), request.uri().path()) {
            Ok(endpoint) => endpoint,
            Err(refusal) => return refusal.into(),
        };
        match (endpoint, &self.demo) {
            (Endpoint::Health, _) => json(StatusCode::OK, &serde_json::json!({ "status": "ok" })),
            (Endpoint::Readiness, _) => {
                let readiness = self.collector.readiness();
                let status = match readiness.status {
                    Standing::Ready | Standing::Degraded => StatusCode::OK,
                    Standing::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                };
                json(status, &readiness)
            }
            (Endpoint::Metrics, _) => {
                text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.render())
            }
            (Endpoint::Journal, _) => json(StatusCode::OK, &self.collector.journal()),
            (Endpoint::OpenApi, _) => text(StatusCode::OK, "application/json", OPENAPI.clone()),
            (Endpoint::RetryParked, _) => json(StatusCode::OK, &self.collector.retry_parked()),
            (Endpoint::Demo, Some((page, _))) => page.answer(request.headers()),
            (Endpoint::DemoRows, Some((_, rows))) => demo::rows(request.uri().query(), rows.as_ref()).await,
            (Endpoint::Conversions(endpoint), _) => match &self.forwarder {
                Some(forwarder) => forwarding::answer(endpoint, request.uri().query(), forwarder).await,
                None => Rejection::internal().into(),
            },
            // Their paths are not in the table.
            (Endpoint::Demo | Endpoint::DemoRows, None) => Rejection::internal().into(),
        }
    }
}

/// A connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(seats).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _peer) = listener.accept().await?;
    Ok((stream, permit))
}
