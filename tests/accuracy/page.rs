//! The page: every number of the results, and the targets beside them.

use std::{
    collections::BTreeSet,
    fmt::{Display, Write as _},
};

use anyhow::Result;
use syspan_tests::accuracy::{
    judge::{Level, Tally, Verdicts},
    measure::Measured,
    rows::{ROWS, Row, Target},
};

use crate::results::{Line, Outcome, Results};

const INTRODUCTION: &str = "\
# How many parents are right

Written by `cargo xtask accuracy` from the numbers in [accuracy.json](accuracy.json); `cargo xtask accuracy ROW…` measures rows again. What the
levels mean is in [how-parents-are-found.md](how-parents-are-found.md).

Real applications, unmodified, answer `GET /checkout?id=N` (or `/fanout`, `/handed`, …) by two statements and a call of another service that is not traced,
and every one of them carries N: that is how each edge is judged, and nothing that syspan sees of it helps to find parents. Each id has its
own delay, so that requests overtake each other. Every line is one run: the application is started, 300 requests warm it up, then the agent comes
(`--evidence inferred`), so all connections are older than it; client, databases, application and agent share the machine.

An edge is a span and the one that caused it: three a request, and two more for a proxy in front (its call below its request, the
application's request below its call). All are counted that were asked for.

- *right*: the span's parent is the one that caused it. By evidence in the columns that follow; what was inferred, by its confidence.
- *missing*: the span has no parent, or is itself not there.
- *wrong*: any other parent, also one of another trace, and any parent of a request that came from outside. The first number counts parents that
  claim evidence (`header` to `handoff`), the second those that were `inferred`, which are no parents unless `--evidence inferred` asks for them.
";

/// A column of right parents.
const LEVELS: [(&str, Level); 6] = [
    ("header", Level::Header),
    ("socket", Level::Socket),
    ("task", Level::Task),
    ("handoff", Level::Handoff),
    ("inferred ≥ 0.9", Level::Confident),
    ("inferred < 0.9", Level::Unsure),
];

/// A line whose row there still is.
struct Known<'a> {
    row: &'static Row,
    line: &'a Line,
}

impl Known<'_> {
    fn measured(&self) -> Option<&Measured> {
        match &self.line.outcome {
            Outcome::Measured(measured) => Some(measured),
            Outcome::Failed(_) => None,
        }
    }
}

/// The whole page.
pub(crate) fn text(results: &Results) -> Result<String> {
    let mut text = INTRODUCTION.to_owned();
    let lines: Vec<Known<'_>> = ROWS.iter().flat_map(|row| of_row(results, row)).collect();
    table(&mut text, results, &lines)?;
    targets(&mut text, &lines)?;
    not_whole(&mut text, &lines)?;
    circumstances(&mut text, results)?;
    Ok(text)
}

fn of_row<'a>(results: &'a Results, row: &'static Row) -> Vec<Known<'a>> {
    let mut lines: Vec<_> = results.lines.iter().filter(|line| line.row == row.name).collect();
    lines.sort_by_key(|line| line.concurrency);
    lines.into_iter().map(|line| Known { row, line }).collect()
}

