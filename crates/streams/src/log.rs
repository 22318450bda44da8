//! All streams of a shard: their catalogue, and the two ways in: what a group changed is written
//! here by whoever committed it, and a sync in the background makes it durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use longshore_engine::{
    PartitionId, Position, StreamChange, StreamId, StreamSettings, StreamView, ToldEvent,
};
use longshore_journal::disk::Disk;

use crate::batch::{BatchHeader, marker, place};
use crate::error::{SyncError, WriteError, is_no_space};
use crate::event::{Event, batch_of};
use crate::file_id::FileId;
use crate::open_files::OpenFiles;
use crate::partition::{EventFile, Files, Partition};
use crate::synced::{End, SYNCED_NAME, Synced};
use crate::transactions::Transactions;
use crate::walk::Walk;

/// What headers of events say that are `CloudEvents` (their Kafka protocol binding, 1.0, 3.3).
const CONTENT_TYPE: &str = "content-type";
const CLOUD_EVENT: &str = "application/cloudevents+json; charset=UTF-8";

/// Bytes of events that wait in memory until a full disk has room for them; one group more may.
pub const LATE_BYTES_MAX: usize = 64 << 20;

/// Memory kept for putting batches together between two groups.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// The streams of one shard in its folder.
#[derive(Debug)]
pub struct StreamLog {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) open: Arc<OpenFiles>,
    catalogue: RwLock<Catalogue>,
    writer: Mutex<Writer>,
    /// One sync at a time.
    pub(crate) syncing: Mutex<()>,
    /// One round of compaction at a time.
    pub(crate) compacting: Mutex<()>,
    pub(crate) compaction_ended: AtomicBool,
    /// Rounds of compaction, and bytes that they freed.
    pub(crate) compacted: [AtomicU64; 2],
}

/// Who is there.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) streams: BTreeMap<StreamId, Arc<StreamEntry>>,
    names: BTreeMap<(String, String), StreamId>,
    pub(crate) partitions: BTreeMap<PartitionId, Arc<Partition>>,
}

/// A stream.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    /// Its number in the shard.
    pub id: StreamId,
    /// The name of its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its partitions, in the order of their indexes.
    pub partitions: Vec<Arc<Partition>>,
    /// Its settings.
    pub settings: StreamSettings,
}

/// What was written since the last sync.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Everything up to here is in the files.
    pub(crate) position: Position,
    /// The position of the last sync; `None` where there was none.
    pub(crate) synced: Option<Position>,
    dirty: BTreeSet<(PartitionId, u64)>,
    /// Files were made.
    made: bool,
    /// What is durable in the journal and not written here, up to which position.
    late: VecDeque<StreamChange>,
    /// Bytes of its events.
    late_bytes: usize,
    late_to: Position,
    /// Files that nobody needs once the next sync no longer names them.
    pub(crate) gone: Vec<String>,
    scratch: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(position: Position, synced: Option<Position>) -> Self {
        Self { position, synced, ..Self::default() }
    }
}

impl StreamLog {
    pub(crate) fn new(disk: Arc<dyn Disk>, catalogue: Catalogue, writer: Writer) -> Self {
        let open = Arc::new(OpenFiles::new(Arc::clone(&disk)));
        Self {
            disk,
            open,
            catalogue: RwLock::new(catalogue),
            writer: Mutex::new(writer),
            syncing: Mutex::default(),
            compacting: Mutex::default(),
            compaction_ended: AtomicBool::new(false),
            compacted: Default::default(),
        }
    }

    /// The stream of that name.
    pub fn stream(&self, namespace: &str, name: &str) -> Option<Arc<StreamEntry>> {
        let catalogue = self.catalogue();
        let id = catalogue.names.get(&(namespace.to_owned(), name.to_owned()))?;
        catalogue.streams.get(id).cloned()
    }

    /// The stream of that number.
    pub fn stream_by_id(&self, id: StreamId) -> Option<Arc<StreamEntry>> {
        self.catalogue().streams.get(&id).cloned()
    }

    /// All streams, in the order of their namespaces and names.
    pub fn all(&self) -> Vec<Arc<StreamEntry>> {
        let catalogue = self.catalogue();
        catalogue.names.values().filter_map(|id| catalogue.streams.get(id).cloned()).collect()
    }

