//! Weir (to be rewritten: the path of an event).

pub mod clickhouse;
pub mod clock;
pub mod event;
pub mod metrics;
pub mod retry;
pub mod row;
