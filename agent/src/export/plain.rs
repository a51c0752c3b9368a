//! Text for a terminal: cut and padded by columns, times and durations made readable.

use std::time::{Duration, UNIX_EPOCH};

use unicode_width::UnicodeWidthChar;

/// How many columns the text takes on a terminal.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text in exactly `width` columns: cut with `…`, or padded with spaces.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    let mut fitted = shorten(text, width);
    fitted.extend(std::iter::repeat_n(' ', width.saturating_sub(columns(&fitted))));
    fitted
}

/// The text in at most `width` columns, cut with `…`.
#[must_use]
pub fn shorten(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut short: String = text
        .chars()
        .take_while(|c| {
            let columns = c.width().unwrap_or(0);
            let fits = columns <= left;
            left = left.saturating_sub(columns);
            fits
        })
        .collect();
    if width > 0 {
        short.truncate(short.trim_end().len());
        short.push('…');
    }
    short
}

/// A duration in ns with three significant digits or so: `870 ns`, `12.3 µs`, `4.56 ms`, `1.23 s`, `2 m 03 s`.
#[must_use]
pub fn duration(ns: u64) -> String {
    const STEPS: [(u64, &str); 3] = [(1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")];
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    for (unit, name) in STEPS {
        // Tenths, hundredths or whole units, rounded to nearest; the next unit takes over when rounding reaches it.
        for (limit, digits) in [(10, 2), (100, 1), (1_000, 0)] {
            let scale = 10u64.pow(digits);
            let scaled = (u128::from(ns) * u128::from(scale) + u128::from(unit) / 2) / u128::from(unit);
            let last = unit == 1_000_000_000;
            if scaled < u128::from(limit * scale) && !(last && ns >= 60_000_000_000) {
                let (whole, rest) = (scaled / u128::from(scale), scaled % u128::from(scale));
                return match digits {
                    0 => format!("{whole} {name}"),
                    _ => format!("{whole}.{rest:0width$} {name}", width = digits as usize),
                };
            }
        }
    }
    let seconds = ns / 1_000_000_000;
    format!("{} m {:02} s", seconds / 60, seconds % 60)
}

/// Unix time in ns as UTC, RFC 3339 with milliseconds: `2026-01-02T03:04:05.678Z`. The same everywhere it is run.
#[must_use]
pub fn utc(ns: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(ns)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_about_three_digits() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_996, "10.0 µs"),
            (99_960, "100 µs"),
            (999_600, "1.00 ms"),
            (1_234_567, "1.23 ms"),
            (45_600_000, "45.6 ms"),
            (3_900_000_000, "3.90 s"),
            (59_999_000_000, "60.0 s"),
            (60_000_000_000, "1 m 00 s"),
            (3_723_000_000_000, "62 m 03 s"),
            (u64::MAX, "307445734 m 33 s"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text, "{ns}");
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_767_323_045_678_901_234), "2026-01-02T03:04:05.678Z");
        assert_eq!(utc(1_709_251_199_000_000_000), "2024-02-29T23:59:59.000Z");
    }

    #[test]
    fn columns_are_kept_with_wide_characters() {
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("ab", 4), "ab  ");
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("abc", 0), "");
    }
}
