//! What a change must pass, cheapest first. The tests are those of `cargo xtask test`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::steps::{Outcome, Steps, cargo, program, run as run_command, succeeds_within};
use crate::{deny, test, tidy};

/// Runs every step. None of them changes the flags that dependencies are compiled with, and only
/// those of the SDK's parts their features, so the steps share what the earlier ones compiled.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.step("tools", || {
        for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
            ensure_component(subcommand, component)?;
        }
        Ok(Outcome::Passed)
    })?;
    steps.command("format", cargo(&["fmt", "--all", "--check"]))?;
    steps.step("tidy", || {
        tidy::run(crate::root())?;
        Ok(Outcome::Passed)
    })?;
    steps.command("generated code", generator(&["--check"]))?;
    steps.command(
        "clippy",
        cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?;
    // The step above sees all optional parts at once, which hides what one needs of another.
    steps.step("optional parts", || {
        for part in ["", "axum", "embedded", "opentelemetry", "postgres", "sqlite"] {
            let package = ["clippy", "--package", "longshore", "--features", part];
            let mut clippy = cargo(&package);
            clippy.args(["--", "-D", "warnings"]);
            run_command(clippy)?;
        }
        run_command(cargo(&["clippy", "--package", "xtask", GENERATOR, "--", "-D", "warnings"]))?;
        Ok(Outcome::Passed)
    })?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    steps.command("documentation", doc)?;
    deny::steps(&mut steps)?;
    test::steps(&mut steps, test::Tier::Quick)?;
    steps.finish();
    Ok(())
}

/// What turns on the generator of the gRPC code. Nothing else is built with what it needs.
const GENERATOR: &str = "--features=proto";

/// The generator of the gRPC code: it writes, or with `--check` only looks.
pub(crate) fn generator(args: &[&str]) -> Command {
    let mut command =
        cargo(&["run", "--quiet", "--package", "xtask", GENERATOR, "--bin", "xtask-proto", "--"]);
    command.args(args);
    command
}

/// A minimal toolchain comes without these two; rustup can add them.
fn ensure_component(subcommand: &str, component: &str) -> Result<()> {
    let present = || succeeds_within(cargo(&[subcommand, "--version"]), Duration::from_secs(60));
    if present() {
        return Ok(());
    }
    let mut add = program("rustup");
    add.args(["component", "add", component]);
    // What counts is whether it is there afterwards, which is asked next.
    let _ = run_command(add);
    if !present() {
        bail!("`cargo {subcommand}` is missing; try `rustup component add {component}`");
    }
    Ok(())
}
