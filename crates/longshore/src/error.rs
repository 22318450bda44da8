//! What went wrong in a run: what a job returns, and what is kept of it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use longshore_proto::v1;

/// Why a run failed. Every error of the standard kind becomes one with `?`; [`JobError::msg`]
/// makes one of anything that can be shown.
///
/// It is no `std::error::Error` itself, for the same reason as `anyhow::Error` is none.
#[derive(Clone, PartialEq, Eq)]
pub struct JobError {
    kind: String,
    message: String,
    backtrace: String,
    retry_in: Option<Duration>,
}

impl JobError {
    /// One with a class, such as `no_such_user`, and a message.
    pub fn new(kind: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            kind: kind.into(),
            message: message.to_string(),
            backtrace: String::new(),
            retry_in: None,
        }
    }

    /// One with a message only.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::new("error", message)
    }

    /// Lets the next attempt, if one is left, wait so long instead of what the job says.
    #[must_use]
    pub fn retry_in(mut self, delay: Duration) -> Self {
        self.retry_in = Some(delay);
        self
    }

    /// Keeps where it was.
    #[must_use]
    pub fn with_backtrace(mut self, backtrace: impl fmt::Display) -> Self {
        self.backtrace = backtrace.to_string();
        self
    }

    /// Its class.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What it says.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it was; empty where nobody looked.
    pub fn backtrace(&self) -> &str {
        &self.backtrace
    }

    /// How long the next attempt shall wait, where that was said.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.retry_in
    }

    pub(crate) fn into_wire(self) -> v1::JobError {
        // Servers cut there: what goes beyond would only make messages large.
        v1::JobError {
            r#type: cut(self.kind, 255),
            message: cut(self.message, 10_000),
            backtrace: cut(self.backtrace, 16 << 10),
        }
    }

    pub(crate) fn from_wire(error: v1::JobError) -> Self {
        let v1::JobError { r#type: kind, message, backtrace } = error;
        Self { kind, message, backtrace, retry_in: None }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        if !self.backtrace.is_empty() {
            write!(f, "\n{}", self.backtrace)?;
        }
        Ok(())
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let inner_message = inner.to_string();
            // Some errors repeat what they wrap.
            if !message.contains(&inner_message) {
                message.push_str(": ");
                message.push_str(&inner_message);
            }
            source = inner.source();
        }
        // Costs nothing unless RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let backtrace = match backtrace.status() {
            BacktraceStatus::Captured => backtrace.to_string(),
            _ => String::new(),
        };
        Self { kind: type_name::<E>(), message, backtrace, retry_in: None }
    }
}

/// At most so many bytes of a text.
fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// The name of a type without the path to it.
fn type_name<E>() -> String {
    let full = std::any::type_name::<E>();
    let bare = full.split('<').next().unwrap_or(full);
    bare.rsplit("::").next().unwrap_or(bare).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let error = JobError::new("k", "\u{fc}".repeat(9_000)).into_wire();
        assert_eq!(error.message, "\u{fc}".repeat(5_000));
        assert_eq!(cut("a\u{fc}".to_owned(), 2), "a");
    }

    #[test]
    fn an_error_keeps_its_class_and_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the mail was not sent")]
        struct NotSent(#[source] std::io::Error);
        fn fails() -> Result<(), JobError> {
            Err(NotSent(std::io::Error::other("no route")))?;
            Ok(())
        }
        let error = fails().unwrap_err();
        assert_eq!(error.kind(), "NotSent");
        assert_eq!(error.message(), "the mail was not sent: no route");
    }
}
