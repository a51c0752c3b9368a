//! Events of one socket become ordered bytes in two directions, with gaps marked.

pub mod connection;
mod flow;
pub mod loss;
pub mod order;

pub use connection::Connection;
pub use loss::{Loss, Losses};

/// Most bytes that are kept of one direction of one socket while a message in it is incomplete.
///
/// Twice the kernel's largest capture of a message (`MAX_HEAD`), so that a head can follow the rest of
/// another message.
pub const BUFFER_LIMIT: usize = 64 * 1024;
