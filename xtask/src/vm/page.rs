//! docs/kernels.md: everything but what stands between two marks is written by hand.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Run, table};
use crate::{steps, workspace};

const PAGE: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- cargo xtask vm writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// Puts the tables in.
pub(crate) fn write(runs: &[Run]) -> Result<()> {
    let path = workspace::root().join(PAGE);
    let page = fs::read_to_string(&path).context(PAGE)?;
    fs::write(path, with_tables(&page, &table::markdown(runs))?)?;
    steps::say(&format!("The tables are in {PAGE}"));
    Ok(())
}

fn with_tables(page: &str, tables: &str) -> Result<String> {
    let marks = || format!("{PAGE} has lost the marks around its tables");
    let (before, rest) = page.split_once(BEGIN).with_context(marks)?;
    let (_old, after) = rest.split_once(END).with_context(marks)?;
    Ok(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, with_tables};

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        let expected = format!("before\n{BEGIN}\nnew\n\n{END}after\n");
        assert_eq!(with_tables(&page, "new\n").ok(), Some(expected));
        assert!(with_tables("no marks", "new").is_err());
    }
}
