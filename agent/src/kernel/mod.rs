//! The kernel's side: what it offers, where its structures keep what is needed, and the programs that run in it.

pub mod btf;
pub mod capture;
pub mod insertion;
pub mod offsets;
mod probes;
pub mod programs;
pub mod propagation;
pub mod record;
pub mod sockhash;
pub mod support;
mod sys;
mod syscalls;
