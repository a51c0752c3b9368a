//! Trace and span ids.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use super::span::{SpanId, TraceId};

/// Source of ids: the same seed gives the same ids, so that a replay repeats a run.
///
/// ChaCha8's algorithm is fixed, unlike a library's "standard" generator, so recordings stay valid. Trace ids are random in all 16
/// bytes (W3C Trace Context Level 2 §3.2.2.3 asks for the right-most 7).
#[derive(Debug, Clone)]
pub struct Ids(ChaCha8Rng);

impl Ids {
    /// Ids of this seed.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// A new trace id.
    pub fn trace(&mut self) -> TraceId {
        loop {
            let mut bytes = [0; 16];
            self.0.fill_bytes(&mut bytes);
            if bytes != [0; 16] {
                return TraceId(bytes);
            }
        }
    }

    /// A new span id.
    pub fn span(&mut self) -> SpanId {
        loop {
            let mut bytes = [0; 8];
            self.0.fill_bytes(&mut bytes);
            if bytes != [0; 8] {
                return SpanId(bytes);
            }
        }
    }
}
