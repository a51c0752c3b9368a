//! What is always done.
//!
//! Some evidence tells no more than that something was probably done for a request. It is believed where the same shows nearly every time:
//! chance does not keep to a custom.

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
