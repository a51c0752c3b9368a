//! The two tables: programs by kernel, scenarios by kernel, in Markdown.

use std::fmt::Write as _;

use super::{
    Outcome, Run,
    report::{Program, Report},
};

/// What a cell says of a kernel that told nothing.
const NOTHING: &str = "–";

/// Both tables, and below them why something failed or is missing.
pub(crate) fn markdown(runs: &[Run]) -> String {
    let mut text = header("what the kernel took, and how many instructions its verifier walked through", runs);
    for name in names(runs, |report| report.doctor.programs.iter().map(|program| program.name.as_str()).collect()) {
        row(&mut text, &format!("`{name}`"), runs, |report| {
            let program = report.doctor.programs.iter().find(|program| program.name == name);
            program.map_or_else(|| NOTHING.to_owned(), cell)
        });
    }
    text.push('\n');
    text += &header("scenario", runs);
    for name in names(runs, |report| report.tests().into_iter().map(|(name, ..)| name).collect()) {
        row(&mut text, &name, runs, |report| {
            let test = report.tests().into_iter().find(|(other, ..)| *other == name);
            test.map_or(NOTHING, |(.., error)| if error.is_some() { "**failed**" } else { "passed" }).to_owned()
        });
    }
    let reasons = reasons(runs);
    if !reasons.is_empty() {
        text.push('\n');
        text += &reasons;
    }
    text
}

fn cell(program: &Program) -> String {
    let Program { name: _, loaded, attached, verified_instructions } = program;
    let state = match (loaded, attached) {
        (false, _) => return "not on this kernel".to_owned(),
        (true, false) => "loaded",
        (true, true) => "attached",
    };
    // The kernel tells since 5.16.
    let count = verified_instructions.map_or_else(|| "n/a".to_owned(), |count| count.to_string());
    format!("{state}, {count}")
}

/// The kernels as columns, by the releases that they told.
fn header(first: &str, runs: &[Run]) -> String {
    let mut text = format!("| {first} |");
    for run in runs {
        let release = match &run.outcome {
            Outcome::Ran(report) => report.kernel.trim_end_matches("-cloud-amd64"),
            Outcome::Failed(_) | Outcome::Skipped(_) => run.kernel.name,
        };
        let _ = write!(text, " {release} |");
    }
    text + "\n|---|" + &"---|".repeat(runs.len()) + "\n"
}

fn row(text: &mut String, name: &str, runs: &[Run], of: impl Fn(&Report) -> String) {
    let _ = write!(text, "| {name} |");
    for run in runs {
        let cell = match &run.outcome {
            Outcome::Ran(report) => of(report),
            Outcome::Failed(_) => "**failed**".to_owned(),
            Outcome::Skipped(_) => "skipped".to_owned(),
        };
        let _ = write!(text, " {cell} |");
    }
    text.push('\n');
}

/// All names that occur, in the order of the first kernel that has them.
fn names<'a>(runs: &'a [Run], of: impl Fn(&'a Report) -> Vec<&'a str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for run in runs {
        let Outcome::Ran(report) = &run.outcome else { continue };
        for name in of(report) {
            if !names.iter().any(|other| other == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// A reason is cut here: a span that is shown whole is longer than a table wants.
const LONGEST_REASON: usize = 300;

/// One line each: the error's last, where programs say why they ended.
fn reasons(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let name = run.kernel.name;
        let mut reason = |what: &str, why: &str| {
            let last = why.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim();
            let _ = writeln!(text, "- {name}, {what}: {}", last.chars().take(LONGEST_REASON).collect::<String>());
        };
        match &run.outcome {
            Outcome::Skipped(why) => reason("skipped", why),
            Outcome::Failed(why) => reason("failed", why),
            Outcome::Ran(report) => {
                for (what, _, error) in report.tests() {
                    if let Some(error) = error {
                        reason(what, error);
                    }
                }
            }
        }
    }
    text
}
