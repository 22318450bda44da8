//! Open files, so many at most: what was used longest ago is closed first.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_journal::disk::{Disk, DiskFile};

/// How many files of one shard are open at most, beside those that are being read.
const OPEN_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct OpenFiles {
    disk: Arc<dyn Disk>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: BTreeMap<String, (Arc<dyn DiskFile>, u64)>,
    uses: u64,
}

impl OpenFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, open: Mutex::default() }
    }

    /// The file of that name.
    pub(crate) fn get(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.get_or(name, |disk| match disk.open(name, true) {
            // It may be read all the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => disk.open(name, false),
            opened => opened,
        })
    }

    /// A new file of that name.
    pub(crate) fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.forget(name);
        self.get_or(name, |disk| disk.create(name))
    }

    /// How a file is called in messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }

    pub(crate) fn forget(&self, name: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).files.remove(name);
    }

    fn get_or(
        &self,
        name: &str,
        make: impl FnOnce(&dyn Disk) -> io::Result<Arc<dyn DiskFile>>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let uses = open.uses;
        if let Some((file, used)) = open.files.get_mut(name) {
            *used = uses;
            return Ok(Arc::clone(file));
        }
        let file = make(&*self.disk)?;
        if open.files.len() >= OPEN_MAX
            && let Some(oldest) = open.files.iter().min_by_key(|(_, (_, used))| *used)
        {
            let name = oldest.0.clone();
            open.files.remove(&name);
        }
        open.files.insert(name.to_owned(), (Arc::clone(&file), uses));
        Ok(file)
    }
}
