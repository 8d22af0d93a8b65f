//! How many requests a minute are answered: for an API key, for a project, for a client's address.
//!
//! Each has a bucket of as many requests as its limit, refilled evenly within a minute: 1,000 a minute are 1,000 at
//! once, and 16.7 a second from then on. A batch is one request. A request that is refused takes nothing from its
//! bucket, and no bucket knows of another one. Limits are kept by each collector for itself.
//!
//! Refusals and, to those who have a key, all answers say how one stands, as draft-ietf-httpapi-ratelimit-headers has
//! it:
//!
//! ```text
//! RateLimit-Policy: "api-key";q=1000;w=60      1,000 requests in 60 seconds
//! RateLimit: "api-key";r=0;t=1                 none is left; there will be one within a second
//! Retry-After: 1                               on refusals
//! ```
//!
//! Where requests are left, `t` is the time until the bucket is full again.

mod buckets;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use self::buckets::Buckets;
use crate::clock::Clock;
use crate::metrics::figures;
use crate::retry::Retry;

/// The highest limit there can be, in requests a minute; one that is higher is taken for this.
pub const MAX_PER_MINUTE: u32 = 100_000_000;

/// What a bucket is refilled in.
const WINDOW: Duration = Duration::from_mins(1);

/// The drops that a bucket holds, whatever its limit: a request takes as many as its limit says, so one limiter serves
/// keys with limits of their own, and a limit that is changed finds its bucket as full as before. Few enough for 32
/// bits, and enough that limits are exact up to 54,000 a minute, and the highest one errs by 3 %.
const DROPS: NonZeroU32 = NonZeroU32::new(3_000_000_000).unwrap();

/// Keys that are remembered: 24 bytes each, taken at the start where the limit is set.
const REJECTING_PROJECTS: usize = 1 << 12;
const API_KEYS: usize = 1 << 13;
const PROJECTS: usize = 1 << 14;
const ADDRESSES: usize = 1 << 17;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Limits in requests a minute, at most [`MAX_PER_MINUTE`] each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitSettings {
    /// For an API key that has no limit of its own.
    pub api_key: NonZeroU32,
    /// For a project, at the public API.
    pub project: Option<NonZeroU32>,
    /// For a client's address at the public API; IPv6 addresses are counted by /64.
    pub address: Option<NonZeroU32>,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        const API_KEY: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
        Self { api_key: API_KEY, project: None, address: None }
    }
}

/// The limits of a collector, and how much of them is used.
pub struct RateLimits {
    api_keys: Limiter,
    projects: Option<Limiter>,
    addresses: Option<Limiter>,
}

impl RateLimits {
    /// Limits of which nothing is used, by the time of `clock`.
    pub fn new(settings: &RateLimitSettings, clock: &Clock) -> Self {
        let limiter = |limit, places, per_minute| Limiter::new(limit, places, per_minute, clock);
        Self {
            api_keys: limiter(Limit::ApiKey, API_KEYS, settings.api_key),
            projects: settings.project.map(|per_minute| limiter(Limit::Project, PROJECTS, per_minute)),
            addresses: settings.address.map(|per_minute| limiter(Limit::Address, ADDRESSES, per_minute)),
        }
    }

    /// Takes a request from the bucket of an API key, which may have a limit of its own. The key has been found to be
    /// one: made-up ones would push each other out.
    ///
    /// # Errors
    /// When the bucket is empty.
    pub fn api_key(&self, key_id: Uuid, per_minute: Option<NonZeroU32>) -> Result<Standing, Limited> {
        self.api_keys.take(key_id.as_u128(), per_minute)
    }

    /// Takes a request from the bucket of a project, if projects have a limit.
    ///
    /// # Errors
    /// When the bucket is empty.
    pub fn project(&self, id: Uuid) -> Result<(), Limited> {
        let Some(projects) = &self.projects else { return Ok(()) };
        projects.take(id.as_u128(), None).map(drop)
    }

    /// Takes a request from the bucket of a client's address, if addresses have a limit; only then the address is
    /// asked for.
    ///
    /// # Errors
    /// When the bucket is empty.
    pub fn address(&self, address: impl FnOnce() -> IpAddr) -> Result<(), Limited> {
        let Some(addresses) = &self.addresses else { return Ok(()) };
        addresses.take(counted_as(address()), None).map(drop)
    }
}

/// How many rejected events are kept: anybody can send them, in any project's name.
pub struct RejectedCap(RateLimiter<u128, Buckets, Clock, NoOpMiddleware<Nanos>>);

