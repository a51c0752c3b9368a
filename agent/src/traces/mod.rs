//! Exchanges become spans: named, timed, with the right parent.

pub mod context;
pub mod coroutines;
pub mod customs;
pub mod ends;
pub mod handoffs;
pub mod ids;
pub mod inference;
pub mod instrumented;
pub mod lineage;
pub mod relays;
pub mod rounds;
pub mod span;
pub mod tasks;
pub mod tracker;
