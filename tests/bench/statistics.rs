//! Medians and spreads of few, noisy numbers.

use std::fmt;

/// The median of some measurements and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// Half of the measurements lie below.
    pub median: f64,
    /// Smallest.
    pub least: f64,
    /// Largest.
    pub most: f64,
}

impl Summary {
    /// Of at least one number; `None` without any.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let middle = |index: usize| numbers.get(index).copied();
        let half = numbers.len() / 2;
        let median = if numbers.len() % 2 == 1 {
            middle(half)?
        } else {
            f64::midpoint(middle(half.checked_sub(1)?)?, middle(half)?)
        };
        Some(Self { median, least: *numbers.first()?, most: *numbers.last()? })
    }
}

/// `0.93 (0.90–0.95)`; the formatter's precision counts.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn medians() {
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([3.0, 1.0, 2.0]), Some(Summary { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Summary::of([4.0, 1.0]), Some(Summary { median: 2.5, least: 1.0, most: 4.0 }));
    }

    #[test]
    fn the_spread_is_shown() {
        assert_eq!(Summary::of([0.9, 1.0]).map(|s| format!("{s:.2}")), Some("0.95 (0.90–1.00)".to_owned()));
    }
}
