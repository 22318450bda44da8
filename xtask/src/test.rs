//! The tests, as a table of steps: what runs in which tier and what it needs on the machine.
//! To add a kind of test, add a line to `TABLE`.

use std::ffi::OsStr;

use anyhow::Result;

use crate::steps::{Outcome, Steps, cargo, run as run_command};
use crate::{harness, metadata};

/// How much is run.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Tier {
    /// For every change.
    Quick,
    /// Hours of it: tests see `LONGSHORE_FULL=1` and take every case instead of a sample.
    Full,
}

/// What a test needs; where it is missing, the test is skipped and the run says so.
#[derive(Debug)]
enum Need {
    Nothing,
    /// A binary of the workspace.
    Binary(&'static str),
}

/// What a step does.
#[derive(Debug)]
enum Work {
    /// Runs cargo with these arguments.
    Cargo(&'static [&'static str]),
    /// Runs the test programs that were built.
    Programs,
}

struct Test {
    name: &'static str,
    /// The lowest tier that runs it.
    tier: Tier,
    need: Need,
    work: Work,
}

/// Tests start the real binaries and an example, which `--tests` alone does not build. All is
/// built at once, with the same features: for a package alone cargo would build most of the
/// others once more.
const BUILD: &[&str] = &["build", "--workspace", "--lib", "--bins", "--tests", "--examples"];

const TABLE: &[Test] = &[
    Test { name: "build", tier: Tier::Quick, need: Need::Nothing, work: Work::Cargo(BUILD) },
    Test { name: "tests", tier: Tier::Quick, need: Need::Nothing, work: Work::Programs },
    Test {
        name: "examples in the documentation of the code",
        tier: Tier::Quick,
        need: Need::Nothing,
        work: Work::Cargo(&["test", "--workspace", "--doc"]),
    },
    Test {
        name: "simulator",
        tier: Tier::Full,
        need: Need::Binary("longshore-sim"),
        work: Work::Cargo(&[
            "run",
            "--release",
            "--package",
            "longshore-sim",
            "--",
            "--seeds",
            "5000",
        ]),
    },
    Test {
        name: "simulator over the store on files",
        tier: Tier::Full,
        need: Need::Binary("longshore-sim"),
        work: Work::Cargo(&[
            "run",
            "--release",
            "--package",
            "longshore-sim",
            "--",
            "--store",
            "lsm",
            "--seeds",
            "500",
        ]),
    },
];

/// Runs all tests of a tier.
pub(crate) fn run(tier: Tier) -> Result<()> {
    let mut steps = Steps::default();
    self::steps(&mut steps, tier)?;
    steps.finish();
    Ok(())
}

/// Adds the tests of a tier to `steps`.
pub(crate) fn steps(steps: &mut Steps, tier: Tier) -> Result<()> {
    // Single tests that skip themselves leave a line there.
    let list = std::env::temp_dir().join(format!("longshore-skipped-{}", std::process::id()));
    for test in TABLE.iter().filter(|test| test.tier <= tier) {
        let outcome = steps.step(test.name, || {
            if let Some(missing) = missing(&test.need)? {
                return Ok(Outcome::Skipped(missing));
            }
            let mut set = vec![("LONGSHORE_SKIPPED", list.as_os_str())];
            if tier == Tier::Full {
                set.push(("LONGSHORE_FULL", OsStr::new("1")));
            }
            match test.work {
                Work::Cargo(arguments) => {
                    let mut command = cargo(arguments);
                    command.envs(set);
                    run_command(command)?;
                }
                Work::Programs => harness::run(BUILD, &set)?,
            }
            Ok(Outcome::Passed)
        });
        let skipped = std::fs::read_to_string(&list).unwrap_or_default();
        let _ = std::fs::remove_file(&list);
        outcome?;
        for reason in skipped.lines() {
            steps.skipped(&format!("a part of {}", test.name), reason);
        }
    }
    Ok(())
}

/// What is missing of a need, in words, or nothing.
fn missing(need: &Need) -> Result<Option<String>> {
    let (present, what) = match *need {
        Need::Nothing => return Ok(None),
        Need::Binary(name) => {
            let packages = metadata::packages()?;
            let present = packages.iter().any(|package| package.binaries.iter().any(|b| b == name));
            (present, format!("the workspace has no binary '{name}'"))
        }
    };
    Ok((!present).then_some(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(&Need::Nothing).unwrap(), None);
        assert_eq!(missing(&Need::Binary("xtask")).unwrap(), None);
        let text = missing(&Need::Binary("nowhere")).unwrap().unwrap();
        assert!(text.contains("'nowhere'"), "{text}");
    }

    #[test]
    fn the_quick_tier_runs_the_tests_and_builds_once() {
        let quick = || TABLE.iter().filter(|test| test.tier == Tier::Quick);
        assert!(quick().any(|test| matches!(test.work, Work::Programs)));
        for test in quick() {
            let Work::Cargo(arguments) = test.work else { continue };
            assert!(!arguments.contains(&"--release"), "{}", test.name);
            assert!(arguments.contains(&"--workspace"), "{}: built once", test.name);
        }
    }
}
