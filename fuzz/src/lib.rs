//! What must hold whatever bytes come. Each target is a function of bytes that panics when a rule is broken.
//!
//! `cargo xtask fuzz` looks for such bytes; those that were found are kept in `fuzz/regressions/TARGET/` and tried again by
//! this crate's test. docs/reliability.md has the rules of each target.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target tells of a broken rule"
)]

mod captures;
mod context;
pub mod conversation;
mod engine;
mod exchanges;
mod order;
mod protocols;
mod recording;
mod spans;
mod sql;
mod streams;

pub use captures::captures;
pub use context::context;
pub use engine::engine;
pub use order::order;
pub use protocols::{fastcgi, http1, mysql, postgres};
pub use recording::recording;
pub use sql::sql;
pub use streams::streams;

/// A function that panics if the bytes make something break its rules.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("http1", http1),
    ("fastcgi", fastcgi),
    ("postgres", postgres),
    ("mysql", mysql),
    ("streams", streams),
    ("order", order),
    ("context", context),
    ("sql", sql),
    ("recording", recording),
    ("captures", captures),
    ("engine", engine),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::TARGETS;

    /// What once broke a rule, and the shortest inputs there are.
    #[test]
    fn nothing_that_was_found_breaks_a_rule_again() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
        for (name, target) in TARGETS {
            for short in [&[][..], &[0], &[0xff; 8]] {
                target(short);
            }
            let Ok(inputs) = fs::read_dir(folder.join(name)) else { continue };
            for input in inputs {
                let path = input.unwrap().path();
                println!("{}", path.display());
                target(&fs::read(path).unwrap());
            }
        }
    }

    #[test]
    fn every_target_has_its_program_and_every_folder_its_target() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let entries = |folder: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
        };
        let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(entries("targets"), names);
        assert!(entries("regressions").is_subset(&names));
    }
}
