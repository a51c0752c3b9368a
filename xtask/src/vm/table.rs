//! The two tables: programs by kernel, scenarios by kernel, in Markdown.

use std::fmt::Write as _;

use super::{
    Outcome, Run,
    report::{Program, Report, Test},
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
    for name in names(runs, |report| report.tests().into_iter().map(|test| test.name).collect()) {
        row(&mut text, &name, runs, |report| match report.tests().into_iter().find(|test| test.name == name) {
            None => NOTHING.to_owned(),
            Some(Test { error: Some(_), .. }) => "**failed**".to_owned(),
            Some(Test { runs: 1, .. }) => "passed".to_owned(),
            Some(Test { runs, .. }) => format!("passed in run {runs}"),
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
                for test in report.tests() {
                    if let Some(error) = test.error {
                        reason(test.name, error);
                    }
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{super::kernels::KERNELS, Outcome, Report, Run, markdown};

    const PROGRAMS: &str = concat!(
        r#"{"name":"enter","loaded":true,"attached":true,"verified_instructions":48105},"#,
        r#"{"name":"late","loaded":true,"attached":false,"verified_instructions":null}"#
    );

    #[test]
    fn every_kernel_is_a_column_and_every_failure_has_its_reason() {
        let report = Report::parse(
            &r#"{"kernel":"6.1.0-56-cloud-amd64"}
               {"doctor":{"supported":true,"seconds":1.0,"checks":[],"programs":[@]}}
               {"scenario":{"name":"HTTP","seconds":1.0,"runs":2,"error":"first line\nlosses: gap 1\n"}}
               {"end":true}"#
                .replace('@', PROGRAMS),
        );
        let [old, middle, new, _latest] = &KERNELS;
        let runs = [
            Run { kernel: old, outcome: Outcome::Skipped("no mirror has bullseye".to_owned()) },
            Run { kernel: middle, outcome: Outcome::Ran(report.unwrap()) },
            Run { kernel: new, outcome: Outcome::Failed("it hangs".to_owned()) },
        ];
        let text = markdown(&runs);
        for line in [
            "| `enter` | skipped | attached, 48105 | **failed** |",
            "| `late` | skipped | loaded, n/a | **failed** |",
            "| HTTP | skipped | **failed** | **failed** |",
            "- 5.10, skipped: no mirror has bullseye",
            "- 6.1, HTTP: losses: gap 1",
            "- 6.12, failed: it hangs",
        ] {
            assert!(text.lines().any(|other| other == line), "no line {line} in:\n{text}");
        }
        assert!(text.contains("| 5.10 | 6.1.0-56 | 6.12 |"), "{text}");
    }
}
