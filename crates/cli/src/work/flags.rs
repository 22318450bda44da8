//! The files by which commands and their worker talk: each run knows the paths of its own. One
//! comes into being when it is to stop where another run can go on; in the other one it says when
//! its schedule is to fire next.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::job::Assignment;

/// A folder of this worker alone, gone with it.
#[derive(Debug)]
pub(crate) struct Flags {
    folder: PathBuf,
}

impl Flags {
    pub(crate) fn create() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("longshore-{}", uuid::Uuid::now_v7()));
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| {
            let shown = folder.display();
            io::Error::new(error.kind(), format!("{shown}: {error}"))
        })?;
        Ok(Self { folder })
    }

    /// Where the file of a run is to be; none for a run that is the only one of its job, since no
    /// other would go on from where it stops.
    pub(crate) fn path_of(&self, job: &Assignment) -> Option<PathBuf> {
        (!job.at_most_once).then(|| self.folder.join(format!("{}-{}", job.id, job.token)))
    }

    /// Where a run may say when its schedule fires next.
    pub(crate) fn next_of(&self, job: &Assignment) -> PathBuf {
        self.folder.join(format!("{}-{}.next", job.id, job.token))
    }
}

impl Drop for Flags {
    fn drop(&mut self) {
        // What is left of it does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
