//! `longshore verify`.
use crate::cli::Context;
use clap::Args;
use std::process::ExitCode;
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {}
pub(crate) fn execute(_args: &VerifyArgs, _context: &Context) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
