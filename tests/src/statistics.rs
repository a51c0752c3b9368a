//! What a load tells of the time that its requests took.

/// A stretch of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Requests, all of which were answered as they should be.
    pub requests: u64,
    /// Median of the latency, µs.
    pub p50: f64,
    /// 99th percentile of the latency, µs.
    pub p99: f64,
}

/// Median and 99th percentile; `None` of nothing.
#[must_use]
pub fn percentiles(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let at =
        |hundredths: usize| values.get((values.len() * hundredths / 100).min(values.len().checked_sub(1)?)).copied();
    Some((at(50)?, at(99)?))
}

#[cfg(test)]
mod tests {
    use super::percentiles;

    #[test]
    fn percentiles_of_a_hundred() {
        assert_eq!(percentiles((0..100).rev().map(f64::from).collect()), Some((50.0, 99.0)));
        assert_eq!(percentiles(vec![7.0]), Some((7.0, 7.0)));
        assert_eq!(percentiles(Vec::new()), None);
    }
}
