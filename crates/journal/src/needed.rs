//! The files that a journal needs, to be looked at from other threads: what is removed while it is
//! open can be written and synced without a fault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::DiskFile;

/// Segments by their numbers, each with its name.
type Files = BTreeMap<u64, (PathBuf, Arc<dyn DiskFile>)>;

/// The segments that the next start needs: those with entries, the one that is written, and those
/// prepared after it.
#[derive(Debug, Default)]
pub(crate) struct NeededFiles {
    files: Mutex<Files>,
}

impl NeededFiles {
    pub(crate) fn add(&self, sequence: u64, path: PathBuf, file: Arc<dyn DiskFile>) {
        self.lock().insert(sequence, (path, file));
    }

    /// To be called before the file is removed.
    pub(crate) fn drop(&self, sequence: u64) {
        self.lock().remove(&sequence);
    }

    /// The first one that does not bear its name any more. Nobody removes one meanwhile.
    pub(crate) fn lost(&self) -> Option<PathBuf> {
        let files = self.lock();
        let lost = files.values().find(|(path, file)| !file.is_at(path));
        lost.map(|(path, _)| path.clone())
    }

    /// No code between lock and unlock panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
