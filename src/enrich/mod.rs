//! From an event to its row: everything a row says that its event does not.
//!
//! - the event's id, where the client gave none, and its moments (`times.rs`);
//! - where it came from, truncated before anything is stored (`client_ip.rs`);
//! - browser, operating system, kind of device, bot or not (`user_agent.rs`).
//!
//! The latter two are taken from the connection, and only for a page's own events: the connection of a server
//! says nothing about that server's users. A backend may tell the user agent in an event's data. Nothing here waits,
//! and after the first sight of a user agent nothing is put on the heap.

mod client_ip;
mod times;
mod user_agent;

pub use client_ip::{AddressMode, AddressText, TrustedProxies, TrustedProxyError, client_address};
pub use times::{Times, new_event_id, resolve};
pub use user_agent::{Agent, UserAgentError, UserAgents};

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use crate::event::{Event, Source, Timestamp};
use crate::row::EventRow;

/// Who is at the other end of a page's connection, or whom a backend tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor<'a> {
    address: AddressText,
    user_agent: &'a str,
    agent: Arc<Agent>,
}

impl<'a> Visitor<'a> {
    /// The visitor at `client`, of whose address `mode` says how much is kept, with this `User-Agent` header.
    pub fn new(client: IpAddr, mode: AddressMode, user_agent: &'a str, agents: &UserAgents) -> Self {
        let user_agent = user_agent::cut(user_agent);
        Self { address: mode.text(client), user_agent, agent: agents.parse(user_agent) }
    }

    /// The visitor of whom a backend says only this user agent, and what that one says.
    pub fn told(user_agent: &'a str, agent: Arc<Agent>) -> Self {
        Self { address: AddressText::default(), user_agent: user_agent::cut(user_agent), agent }
    }
}

/// The row of `event`, with the columns empty that only a backend fills. What is known of the visitor is left out for
/// [`Source::Sdk`]; `sent_at` is the time on the client's clock when it sent the event.
pub fn enrich<'a>(
    event: &'a Event<'a>,
    project_id: Uuid,
    source: Source,
    visitor: Option<&'a Visitor<'a>>,
    sent_at: Option<Timestamp>,
    received_at: Timestamp,
) -> EventRow<'a> {
    let times = resolve(event.timestamp, event.event_id, sent_at, received_at);
    let visitor = visitor.filter(|_| source != Source::Sdk);
    let agent = visitor.map(|visitor| &*visitor.agent);
    EventRow {
        project_id,
        source: source.as_str(),
        kind: &event.kind,
        event_id: event.event_id.unwrap_or_else(|| new_event_id(received_at)),
        visitor_id: &event.visitor_id,
        user_id: &event.user_id,
        url: &event.url,
        referrer: &event.referrer,
        data: event.data,
        timestamp: times.timestamp,
        claimed_timestamp: times.claimed,
        sort_time: times.sort_time,
        received_at,
        address: visitor.map_or("", |visitor| visitor.address.as_str()),
        user_agent: visitor.map_or("", |visitor| visitor.user_agent),
        browser: agent.map_or("", |agent| &agent.browser),
        browser_version: agent.map_or("", |agent| &agent.browser_version),
        os: agent.map_or("", |agent| &agent.os),
        device: agent.map_or("", |agent| agent.device),
        bot: agent.is_some_and(|agent| agent.bot),
        api_source: "",
        source_id: "",
        metadata: "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn event() -> Event<'static> {
        Event {
            kind: "pageview".into(),
            event_id: None,
            visitor_id: "v_1".into(),
            user_id: "u_1".into(),
            url: "https://example.com/".into(),
            referrer: "https://other.test/".into(),
            data: r#"{"a":1}"#,
            timestamp: Some(NOW.shifted(-5_000)),
        }
    }

    #[test]
    fn a_page_tells_of_its_visitor_and_a_server_does_not() {
        let agents = UserAgents::new(10).unwrap();
        let client = "203.0.113.77".parse().unwrap();
        let headless = "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/120.0.0.0";
        let visitor = Visitor::new(client, AddressMode::Truncated, headless, &agents);
        let (event, project) = (event(), Uuid::from_u128(1));

        let page = enrich(&event, project, Source::Snippet, Some(&visitor), None, NOW);
        let expected = EventRow {
            project_id: project,
            source: "snippet",
            kind: "pageview",
            event_id: page.event_id,
            visitor_id: "v_1",
            user_id: "u_1",
            url: "https://example.com/",
            referrer: "https://other.test/",
            data: r#"{"a":1}"#,
            timestamp: NOW.shifted(-5_000),
            claimed_timestamp: None,
            sort_time: NOW.shifted(-5_000),
            received_at: NOW,
            address: "203.0.113.0",
            user_agent: headless,
            browser: "HeadlessChrome",
            browser_version: "120",
            os: "Linux",
            device: "desktop",
            bot: true,
            api_source: "",
            source_id: "",
            metadata: "",
        };
        assert_eq!(page, expected);

        let server = enrich(&event, project, Source::Sdk, Some(&visitor), None, NOW);
        let unseen = EventRow {
            source: "sdk",
            event_id: server.event_id,
            address: "",
            user_agent: "",
            browser: "",
            browser_version: "",
            os: "",
            device: "",
            bot: false,
            ..expected
        };
        assert_eq!(server, unseen);
        assert_ne!(page.event_id, server.event_id);
    }

    #[test]
    fn a_backend_tells_of_its_visitor_by_the_user_agent_alone() {
        let agents = UserAgents::new(10).unwrap();
        let long = format!("Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/120.0.0.0 {}", "x".repeat(2_000));
        let visitor = Visitor::told(&long, agents.parse(&long));
        let event = event();
        let row = enrich(&event, Uuid::nil(), Source::Api, Some(&visitor), None, NOW);
        assert_eq!((row.source, row.address), ("api", ""));
        assert_eq!((row.user_agent.len(), row.browser, row.os), (1024, "HeadlessChrome", "Linux"));
        assert!(row.bot);
        let silent = enrich(&event, Uuid::nil(), Source::Api, None, None, NOW);
        assert_eq!((silent.user_agent, silent.browser, silent.bot), ("", "", false));
    }

    #[test]
    fn a_given_id_is_kept_and_a_wrong_clock_corrected() {
        let id = Uuid::from_u128(0x0190_0000_0000_4000_8000_0000_0000_0000);
        let two_hours = 2 * 60 * 60 * 1_000;
        let claimed = NOW.shifted(two_hours - 5_000);
        let event = Event { event_id: Some(id), timestamp: Some(claimed), ..event() };
        let row = enrich(&event, Uuid::nil(), Source::Sdk, None, Some(NOW.shifted(two_hours)), NOW);
        assert_eq!(row.event_id, id);
        assert_eq!(row.timestamp, NOW.shifted(-5_000));
        assert_eq!((row.claimed_timestamp, row.sort_time), (Some(claimed), claimed));
    }
}
