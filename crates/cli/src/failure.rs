//! What can go wrong for the person at the command line: a sentence, a way out, an exit code.
//! The codes are stable and stand in `docs/cli.md`.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::output::{ReaderGone, note};

/// Why a command ends other than well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Anything that has no code of its own.
    Other,
    /// What was asked for makes no sense: arguments, environment, configuration.
    Usage,
    /// What was named does not exist, or no more.
    NotFound,
    /// The server understood and refused.
    Refused,
    /// The server cannot be reached, or cannot serve this now.
    Unavailable,
    /// The folder was written by another version of Longshore, at another level.
    OtherLevel,
}

impl Kind {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::Unavailable => 5,
            // `EX_DATAERR` of sysexits.h.
            Self::OtherLevel => 65,
        }
    }
}

/// An error as it is shown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// What went wrong, with the offending value.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The exit code for an error, after showing it. A reader that closed our output (`| head`) has
/// what it wanted.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_reader_gone(error) {
        return ExitCode::SUCCESS;
    }
    note(&format!("error: {error:#}"));
    let failure = error.downcast_ref::<Failure>();
    if let Some(hint) = failure.and_then(|failure| failure.hint.as_ref()) {
        note(&format!("hint: {hint}"));
    }
    ExitCode::from(failure.map_or(Kind::Other, |failure| failure.kind).code())
}

fn is_reader_gone(error: &anyhow::Error) -> bool {
    let errors = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    errors
        .filter_map(io::Error::get_ref)
        .any(<dyn std::error::Error + Send + Sync>::is::<ReaderGone>)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_survives_context() {
        let error: anyhow::Error = Failure::new(Kind::NotFound, "no such job").into();
        let error = Err::<(), _>(error).context("cannot cancel").unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.kind.code(), 3);
        assert_eq!(format!("{error:#}"), "cannot cancel: no such job");
    }

    #[test]
    fn a_closed_output_is_no_error() {
        let error: anyhow::Error = io::Error::new(io::ErrorKind::BrokenPipe, ReaderGone).into();
        assert!(is_reader_gone(&error));
        let broken: anyhow::Error = io::Error::from(io::ErrorKind::BrokenPipe).into();
        assert!(!is_reader_gone(&broken), "of a connection");
    }
}