fn table(text: &mut String, results: &Results, lines: &[Known<'_>]) -> Result<()> {
    writeln!(text, "\n## Edges\n\nShares are of all edges.\n")?;
    let headings = ["row", "application", "at once", "right"].into_iter().chain(LEVELS.map(|(heading, _)| heading));
    columns(text, headings.chain(["missing", "wrong", "wrong, inferred", "target"]))?;
    writeln!(text, "|---|---|{}---|", "--:|".repeat(LEVELS.len() + 5))?;
    for Known { row, line } in lines {
        let first = [format!("`{}`", row.name), row.what.to_owned(), line.concurrency.to_string()];
        match &line.outcome {
            Outcome::Measured(Measured { tally, .. }) => {
                let right = tally.of(|_| true).right;
                let levels = LEVELS.map(|(_, wanted)| tally.of(|level| level == wanted).right);
                let shares = [right].into_iter().chain(levels).chain([tally.missing()]);
                let wrong = [observed(tally).wrong, tally.of(Level::is_inferred).wrong].map(|wrong| wrong.to_string());
                let verdict = verdict(row.target, line.concurrency, tally);
                let numbers = shares.map(|count| share(count, tally.edges)).chain(wrong).chain([verdict]);
                columns(text, first.into_iter().chain(numbers))?;
            }
            Outcome::Failed(reason) => not_measured(text, first, reason)?,
        }
    }
    for row in ROWS.iter().filter(|row| of_row(results, row).is_empty()) {
        not_measured(text, [format!("`{}`", row.name), row.what.to_owned(), "–".to_owned()], "not tried yet")?;
    }
    Ok(())
}

fn not_measured(text: &mut String, first: [String; 3], reason: &str) -> Result<()> {
    // A reason of several lines would end the table.
    let reason = format!("**not measured**: {}", reason.replace('\n', " ").replace('|', "\\|"));
    columns(text, first.into_iter().chain([reason]).chain(std::iter::repeat_n("–".to_owned(), LEVELS.len() + 4)))
}

/// Parents that claim evidence. One without a label claims it too.
fn observed(tally: &Tally) -> Verdicts {
    tally.of(|level| !level.is_inferred())
}

fn verdict(target: Target, concurrency: usize, tally: &Tally) -> String {
    let (wanted, _) = target.right(concurrency);
    let met = if is_right(target, concurrency, tally) { "met" } else { "**missed**" };
    format!("≥ {:.0} %: {met}", wanted * 100.0)
}

fn is_right(target: Target, concurrency: usize, tally: &Tally) -> bool {
    let (wanted, inferred) = target.right(concurrency);
    let right = if inferred { tally.of(|_| true).right } else { observed(tally).right };
    right as f64 >= wanted * tally.edges as f64
}

fn targets(text: &mut String, lines: &[Known<'_>]) -> Result<()> {
    writeln!(text, "\n## Targets\n")?;
    columns(text, ["target", "measured", ""])?;
    writeln!(text, "|---|---|---|")?;
    let mut target = |what: &str, measured: String, met: bool| {
        columns(text, [what, measured.as_str(), if met { "met" } else { "**missed**" }])
    };
    let measured = || lines.iter().filter_map(|known| Some((known, known.measured()?)));

    let wrong: usize = measured().map(|(_, measured)| observed(&measured.tally).wrong).sum();
    target("no wrong parent with header, socket, task or handoff", wrong.to_string(), wrong == 0)?;

    let sought = [
        ("99 % right: thread per request, Node without queueing for a connection, Go, PHP, nginx", 0.99),
        ("98 % right: a fixed pool of busy threads", 0.98),
        ("95 % right, inferred included: Node where requests queue for a connection", 0.95),
        ("90 % right, inferred included: asyncio, gevent, Tokio", 0.90),
    ];
    for (what, wanted) in sought {
        let of_target = || measured().filter(|(known, _)| known.row.target.right(known.line.concurrency).0 == wanted);
        let met = of_target()
            .filter(|(known, measured)| is_right(known.row.target, known.line.concurrency, &measured.tally))
            .count();
        let all = of_target().count();
        target(what, format!("{met} of {all} lines"), met == all && all > 0)?;
    }

    let confident = measured().map(|(_, measured)| measured.tally.of(|level| level == Level::Confident));
    let Verdicts { right, wrong } = confident.fold(Verdicts::default(), |sum, verdicts| Verdicts {
        right: sum.right + verdicts.right,
        wrong: sum.wrong + verdicts.wrong,
    });
    let all = right + wrong;
    let share = if all == 0 { "nothing is inferred".to_owned() } else { format!("{} of {all}", share(right, all)) };
    target(
        "of what is inferred with a confidence of 0.9 and above, 99 % right",
        share,
        all > 0 && right * 100 >= all * 99,
    )?;

    let failed = lines.iter().filter(|known| known.measured().is_none()).count();
    let untried = ROWS.iter().filter(|row| !lines.iter().any(|known| known.row.name == row.name)).count();
    target(
        "no row without a number",
        format!("lines that failed: {failed}; rows that were not tried: {untried}"),
        failed + untried == 0,
    )?;
    Ok(())
}

/// Spans that are not there or there twice, and what the agent said that it lost.
fn not_whole(text: &mut String, lines: &[Known<'_>]) -> Result<()> {
    writeln!(text, "\n## Spans that are not there\n")?;
    let mut whole = true;
    for known in lines {
        let Some(Measured { tally, losses }) = known.measured() else { continue };
        if tally.absent + tally.surplus + losses.len() == 0 {
            continue;
        }
        whole = false;
        let losses: Vec<String> = losses.iter().map(|(cause, count)| format!("`{cause}` {count}")).collect();
        let losses = if losses.is_empty() { "nothing".to_owned() } else { losses.join(", ") };
        writeln!(
            text,
            "- `{}`, {} at once: {} spans absent (their edges count as missing), {} there once too often; lost by the agent's count: {losses}",
            known.row.name, known.line.concurrency, tally.absent, tally.surplus,
        )?;
    }
    if whole {
        writeln!(text, "None: in all measured runs every expected span was there once, and no loss was counted.")?;
    }
    Ok(())
}

fn circumstances(text: &mut String, results: &Results) -> Result<()> {
    writeln!(text, "\n## When and where\n")?;
    columns(text, ["row", "requests a line", "runs on", "kernel", "revision of syspan", "date"])?;
    writeln!(text, "|---|--:|---|---|---|---|")?;
    for row in ROWS {
        let lines = of_row(results, row);
        let distinct = |member: fn(&Line) -> String| {
            let values: BTreeSet<String> = lines.iter().map(|known| member(known.line)).collect();
            values.into_iter().collect::<Vec<_>>().join(", ")
        };
        if lines.is_empty() {
            continue;
        }
        let values = [
            |line: &Line| line.requests.to_string(),
            |line: &Line| line.circumstances.version.clone(),
            |line: &Line| line.circumstances.kernel.clone(),
            |line: &Line| line.circumstances.revision.clone(),
            |line: &Line| line.circumstances.date.clone(),
        ];
        columns(text, std::iter::once(format!("`{}`", row.name)).chain(values.map(distinct)))?;
    }
    Ok(())
}

/// A share of all, as a percentage that is 100 or 0 only if it is exactly that.
fn share(count: usize, all: usize) -> String {
    let percent = 100.0 * count as f64 / all.max(1) as f64;
    match (format!("{percent:.1}").as_str(), count) {
        (_, 0) => "0 %".to_owned(),
        ("100.0", _) if count == all => "100 %".to_owned(),
        ("100.0", _) => "> 99.9 %".to_owned(),
        ("0.0", _) => "< 0.1 %".to_owned(),
        (rounded, _) => format!("{rounded} %"),
    }
}

fn columns(text: &mut String, columns: impl IntoIterator<Item = impl Display>) -> Result<()> {
    for column in columns {
        write!(text, "| {column} ")?;
    }
    writeln!(text, "|")?;
    Ok(())
}

#[cfg(test)]
mod tests;
