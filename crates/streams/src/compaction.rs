//! Keeping only the newest event of each key. Rounds go through the files of one partition after
//! the other, away from the journal and from the shard's thread, and put what is left in the place
//! of what was there: written and synced under another name first, then renamed. Offsets stay.

mod filter;
mod keys;
mod output;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use longshore_engine::PartitionId;
use thiserror::Error;

use self::filter::{Aborted, Filter};
use self::keys::NewestOffsets;
use self::output::Output;
use self::plan::{Plan, Source, plan};
use crate::batch::{BatchFault, BatchHeader, HEADER_BYTES};
use crate::codec;
use crate::error::{ReadError, is_no_space};
use crate::file_id::{Compacted, FileId};
use crate::log::{StreamEntry, StreamLog};
use crate::partition::Partition;
use crate::records::records;
use crate::walk::follows;

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// Transactions that are forgotten at a time.
const SPENT_MAX: usize = 64;

/// How long a partition is left alone in which a round failed, in milliseconds.
const ASIDE_MS: u64 = 60_000;

/// What a round may use.
#[derive(Clone, Copy, Debug)]
pub struct Compaction {
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Memory for the keys of a round: what finds no room is left to the next one.
    pub memory_bytes: usize,
    /// Bytes of the disk that are not its to take.
    pub spare_bytes: u64,
}

/// What a round did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Round {
    /// In which partition.
    pub partition: PartitionId,
    /// Bytes that were there.
    pub before_bytes: u64,
    /// Bytes that are left of them.
    pub after_bytes: u64,
    /// Batches that could not be opened, or would have grown, and are kept as they are.
    pub unopened: u64,
}

/// Aborted transactions of which compaction has left nothing but the markers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spent {
    /// The name of the partition's namespace.
    pub namespace: String,
    /// The partition.
    pub partition: PartitionId,
    /// The offsets of the markers.
    pub markers: Vec<u64>,
}

/// Why a round ended early. What it had put in place by then stays.
#[derive(Debug, Error)]
pub enum CompactError {
    /// A file cannot be read; the partition is left alone until the next start.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system refuses.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no room for what would be left.
    #[error("{bytes} bytes are needed and not free")]
    NoSpace {
        /// Bytes needed for a moment.
        bytes: u64,
    },
    /// What was written may not be durable: nothing is compacted until the next start.
    #[error("cannot make the files in {} durable: {source}", path.display())]
    Unsure {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It was told to stop.
    #[error("it was stopped")]
    Stopped,
}

impl CompactError {
    /// Whether nothing is wrong but that the disk is full.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Io { source, .. } => is_no_space(source),
            Self::Read(_) | Self::Unsure { .. } | Self::Stopped => false,
        }
    }
}

/// What there is to gain in a partition.
type Candidate = (Plan, Arc<Partition>, Arc<StreamEntry>);

