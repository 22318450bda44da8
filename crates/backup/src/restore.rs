//! Makes a folder of a copy that a server opens as it would after a crash: the files of a base, and
//! the journal after it up to the time that is wanted. Every checksum is looked at, and nothing
//! that is not whole is left for a server to open.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use longshore_engine::{Position, TimeMs};
use longshore_journal::{FileConfig, FileJournal, Group, Identity, Journal};
use longshore_node::{Manifest, Restoring};
use longshore_store::Depth;
use object_store::path::Path;
use uuid::Uuid;

use crate::catalogue::{CATALOGUE_BYTES_MAX, Catalogue, PART_BYTES, ShardBase};
use crate::error::{PlaceError, RestoreError};
use crate::names::{Line, first_of, taken_of};
use crate::piece::{PIECE_BYTES_MAX, Piece, instant_of};
use crate::place::Place;

/// What is wanted of a place.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Which store, where there are copies of several.
    pub store: Option<Uuid>,
    /// Which line of it; the one that was begun last, if this is none.
    pub line: Option<Uuid>,
    /// Nothing after this instant; everything, if this is none.
    pub at: Option<TimeMs>,
    /// Where pieces of the journal are missing or damaged, what is before them is good enough.
    pub up_to_the_gap: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    line: Line,
    /// The base that it begins with.
    pub base: Catalogue,
    /// Other lines of that store, the newest first.
    pub other_lines: Vec<Uuid>,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The store.
    pub store: Uuid,
    /// The line that the copy was of.
    pub from_line: Uuid,
    /// The line that it goes on in.
    pub line: Uuid,
    /// When the base was made, milliseconds since 1970.
    pub base_ms: u64,
    /// Its shards.
    pub shards: Vec<RestoredShard>,
}

/// A shard that was restored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestoredShard {
    /// The position of the state in the base.
    pub state: Position,
    /// The last position.
    pub last: Position,
    /// The instant of the last entry, where one came from the journal.
    pub last_at: Option<TimeMs>,
    /// Entries of the journal that a start will apply.
    pub entries: u64,
    /// Bytes of files and entries.
    pub bytes: u64,
    /// Where pieces were missing or damaged behind that, what was met.
    pub gap: Option<String>,
}

/// Looks for the base to begin with.
pub async fn find(place: &Place, plan: &Plan) -> Result<Found, RestoreError> {
    let uuids = |names: Vec<String>| names.iter().filter_map(|it| it.parse().ok()).collect();
    let nothing = || RestoreError::Nothing { place: place.url().to_owned() };
    let stores: Vec<Uuid> = uuids(place.folders(None).await?);
    let store = match (plan.store, stores.as_slice()) {
        (Some(store), _) => store,
        (None, [store]) => *store,
        (None, []) => return Err(nothing()),
        (None, stores) => {
            let stores = stores.iter().map(ToString::to_string).collect();
            return Err(RestoreError::Several { stores });
        }
    };
    let lines: Vec<Uuid> = uuids(place.folders(Some(&Path::from(store.to_string()))).await?);
    let mut oldest = None;
    // They are in the order of their beginning.
    for line in lines.iter().rev().filter(|line| plan.line.is_none_or(|wanted| wanted == **line)) {
        let of = Line { store, line: *line };
        let bases = place.list(&of.bases(), None).await?;
        let fits = |path: &&Path| {
            let taken = taken_of(path);
            taken.is_some_and(|taken| plan.at.is_none_or(|at| taken <= at.0))
        };
        let first = bases.first().and_then(taken_of);
        oldest = oldest.min(first).or(first);
        if let Some(path) = bases.iter().rfind(fits) {
            let base = catalogue(place, path).await?;
            if (base.store, base.line) != (store, *line) {
                let what = format!("it is of line {} of store {}", base.line, base.store);
                return Err(RestoreError::Damaged { name: path.to_string(), what });
            }
            let other_lines = lines.iter().rev().filter(|it| *it != line).copied().collect();
            return Ok(Found { line: of, base, other_lines });
        }
    }
    Err(oldest.map_or_else(nothing, |oldest_ms| RestoreError::TooOld { oldest_ms }))
}

