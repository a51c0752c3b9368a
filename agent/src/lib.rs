//! syspan: distributed traces from system calls, with no code changes.
//!
//! The pipeline, in the order of the modules: [`kernel`] loads the eBPF programs and reads their events, [`processes`]
//! says who the events belong to, [`streams`] puts the bytes of each socket in order, [`protocols`] turns bytes into
//! exchanges, [`traces`] turns exchanges into spans with parents, [`export`] sends them. [`engine`] is the pure middle
//! of it: `step(event) -> spans`, with no clock and no I/O. ARCHITECTURE.md has the map.

pub mod accounts;
pub mod captures;
pub mod cli;
pub mod engine;
pub mod escape;
pub mod event;
pub mod export;
pub mod kernel;
pub mod privileges;
pub mod processes;
pub mod protocols;
pub mod streams;
pub mod traces;
