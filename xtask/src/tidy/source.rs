//! The files that the checks read, and which of their lines are tests. It knows no rule.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};

/// Folders that hold nothing written by hand, besides all whose name begins with a dot (`.ci` and
/// `.cargo` excepted).
const SKIPPED: &[&str] = &["generated", "target", "longshore-demo", "corpus", "fixtures"];

/// A text file of the repository.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the repository, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    #[cfg(test)]
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    pub(super) fn is_markdown(&self) -> bool {
        self.has_extension("md")
    }

    fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|it| it == extension)
    }

    /// The last part of the path.
    pub(super) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// All lines with their 1-based numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The lines outside of test modules, with their 1-based numbers. It relies on rustfmt: a
    /// test module begins and ends at the first column.
    pub(super) fn lines_without_tests(&self) -> Vec<(usize, &str)> {
        let stem = self.file_name().trim_end_matches(".rs");
        if stem == "tests" || stem.ends_with("_tests") || self.path.contains("/src/tests/") {
            return Vec::new();
        }
        let mut kept = Vec::new();
        let mut in_tests = false;
        let mut lines = self.lines().peekable();
        while let Some((number, line)) = lines.next() {
            if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
                let next = lines.peek().map_or("", |(_, next)| *next);
                in_tests = next.starts_with("mod ") && next.ends_with('{');
            }
            if !in_tests {
                kept.push((number, line));
            } else if line == "}" {
                in_tests = false;
            }
        }
        kept
    }
}

/// Reads every text file below `root`, sorted by path. Files that are not UTF-8 are passed over.
pub(super) fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    read_folder(root, "", &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_folder(folder: &Path, prefix: &str, sources: &mut Vec<Source>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().with_context(|| format!("cannot look at {path}"))?;
        if kind.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if !hidden && !SKIPPED.contains(&name.as_str()) {
                read_folder(&entry.path(), &format!("{path}/"), sources)?;
            }
        } else if kind.is_file() {
            match fs::read_to_string(entry.path()) {
                Ok(text) => sources.push(Source { path, text }),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                // An editor or a running test removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_modules_are_left_out() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n\nfn c() {}\n";
        let source = Source::new("crates/x/src/a.rs", text);
        let kept: Vec<_> = source.lines_without_tests().iter().map(|(number, _)| *number).collect();
        assert_eq!(kept, [1, 2, 7, 8]);
    }

    #[test]
    fn a_test_only_item_that_is_no_module_counts() {
        let source = Source::new("a.rs", "#[cfg(test)]\nuse x::y;\nfn c() {}\n");
        assert_eq!(source.lines_without_tests().len(), 3);
    }

    #[test]
    fn a_file_of_tests_has_no_other_lines() {
        for path in ["crates/x/src/tests.rs", "crates/x/src/turn_tests.rs", "x/src/tests/a.rs"] {
            assert!(Source::new(path, "fn a() {}\n").lines_without_tests().is_empty(), "{path}");
        }
    }

    #[test]
    fn reads_text_and_passes_over_builds_and_binaries() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &[u8]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("src/a.rs", b"a");
        write("src/b.bin", &[0xff, 0xfe]);
        write("target/c.rs", b"c");
        write(".git/config", b"d");
        write(".ci/run", b"e");
        let sources = read_all(folder.path()).unwrap();
        let paths: Vec<_> = sources.iter().map(|source| source.path.as_str()).collect();
        assert_eq!(paths, [".ci/run", "src/a.rs"]);
    }
}
