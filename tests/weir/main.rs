//! The tests that need the whole: the binary, a real ClickHouse, the network.

mod clickhouse;