/// Restores into a folder that is empty or not there. After an error nothing is left in it.
pub async fn restore(
    place: &Place,
    found: &Found,
    plan: &Plan,
    dir: &FilePath,
    told: &mut dyn FnMut(&str),
) -> Result<Restored, RestoreError> {
    let shards = u32::try_from(found.base.shards.len()).unwrap_or(u32::MAX);
    let manifest = Manifest { store_id: found.line.store, ..Manifest::create(shards) };
    let restoring = Restoring::begin(dir, manifest)?;
    let mut written = Vec::new();
    for (index, shard) in (0..shards).zip(&found.base.shards) {
        let one = RestoreShard { place, line: found.line, index, shard, plan };
        match one.restore(&restoring, told).await {
            Ok(shard) => written.push(shard),
            Err(error) => {
                if let Err(left) = restoring.abandon() {
                    told(&format!("not everything that was written could be removed: {left}"));
                }
                return Err(error);
            }
        }
    }
    let line = restoring.finish()?;
    Ok(Restored {
        store: found.line.store,
        from_line: found.line.line,
        line,
        base_ms: found.base.taken_ms,
        shards: written,
    })
}

async fn catalogue(place: &Place, path: &Path) -> Result<Catalogue, RestoreError> {
    let bytes = place.get(path, CATALOGUE_BYTES_MAX).await?;
    let name = path.to_string();
    Catalogue::decode(&bytes).map_err(|what| RestoreError::Damaged { name, what })
}

/// A shard that is being restored.
struct RestoreShard<'a> {
    place: &'a Place,
    line: Line,
    index: u32,
    shard: &'a ShardBase,
    plan: &'a Plan,
}

