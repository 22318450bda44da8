//! What goes wrong between a client and its server, and what to do about it.

use std::time::Duration;

use longshore_proto::v1;
use thiserror::Error;
use tonic::{Code, Status};

use crate::JobError;

/// Why the server refused something, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The stable code, explained in `docs/errors.md`.
    pub code: String,
    /// What happened, to what, and what to do.
    pub detail: String,
    /// The field at fault, where there is one.
    pub field: Option<String>,
    /// How long to wait before trying again, where that helps.
    pub retry_after: Option<Duration>,
    /// What may be given, or what there is in its place.
    pub(crate) allowed: Option<String>,
    /// The fault is the server's, or it cannot be asked: not of what was asked.
    pub(crate) is_fault: bool,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

impl Refusal {
    pub(crate) fn from_problem(problem: v1::Problem) -> Self {
        Self {
            code: problem.code,
            detail: problem.detail,
            field: Some(problem.field).filter(|it| !it.is_empty()),
            retry_after: problem.retry_after_ms.map(Duration::from_millis),
            allowed: None,
            is_fault: problem.http_status >= 500,
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is none.
    #[error("\"{url}\" is no address of a server: {reason}; write http://HOST:PORT")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no runtime that would run its connection.
    #[error(
        "a client needs a tokio runtime around it: build it below `#[tokio::main]` or \
         `Runtime::block_on`"
    )]
    NoRuntime,
    /// Jobs that are enqueued together go to different queues.
    #[error(
        "jobs that are enqueued together share a queue, but these go to '{first}' and '{second}': \
         enqueue them apart, or with `enqueue_stream`"
    )]
    QueuesDiffer {
        /// A queue.
        first: String,
        /// Another one.
        second: String,
    },
    /// Two options of a job say the same thing differently.
    #[error("a job may have {one} or {other}, not both: leave one of them out")]
    OptionsDiffer {
        /// An option.
        one: &'static str,
        /// Another one.
        other: &'static str,
    },
    /// The surroundings name a server or namespace that is none.
    #[error("the variable {variable} is not UTF-8")]
    Variable {
        /// Its name.
        variable: &'static str,
    },
    /// The token is no token: it is empty, or has spaces or other characters than those of ASCII.
    #[error("the token is empty, or has characters that no token has")]
    Token,
    /// The surroundings name a file with a token that cannot be read.
    #[error("cannot read the token in {}: {reason}", path.display())]
    TokenFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// No answer came in time. Nothing is known of what was asked; enqueues may be repeated with
    /// the same ids, which has one effect.
    #[error(
        "no answer from {url} within {waited:?}: {reason}; check that `longshore serve` runs \
         there and that this machine reaches it"
    )]
    Unreachable {
        /// The server.
        url: String,
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt met.
        reason: String,
    },
    /// The server refuses it. Nothing has changed, but where the code is `disk_low`: what was under
    /// way when the disk filled up takes effect once there is space.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Something that is to travel is no JSON.
    #[error("a {what} cannot be written as JSON: {reason}")]
    Encode {
        /// What it is.
        what: String,
        /// Why not.
        reason: String,
    },
    /// Something that came is not of the type that was expected.
    #[error("{what} is not of the expected type: {reason}; it was written by another version?")]
    Decode {
        /// What it is.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The job has not ended in time. It goes on.
    #[error("job {id} has not ended within {waited:?}; it is {state} and goes on, ask again later")]
    NotEnded {
        /// The job.
        id: String,
        /// How long was waited.
        waited: Duration,
        /// Its state.
        state: String,
    },
    /// The job has ended, but not well.
    #[error("job {id} is {state}: {error}")]
    NotSucceeded {
        /// The job.
        id: String,
        /// dead, cancelled or expired.
        state: String,
        /// The last error, or the reason.
        error: Box<JobError>,
    },
}

impl ClientError {
    /// The server's code, where the server refused it.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(&refusal.code),
            _ => None,
        }
    }

    /// Whether what was asked may have happened, or may happen yet: no answer came, or the server's
    /// disk filled up while it was under way. Asked again with the same id it has one effect.
    pub fn may_take_effect(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || self.code() == Some(DISK_LOW)
    }

    /// How many events the key has, where an event was refused since it has another number than was
    /// expected.
    pub fn actual_events(&self) -> Option<u64> {
        match self {
            Self::Refused(refusal) if refusal.code == EVENTS_UNEXPECTED => {
                refusal.allowed.as_deref()?.parse().ok()
            }
            _ => None,
        }
    }

    pub(crate) fn from_status(status: &Status) -> Self {
        let word = |key: &str| status.metadata().get(key).and_then(|it| it.to_str().ok());
        let document = status.metadata().get_bin("longshore-problem-bin");
        let document = document.and_then(|it| it.to_bytes().ok());
        let document: Option<serde_json::Value> =
            document.and_then(|it| serde_json::from_slice(&it).ok());
        let field = document.as_ref().and_then(|it| it["field"].as_str()).map(str::to_owned);
        let allowed = document.as_ref().and_then(|it| it["allowed"].as_str()).map(str::to_owned);
        let http_status = document.as_ref().and_then(|it| it["status"].as_u64());
        let is_fault = status.code() == Code::Unavailable || http_status >= Some(500);
        let code = word("longshore-code").map_or_else(|| word_of(status.code()), str::to_owned);
        let retry_after = word("retry-after-ms").and_then(|it| it.parse().ok());
        let retry_after = retry_after.map(Duration::from_millis);
        let mut detail = status.message().to_owned();
        if status.code() == Code::Unimplemented && word("longshore-code").is_none() {
            detail.push_str("; is that the address of a Longshore server?");
        }
        Self::Refused(Refusal { code, detail, field, retry_after, allowed, is_fault })
    }
}

/// A key has another number of events.
pub(super) const EVENTS_UNEXPECTED: &str = "events_unexpected";
/// The disk of the server is low, or was full while the call was under way.
const DISK_LOW: &str = "disk_low";

/// Whether a call that was refused so may take effect all the same.
pub(super) fn may_take_effect(status: &Status) -> bool {
    status.metadata().get("longshore-code").is_some_and(|code| code == DISK_LOW)
}

/// A code for what a proxy or the transport refuses.
fn word_of(code: Code) -> String {
    let mut word = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

/// Whether a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It would meet the same.
    Never,
    Soon,
    After(Duration),
}

/// Whether a call that met `status` may be repeated.
pub(super) fn again(status: &Status) -> Again {
    let metadata = status.metadata();
    let retry_after = metadata.get("retry-after-ms").and_then(|it| it.to_str().ok());
    if let Some(ms) = retry_after.and_then(|it| it.parse().ok()) {
        return Again::After(Duration::from_millis(ms));
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Again::Soon,
        // What the transport meets comes so, without a code of the server.
        Code::Unknown | Code::Internal if metadata.get("longshore-code").is_none() => Again::Soon,
        _ => Again::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_the_words_of_the_server() {
        let mut status = Status::resource_exhausted("the queue is full");
        status.metadata_mut().insert("longshore-code", "queue_full".parse().unwrap());
        status.metadata_mut().insert("retry-after-ms", "250".parse().unwrap());
        assert_eq!(again(&status), Again::After(Duration::from_millis(250)));
        let error = ClientError::from_status(&status);
        assert_eq!(error.code(), Some("queue_full"));
        assert_eq!(error.to_string(), "refused: the queue is full (queue_full)");
        assert_eq!(again(&Status::invalid_argument("no")), Again::Never);
        let foreign = ClientError::from_status(&Status::permission_denied("no"));
        assert_eq!(foreign.code(), Some("permission_denied"));
    }
}