    /// All streams of a namespace, in the order of their names.
    pub fn streams(&self, namespace: &str) -> Vec<Arc<StreamEntry>> {
        let catalogue = self.catalogue();
        let of = (namespace.to_owned(), String::new());
        let names = catalogue.names.range(of..).take_while(|((ns, _), _)| ns == namespace);
        names.filter_map(|(_, id)| catalogue.streams.get(id).cloned()).collect()
    }

    /// Carries out what a group changed that is durable up to `position`. To be called with each
    /// group, in their order. Where it fails, nothing is shown that is not there. What a full disk
    /// has no room for waits for the next call, and the journal keeps it; after any other fault
    /// nothing more may be written, and a start does it anew from the journal.
    pub fn write(
        &self,
        position: Position,
        mut changes: Vec<StreamChange>,
    ) -> Result<(), WriteError> {
        let mut writer = self.writer();
        if !writer.late.is_empty() {
            self.free_early(&mut writer, &mut changes);
        }
        writer.late_bytes += changes.iter().map(StreamChange::event_bytes).sum::<usize>();
        writer.late.extend(changes);
        writer.late_to = writer.late_to.max(position);
        self.write_late(&mut writer)
    }

    /// Whether another group with events may be committed, as far as those go that wait for space.
    pub fn has_room(&self) -> Result<bool, WriteError> {
        let mut writer = self.writer();
        if writer.late_bytes >= LATE_BYTES_MAX {
            match self.write_late(&mut writer) {
                Err(error) if error.is_no_space() => {}
                written => written?,
            }
        }
        Ok(writer.late_bytes < LATE_BYTES_MAX)
    }

