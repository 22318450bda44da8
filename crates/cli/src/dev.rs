//! `longshore dev`.
use crate::cli::Context;
use clap::Args;
use std::process::ExitCode;
#[derive(Args, Debug)]
pub(crate) struct DevArgs {}
pub(crate) fn execute(_args: DevArgs, _context: &Context) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
