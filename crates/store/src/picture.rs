//! The files of the state on disk at one position, held so that they can be copied while the shard
//! works on. What is in them is nobody's business here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::Position;

use crate::body_file::{self, BodyFile};
use crate::check::{self, CURRENT_FILE};
use crate::error::StoreFault;
use crate::shared::lock;
use crate::snapshot::Snapshots;
use crate::tables::Tables;

/// The state on disk at one position. While it lives, its tables stay; a body file that nothing
/// points to may go, and then a newer picture does without it.
#[derive(Debug)]
pub struct Picture {
    /// The position whose state this is.
    pub position: Position,
    /// Small files that are replaced or removed at any time, as they are.
    pub copied: Vec<(String, Bytes)>,
    /// Files that never change, beside the holes that bodies leave which nothing points to.
    pub files: Vec<PictureFile>,
    _tables: Arc<Tables>,
}

/// A file of a picture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PictureFile {
    /// Its path in the folder of the state.
    pub name: String,
    /// What no file of other contents has in this store.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

impl Snapshots {
    /// The files of the state on disk. It waits for a flush and a compaction that are under way.
    pub fn picture(&self) -> Result<Picture, StoreFault> {
        let shared = &self.shared;
        // In this order, as everywhere.
        let _flushing = lock(&shared.flushing);
        let _compacting = lock(&shared.compacting);
        let view = shared.view();
        let tables = Arc::clone(&view.tables);
        let dir = &shared.dir;
        let Some((number, named)) = check::current_tables(dir)? else {
            return Err(StoreFault::new(dir, "it has no current version"));
        };
        if number != tables.version() {
            let memory = tables.version();
            let what = format!("version {number} is on disk, {memory} is in memory");
            return Err(StoreFault::new(dir, what));
        }
        let copied = [CURRENT_FILE.to_owned(), format!("v{number}")].into_iter().map(|name| {
            let path = dir.join(&name);
            let bytes =
                fs::read(&path).map_err(|error| StoreFault::new(path, error.to_string()))?;
            Ok((name, Bytes::from(bytes)))
        });
        let copied = copied.collect::<Result<Vec<_>, StoreFault>>()?;
        let mut files = Vec::with_capacity(named.len());
        for (number, checksum) in named {
            let name = format!("tables/{number}");
            let path = dir.join(&name);
            let bytes = fs::metadata(&path).map(|file| file.len());
            let bytes = bytes.map_err(|error| StoreFault::new(&path, error.to_string()))?;
            let key = format!("table-{number}-{checksum:032x}");
            files.push(PictureFile { name, key, path, bytes });
        }
        files.extend(lock(&shared.bodies).files.values().map(|file| file_of_bodies(dir, file)));
        Ok(Picture { position: view.persisted, copied, files, _tables: tables })
    }

    /// The position of the state on disk.
    pub fn persisted(&self) -> Position {
        self.shared.view().persisted
    }
}

fn file_of_bodies(dir: &Path, file: &BodyFile) -> PictureFile {
    PictureFile {
        name: format!("{}/{}", body_file::FOLDER, file.number),
        key: format!("bodies-{}-{:032x}", file.number, file.checksum()),
        path: body_file::path(dir, file.number),
        bytes: file.bytes(),
    }
}
