//! `cargo xtask accuracy`: how many parents are right.

mod page;
mod results;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use results::{Circumstances, Line, Outcome, Results};
use syspan_tests::accuracy::{
    backends::Backends,
    measure::{self, Measured},
    rows::{self, ROWS, Row},
};

#[derive(Parser)]
struct Options {
    /// Only these rows [default: all]
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// How many requests are judged of each row and load
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// How many requests are made at once, one measurement for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    concurrency: Vec<usize>,
    /// The page whose lines of these rows are written anew; its numbers are beside it, as JSON
    #[arg(long)]
    output: Option<PathBuf>,
    /// Keep a recording of the one row and load that is measured, and judge its replay. Beside it is written what was asked
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    keep: Option<PathBuf>,
    /// Measure nothing: judge a recording that was kept, by the agent as it is now
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "keep", "rows"])]
    replay: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything could be measured.
fn run(options: &Options) -> Result<bool> {
    if let Some(file) = &options.replay {
        say(&file.display().to_string(), &measure::replay(file)?);
        return Ok(true);
    }
    let rows = chosen(&options.rows)?;
    let backends = Backends::start()?;
    if let Some(file) = &options.keep {
        let ([row], [concurrency]) = (rows.as_slice(), options.concurrency.as_slice()) else {
            bail!("--keep takes one ROW and one --concurrency");
        };
        let measured = measure::record(row, &backends, options.requests, *concurrency, file)?;
        say(&format!("{}, {concurrency} at once", row.name), &measured);
        return Ok(true);
    }

    let mut results = options.output.as_deref().map_or_else(|| Ok(Results::default()), Results::read)?;
    let mut whole = true;
    for row in rows {
        for &concurrency in &options.concurrency {
            let name = format!("{}, {concurrency} at once", row.name);
            let outcome = match measure::measure(row, &backends, options.requests, concurrency) {
                Ok(measured) => {
                    say(&name, &measured);
                    Outcome::Measured(measured)
                }
                Err(error) => {
                    eprintln!("{name}: NOT MEASURED: {error:#}");
                    whole = false;
                    Outcome::Failed(in_short(&format!("{error:#}")))
                }
            };
            results.put(Line {
                row: row.name.to_owned(),
                concurrency,
                requests: options.requests,
                circumstances: Circumstances::now(row)?,
                outcome,
            });
            // Each at once: what was measured stays, whatever happens to the rest.
            if let Some(page) = &options.output {
                results.write(page)?;
            }
        }
    }
    Ok(whole)
}

/// Of many lines, as a server's last words are, the first and the last that says something.
fn in_short(reason: &str) -> String {
    let mut lines = reason.lines().map(str::trim).filter(|line| line.len() > 2);
    let first = lines.next().unwrap_or_default();
    lines.next_back().map_or_else(|| first.to_owned(), |last| format!("{first} … {last}"))
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let known = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    let rows: Result<Vec<_>> = names
        .iter()
        .map(|name| rows::named(name).with_context(|| format!("no row {name}; there are {}", known())))
        .collect();
    let rows = rows?;
    ensure!(!rows.is_empty(), "there are no rows");
    Ok(rows)
}

/// A line of progress, and the first wrong edges in words.
fn say(name: &str, measured: &Measured) {
    let Measured { tally, losses } = measured;
    let levels: Vec<String> = tally
        .parents
        .iter()
        .map(|(level, verdicts)| format!("{level:?} {}/{}", verdicts.right, verdicts.wrong))
        .collect();
    let all = tally.of(|_| true);
    eprintln!(
        "{name}: of {} edges {} right, {} missing, {} wrong (right/wrong: {}); spans absent {}, surplus {}; lost {losses:?}",
        tally.edges,
        all.right,
        tally.missing(),
        all.wrong,
        levels.join(", "),
        tally.absent,
        tally.surplus,
    );
    for wrong in &tally.wrong {
        eprintln!("    {wrong}");
    }
}

#[cfg(test)]
mod tests {
    use super::in_short;

    #[test]
    fn a_reason_is_its_first_line_and_its_last() {
        assert_eq!(in_short("no such file"), "no such file");
        assert_eq!(in_short("gunicorn said:\n\n  Traceback\nno module\n]\n"), "gunicorn said: … no module");
        assert_eq!(in_short(""), "");
    }
}
