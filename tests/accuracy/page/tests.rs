#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use syspan_tests::accuracy::{
    judge::{Level, Tally, Verdicts},
    measure::Measured,
    rows::ROWS,
};

use super::{share, text};
use crate::results::{Circumstances, Line, Outcome, Results};

fn line(row: &str, concurrency: usize, outcome: Outcome) -> Line {
    let circumstances = Circumstances {
        date: "2026-11-21".to_owned(),
        revision: "abc".to_owned(),
        kernel: "Linux 6".to_owned(),
        version: "Node 20".to_owned(),
    };
    Line { row: row.to_owned(), concurrency, requests: 1000, circumstances, outcome }
}

fn measured(parents: &[(Level, usize, usize)], parentless: usize) -> Outcome {
    let parents = parents.iter().map(|&(level, right, wrong)| (level, Verdicts { right, wrong })).collect();
    let tally = Tally { edges: 3000, parents, parentless, ..Tally::default() };
    Outcome::Measured(Measured { tally, losses: [].into() })
}

fn page(lines: Vec<Line>) -> String {
    text(&Results { lines }).unwrap()
}

/// The lines of a page that hold this text.
fn with<'a>(page: &'a str, words: &str) -> Vec<&'a str> {
    page.lines().filter(|line| line.contains(words)).collect()
}

#[test]
fn what_is_inferred_counts_only_where_it_may() {
    let half = || measured(&[(Level::Task, 2900, 0), (Level::Confident, 95, 2)], 3);
    let page = page(vec![line("node", 1, half()), line("node", 64, half())]);
    let lines = with(&page, "| `node` |");
    assert!(
        lines[0]
            .ends_with("| 1 | 99.8 % | 0 % | 0 % | 96.7 % | 0 % | 3.2 % | 0 % | 0.1 % | 0 | 2 | ≥ 99 %: **missed** |")
    );
    assert!(lines[1].ends_with("| 0 | 2 | ≥ 95 %: met |"));
    assert!(with(&page, "confidence of 0.9")[0].ends_with("| 97.9 % of 194 | **missed** |"));
}

#[test]
fn a_wrong_parent_with_evidence_is_a_missed_target_whatever_its_label() {
    for level in [Level::Header, Level::Socket, Level::Task, Level::Handoff, Level::Unlabelled] {
        let page = page(vec![line("node", 1, measured(&[(Level::Task, 2999, 0), (level, 0, 1)], 0))]);
        assert!(with(&page, "no wrong parent")[0].ends_with("| 1 | **missed** |"), "{level:?}");
    }
    let page = page(vec![line("node", 1, measured(&[(Level::Task, 2999, 0), (Level::Unsure, 0, 1)], 0))]);
    assert!(with(&page, "no wrong parent")[0].ends_with("| 0 | met |"));
}

#[test]
fn a_row_without_a_number_is_loud() {
    let page = page(vec![line("node", 16, Outcome::Failed("no\nway | out".to_owned()))]);
    assert!(with(&page, "**not measured**: no way \\| out")[0].contains("| `node` |"));
    assert_eq!(with(&page, "**not measured**: not tried yet").len(), ROWS.len() - 1);
    assert!(with(&page, "no row without")[0].contains("| lines that failed: 1;"));
    assert!(with(&page, "no row without")[0].ends_with("**missed** |"));
}

#[test]
fn the_table_has_as_many_columns_in_every_line() {
    let page = page(vec![line("node", 1, measured(&[], 3000)), line("node", 16, Outcome::Failed(String::new()))]);
    let widths: Vec<_> = with(&page, "`node`")[..2].iter().map(|line| line.matches('|').count()).collect();
    let rule = with(&page, "|---|---|--:|")[0].matches('|').count();
    assert_eq!(widths, [rule, rule]);
    assert_eq!(with(&page, "| row | application |")[0].matches('|').count(), rule);
}

#[test]
fn a_share_is_rounded_to_neither_all_nor_nothing() {
    let shares = [(0, 10_000), (1, 10_000), (1, 3), (9_999, 10_000), (10_000, 10_000)].map(|(n, all)| share(n, all));
    assert_eq!(shares, ["0 %", "< 0.1 %", "33.3 %", "> 99.9 %", "100 %"]);
}
