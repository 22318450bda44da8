//! `cargo deny`: bans, licences and sources always, advisories where their database is reachable.
//! The rules stand in `deny.toml`.

use std::time::Duration;

use anyhow::Result;

use crate::steps::{Outcome, Steps, cargo, program, run, succeeds_within};

const ADVISORIES: &str = "https://github.com/rustsec/advisory-db";

/// Adds the two steps. Where the tool cannot be had they are skipped, and say so.
pub(crate) fn steps(steps: &mut Steps) -> Result<()> {
    let present = || succeeds_within(cargo(&["deny", "--version"]), Duration::from_secs(10));
    steps.step("cargo deny: bans, licences, sources", || {
        if !present() {
            println!("    cargo-deny is missing; installing it compiles for some minutes");
            // Compiling it without optimization takes 2 minutes instead of 5 on two cores, and a
            // check 2.5 s instead of 0.5 s.
            let mut install = cargo(&["install", "--locked", "--quiet", "--debug", "cargo-deny"]);
            install.env("CARGO_PROFILE_DEV_DEBUG", "0");
            // What counts is whether it is there afterwards, which is asked next.
            let _ = run(install);
        }
        if !present() {
            return Ok(Outcome::Skipped("cargo-deny is missing and cannot be installed".into()));
        }
        run(cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
        Ok(Outcome::Passed)
    })?;
    steps.step("cargo deny: advisories", || {
        if !present() {
            return Ok(Outcome::Skipped("cargo-deny is missing and cannot be installed".into()));
        }
        if !advisories_reachable() {
            return Ok(Outcome::Skipped(format!("{ADVISORIES} cannot be reached")));
        }
        run(cargo(&["deny", "check", "advisories"]))?;
        Ok(Outcome::Passed)
    })
}

fn advisories_reachable() -> bool {
    let mut command = program("git");
    command.args(["ls-remote", "--exit-code", ADVISORIES, "HEAD"]).env("GIT_TERMINAL_PROMPT", "0");
    succeeds_within(command, Duration::from_secs(20))
}
