//! What the benches share: the [bodies] that they send, the [intake] that takes them without a network, and a
//! [journal](memory) without a disk.

pub mod bodies;
pub mod intake;
pub mod memory;
