//! Runs all checks over the repository and reports what they found. It knows no rule itself.

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

use super::source::{self, Source};
use super::{layering, links, owners, shape, size, words};
use crate::metadata;

/// A place that breaks a rule.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Violation {
    pub(super) path: String,
    /// 1-based; 0 where the whole file is meant.
    pub(super) line: usize,
    pub(super) message: String,
}

impl Violation {
    pub(super) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Checks the repository at `root`; an error says how many places break a rule, after all of them
/// were printed.
pub(crate) fn run(root: &Path) -> Result<()> {
    let sources = source::read_all(root)?;
    let mut found = check(&sources);
    found.extend(layering::check(&metadata::packages()?));
    for violation in &found {
        println!("{violation}");
    }
    if !found.is_empty() {
        bail!("tidy: {} places break a rule", found.len());
    }
    println!("tidy: {} files are in order", sources.len());
    Ok(())
}

fn check(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        words::check(source, &mut found);
        if source.is_rust() {
            shape::check(source, &mut found);
        }
    }
    size::check(sources, &mut found);
    links::check(sources, &mut found);
    owners::check(sources, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_in_order() {
        let sources = source::read_all(crate::root()).unwrap();
        let mut found = check(&sources);
        found.extend(layering::check(&metadata::packages().unwrap()));
        let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }

    #[test]
    fn a_violation_reads_as_a_place_and_a_message() {
        assert_eq!(Violation::new("a.rs", 3, "too wide").to_string(), "a.rs:3: too wide");
        assert_eq!(Violation::new("a.rs", 0, "too long").to_string(), "a.rs: too long");
    }
}
