//! Which files of a partition a round of compaction goes through, and whether it is worth it.

use longshore_engine::StreamSettings;

use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::error::ReadError;
use crate::file_id::FileId;
use crate::partition::Partition;

/// A file to go through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) id: FileId,
    pub(super) len_bytes: u64,
    /// The offset at which the next file begins.
    pub(super) end: u64,
}

/// What a round in a partition would go through.
#[derive(Debug)]
pub(super) struct Plan {
    /// From the partition's first file on.
    pub(super) sources: Vec<Source>,
    /// How much of it is not clean, in millionths.
    pub(super) dirty_ppm: u32,
    /// Something in it has waited for as long as it may.
    pub(super) is_late: bool,
}

impl Plan {
    /// The offset up to which all is clean.
    pub(super) fn clean(&self) -> u64 {
        let dirty = self.sources.iter().find(|source| source.id.clean() < source.end);
        dirty.map_or(u64::MAX, |source| source.id.clean())
    }
}

/// What can be gone through: files that are written to no more, of which a start needs nothing but
/// the events, in which no transaction is open, and none of whose events is too young.
pub(super) fn plan(
    partition: &Partition,
    settings: &StreamSettings,
    now_ms: u64,
) -> Result<Option<Plan>, ReadError> {
    let synced = partition.synced_base.load(std::sync::atomic::Ordering::Relaxed);
    let stable = partition.stable_end();
    let mut all: Vec<Source> = {
        let files = partition.files();
        let ends = files.files.iter().skip(1).map(|next| next.id.base);
        let closed = files.files.iter().zip(ends);
        let source =
            closed.map(|(file, end)| Source { id: file.id, len_bytes: file.len_bytes, end });
        source.take_while(|it| it.id.base < synced && it.end <= stable).collect()
    };
    let is_dirty = |source: &Source| source.id.clean() < source.end;
    if settings.compaction_lag_ms_min > 0 {
        let young = now_ms.saturating_sub(settings.compaction_lag_ms_min);
        let mut ripe = all.len();
        for (index, source) in all.iter().enumerate().filter(|(_, source)| is_dirty(source)) {
            if newest_time(partition, source)?.is_some_and(|it| it > young.cast_signed()) {
                ripe = index;
                break;
            }
        }
        all.truncate(ripe);
    }
    let bytes = |of: &dyn Fn(&Source) -> bool| -> u64 {
        all.iter().filter(|source| of(source)).map(|source| source.len_bytes).sum()
    };
    let Some(first) = all.iter().find(|source| is_dirty(source)) else { return Ok(None) };
    let (dirty, total) = (bytes(&is_dirty), bytes(&|_| true));
    let dirty_ppm =
        (dirty.saturating_mul(1_000_000).checked_div(total)).unwrap_or(1_000_000) as u32;
    let is_late = match settings.compaction_lag_ms_max {
        None => false,
        Some(lag_ms) => {
            let head = partition.read_at(first.id, 0, HEADER_BYTES)?;
            let late = now_ms.saturating_sub(lag_ms).cast_signed();
            // Without a time, nobody knows since when it waits.
            BatchHeader::parse(&head).is_ok_and(|header| (0..late).contains(&header.newest_time))
        }
    };
    Ok(Some(Plan { sources: all, dirty_ppm, is_late }))
}

fn newest_time(partition: &Partition, source: &Source) -> Result<Option<i64>, ReadError> {
    loop {
        let file = partition.files().files.iter().find(|file| file.id == source.id).cloned();
        let Some(file) = file else { return Ok(None) };
        if file.walk.at() >= file.len_bytes {
            return Ok(file.walk.newest_time());
        }
        partition.walk_on(file.id, file.walk, file.len_bytes)?;
    }
}
