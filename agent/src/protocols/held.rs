//! How much memory a parser keeps, counted by the very things it keeps: none can be forgotten when a table is cleared, replaced,
//! or shares what it holds with another.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The bytes kept by one parser.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<AtomicUsize>);

impl Tally {
    /// How many there are now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Counts this many more until the value that is given back is dropped.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> Held {
        self.0.fetch_add(bytes, Relaxed);
        Held { bytes, tally: Some(self.clone()) }
    }
}

/// Bytes that are counted for as long as this lives. It belongs into what keeps them.
#[derive(Debug, Default)]
pub struct Held {
    bytes: usize,
    tally: Option<Tally>,
}

impl Clone for Held {
    fn clone(&self) -> Self {
        self.tally.as_ref().map_or_else(Self::default, |tally| tally.hold(self.bytes))
    }
}

/// What is counted does not make two values different.
impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(Tally(counter)) = &self.tally {
            counter.fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_is_counted() {
        let tally = Tally::default();
        let one = tally.hold(3);
        let copy = one.clone();
        assert_eq!(tally.bytes(), 6);
        drop(one);
        assert_eq!(tally.bytes(), 3);
        drop(copy);
        assert_eq!(tally.bytes(), 0);
        drop(Held::default().clone());
    }
}
