//! Weir (to be rewritten: the path of an event).

pub mod clock;
pub mod event;
pub mod http;
pub mod metrics;
pub mod retry;
pub mod row;
