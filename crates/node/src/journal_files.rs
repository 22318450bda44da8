//! Opens the file journal of a shard.

use longshore_journal::{FileConfig, FileJournal, Identity};
use uuid::Uuid;

use crate::recover::{OpenedJournal, RecoverError};
use crate::store_dir::ShardDir;

/// What opens journals that are kept as `config` says.
pub(crate) fn opener(
    config: FileConfig,
) -> impl Fn(&ShardDir, Uuid, u32) -> Result<OpenedJournal, RecoverError> + Send + Sync {
    move |dir, store_id, shard| open(config, dir, store_id, shard)
}

/// Opens the journal in a shard's folder, which must be there: a lost one is not made anew.
fn open(
    config: FileConfig,
    dir: &ShardDir,
    store_id: Uuid,
    shard: u32,
) -> Result<OpenedJournal, RecoverError> {
    let folder = dir.journal();
    if !folder.is_dir() {
        return Err(RecoverError::FolderLost { folder });
    }
    let identity = Identity { store: store_id.into_bytes(), shard };
    let config = FileConfig { identity, ..config };
    let (journal, recovery) = FileJournal::open(folder, config)?;
    if let Some(torn) = &recovery.torn {
        let (path, offset) = (torn.path.display(), torn.offset);
        tracing::warn!(shard, %path, offset, fault = %torn.fault, "a torn tail was cut");
    }
    let room = Some(journal.room());
    Ok(OpenedJournal { journal: Box::new(journal), room })
}