    /// Files that are kept no longer go although something before that waits for space: that may
    /// be the space that is waited for.
    fn free_early(&self, writer: &mut Writer, changes: &mut Vec<StreamChange>) {
        let (mut streams, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for change in &*changes {
            match change {
                StreamChange::Trimmed { partition, start } => {
                    if let Some(partition) = self.partition(*partition) {
                        let (_, end) = partition.ends();
                        partition.trim(end.min(*start), &mut writer.gone);
                    }
                }
                StreamChange::Deleted { stream } => {
                    for partition in self.stream_by_id(*stream).iter().flat_map(|it| &it.partitions)
                    {
                        // What was begun of it and found no space is named by no other.
                        writer.gone.push(FileId::raw(partition.ends().1).name(partition.id));
                        deleted.insert(partition.id);
                    }
                    streams.insert(*stream);
                    self.delete(*stream, writer);
                }
                _ => {}
            }
        }
        if streams.is_empty() {
            return;
        }
        // It may have come into being, or got partitions, behind what waits.
        for change in writer.late.iter().chain(&*changes) {
            if let StreamChange::Created(view) = change
                && streams.contains(&view.id)
            {
                deleted.extend(view.partitions.iter().map(|(id, _)| *id));
            }
        }
        // A start that finds these in the journal finds no partition that they fit to.
        let stays = |change: &StreamChange| match change {
            StreamChange::Created(view) => !streams.contains(&view.id),
            change => of(change).is_none_or(|id| !deleted.contains(&id)),
        };
        let mut dropped = 0;
        writer.late.retain(|change| {
            let stays = stays(change);
            dropped += if stays { 0 } else { change.event_bytes() };
            stays
        });
        let bytes = writer.late_bytes.checked_sub(dropped);
        writer.late_bytes = bytes.expect("what waits was counted");
        changes.retain(stays);
    }

    /// Whether something that is durable in the journal waits for space here, and is not shown.
    pub fn waits_for_space(&self) -> bool {
        !self.writer().late.is_empty()
    }

    /// Writes what is not written yet, as far as that can be done.
    fn write_late(&self, writer: &mut Writer) -> Result<(), WriteError> {
        let mut touched = BTreeSet::new();
        let mut written = Ok(());
        while let Some(change) = writer.late.pop_front() {
            if let StreamChange::Appended { partition, .. }
            | StreamChange::Marked { partition, .. }
            | StreamChange::Published { partition, .. }
            | StreamChange::Told { partition, .. } = &change
            {
                touched.insert(*partition);
            }
            written = self.carry_out(writer, &change);
            if written.is_err() {
                writer.late.push_front(change);
                break;
            }
            let bytes = writer.late_bytes.checked_sub(change.event_bytes());
            writer.late_bytes = bytes.expect("what waits was counted");
        }
        if written.is_ok() {
            writer.position = writer.position.max(writer.late_to);
        }
        writer.scratch.shrink_to(SCRATCH_BYTES_MAX);
        for partition in touched.into_iter().filter_map(|id| self.partition(id)) {
            partition.wake();
        }
        written
    }

    fn carry_out(&self, writer: &mut Writer, change: &StreamChange) -> Result<(), WriteError> {
        match change {
            StreamChange::Created(view) => return self.add(view, writer),
            StreamChange::Changed { stream, settings } => self.change(*stream, settings.clone()),
            StreamChange::Deleted { stream } => self.delete(*stream, writer),
            StreamChange::Published { partition, base_offset, at, headers, key, value } => {
                let event = Event {
                    offset: *base_offset,
                    time: i64::try_from(at.0).unwrap_or(i64::MAX),
                    // Without a routing key it belongs together with no other.
                    key: Some(key.clone()).filter(|key| !key.is_empty()),
                    value: Some(value.clone()),
                    headers: headers.clone(),
                };
                let batch = batch_of(&[event]);
                return self.append(writer, (*partition, *base_offset), &batch, |_| {});
            }
            StreamChange::Told { partition, base_offset, at, events } => {
                let time = i64::try_from(at.0).unwrap_or(i64::MAX);
                let event = |told: &ToldEvent| {
                    let mut headers = vec![(CONTENT_TYPE.to_owned(), Some(CLOUD_EVENT.into()))];
                    headers.extend(told.headers.iter().cloned());
                    let (key, value) = (Some(told.key.clone()), Some(told.value.clone()));
                    Event { offset: 0, time, key, value, headers }
                };
                let batch = batch_of(&events.iter().map(event).collect::<Vec<_>>());
                return self.append(writer, (*partition, *base_offset), &batch, |_| {});
            }
            StreamChange::Forgotten { partition, markers } => {
                if let Some(partition) = self.partition(*partition) {
                    let mut files = partition.files_mut();
                    files.transactions.forget(markers);
                    files.forgotten += 1;
                }
            }
            StreamChange::Trimmed { partition, start } => {
                if let Some(partition) = self.partition(*partition) {
                    partition.trim(*start, &mut writer.gone);
                }
            }
            StreamChange::Appended { partition, base_offset, transaction, batch, .. } => {
                let changes = |transactions: &mut Transactions| {
                    if let Some(producer) = transaction {
                        transactions.appended(*producer, *base_offset);
                    }
                };
                return self.append(writer, (*partition, *base_offset), batch, changes);
            }
            StreamChange::Marked { partition, base_offset, producer, epoch, committed, at } => {
                let time = i64::try_from(at.0).unwrap_or(i64::MAX);
                let batch = marker((*producer, *epoch), *committed, time);
                return self.append(writer, (*partition, *base_offset), &batch, |transactions| {
                    transactions.marked(*producer, *base_offset, *committed);
                });
            }
        }
        Ok(())
    }

    fn partition(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.catalogue().partitions.get(&id).cloned()
    }

    /// Puts a batch behind the last one of its partition. What it changes of transactions is seen
    /// with it.
    fn append(
        &self,
        writer: &mut Writer,
        (id, base_offset): (PartitionId, u64),
        batch: &[u8],
        changes: impl FnOnce(&mut Transactions),
    ) -> Result<(), WriteError> {
        let partition = self.partition(id).unwrap_or_else(|| self.add_partition(id));
        let (end, last) = {
            let files = partition.files();
            let last = files
                .files
                .back()
                .filter(|last| last.id.compacted.is_none() && !partition.is_full(last, batch));
            (files.end, last.map(|last| (last.id.base, last.len_bytes)))
        };
        if end != base_offset {
            return Err(WriteError::Gap { partition: id, found: base_offset, end });
        }
        let made = last.is_none();
        let (base, len_bytes) = last.unwrap_or((base_offset, 0));
        let name = FileId::raw(base).name(id);
        let io = |source| WriteError::Io { path: self.disk.path(&name), source };
        let file = if made { self.open.create(&name) } else { self.open.get(&name) };
        let file = file.map_err(io)?;
        writer.scratch.clear();
        writer.scratch.extend_from_slice(batch);
        place(&mut writer.scratch, base_offset);
        let header = BatchHeader::parse(&writer.scratch);
        let header = header.map_err(|fault| io(std::io::Error::other(fault)))?;
        file.write_at(&writer.scratch, len_bytes).map_err(io)?;
        writer.made |= made;
        writer.dirty.insert((id, base));
        let mut files = partition.files_mut();
        if made {
            let id = FileId::raw(base);
            files.files.push_back(EventFile { id, len_bytes: 0, walk: Walk::new(id) });
        }
        if let Some(file) = files.files.back_mut() {
            if file.walk.at() == file.len_bytes {
                // Whoever appended it was checked; what is not in order is found by readers.
                let _ = file.walk.step(&header);
            }
            file.len_bytes += batch.len() as u64;
        }
        files.end = header.end_offset();
        changes(&mut files.transactions);
        Ok(())
    }

    /// A partition that nobody has told of yet: during a start the state comes last.
    fn add_partition(&self, id: PartitionId) -> Arc<Partition> {
        let mut catalogue = self.catalogue_mut();
        let new = || Arc::new(Partition::new(id, Arc::clone(&self.open), Files::default()));
        Arc::clone(catalogue.partitions.entry(id).or_insert_with(new))
    }

    pub(crate) fn add(&self, view: &StreamView, writer: &mut Writer) -> Result<(), WriteError> {
        let partitions: Vec<_> = view
            .partitions
            .iter()
            .map(|(id, _)| self.partition(*id).unwrap_or_else(|| self.add_partition(*id)))
            .collect();
        for partition in &partitions {
            partition.set(&view.settings);
        }
        let entry = StreamEntry {
            id: view.id,
            namespace: view.namespace.clone(),
            name: view.name.clone(),
            partitions,
            settings: view.settings.clone(),
        };
        let mut catalogue = self.catalogue_mut();
        catalogue.names.insert((view.namespace.clone(), view.name.clone()), view.id);
        catalogue.streams.insert(view.id, Arc::new(entry));
        drop(catalogue);
        if writer.synced.is_none() {
            // From now on a start that does not find it knows that events are lost.
            let synced = Synced { position: writer.position, ends: BTreeMap::new() };
            let written = self.disk.create_folder().and_then(|()| synced.write(&*self.disk));
            let path = || self.disk.path(SYNCED_NAME);
            written.map_err(|source| WriteError::Begin { path: path(), source })?;
            writer.synced = Some(writer.position);
        }
        Ok(())
    }

    fn change(&self, id: StreamId, settings: StreamSettings) {
        let mut catalogue = self.catalogue_mut();
        let Some(entry) = catalogue.streams.get_mut(&id) else { return };
        for partition in &entry.partitions {
            partition.set(&settings);
        }
        *entry = Arc::new(StreamEntry { settings, ..(**entry).clone() });
    }

    fn delete(&self, id: StreamId, writer: &mut Writer) {
        let mut catalogue = self.catalogue_mut();
        let Some(entry) = catalogue.streams.remove(&id) else { return };
        catalogue.names.remove(&(entry.namespace.clone(), entry.name.clone()));
        for partition in &entry.partitions {
            catalogue.partitions.remove(&partition.id);
            let mut files = partition.files_mut();
            files.gone = true;
            let names = files.files.drain(..).map(|file| file.id.name(partition.id));
            writer.gone.extend(names);
            files.start = files.end;
            drop(files);
            partition.wake();
        }
    }

    /// Makes what was written durable and notes how far that is. The journal before the position
    /// that it answers is not needed for streams any more; `None` where there are none.
    pub fn sync(&self) -> Result<Option<Position>, SyncError> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = self.writer();
        match self.write_late(&mut writer) {
            Err(WriteError::Io { path, source } | WriteError::Begin { path, source })
                if !is_no_space(&source) =>
            {
                return Err(SyncError { path, source });
            }
            _ => {}
        }
        let Some(last) = writer.synced else {
            // What a full disk has no room for yet is nowhere but in the journal.
            return Ok((!writer.late.is_empty()).then_some(writer.position));
        };
        let position = writer.position;
        if position == last && writer.dirty.is_empty() && writer.gone.is_empty() {
            return Ok(Some(last));
        }
        let dirty = std::mem::take(&mut writer.dirty);
        let (made, gone) = (std::mem::take(&mut writer.made), std::mem::take(&mut writer.gone));
        let synced = Synced { position, ends: self.ends() };
        drop(writer);
        let gone: BTreeSet<String> = gone.into_iter().collect();
        for (partition, base) in dirty {
            let name = FileId::raw(base).name(partition);
            if gone.contains(&name) {
                continue;
            }
            let done = self.open.get(&name).and_then(|file| file.sync_data());
            done.map_err(|source| SyncError { path: self.disk.path(&name), source })?;
        }
        if made {
            let done = self.disk.sync();
            done.map_err(|source| SyncError { path: self.disk.path(""), source })?;
        }
        if let Err(source) = synced.write(&*self.disk) {
            if !is_no_space(&source) {
                return Err(SyncError { path: self.disk.path(SYNCED_NAME), source });
            }
            // The files are durable; what says so finds no room. The next sync says it.
            self.writer().gone.extend(gone);
            return Ok(Some(last));
        }
        for name in gone {
            // What is left is found by the next start. Forgotten after that, nobody opens it again
            // and has it keep its space.
            drop(self.disk.remove(&name));
            self.open.forget(&name);
        }
        self.writer().synced = Some(position);
        self.note_synced(&synced);
        Ok(Some(position))
    }

