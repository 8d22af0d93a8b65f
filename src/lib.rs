//! Weir (to be rewritten: the path of an event).

pub mod clock;
pub mod enrich;
pub mod event;
pub mod journal;
pub mod metrics;
pub mod project;
pub mod retry;
pub mod row;
