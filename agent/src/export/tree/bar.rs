//! When a step happened, drawn on the trace's time scale.

/// Part of a cell that is filled, in half cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fill {
    None,
    Waiting,
    Working,
}

/// A time scale: a trace's extent over a number of terminal columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Left end, ns.
    pub(super) start: u64,
    /// Right end, ns.
    pub(super) end: u64,
    /// Columns.
    pub(super) width: usize,
}

impl Scale {
    /// A bar: `outer` are the times of the calls, `inner` those in which the other side was at work. Light between the
    /// first and the last, solid where something was done. A bar too short to be drawn to scale is a thin line.
    pub(super) fn bar(&self, outer: &[(u64, u64)], inner: &[(u64, u64)]) -> String {
        let mut halves = vec![Fill::None; self.width * 2];
        let first = outer.iter().map(|&(start, _)| start).min().unwrap_or(self.start);
        let last = outer.iter().map(|&(_, end)| end).max().unwrap_or(first);
        if self.half(last) == self.half(first) {
            return self.tick(first);
        }
        fill(&mut halves, self.half(first), self.half(last), Fill::Waiting);
        for &(start, end) in inner {
            // Work shorter than half a cell is drawn as one: it was there.
            let from = self.half(start);
            fill(&mut halves, from, self.half(end).max(from + 1), Fill::Working);
        }
        let text: String = halves.chunks(2).map(cell).collect();
        text.trim_end().to_owned()
    }

    fn tick(&self, at: u64) -> String {
        let column = (self.half(at) / 2).min(self.width.saturating_sub(1));
        format!("{}▏", " ".repeat(column))
    }

    /// The half cell in which a time lies, `0..=2 * width`.
    fn half(&self, time: u64) -> usize {
        let total = u128::from(self.end.saturating_sub(self.start).max(1));
        let past = u128::from(time.clamp(self.start, self.end) - self.start);
        let halves = (past * self.width as u128 * 2 + total / 2) / total;
        usize::try_from(halves).unwrap_or(usize::MAX)
    }
}

fn fill(halves: &mut [Fill], from: usize, to: usize, with: Fill) {
    for half in halves.iter_mut().take(to).skip(from) {
        *half = (*half).max(with);
    }
}

fn cell(halves: &[Fill]) -> char {
    use Fill::{None, Waiting, Working};
    match halves {
        [Working, Working] => '█',
        [Working, None] => '▌',
        [None, Working] => '▐',
        [Working, Waiting] | [Waiting, Working] => '▓',
        [None, None] => ' ',
        _ => '░',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { start: 1_000, end: 2_000, width: 10 };

    #[test]
    fn bars_are_to_scale_in_half_columns() {
        let whole = [(1_000, 2_000)];
        assert_eq!(SCALE.bar(&whole, &whole), "██████████");
        assert_eq!(SCALE.bar(&whole, &[(1_200, 1_850)]), "░░██████▓░");
        assert_eq!(SCALE.bar(&[(1_550, 1_750)], &[(1_550, 1_750)]), "     ▐█▌");
        assert_eq!(SCALE.bar(&[(1_300, 1_310)], &[(1_300, 1_310)]), "   ▏");
        assert_eq!(SCALE.bar(&[(2_000, 2_000)], &[]), "         ▏");
        let queries = [(1_100, 1_200), (1_500, 1_501), (1_800, 1_900)];
        assert_eq!(SCALE.bar(&queries, &queries), " █░░░▓░░█");
    }

    #[test]
    fn odd_times_are_kept_inside() {
        assert_eq!(SCALE.bar(&[(0, 9_000)], &[(0, 9_000)]), "██████████");
        let point = Scale { start: 5, end: 5, width: 4 };
        assert_eq!(point.bar(&[(5, 5)], &[(5, 5)]), "▏");
    }
}
