//! Tests that need what a machine may lack: they are skipped so that it is seen, and fail where
//! everything is to run.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Says that a test does not run for want of `need`, and why.
///
/// `cargo xtask test` lists it at its end. Where `CI` is set it is a failure, unless
/// `LONGSHORE_MAY_SKIP` has the word (`mount,node`).
///
/// # Panics
///
/// Where it is a failure.
#[track_caller]
pub fn skip(need: &str, why: &str) {
    let why = why.lines().last().unwrap_or_default();
    let line = format!("{need} is missing: {why}");
    // The macros' output is not shown of tests that pass.
    let _ = writeln!(io::stderr().lock(), "SKIPPED: {line}");
    if let Some(list) = std::env::var_os("LONGSHORE_SKIPPED") {
        let file = OpenOptions::new().create(true).append(true).open(list);
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
    let set = |name| std::env::var(name).unwrap_or_default();
    let refused = must_run(&set("CI"), &set("LONGSHORE_MAY_SKIP"), need);
    assert!(!refused, "{line}; CI is set, so it has to run: see LONGSHORE_MAY_SKIP");
}

/// Whether a program is not installed; then it says that the test is skipped.
///
/// # Panics
///
/// As [`skip`] does.
#[track_caller]
pub fn lacks(program: &str) -> bool {
    let mut command = Command::new(program);
    let output = command.arg("--version").stdin(Stdio::null()).output();
    let Err(why) = output else { return false };
    skip(program, &why.to_string());
    true
}

fn must_run(ci: &str, may_skip: &str, need: &str) -> bool {
    let is_ci = !["", "0", "false"].contains(&ci);
    is_ci && !may_skip.split(',').any(|word| word.trim() == need)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_there_are_not_missed() {
        assert!(!lacks("cargo"));
    }

    #[test]
    fn nothing_is_skipped_in_ci_but_what_may_be() {
        assert!(!must_run("", "", "node"));
        assert!(!must_run("false", "", "node"));
        assert!(must_run("true", "", "node"));
        assert!(must_run("1", "mount,go", "node"));
        assert!(!must_run("1", "mount, node", "node"));
    }
}