    /// What a start will find: files before the last one of these are read no more then to know
    /// where a partition ends.
    pub(crate) fn note_synced(&self, synced: &Synced) {
        let catalogue = self.catalogue();
        for (id, end) in &synced.ends {
            if let Some(partition) = catalogue.partitions.get(id) {
                partition.synced_base.store(end.base, Ordering::Relaxed);
            }
        }
    }

    /// Where each partition ends.
    fn ends(&self) -> BTreeMap<PartitionId, End> {
        let end = |(id, partition): (&PartitionId, &Arc<Partition>)| {
            let files = partition.files();
            let last = files.files.back().map(|file| (file.id.base, file.len_bytes));
            let (base, len_bytes) = last.unwrap_or((files.end, 0));
            (files.end > 0).then_some((*id, End { base, len_bytes, end: files.end }))
        };
        self.catalogue().partitions.iter().filter_map(end).collect()
    }

    /// No code between lock and unlock panics half-way through a change.
    pub(crate) fn catalogue(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn catalogue_mut(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The partition that a change is about.
fn of(change: &StreamChange) -> Option<PartitionId> {
    match change {
        StreamChange::Appended { partition, .. }
        | StreamChange::Marked { partition, .. }
        | StreamChange::Published { partition, .. }
        | StreamChange::Told { partition, .. }
        | StreamChange::Forgotten { partition, .. }
        | StreamChange::Trimmed { partition, .. } => Some(*partition),
        StreamChange::Created(_) | StreamChange::Changed { .. } | StreamChange::Deleted { .. } => {
            None
        }
    }
}

impl Partition {
    /// Where a file is missing, as far as the others say: those that compaction left say up to
    /// where they stand.
    pub(crate) fn hole(&self) -> Option<u64> {
        let files = self.files();
        let bases = files.files.iter().skip(1).map(|next| next.id.base);
        let mut row = files.files.iter().zip(bases.chain([files.end]));
        row.find_map(|(file, next)| file.id.compacted.map(|it| it.end).filter(|end| *end != next))
    }

    /// Forgets events before `start`, and the files that hold nothing else.
    pub(crate) fn trim(&self, start: u64, gone: &mut Vec<String>) {
        let mut files = self.files_mut();
        files.start = files.start.max(start);
        let (start, end) = (files.start, files.end);
        files.transactions.trim(start);
        while let Some(first) = files.files.front() {
            let file_end = files.files.get(1).map_or(end, |next| next.id.base);
            if file_end > start {
                break;
            }
            gone.push(first.id.name(self.id));
            files.files.pop_front();
        }
    }
}
