//! Weir from the outside: real processes, a real engine, real sockets, real kills.

#![allow(unreachable_pub, reason = "nothing is reachable from outside of a test binary")]

mod architecture;
mod away;
mod backend;
mod backpressure;
mod clickhouse;
mod confirm;
mod contract;
mod conversions;
mod crash;
mod damage;
mod demo;
mod disk;
mod harness;
mod import;
mod journal;
mod keys;
mod limits;
mod loading;
mod matrix;
mod openapi;
mod operations;
mod pair;
mod parking;
mod pipeline;
mod poison;
mod projects;
mod readme;
mod repeats;
mod runbook;
mod snippet;
mod starting;
mod syncs;
mod transport;
