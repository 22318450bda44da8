//! What can go wrong below the ordered map: faults of the disk and what they stop.

use std::io;
use std::path::PathBuf;

/// The state could not be read or written as it was left. It stops the shard.
///
/// Reads unwind with it as the panic's payload, so that no wrong or missing value can be mistaken
/// for an answer; the shard's thread catches it with `catch_unwind` and a downcast.
#[derive(Debug, thiserror::Error)]
#[error("state at {}: {what}", path.display())]
pub struct StoreFault {
    /// The file or folder at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

impl StoreFault {
    pub(crate) fn new(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into() }
    }

    /// Leaves the running call. The payload is the fault itself.
    pub(crate) fn unwind(self) -> ! {
        std::panic::resume_unwind(Box::new(self))
    }
}

/// What the tree says, in words for whoever has to do something about it.
pub(crate) fn words_of(error: &lsm_tree::Error) -> String {
    match error {
        lsm_tree::Error::Io(error) => error.to_string(),
        lsm_tree::Error::Decompress(_) => "a block cannot be decompressed".to_owned(),
        lsm_tree::Error::InvalidVersion(version) => format!("its format {version} is not known"),
        lsm_tree::Error::Unrecoverable => "files that it needs are missing or damaged".to_owned(),
        lsm_tree::Error::ChecksumMismatch { .. } => {
            "a checksum does not match: it holds other bytes than were written".to_owned()
        }
        lsm_tree::Error::InvalidTag((what, tag)) => format!("{tag} is no {what}"),
        lsm_tree::Error::InvalidTrailer => "the end of a block is damaged".to_owned(),
        lsm_tree::Error::InvalidHeader(what) => format!("the head of a block is damaged ({what})"),
        lsm_tree::Error::Utf8(_) => "a text in it is not UTF-8".to_owned(),
        _ => "it is damaged in a way that has no name".to_owned(),
    }
}

/// Why the state was not opened. Nothing on disk was changed, unless it is `Io`.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state is damaged or incomplete.
    #[error(transparent)]
    Fault(#[from] StoreFault),
    /// The operating system refused.
    #[error("state at {}: {source}", path.display())]
    Io {
        /// The file or folder in question.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Why a flush or a compaction did not happen. The state in memory is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// The disk is full. What was half-written is removed; try again when space returns.
    #[error("no space left for the state at {}: {source}", path.display())]
    NoSpace {
        /// The folder of the state.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Anything else: not to be tried again, the shard has to stop.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_in_sentences() {
        let errors = [
            lsm_tree::Error::Unrecoverable,
            lsm_tree::Error::InvalidVersion(9),
            lsm_tree::Error::InvalidTrailer,
            lsm_tree::Error::InvalidHeader("Block"),
            lsm_tree::Error::InvalidTag(("ValueType", 7)),
            lsm_tree::Error::ChecksumMismatch {
                got: lsm_tree::Checksum::from_raw(1),
                expected: lsm_tree::Checksum::from_raw(2),
            },
        ];
        for error in errors {
            let told = words_of(&error);
            assert!(!told.contains(&format!("{error:?}")) && told.contains(' '), "{told}");
        }
    }
}
