//! Exchanges become spans: named, timed, with the right parent.

pub mod context;
pub mod span;