impl StreamLog {
    /// One round in the partition that has most to gain from one; `None` where none has enough. May
    /// read and write all files of a partition.
    pub fn compact(&self, with: Compaction) -> Result<Option<Round>, CompactError> {
        let _one = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.go_on()?;
            let Some((plan, partition, stream)) = self.best(with.now_ms)? else { return Ok(None) };
            // Should it panic, it is not tried again.
            partition.aside_until_ms.store(u64::MAX, Ordering::Relaxed);
            let done = self.round(&partition, &stream, &plan, with);
            let aside = if done.is_ok() { 0 } else { with.now_ms.saturating_add(ASIDE_MS) };
            partition.aside_until_ms.store(aside, Ordering::Relaxed);
            match done {
                // It was trimmed, or its stream removed: another one has its turn.
                Err(CompactError::Read(error)) if error.is_missing() => {}
                Err(CompactError::Read(error)) => return noted(&partition, Err(error)),
                Err(error) => return Err(error),
                Ok(round) => {
                    let freed = round.before_bytes.saturating_sub(round.after_bytes);
                    for (counter, more) in self.compacted.iter().zip([1, freed]) {
                        counter.fetch_add(more, Ordering::Relaxed);
                    }
                    return Ok(Some(round));
                }
            }
        }
    }

    /// The partition that has most to gain from a round.
    fn best(&self, now_ms: u64) -> Result<Option<Candidate>, CompactError> {
        let mut best: Option<Candidate> = None;
        for stream in self.all() {
            let settings = &stream.settings;
            for partition in stream.partitions.iter().filter(|_| settings.compact) {
                if partition.unreadable.load(Ordering::Relaxed)
                    || partition.aside_until_ms.load(Ordering::Relaxed) > now_ms
                {
                    continue;
                }
                let plan = match plan(partition, settings, now_ms) {
                    // It was trimmed meanwhile.
                    Err(error) if error.is_missing() => continue,
                    plan => noted(partition, plan)?,
                };
                let Some(plan) = plan else { continue };
                let worth = plan.is_late || plan.dirty_ppm > settings.compaction_dirty_ppm;
                let rank = |plan: &Plan| (plan.is_late, plan.dirty_ppm);
                if worth && best.as_ref().is_none_or(|(it, ..)| rank(it) < rank(&plan)) {
                    best = Some((plan, Arc::clone(partition), Arc::clone(&stream)));
                }
            }
        }
        Ok(best)
    }

    /// No round begins any more, and none is under way once this returns: whoever uses the folder
    /// next has it alone.
    pub fn end_compaction(&self) {
        self.compaction_ended.store(true, Ordering::Relaxed);
        drop(self.compacting.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn go_on(&self) -> Result<(), CompactError> {
        let ended = self.compaction_ended.load(Ordering::Relaxed);
        if ended { Err(CompactError::Stopped) } else { Ok(()) }
    }

    /// Rounds of this life, and bytes that they freed.
    pub fn compacted(&self) -> [u64; 2] {
        [0, 1].map(|at| self.compacted.get(at).map_or(0, |it| it.load(Ordering::Relaxed)))
    }

    /// Aborted transactions that nobody needs to be told of any more. To be forgotten by whoever
    /// knows them; their markers go after that.
    pub fn spent(&self) -> Vec<Spent> {
        let mut found = Vec::new();
        for stream in self.all().iter().filter(|stream| stream.settings.compact) {
            for partition in &stream.partitions {
                let files = partition.files();
                let clean = files.files.iter().zip(files.files.iter().skip(1));
                let clean = clean.take_while(|(file, next)| file.id.clean() >= next.id.base).last();
                let clean = clean.map_or(0, |(_, next)| next.id.base);
                let markers = files.transactions.aborted_before(clean, SPENT_MAX);
                if !markers.is_empty() {
                    let namespace = stream.namespace.clone();
                    found.push(Spent { namespace, partition: partition.id, markers });
                }
            }
        }
        found
    }

    fn round(
        &self,
        partition: &Partition,
        stream: &StreamEntry,
        plan: &Plan,
        with: Compaction,
    ) -> Result<Round, CompactError> {
        let (mut sources, from) = (&plan.sources[..], plan.clean());
        // Before all of it is read for nothing.
        for group in groups(sources, partition.file_bytes()) {
            self.check_space(bytes_of(group), with)?;
        }
        let aborted = {
            let files = partition.files();
            Aborted::new(&files.transactions.aborted_between(0, u64::MAX))
        };
        let newest = NewestOffsets::new(with.memory_bytes);
        let tombstone_ms = i64::try_from(stream.settings.tombstone_ms).unwrap_or(i64::MAX);
        let mut filter = Filter {
            newest,
            aborted,
            known_to: from,
            end: 0,
            now_ms: with.now_ms.cast_signed(),
            tombstone_ms,
            within: BTreeSet::new(),
            unopened: false,
        };
        for (index, source) in sources.iter().enumerate().filter(|(_, it)| it.id.clean() < it.end) {
            if !self.learn(partition, source, from, &mut filter)? {
                // All that is known of the rest is that it is newer.
                sources = sources.get(..=index).unwrap_or(sources);
                break;
            }
            filter.known_to = source.end;
        }
        filter.end = sources.last().map_or(0, |last| last.end);
        let mut round =
            Round { partition: partition.id, before_bytes: 0, after_bytes: 0, unopened: 0 };
        for group in groups(sources, partition.file_bytes()) {
            if !self.rewrite(partition, group, &mut filter, (&mut round, with))? {
                break;
            }
        }
        Ok(round)
    }

    /// Whether there is room for what is left of so many bytes, which may be written otherwise.
    fn check_space(&self, before: u64, with: Compaction) -> Result<(), CompactError> {
        let free = self.disk.free_bytes().unwrap_or(u64::MAX);
        let bytes = before.saturating_mul(2).saturating_add(with.spare_bytes);
        if free < bytes { Err(CompactError::NoSpace { bytes }) } else { Ok(()) }
    }

    /// Puts what is left of some files in their place; `false` where they went meanwhile.
    fn rewrite(
        &self,
        partition: &Partition,
        group: &[Source],
        filter: &mut Filter,
        (round, with): (&mut Round, Compaction),
    ) -> Result<bool, CompactError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(true) };
        let before = bytes_of(group);
        self.check_space(before, with)?;
        let generation = group.iter().map(|it| it.id.generation()).max().unwrap_or(0) + 1;
        let clean = filter.known_to.clamp(first.id.base, last.end);
        let compacted = Some(Compacted { generation, end: last.end, clean, len_bytes: 0 });
        let id = FileId { base: first.id.base, compacted };
        let mut output = Output::begin(self, partition, id)?;
        for source in group {
            self.each_batch(partition, source, |header, batch| {
                let left = filter.take(header, batch).unwrap_or_else(|_| {
                    round.unopened += 1;
                    filter::Left::Whole
                });
                output.take(batch, left)
            })?;
        }
        let unchanged = group.len() == 1 && first.id.clean() == clean && !output.has_changed();
        round.before_bytes += before;
        if unchanged {
            round.after_bytes += before;
            return Ok(true);
        }
        self.go_on()?;
        round.after_bytes += output.len_bytes();
        output.put_in_place(group)
    }
}

