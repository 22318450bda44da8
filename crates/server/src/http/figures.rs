//! What scrapes remember, kept in a file of the store's folder: who has a name in metrics has it
//! after a restart too. Where the file is missing or of no use, names are given anew.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::metrics::{NAMESPACE_COUNTERS, QUEUE_COUNTERS};
use super::series::{Kept, Series};

/// The name of the file.
const FILE: &str = "metrics";
/// A longer file is none that was written here.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What scrapes remember.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(super) queues: Series<QUEUE_COUNTERS>,
    pub(super) namespaces: Series<NAMESPACE_COUNTERS>,
    /// The folder of the store.
    dir: Option<PathBuf>,
    /// How many may have a name.
    max: usize,
    /// What the file holds.
    written: Vec<u8>,
}

#[derive(Deserialize, Serialize)]
struct File {
    /// How many could have a name: where that changes, they are given anew.
    max: usize,
    queues: Kept,
    namespaces: Kept,
}

impl Figures {
    /// What is known from before the start.
    pub(crate) fn open(dir: Option<PathBuf>, max: usize) -> Self {
        let known = dir.as_deref().and_then(|dir| read(dir, max)).unwrap_or_default();
        Self { queues: known.0, namespaces: known.1, dir, max, written: Vec::new() }
    }

    /// What is to be written, where it has changed, and into which folder.
    pub(crate) fn take_changed(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        let file =
            File { max: self.max, queues: self.queues.kept(), namespaces: self.namespaces.kept() };
        let bytes = serde_json::to_vec(&file).unwrap_or_default();
        if bytes == self.written {
            return None;
        }
        self.written.clone_from(&bytes);
        Some((self.dir.clone()?, bytes))
    }
}

fn read(dir: &Path, max: usize) -> Option<(Series<QUEUE_COUNTERS>, Series<NAMESPACE_COUNTERS>)> {
    let mut bytes = Vec::new();
    fs::File::open(dir.join(FILE)).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let file: File = serde_json::from_slice(&bytes).ok().filter(|file: &File| file.max == max)?;
    Some((Series::from_kept(file.queues, max)?, Series::from_kept(file.namespaces, max)?))
}

/// Writes the file. Nothing that matters is lost with it, so nothing waits for the disk.
pub(crate) fn write((dir, bytes): &(PathBuf, Vec<u8>)) -> io::Result<()> {
    let new = dir.join(format!("{FILE}.new"));
    fs::write(&new, bytes)?;
    fs::rename(&new, dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::series::{Shard, Told};

    fn look(figures: &mut Figures) {
        let name = ("n".to_owned(), "q".to_owned());
        let told = [Told { shard: 0, name, order: 1, totals: [1, 2, 3, 4] }];
        figures.queues.take(&told, &[Shard { answered: true, gone: [0; 4] }], 5);
    }

    #[test]
    fn a_file_that_is_of_no_use_gives_names_anew() {
        let dir = tempfile::tempdir().unwrap();
        let open = |max| Figures::open(Some(dir.path().to_owned()), max);
        let mut figures = open(5);
        look(&mut figures);
        write(&figures.take_changed().unwrap()).unwrap();
        assert!(figures.take_changed().is_none(), "nothing has changed");
        assert_eq!(open(5).queues.named().count(), 1);
        assert_eq!(open(6).queues.named().count(), 0, "another number may have a name");
        for broken in ["", "{}", "[", "{\"max\":5,\"queues\":7,\"namespaces\":7}"] {
            fs::write(dir.path().join(FILE), broken).unwrap();
            assert_eq!(open(5).queues.named().count(), 0, "{broken}");
        }
    }
}
