//! Weir stands between a product and its analytics: it takes events over HTTP and streams them into ClickHouse. A
//! `200` means that the event is on disk; whatever dies after that, it is in the table exactly once.
//!
//! # The path of an event
//!
//! ```text
//! bytes ─► payload ─► project ─► enrich ─► row ─► journal ═► 200
//!                                                   ║
//!                                         sealed segment ─► loader ─► ClickHouse ─► segment deleted
//! ```
//!
//! One direction, no way back. The journal is the wall between a world that is fast and hostile and a database that
//! is slow and sometimes away: [`http`] knows everything up to it and nothing behind it, [`loader`] the reverse.
//!
//! 1. [`http`] accepts a connection, reads the body under a cap and a deadline, and routes it. Its
//!    `events.rs` is this list in code.
//! 2. [`payload`] inflates the body and decodes each wire format into [`event::Event`]s that borrow from it; events
//!    that are not valid are set apart with the reason.
//! 3. [`project`] finds the project of the key, in memory nearly always, and asks whether the page may send to it.
//! 4. [`enrich`] adds what the event does not say of itself: its id, the moment of receipt, a truncated address, what
//!    browser it was.
//! 5. [`recent`] drops a copy of an event that came a moment ago; a client that saw no answer sends again.
//! 6. [`row`] writes the event as the very bytes that ClickHouse will read.
//! 7. [`journal`] gathers the rows of all requests, writes them once, syncs once, and only then are they answered.
//! 8. [`loader`] sends each sealed segment as one INSERT under a token of its bytes and deletes it when
//!    [`clickhouse`] has confirmed; rows that ClickHouse refuses are parted from their neighbours.
//!
//! # The rest
//!
//! [`snippet`] is the script that pages include, which [`http`] serves; `demo` shows on a page what becomes of its
//! events; [`conversions`] takes purchases and the like to ad platforms; [`config`] is every setting, [`metrics`] every figure; [`collector`] puts the parts together, [`command`] is
//! the command line. A module uses only what stands above it in this list, which a test holds: `failpoint`,
//! [`retry`], [`event`], [`api_key`], [`clock`], [`metrics`], `near`, [`row`], [`payload`], [`project`], [`enrich`],
//! [`recent`], [`journal`], [`clickhouse`], [`loader`], [`snippet`],
//! [`conversions`], [`http`], [`config`], `readiness`, `demo`, [`collector`], [`command`].

pub mod api_key;
pub mod clickhouse;
pub mod clock;
pub mod collector;
pub mod command;
pub mod config;
pub mod conversions;
mod demo;
pub mod enrich;
pub mod event;
mod failpoint;
pub mod http;
pub mod journal;
pub mod loader;
pub mod metrics;
mod near;
pub mod payload;
pub mod project;
mod readiness;
pub mod recent;
pub mod retry;
pub mod row;
pub mod snippet;
