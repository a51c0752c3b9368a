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

#[cfg(test)]
mod tests {
    use super::*;

    /// These never change, so that recordings keep their ids: the first bytes of ChaCha8's key stream for this key.
    #[test]
    fn ids_of_a_seed() {
        let mut ids = Ids::new([7; 32]);
        assert_eq!(ids.trace().to_string(), "e4d0cb593fbc1e39e64381da8b37f5d4");
        assert_eq!(ids.span().to_string(), "d782090cd9f9744a");
        let mut again = Ids::new([7; 32]);
        assert_eq!(again.trace().to_string(), "e4d0cb593fbc1e39e64381da8b37f5d4");
        let mut other = Ids::new([8; 32]);
        assert_ne!(other.trace(), Ids::new([7; 32]).trace());
    }
}
