//! Exchanges become spans: named, timed, with the right parent.

pub mod context;
pub mod ends;
pub mod ids;
pub mod span;
pub mod tasks;
pub mod tracker;
