//! From the files that a process left to those that can be written on: they are cut to what the
//! last sync says, the journal after that is written again, and the state says whether all is
//! there.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use longshore_engine::{PartitionId, Position, StreamChange, StreamView, TransactionMark};
use longshore_journal::disk::Disk;

use crate::error::OpenError;
use crate::file_id::{FileId, UNFINISHED_NAME, sort_out};
use crate::log::{Catalogue, StreamLog, Writer};
use crate::partition::{EventFile, Files, Partition};
use crate::synced::{End, SYNCED_NAME, Synced};
use crate::transactions::Transactions;
use crate::walk::Walk;

impl StreamLog {
    /// Reads how far the files in a folder are complete, and changes nothing. The folder need not
    /// exist. `state` says at which position the state is, and whether it has streams.
    pub fn open(disk: Arc<dyn Disk>, state: (Position, bool)) -> Result<Self, OpenError> {
        let synced = Synced::read(&*disk)?;
        if synced.is_none() && state.1 {
            return Err(OpenError::SyncedLost { path: disk.path(SYNCED_NAME) });
        }
        let position = synced.as_ref().map(|synced| synced.position);
        let writer = Writer::new(position.unwrap_or(state.0), position);
        Ok(Self::new(disk, Catalogue::default(), writer))
    }

    /// The position after which the journal is needed, to be given to [`StreamLog::replay`] entry
    /// by entry; `None` where no entry that is in the state already is.
    pub fn synced(&self) -> Option<Position> {
        self.writer().synced
    }

    /// Cuts the files to what the last sync says. To be called once it is certain that the journal,
    /// which ends at `tail`, has what follows.
    pub fn cut(&self, tail: Position) -> Result<(), OpenError> {
        let Some(synced) = Synced::read(&*self.disk)? else { return Ok(()) };
        if synced.position > tail {
            return Err(OpenError::TailLost { synced: synced.position, tail });
        }
        let mut found = self.found()?;
        if self.names()?.iter().any(|name| name == UNFINISHED_NAME) {
            self.remove(UNFINISHED_NAME)?;
        }
        let mut catalogue = self.catalogue_mut();
        for (id, files) in &found {
            let last = synced.ends.get(id);
            for file in files.iter().filter(|file| last.is_none_or(|end| file.base > end.base)) {
                self.remove(&file.name(*id))?;
            }
        }
        for (id, end) in &synced.ends {
            let files = found.remove(id).unwrap_or_default();
            let partition = self.partition_of(*id, files, *end, true)?;
            catalogue.partitions.insert(*id, Arc::new(partition));
        }
        drop(catalogue);
        self.note_synced(&synced);
        Ok(())
    }

    /// The files that are there, by their partitions.
    pub(crate) fn found(&self) -> Result<BTreeMap<PartitionId, Vec<FileId>>, OpenError> {
        let mut found: BTreeMap<PartitionId, Vec<FileId>> = BTreeMap::new();
        for name in self.names()? {
            if let Some((partition, file)) = FileId::of_name(&name) {
                found.entry(partition).or_default().push(file);
            }
        }
        Ok(found)
    }

    /// A partition as the last sync left it. Whether its last file is to be cut to that.
    pub(crate) fn partition_of(
        &self,
        id: PartitionId,
        mut found: Vec<FileId>,
        end: End,
        cut: bool,
    ) -> Result<Partition, OpenError> {
        found.retain(|file| file.base <= end.base);
        if end.len_bytes == 0 {
            // All had been trimmed, and what is there should have gone: nothing says how long such
            // a file is, so nothing may be written behind it.
            for file in found.drain(..).filter(|_| cut) {
                self.remove(&file.name(id))?;
            }
        }
        let (counting, replaced) = sort_out(found);
        // What they are replaced by has to be whole before they go: nothing else has their events.
        let files = self.files_of(id, &counting, end, cut)?;
        for file in replaced.iter().filter(|_| cut) {
            self.remove(&file.name(id))?;
        }
        if cut && !replaced.is_empty() {
            // Or a power cut could bring one back when what stands in its place is trimmed.
            let path = || self.disk.path("");
            let io = |source| OpenError::Io { operation: "sync", path: path(), source };
            self.disk.sync().map_err(io)?;
        }
        let start = files.front().map_or(end.end, |file| file.id.base);
        let start = if cut { 0 } else { start };
        let files = Files { start, end: end.end, files, ..Files::default() };
        Ok(Partition::new(id, Arc::clone(&self.open), files))
    }

