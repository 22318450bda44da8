//! `longshore serve`.
use crate::cli::Context;
use clap::Args;
use std::process::ExitCode;
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {}
pub(crate) fn execute(_args: ServeArgs, _context: &Context) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