impl RestoreShard<'_> {
    async fn restore(
        &self,
        into: &Restoring,
        told: &mut dyn FnMut(&str),
    ) -> Result<RestoredShard, RestoreError> {
        let dir = into.shard(self.index);
        let folder = dir.journal();
        let root = folder.parent().unwrap_or(&folder);
        let bytes: u64 = self.shard.files.iter().map(crate::catalogue::FileEntry::bytes).sum();
        let (index, files) = (self.index, self.shard.files.len());
        told(&format!("shard {index}: {files} files, {bytes} bytes"));
        for file in &self.shard.files {
            self.restore_file(&root.join(&file.path), file).await?;
        }
        for folder in ["state/tables", "state/bodies", "state", "streams"] {
            let folder = root.join(folder);
            if folder.is_dir() {
                File::open(&folder).and_then(|it| it.sync_all()).map_err(at(&folder))?;
            }
        }
        let mut restored = self.restore_journal(&folder, told).await?;
        restored.bytes += bytes;
        self.check(&dir)?;
        Ok(restored)
    }

    async fn restore_file(
        &self,
        path: &FilePath,
        file: &crate::catalogue::FileEntry,
    ) -> Result<(), RestoreError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        let mut out = File::create_new(path).map_err(at(path))?;
        for (name, bytes, crc) in file.objects() {
            let object = self.line.part(self.index, &name);
            let contents = self.place.get(&object, PART_BYTES as u64).await?;
            let found = (contents.len() as u64, crc32c::crc32c(&contents));
            if found != (u64::from(bytes), crc) {
                let what = format!("it has {} bytes with CRC32C {:08x}", found.0, found.1);
                return Err(RestoreError::Damaged { name: object.to_string(), what });
            }
            out.write_all(&contents).map_err(at(path))?;
        }
        out.sync_all().map_err(at(path))
    }

    /// Writes the journal from what the files lack up to the time that is wanted.
    async fn restore_journal(
        &self,
        folder: &FilePath,
        told: &mut dyn FnMut(&str),
    ) -> Result<RestoredShard, RestoreError> {
        let base = Position(self.shard.kept());
        let identity = Identity { store: self.line.store.into_bytes(), shard: self.index };
        let config = FileConfig { identity, ..FileConfig::default() };
        FileJournal::create_after(folder, &config, base)?;
        let (mut journal, _) = FileJournal::open(folder, config)?;
        let mut restored = RestoredShard {
            state: Position(self.shard.state),
            last: base,
            last_at: None,
            entries: 0,
            bytes: 0,
            gap: None,
        };
        let names = self.place.list(&self.line.pieces(self.index), None).await?;
        let mut pieces: Vec<(Position, &Path)> =
            names.iter().filter_map(|path| Some((first_of(path)?, path))).collect();
        // The last one that begins at or before what is needed may hold it.
        let begin = pieces.partition_point(|(first, _)| *first <= base.next()).saturating_sub(1);
        pieces.drain(..begin);
        for (count, (first, path)) in (1..).zip(pieces) {
            if first > restored.last.next() {
                restored.gap = Some(format!("the next piece is {path}"));
                break;
            }
            let piece = match self.piece(path, first).await {
                Ok(piece) => piece,
                Err(RestoreError::Place(
                    error @ (PlaceError::Failed { .. } | PlaceError::Silent { .. }),
                )) => {
                    return Err(error.into());
                }
                Err(error) => {
                    restored.gap = Some(error.to_string());
                    break;
                }
            };
            if !self.append(&mut journal, &piece, &mut restored)? {
                break;
            }
            if count % 100 == 0 {
                told(&format!("shard {}: journal up to {}", self.index, restored.last));
            }
        }
        journal.mark()?;
        if let Some(why) = &restored.gap
            && (restored.last.0 < self.shard.until || !self.plan.up_to_the_gap)
        {
            let wanted = Position(self.shard.until.max(restored.last.next().0));
            let (shard, have, why) = (self.index, restored.last, why.clone());
            return Err(RestoreError::Gap { shard, have, wanted, why });
        }
        if restored.last.0 < self.shard.until {
            let (shard, have) = (self.index, restored.last);
            let (wanted, why) = (Position(self.shard.until), "there is no piece behind".into());
            return Err(RestoreError::Gap { shard, have, wanted, why });
        }
        Ok(restored)
    }

    async fn piece(&self, path: &Path, first: Position) -> Result<Piece, RestoreError> {
        let bytes: Bytes = self.place.get(path, PIECE_BYTES_MAX).await?;
        let damaged = |what| RestoreError::Damaged { name: path.to_string(), what };
        let piece = Piece::decode(&bytes, self.line.store, self.index).map_err(damaged)?;
        if piece.first != first {
            return Err(damaged(format!("it begins at {}, not where its name says", piece.first)));
        }
        Ok(piece)
    }

    /// Appends what of a piece is new and wanted; whether more may be.
    fn append(
        &self,
        journal: &mut FileJournal,
        piece: &Piece,
        restored: &mut RestoredShard,
    ) -> Result<bool, RestoreError> {
        let Some(there) = piece.group() else { return Ok(true) };
        let mut group = Group::new(restored.last.next());
        let mut more = true;
        for (position, entry) in there.entries().filter(|(it, _)| *it > restored.last) {
            let at = instant_of((position, entry.clone())).map_err(|position| {
                RestoreError::Unsound {
                    shard: self.index,
                    what: format!("the entry at {position} cannot be read"),
                }
            })?;
            // What the files need is older than the base, which is older than the time wanted.
            let wanted = self.plan.at.is_none_or(|wanted| at <= wanted);
            if !wanted && position.0 > self.shard.until {
                more = false;
                break;
            }
            group.push(&entry);
            restored.last_at = Some(at);
        }
        if !group.is_empty() {
            restored.entries += group.count();
            restored.bytes += group.len_bytes() as u64;
            restored.last = journal.append(&group)?;
        }
        Ok(more)
    }

    /// Whether what was written is what a server opens.
    fn check(&self, dir: &longshore_node::ShardDir) -> Result<(), RestoreError> {
        let unsound = |what| RestoreError::Unsound { shard: self.index, what };
        let store = self.line.store.into_bytes();
        let identity = longshore_store::Identity { store, shard: self.index };
        let state = longshore_store::check(&dir.state(), Depth::Everything, Some(identity));
        let state = state.map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            unsound(faults.join("; "))
        })?;
        if state.position.0 != self.shard.state {
            let (found, wanted) = (state.position, self.shard.state);
            return Err(unsound(format!("the state is at {found}, not at {wanted}")));
        }
        let streams = longshore_journal::disk::Folder::new(dir.streams());
        let events = longshore_streams::check(std::sync::Arc::new(streams));
        match events.faults.first() {
            Some(fault) => Err(unsound(fault.clone())),
            None => Ok(()),
        }
    }
}

fn at(path: &FilePath) -> impl FnOnce(std::io::Error) -> RestoreError {
    let path: PathBuf = path.to_owned();
    move |source| RestoreError::File { path, source }
}
