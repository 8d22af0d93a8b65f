//! The HTTP ground floor: sockets, connections, bodies, routes and refusals.
//!
//! ```text
//! listener     threads, each with a runtime and a socket of its own; a cap on connections; the drain
//! connection   one client: hyper, CORS, caught panics; answers that reach clients which are still sending
//! pace         how long a client may take over a head, and between two requests
//! body         a request's body under a cap and a deadline
//! events       `POST /api/events`
//! backend      `POST /api/v1/events`
//! keep         what both do: a body is read, events get to the disk; commit holds their records meanwhile
//! limits       requests a minute: 429; rejected events that are kept
//! script       `GET /weir.js`; accept reads `Accept-Encoding`
//! routes       path and method → API, on one screen
//! rejection    every refusal as a status, headers and JSON: the only file that knows statuses
//! operations   the second, private listener: health, readiness, figures, the journal
//! demo         its demo page, and the rows that this asks for
//! ```
//!
//! Promises: everything a client can hold open has a deadline, everything it can send has a cap, and every answer
//! carries the CORS headers that let a page read it (for the script its own).

mod accept;
mod answer;
mod backend;
mod body;
mod commit;
mod connection;
mod conversions;
mod cors;
mod demo;
mod events;
mod forwarding;
mod keep;
mod limits;
mod listener;
mod operations;
mod pace;
mod rejection;
mod routes;
mod script;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Taken, json};
pub use body::{BodyError, RequestBody};
pub use demo::{DemoError, DemoPage, DemoRow, Demonstrated, reachable};
pub use events::Intake;
pub use forwarding::{
    ALL_INTEGRATIONS, ChangedReport, ConversionsReport, DeadLetterReport, DeadReport, MOST_DISCARDED,
};
pub use keep::Begun;
pub use limits::{
    Limited, MAX_PER_MINUTE, RateLimitSettings, RateLimits, RejectedCap, Standing as LimitStanding,
};
pub use listener::{Listener, ListenerSettings};
pub use operations::{JournalReport, Operated, Operations, Readiness, RetryReport, SegmentReport, Standing};
pub use rejection::Rejection;
pub use routes::{Apis, BACKEND_EVENTS, CONVERSIONS, Head, PublicPaths};
