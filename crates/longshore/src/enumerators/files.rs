//! Files of a folder, in the order of their names.

use std::path::{Path, PathBuf};

use futures_util::stream;

use crate::{Enumerator, JobError};

impl Enumerator<PathBuf, String> {
    /// The files of a folder (not of those inside it), in the order of their names; symbolic links
    /// are passed over. The cursor is the name of the last one that is done: files may come and go
    /// meanwhile. A file whose name is not UTF-8 is an item that fails.
    pub async fn files(folder: impl AsRef<Path>, cursor: Option<String>) -> Result<Self, JobError> {
        let folder = folder.as_ref().to_owned();
        let at = |error: std::io::Error| {
            JobError::new("folder", format!("{}: {error}", folder.display()))
        };
        let mut entries = tokio::fs::read_dir(&folder).await.map_err(at)?;
        // The name as a cursor, and whether it is none: such a one comes behind its like.
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(at)? {
            if entry.file_type().await.map_err(at)?.is_file() {
                let name = entry.file_name().into_string();
                let is_broken = name.is_err();
                let name = name.unwrap_or_else(|name| name.to_string_lossy().into_owned());
                found.push((name, is_broken));
            }
        }
        found.sort_unstable();
        let names: Vec<_> = found.iter().map(|(name, _)| name.clone()).collect();
        found.retain(|(name, _)| cursor.as_ref().is_none_or(|last| name > last));
        let items = found.into_iter().map(move |(name, is_broken)| {
            let path = folder.join(&name);
            let not_utf8 =
                || JobError::new("file_name", format!("{} is not UTF-8", path.display()));
            let item = if is_broken { Err(not_utf8()) } else { Ok(path) };
            Ok((item, name))
        });
        let total = names.len();
        Ok(Self::fallible(stream::iter(items)).total(total as u64).position(move |last| {
            names.partition_point(|name| name <= last) as f64 / total.max(1) as f64
        }))
    }
}
