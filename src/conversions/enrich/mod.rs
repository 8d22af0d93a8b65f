//! What a conversion is worth, looked up on the page where it happened, where the event does not say.
//!
//! Value and currency come from the same offer of that page, or not at all. Only pages of hosts that the integration
//! lists are fetched, and only for the event types that it lists: the price of one thing is no order's total. The
//! worker that forwards conversions does it, never the request that brings them, and a page that cannot be had holds a
//! conversion up for seconds at most ([`fetch`]) and is left alone for minutes ([`cache`]).

mod cache;
mod fetch;
mod guard;
mod offer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Number;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use self::cache::{Pages, SilentHosts};
use self::fetch::{FetchError, Fetcher};
pub use self::fetch::{Network, SystemNetwork};
use self::offer::{Offer, Page};
use super::integration::EnrichPolicy;
use super::{Conversion, CustomData};
use crate::clock::Clock;

/// How long a page may take, redirects included; and as long again may it wait for its turn.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Pages that are fetched at the same time.
const MOST_AT_ONCE: usize = 16;

/// What tells one click from another, not one page from another. Left in, every click would fetch its page anew, and
/// be counted by the shop as another one.
const CLICK_PARAMETERS: [&str; 16] = [
    "fbclid",
    "gclid",
    "gbraid",
    "wbraid",
    "dclid",
    "gclsrc",
    "gad_source",
    "gad_campaignid",
    "srsltid",
    "msclkid",
    "ttclid",
    "twclid",
    "ScCid",
    "epik",
    "_gl",
    "_ga",
];
const CAMPAIGN_PREFIX: &str = "utm_";

/// What an [`Enricher`] works with.
#[derive(Clone)]
pub struct EnrichSettings {
    /// Where pages are fetched from.
    pub network: Arc<dyn Network>,
    /// Says how old a page is that was fetched before.
    pub clock: Clock,
    /// How long a page may take, redirects included.
    pub time_limit: Duration,
}

impl EnrichSettings {
    /// The system's network, and five seconds.
    pub fn new(clock: Clock) -> Self {
        Self { network: Arc::new(SystemNetwork), clock, time_limit: TIME_LIMIT }
    }
}

impl fmt::Debug for EnrichSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrichSettings").field("time_limit", &self.time_limit).finish_non_exhaustive()
    }
}

/// Looks up what conversions are worth. Clones share what they know of pages.
#[derive(Clone)]
pub struct Enricher(Arc<Inner>);

struct Inner {
    fetcher: Fetcher,
    pages: Pages,
    silent: SilentHosts,
    turns: Semaphore,
    time_limit: Duration,
}

impl Enricher {
    /// One that knows no page yet. It reads the system's certificate authorities.
    pub fn new(settings: EnrichSettings) -> Self {
        let EnrichSettings { network, clock, time_limit } = settings;
        Self(Arc::new(Inner {
            fetcher: Fetcher::new(network, time_limit),
            pages: Pages::new(clock.clone()),
            silent: SilentHosts::new(clock),
            turns: Semaphore::new(MOST_AT_ONCE),
            time_limit,
        }))
    }

    /// Whether a conversion lacks what may be looked up on its page.
    pub fn needs_page(conversion: &Conversion, policy: &EnrichPolicy) -> bool {
        let custom = &conversion.custom;
        (custom.value.is_none() || custom.currency.is_none())
            && conversion.source_url.is_some()
            && policy.events.contains(&conversion.event_type)
    }

    /// Fills in the value and the currency that a conversion has not, if the policy has its event type and its page's
    /// host, and the page says what is meant. It takes no longer than twice [`EnrichSettings::time_limit`] for a page
    /// that nobody else waits for.
    pub async fn enrich(&self, conversion: &mut Conversion, policy: &EnrichPolicy) {
        if !Self::needs_page(conversion, policy) {
            return;
        }
        let custom = &mut conversion.custom;
        let Some(url) = conversion.source_url.as_deref().and_then(page_url) else { return };
        let page = timeout(2 * self.0.time_limit, self.0.page(&url, &policy.hosts)).await;
        let Ok(page) = page else {
            tracing::debug!(
                integration = conversion.integration,
                host = url.host_str(),
                "the page of a conversion took too long"
            );
            return;
        };
        match page {
            Ok(page) => {
                if let Some(offer) = page.offer(&custom.content_ids) {
                    fill(custom, offer);
                }
            }
            Err(error) => {
                tracing::debug!(
                    integration = conversion.integration,
                    host = url.host_str(),
                    code = error.code(),
                    %error,
                    "the page of a conversion was not fetched"
                );
            }
        }
    }
}

impl fmt::Debug for Enricher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enricher").finish_non_exhaustive()
    }
}

impl Inner {
    async fn page(&self, url: &Url, hosts: &[String]) -> Result<Arc<Page>, FetchError> {
        // Whatever is sent from elsewhere takes no place among the pages.
        guard::check_url(url, hosts)?;
        // Where a page may redirect to is by the hosts that are listed, so that each list has pages of its own.
        let key = format!("{url} {}", hosts.join(" "));
        let host = url.host_str().unwrap_or_default();
        let fetch = || async {
            let turn = timeout(self.time_limit, self.turns.acquire()).await;
            let _turn = turn.map_err(|_| FetchError::Busy)?;
            // Looked at when the turn has come: many may have waited for it.
            if self.silent.has(host) {
                return Err(FetchError::Silent);
            }
            let page = self.fetcher.fetch(url.clone(), hosts).await;
            self.silent.note(host, &page);
            page
        };
        self.pages.get(key, fetch).await
    }
}

/// The URL of a page, without what is only of the click that led there.
fn page_url(source: &str) -> Option<Url> {
    let mut url = Url::parse(source).ok()?;
    url.set_fragment(None);
    let of_the_click = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        CLICK_PARAMETERS.contains(&name) || name.starts_with(CAMPAIGN_PREFIX)
    };
    let kept =
        url.query().map(|query| query.split('&').filter(|pair| !of_the_click(pair)).collect::<Vec<_>>());
    let kept = kept.map(|pairs| pairs.join("&")).filter(|query| !query.is_empty());
    url.set_query(kept.as_deref());
    Some(url)
}

/// Fills in what is missing. What is there must be the offer's too: half of one price and half of another is none.
fn fill(custom: &mut CustomData, offer: Offer) {
    let same = |value: &Number| value.as_f64() == offer.price.as_f64();
    let fits = custom.value.as_ref().is_none_or(same)
        && custom.currency.as_ref().is_none_or(|currency| *currency == offer.currency);
    if fits {
        custom.value.get_or_insert(offer.price);
        custom.currency.get_or_insert(offer.currency);
    }
}

#[cfg(test)]
mod tests;