fn bytes_of(sources: &[Source]) -> u64 {
    sources.iter().map(|source| source.len_bytes).sum()
}

/// Marks the partition as unreadable after a failed read, so that this is logged only once.
fn noted<T>(partition: &Partition, read: Result<T, ReadError>) -> Result<T, CompactError> {
    if read.is_err() {
        partition.unreadable.store(true, Ordering::Relaxed);
    }
    Ok(read?)
}

/// Files whose bytes fit into one, together.
fn groups(sources: &[Source], file_bytes: u64) -> Vec<&[Source]> {
    let mut groups = Vec::new();
    let mut rest = sources;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |source: &&Source| {
            bytes += source.len_bytes;
            bytes <= file_bytes
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, after) = rest.split_at(count);
        groups.push(group);
        rest = after;
    }
    groups
}

impl StreamLog {
    /// Learns which offset of each key is the newest; `false` where there is no room for all keys.
    /// Up to where they are known, the filter says then.
    fn learn(
        &self,
        partition: &Partition,
        source: &Source,
        from: u64,
        filter: &mut Filter,
    ) -> Result<bool, CompactError> {
        let mut full = false;
        self.each_batch(partition, source, |header, batch| {
            if full
                || header.end_offset() <= from
                || header.is_control()
                || filter.aborted.has(header)
            {
                return Ok(());
            }
            let closed = batch.get(HEADER_BYTES..header.len_bytes).unwrap_or_default();
            // What cannot be opened is kept as it is, and so is what is older.
            let Ok(opened) = codec::open(header.attributes, closed) else { return Ok(()) };
            let all = records(header, &opened);
            if all.clone().any(|record| record.is_err()) {
                return Ok(());
            }
            for record in all.flatten() {
                let offset = header.first_offset() + record.delta;
                let Some(key) = record.key.filter(|_| offset >= from) else { continue };
                if !filter.newest.put(key, offset) {
                    (full, filter.known_to) = (true, offset);
                    break;
                }
            }
            Ok(())
        })?;
        Ok(!full)
    }

    /// Goes through a file, each batch of which is checked.
    fn each_batch(
        &self,
        partition: &Partition,
        source: &Source,
        mut take: impl FnMut(&BatchHeader, &[u8]) -> Result<(), CompactError>,
    ) -> Result<(), CompactError> {
        let (mut at, mut buffer, mut stuck) = (0, Vec::new(), false);
        let mut next = source.id.base;
        while at < source.len_bytes {
            self.go_on()?;
            let left = (source.len_bytes - at) as usize;
            let damaged = |at, fault| partition.damaged(source.id, at, fault);
            let mut wanted = READ_BYTES.min(left);
            if let Ok(header) = BatchHeader::parse(&buffer) {
                wanted = header.len_bytes.max(READ_BYTES).min(left);
            }
            buffer = partition.read_at(source.id, at, wanted)?;
            let mut taken = 0;
            while let Some(rest) = buffer.get(taken..).filter(|rest| rest.len() >= HEADER_BYTES) {
                let place = at + taken as u64;
                let header = BatchHeader::parse(rest).map_err(|fault| damaged(place, fault))?;
                if header.len_bytes > rest.len()
                    && (place + header.len_bytes as u64) <= source.len_bytes
                {
                    break;
                }
                let batch = header.check(rest).map_err(|fault| damaged(place, fault))?;
                if !follows(&header, next, source.id) {
                    return Err(damaged(place, BatchFault::Order).into());
                }
                next = header.end_offset();
                take(&header, batch)?;
                taken += header.len_bytes;
            }
            // A batch larger than what is read at once is whole at the second reading.
            if taken == 0 && std::mem::replace(&mut stuck, true) {
                return Err(damaged(at, BatchFault::Short).into());
            }
            stuck &= taken == 0;
            at += taken as u64;
            buffer.drain(..taken);
        }
        if source.id.compacted.is_none() && next != source.end {
            // Or what is missing would never be missed any more.
            return Err(partition.damaged(source.id, at, BatchFault::Short).into());
        }
        Ok(())
    }
}
