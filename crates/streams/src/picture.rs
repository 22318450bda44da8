//! The files of a shard's streams as the last sync left them, to be copied while events come in.

use std::path::PathBuf;
use std::sync::PoisonError;

use bytes::Bytes;
use longshore_engine::Position;

use crate::error::OpenError;
use crate::file_id::{FileId, sort_out};
use crate::log::StreamLog;
use crate::synced::{SYNCED_NAME, Synced};

/// Which files hold the events up to a position. They only grow; one that retention or compaction
/// has removed since is not in a newer picture.
#[derive(Clone, Debug)]
pub struct StreamPicture {
    /// Up to which position of the journal they are complete.
    pub position: Position,
    /// The name and the contents of the file that says how long they are.
    pub synced: (String, Bytes),
    /// The others.
    pub files: Vec<StreamPictureFile>,
}

/// A file of events.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamPictureFile {
    /// Its name. No file of other contents ever has it, but for what comes behind `bytes`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// So much of it counts.
    pub bytes: u64,
}

impl StreamLog {
    /// The files as the last sync left them, `None` where there are no streams. It waits for a
    /// sync and a round of compaction that are under way.
    pub fn picture(&self) -> Result<Option<StreamPicture>, OpenError> {
        let _compacting = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(synced) = Synced::read(&*self.disk)? else { return Ok(None) };
        let mut found = self.found()?;
        let mut files = Vec::new();
        for (id, end) in &synced.ends {
            let mut named = found.remove(id).unwrap_or_default();
            named.retain(|file| file.base <= end.base);
            for file in sort_out(named).0 {
                let is_last = file.base == end.base;
                if is_last && end.len_bytes == 0 {
                    continue;
                }
                let name = file.name(*id);
                let bytes = if is_last { end.len_bytes } else { self.len_of(&name, &file)? };
                files.push(StreamPictureFile { path: self.disk.path(&name), name, bytes });
            }
        }
        let contents = (SYNCED_NAME.to_owned(), Bytes::from(synced.encode()));
        Ok(Some(StreamPicture { position: synced.position, synced: contents, files }))
    }

    /// Up to which position of the journal the files are complete and durable.
    pub fn synced_position(&self) -> Option<Position> {
        self.synced()
    }

    fn len_of(&self, name: &str, file: &FileId) -> Result<u64, OpenError> {
        if let Some(compacted) = file.compacted {
            return Ok(compacted.len_bytes);
        }
        let io =
            |source| OpenError::Io { operation: "look at", path: self.disk.path(name), source };
        self.disk.open(name, false).and_then(|file| file.len_bytes()).map_err(io)
    }
}
