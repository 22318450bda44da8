//! Files of a folder, in the order of their found.

use std::path::{Path, PathBuf};

use crate::{Enumerator, JobError};

impl Enumerator<PathBuf, String> {
    /// The files of a folder (not of those inside it), in the order of their found. The cursor is
    /// the name of the last one that is done: files may come and go meanwhile.
    pub async fn files(folder: impl AsRef<Path>, cursor: Option<String>) -> Result<Self, JobError> {
        let folder = folder.as_ref().to_owned();
        let at = |error: std::io::Error| {
            JobError::new("folder", format!("{}: {error}", folder.display()))
        };
        let mut entries = tokio::fs::read_dir(&folder).await.map_err(at)?;
        let (mut found, mut total) = (Vec::new(), 0);
        while let Some(entry) = entries.next_entry().await.map_err(at)? {
            if !entry.file_type().await.map_err(at)?.is_file() {
                continue;
            }
            total += 1;
            let name = entry.file_name().into_string().map_err(|name| {
                JobError::new("file_name", format!("{} is not UTF-8", name.display()))
            })?;
            if cursor.as_ref().is_none_or(|last| name > *last) {
                found.push(name);
            }
        }
        found.sort_unstable();
        let pairs = found.into_iter().map(move |name| (folder.join(&name), name));
        Ok(Self::from_pairs(pairs).total(total))
    }
}
