//! A Python with packages from `PyPI`, for clients that other people wrote.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// What is missing, as [`skip`](crate::skip::skip) takes it, and why.
pub type Missing = (&'static str, String);

/// Tests of one process that want the same environment wait for each other.
static MAKING: Mutex<()> = Mutex::new(());

/// The Python of a virtual environment in `folder`, which is kept from run to run. Where it does
/// not import `modules`, `packages` are installed first: arguments of `pip install`.
///
/// # Errors
///
/// What the machine lacks for it.
pub fn python<P: AsRef<OsStr>>(
    folder: &Path,
    modules: &str,
    packages: &[P],
) -> Result<PathBuf, Missing> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let python = folder.join("bin/python");
    let imports = format!("import {modules}");
    if succeeds(Command::new(&python).args(["-c", &imports])).is_ok() {
        return Ok(python);
    }
    succeeds(Command::new("python3").args(["-m", "venv"]).arg(folder))
        .map_err(|why| ("python3", format!("no virtual environment can be made: {why}")))?;
    let install = ["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20"];
    succeeds(Command::new(&python).args(install).args(packages))
        .map_err(|why| ("pypi", format!("pip does not reach its packages: {why}")))?;
    Ok(python)
}

/// Runs a command to its end.
///
/// # Errors
///
/// The last line that it wrote to its standard error, where it fails.
pub fn succeeds(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or_default().to_owned())
}
