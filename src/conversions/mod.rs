//! Conversions: purchases, leads and the like, which backends send and ad platforms are told of.
//!
//! # The path of a conversion
//!
//! ```text
//! bytes ─► wire ─► integration ─► consent ─► identity ─► queue ═► 200
//!                                                          ║
//!                          platform ◄─ dispatcher ◄────────╣
//!                                                          ╚═► journal ─► loader ─► ClickHouse
//! ```
//!
//! A `200` means that the conversion is on disk. Whatever dies then, its platform is told at least once, under an id by
//! which it knows a copy, or an operator finds it among the dead letters with the reason; nothing is thrown away unless
//! an operator says so.
//!
//! 1. [`wire`] reads the body; what is wrong with an event is said of that event.
//! 2. [`integration`] is where a project's conversions of a platform go, as `weir.toml` says.
//! 3. [`consent`] decides whether it may be told; if in doubt, not.
//! 4. [`identity`] normalises and hashes what must not be kept as plain text.
//! 5. [`queue`] makes it durable, together with the rows that operators will find in ClickHouse.
//! 6. [`dispatcher`], one for each integration, tells the [`platform`] as fast as it takes it.

pub mod consent;
mod conversion;
mod delivery;
mod dispatcher;
pub mod enrich;
mod fault;
mod forwarder;
pub mod identity;
pub mod integration;
mod pace;
pub mod platform;
pub mod queue;
mod sender;
mod state;
pub mod wire;

pub use self::conversion::{ConsentSignals, Conversion, CustomData, Identity};
pub use self::fault::Fault;
pub use self::forwarder::{Forwarder, IntegrationReport};
pub use self::integration::{EnrichPolicy, Integration, Secret};
pub use self::state::Pause;
