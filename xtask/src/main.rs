//! The one entry point for building, testing and checking. It reads the command line and hands
//! over; what is run stands in `ci` and `test`, what is checked in the sources in `tidy`.
#![expect(clippy::print_stdout, reason = "a command line tool reports on standard output")]

mod ci;
mod deny;
mod harness;
mod metadata;
mod steps;
mod test;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask <command>

  ci            everything that a change must pass: format, clippy, documentation, tidy,
                cargo deny, tests
  test          all tests
  test --full   the full tier: every test at full length, thousands of simulator seeds
  proto         write the code of crates/proto anew from proto/
  tidy          layering, file sizes, banned words, line width, links in the documentation
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[&str]) -> Result<()> {
    match args {
        ["ci"] => ci::run(),
        ["test"] => test::run(test::Tier::Quick),
        ["test", "--full"] => test::run(test::Tier::Full),
        ["proto"] => steps::run(ci::generator(&[])),
        ["tidy"] => tidy::run(root()),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => bail!("unknown arguments {args:?}\n\n{USAGE}"),
    }
}

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace's folder")
}