    /// The files of a partition, the last one cut.
    fn files_of(
        &self,
        id: PartitionId,
        found: &[FileId],
        end: End,
        cut: bool,
    ) -> Result<VecDeque<EventFile>, OpenError> {
        let mut files = VecDeque::new();
        for file_id in found {
            let name = file_id.name(id);
            let io = |operation| {
                let path = self.disk.path(&name);
                move |source| OpenError::Io { operation, path, source }
            };
            let file = self.open.get(&name).map_err(io("open"))?;
            let mut len_bytes = file.len_bytes().map_err(io("look at"))?;
            let mut walk = Walk::new(*file_id);
            if let Some(expected) = file_id.compacted.map(|it| it.len_bytes)
                && expected != len_bytes
            {
                let (path, found) = (self.disk.path(&name), len_bytes);
                return Err(OpenError::FileShort { path, found, expected });
            }
            if file_id.base == end.base {
                let (found, expected) = (len_bytes, end.len_bytes);
                if found < expected {
                    return Err(OpenError::FileShort {
                        path: self.disk.path(&name),
                        found,
                        expected,
                    });
                }
                if cut && found > expected {
                    file.cut(expected).map_err(io("cut"))?;
                }
                len_bytes = expected;
                if expected == 0 {
                    if cut {
                        self.remove(&name)?;
                    }
                    continue;
                }
                // It is written on, and closed by the times of its events.
                walk.look(&*file);
            }
            files.push_back(EventFile { id: *file_id, len_bytes, walk });
        }
        let has_last = files.back().is_some_and(|file: &EventFile| file.id.base == end.base);
        if end.len_bytes > 0 && !has_last {
            let path = self.disk.path(&FileId::raw(end.base).name(id));
            return Err(OpenError::FileShort { path, found: 0, expected: end.len_bytes });
        }
        Ok(files)
    }

    /// Writes the events of an entry again, unless they are in the files.
    pub fn replay(&self, position: Position, changes: Vec<StreamChange>) -> Result<(), OpenError> {
        if position <= self.writer().position {
            return Ok(());
        }
        // A group of which a full disk took only a part may be there in part, and of a partition
        // that was removed in it nothing is. What is missing beyond that is found when this ends.
        let missing = |change: &StreamChange| match change {
            StreamChange::Appended { partition, base_offset, .. }
            | StreamChange::Marked { partition, base_offset, .. }
            | StreamChange::Published { partition, base_offset, .. }
            | StreamChange::Told { partition, base_offset, .. } => {
                let found = self.catalogue().partitions.get(partition).cloned();
                *base_offset == found.map_or(0, |partition| partition.ends().1)
            }
            _ => true,
        };
        for change in changes {
            // Each as the one before it left the files.
            if missing(&change) {
                self.write(position, vec![change])?;
            }
        }
        Ok(self.write(position, Vec::new())?)
    }

    /// Ends the start: the files have to be what the state says, and what is not of it goes.
    pub fn settle(&self, streams: &[StreamView]) -> Result<(), OpenError> {
        let mut writer = self.writer();
        let mut known: BTreeMap<PartitionId, u64> = BTreeMap::new();
        for view in streams {
            self.add(view, &mut writer)?;
            let mut marks: BTreeMap<PartitionId, Vec<TransactionMark>> = BTreeMap::new();
            for mark in &view.transactions {
                marks.entry(mark.partition).or_default().push(*mark);
            }
            for (id, ends) in &view.partitions {
                let partition = self.catalogue().partitions.get(id).cloned();
                let Some(partition) = partition else { continue };
                let found = partition.ends().1;
                if found != ends.next {
                    let (stream, partition) = (view.name.clone(), *id);
                    let expected = ends.next;
                    return Err(OpenError::EventsLost { stream, partition, found, expected });
                }
                let marks = marks.remove(id).unwrap_or_default();
                partition.files_mut().transactions = Transactions::set(marks.into_iter());
                partition.trim(ends.start, &mut writer.gone);
                known
                    .insert(*id, partition.files().files.front().map_or(u64::MAX, |it| it.id.base));
                let first = partition.files().files.front().map(|file| file.id.base);
                let beyond = first.is_none_or(|first| first > ends.start);
                let hole = (beyond && ends.start < ends.next).then_some(ends.start);
                if let Some(hole) = hole.or_else(|| partition.hole()) {
                    let path = self.disk.path(&FileId::raw(hole).name(*id));
                    return Err(OpenError::FileShort { path, found: 0, expected: 1 });
                }
            }
        }
        self.catalogue_mut().partitions.retain(|id, _| known.contains_key(id));
        for name in self.names()? {
            if let Some((partition, file)) = FileId::of_name(&name)
                && known.get(&partition).is_none_or(|first| file.base < *first)
            {
                writer.gone.push(name);
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, OpenError> {
        match self.disk.names() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => {
                let path = self.disk.path("");
                names.map_err(|source| OpenError::Io { operation: "list", path, source })
            }
        }
    }

    fn remove(&self, name: &str) -> Result<(), OpenError> {
        let path = self.disk.path(name);
        let removed = self.disk.remove(name);
        self.open.forget(name);
        removed.map_err(|source| OpenError::Io { operation: "remove", path, source })
    }
}