impl RejectedCap {
    /// At most this many for one project in a minute.
    pub fn per_minute(count: NonZeroU32, clock: &Clock) -> Self {
        let buckets = Buckets::new(REJECTING_PROJECTS);
        Self(RateLimiter::new(Quota::per_minute(count), buckets, clock.clone()))
    }

    /// Whether one more of this project is kept. The project has been found to be one.
    pub(super) fn admits(&self, project: Uuid) -> bool {
        let admitted = self.0.check_key(&project.as_u128()).is_ok();
        if !admitted {
            figures().rejections_unrecorded.increment(1);
        }
        admitted
    }
}

/// An IPv4 address, or the network of an IPv6 one: whoever has one has all 2^64 addresses of it.
fn counted_as(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & (!0 << 64),
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    ApiKey,
    Project,
    Address,
}

impl Limit {
    const fn policy(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::Project => "project",
            Self::Address => "address",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::ApiKey => "API key",
            Self::Project => "project",
            Self::Address => "client address",
        }
    }

    fn count(self) {
        let figures = figures();
        let limited = match self {
            Self::ApiKey => &figures.limited_api_key,
            Self::Project => &figures.limited_project,
            Self::Address => &figures.limited_address,
        };
        limited.increment(1);
    }
}

struct Limiter {
    limit: Limit,
    per_minute: NonZeroU32,
    buckets: RateLimiter<u128, Buckets, Clock, StateInformationMiddleware>,
}

impl Limiter {
    fn new(limit: Limit, places: usize, per_minute: NonZeroU32, clock: &Clock) -> Self {
        let quota = Quota::per_minute(DROPS);
        let buckets = RateLimiter::new(quota, Buckets::new(places), clock.clone());
        Self { limit, per_minute, buckets }
    }

    fn take(&self, key: u128, per_minute: Option<NonZeroU32>) -> Result<Standing, Limited> {
        let per_minute = per_minute.unwrap_or(self.per_minute).get().min(MAX_PER_MINUTE);
        let price = DROPS.get() / per_minute;
        let taken = self.buckets.check_key_n(&key, NonZeroU32::new(price).unwrap_or(NonZeroU32::MIN));
        let standing =
            |remaining, time| Standing { limit: self.limit, per_minute, remaining, seconds: seconds(time) };
        let wait = match taken {
            Ok(Ok(state)) => {
                let left = state.remaining_burst_capacity();
                let missing = if left < price { price - left } else { DROPS.get() - left };
                return Ok(standing(left / price, WINDOW / DROPS.get() * missing));
            }
            Ok(Err(not_until)) => not_until.wait_time_from(governor::clock::Clock::now(self.buckets.clock())),
            // Nothing costs more than a bucket holds.
            Err(_) => WINDOW,
        };
        self.limit.count();
        Err(Limited(standing(0, wait)))
    }
}

/// Whole seconds, rounded up; at least 1.
fn seconds(time: Duration) -> u32 {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

/// How a client stands with one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    limit: Limit,
    per_minute: u32,
    /// Requests that are taken at once.
    remaining: u32,
    /// Until the bucket is full again; where nothing is left, until a request is taken.
    seconds: u32,
}

impl Standing {
    /// Writes `RateLimit-Policy` and `RateLimit`.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Self { limit, per_minute, remaining, seconds } = self;
        let name = limit.policy();
        let policy = format!("\"{name}\";q={per_minute};w={}", WINDOW.as_secs());
        let state = format!("\"{name}\";r={remaining};t={seconds}");
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// A request over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "over the limit of {} requests a minute for one {}; come again in {} s",
    .0.per_minute, .0.limit.words(), .0.seconds
)]
pub struct Limited(Standing);

impl Limited {
    /// A stable word for the error.
    pub const fn code(&self) -> &'static str {
        "rate_limited"
    }

    /// When the next request is taken, in whole seconds.
    pub const fn retry(&self) -> Retry {
        Retry::After(Duration::from_secs(self.0.seconds as u64))
    }

    /// How the client stands: nothing is left.
    pub const fn standing(&self) -> Standing {
        self.0
    }

    /// Writes `RateLimit-Policy`, `RateLimit` and `Retry-After`.
    pub fn write(&self, headers: &mut HeaderMap) {
        self.0.write(headers);
        headers.insert(RETRY_AFTER, HeaderValue::from(self.0.seconds));
    }
}
