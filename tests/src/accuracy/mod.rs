//! How many parents are right: applications in which every request, statement and call carries the request's id, and a
//! judgement of the spans that syspan makes of them.
//!
//! `GET /<path>?id=N` runs the statements `SELECT '<path>-N-a', …` and `SELECT '<path>-N-b', …`, and calls `/item?id=N`
//! of a service that is not traced. The ids are the truth: parents are found without them.

pub mod backends;
pub mod judge;
pub mod measure;
pub mod rows;
pub mod stack;
