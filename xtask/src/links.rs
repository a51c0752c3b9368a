//! Links between the documents: each must lead to a file that exists, and to a heading in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// Folders that hold documents of others.
const FOREIGN: &[&str] = &["target", "node_modules"];

/// Looks all links of all documents up; an error that names those that lead nowhere.
pub(crate) fn check() -> Result<()> {
    let mut documents = Vec::new();
    collect(workspace::root(), &mut documents)?;
    let mut broken = Vec::new();
    for document in &documents {
        let text = fs::read_to_string(document).with_context(|| document.display().to_string())?;
        for link in links(&text).filter(|link| !leads_somewhere(document, link)) {
            broken.push(format!("{}: {link}", document.strip_prefix(workspace::root())?.display()));
        }
    }
    ensure!(broken.is_empty(), "links that lead nowhere:\n    {}", broken.join("\n    "));
    Ok(())
}

fn collect(folder: &Path, documents: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && !FOREIGN.contains(&&*name) {
            collect(&path, documents)?;
        } else if name.ends_with(".md") {
            documents.push(path);
        }
    }
    Ok(())
}

/// What links outside of code blocks point to.
fn links(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// The lines that are not in a block of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").step_by(2).flat_map(str::lines)
}

/// Pages of the web are taken as they are.
fn leads_somewhere(document: &Path, link: &str) -> bool {
    if link.contains("://") {
        return true;
    }
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { document.to_owned() } else { document.with_file_name("").join(path) };
    target.exists() && (heading.is_empty() || fs::read_to_string(target).is_ok_and(|text| has(&text, heading)))
}

/// Whether a document has a heading of this anchor: lower case, without punctuation, with dashes for spaces.
fn has(text: &str, anchor: &str) -> bool {
    let mut headings = prose(text).filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#'));
    headings.any(|heading| {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).eq(anchor.chars())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_a_file_and_a_heading() {
        let document = workspace::root().join("docs/limits.md");
        for there in ["losses.md", "../ARCHITECTURE.md#what-is-bounded", "#times", "https://example.org/x"] {
            assert!(leads_somewhere(&document, there), "{there}");
        }
        for nowhere in ["lost.md", "../ARCHITECTURE.md#what-is-unbounded", "#tides"] {
            assert!(!leads_somewhere(&document, nowhere), "{nowhere}");
        }
    }

    #[test]
    fn code_has_no_links() {
        let text = "[a](one.md) and [b](two.md#x)\n```rust\nf[0](three)\n# four\n```\n# Five, six\n";
        assert_eq!(links(text).collect::<Vec<_>>(), ["one.md", "two.md#x"]);
        assert!(has(text, "five-six") && !has(text, "four"));
    }
}
