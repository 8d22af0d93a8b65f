//! Weir from the outside: real processes, a real engine, real sockets, real kills.

mod architecture;
mod clickhouse;
mod harness;
mod pipeline;
mod readme;
