//! The files by which commands and their worker talk: each run knows the paths of its own. One
//! comes into being when it is to stop where another run can go on; in the other one it says when
//! its schedule is to fire next.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::job::Assignment;

/// The file of one run, gone with it.
#[derive(Debug)]
pub(crate) struct RunFile(PathBuf);

impl RunFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        // Mostly it was never made.
        let _ = fs::remove_file(&self.0);
    }
}

/// A folder of this worker alone, gone with it.
#[derive(Debug)]
pub(crate) struct Flags {
    folder: PathBuf,
}

impl Flags {
    pub(crate) fn create() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("longshore-{}", uuid::Uuid::now_v7()));
        make(&folder)?;
        Ok(Self { folder })
    }

    /// Where the file of a run is to be; none for a run that is the only one of its job, since no
    /// other would go on from where it stops.
    pub(crate) fn path_of(&self, job: &Assignment) -> Option<PathBuf> {
        (!job.at_most_once).then(|| self.folder.join(format!("{}-{}", job.id, job.token)))
    }

    /// Where a run may say when its schedule fires next. The folder is made again where it is gone:
    /// folders of temporary files are cleaned of what was not used for days.
    pub(crate) fn next_of(&self, job: &Assignment) -> io::Result<RunFile> {
        if !self.folder.is_dir() {
            make(&self.folder).or_else(|error| {
                // Another run was faster.
                if self.folder.is_dir() { Ok(()) } else { Err(error) }
            })?;
        }
        Ok(RunFile::at(self.folder.join(format!("{}-{}.next", job.id, job.token))))
    }
}

/// Makes a folder that nobody else looks into.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder).map_err(|error| {
        let shown = folder.display();
        io::Error::new(error.kind(), format!("{shown}: {error}"))
    })
}

impl Drop for Flags {
    fn drop(&mut self) {
        // What is left of it does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_server::api::{JobIdText, TokenText};

    use super::*;

    fn job() -> Assignment {
        Assignment {
            id: JobIdText([7; 16]),
            token: TokenText { epoch: 1, counter: 2 },
            queue: "q".to_owned(),
            kind: "k".to_owned(),
            version: None,
            args: "{}".to_owned(),
            attempt: 1,
            max_attempts: 1,
            lease: Duration::from_secs(30),
            timeout: None,
            at_most_once: false,
            traceparent: None,
            cursor: None,
        }
    }

    /// Each run failed once somebody had cleaned the temporary files.
    #[test]
    fn a_folder_that_was_cleaned_away_is_made_again() {
        let flags = Flags::create().unwrap();
        fs::remove_dir(&flags.folder).unwrap();
        let file = flags.next_of(&job()).unwrap();
        let path = file.path().to_owned();
        fs::write(&path, "5s").unwrap();
        drop(file);
        assert!(!path.exists(), "it goes with its run");
        fs::remove_dir(&flags.folder).unwrap();
        fs::write(&flags.folder, "").unwrap();
        let why = flags.next_of(&job()).unwrap_err().to_string();
        assert!(why.contains(&flags.folder.display().to_string()), "{why}");
        fs::remove_file(&flags.folder).unwrap();
    }
}
