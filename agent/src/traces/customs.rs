//! What is always done.
//!
//! Some evidence tells no more than that something was probably done for a request. It is believed where the same shows nearly every time:
//! chance does not keep to a custom.

use crate::protocols::likeness::Likeness;

/// What is done for requests of one sort, as one compares it from one to the next.
#[derive(Debug, Default)]
pub struct Custom<T> {
    usual: T,
    /// How often it was the same as the time before, and how often not.
    same: u32,
    other: u32,
}

impl<T: PartialEq + Default> Custom<T> {
    /// How often the same must have been done for it to be a custom.
    pub const OFTEN: u32 = 16;
    /// It is none if one time in so many is another.
    const SELDOM: u32 = 40;

    /// What was done the last times.
    pub fn usual(&self) -> &T {
        &self.usual
    }

    /// How often the same was done again.
    pub fn times(&self) -> u32 {
        self.same
    }

    /// Takes what was done another time. Whether that is what is always done.
    pub fn is_kept(&mut self, done: T) -> bool {
        if done == self.usual {
            self.same = self.same.saturating_add(1);
            return self.same >= Self::OFTEN && self.other.saturating_mul(Self::SELDOM) <= self.same;
        }
        self.other = self.other.saturating_add(1);
        // Once it is a custom, what differs does not change it.
        if self.same < Self::OFTEN {
            *self = Self { usual: done, ..Self::default() };
        }
        false
    }
}

/// What is asked for requests of one sort.
#[derive(Debug, Default)]
pub struct Asking {
    /// The sorts of the calls, in order.
    custom: Custom<Vec<Likeness>>,
    /// For how many requests something was missing: who asked for it did not show, or it went to another one.
    lacking: u32,
}

impl Asking {
    /// It is no custom if something is missing for one in so many. (On a machine with too much to do it was 3 to 4 %: woken tasks are run later
    /// then. Where calls go to the wrong ones, most are missing elsewhere.)
    const LACKING: u32 = 8;

    /// What was asked for the last times.
    pub fn usual(&self) -> &[Likeness] {
        self.custom.usual()
    }

    /// Takes what was asked for another request. Whether it was what is always asked. `excused`: something must be missing.
    pub fn is_kept(&mut self, calls: Vec<Likeness>, excused: bool) -> bool {
        if calls.len() < self.custom.usual().len() {
            self.lacking = self.lacking.saturating_add(u32::from(!excused));
            return false;
        }
        let is_kept = self.custom.is_kept(calls);
        if self.custom.times() == 0 {
            self.lacking = 0; // another custom begins
        }
        is_kept && self.lacking.saturating_mul(Self::LACKING) <= self.custom.times()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many times in a row it takes until this is a custom.
    fn until_kept(custom: &mut Custom<u8>, done: u8) -> Option<u32> {
        (1..=1000).find(|_| custom.is_kept(done))
    }

    #[test]
    fn what_is_done_often_is_a_custom_and_the_rest_does_not_change_it() {
        let mut custom = Custom::default();
        assert_eq!(until_kept(&mut custom, 1), Some(Custom::<u8>::OFTEN + 1));
        assert!(!custom.is_kept(2));
        assert_eq!(*custom.usual(), 1);
        assert_eq!(until_kept(&mut custom, 1), Some(Custom::<u8>::SELDOM - Custom::<u8>::OFTEN), "one in so many");
    }

    #[test]
    fn what_changes_from_one_time_to_the_next_is_none() {
        let mut custom = Custom::default();
        assert!(!(0..1000).any(|number| custom.is_kept(number / 8 % 2)));
        assert!(custom.times() < Custom::<u8>::OFTEN);
    }
}
