//! The event and map types shared by syspan's eBPF programs and its agent.
//!
//! Every type is `repr(C)`, has no implicit padding (asserted beside it), and is read from a ring buffer record or written
//! into a map or global as it stands. Numbers are in host byte order, times in ns of `bpf_ktime_get_ns`
//! (`CLOCK_MONOTONIC`).

#![cfg_attr(not(feature = "std"), no_std)]

mod config;
mod event;
mod process;
pub mod propagation;
mod socket;

pub use self::{config::*, event::*, process::*, socket::*};
