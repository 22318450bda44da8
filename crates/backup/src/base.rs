//! Makes a base: copies the files of all shards, of which only those are sent that the place does
//! not have. Files may go while they are copied; then a newer picture is taken, and what was sent
//! before is not sent again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use longshore_engine::Position;
use longshore_node::Source;

use crate::catalogue::{Catalogue, FileEntry, Known, PART_BYTES, ShardBase, known_of, part_stem};
use crate::error::BackupError;
use crate::names::{Line, leaf};
use crate::place::Place;
use crate::status::{BaseProgress, Status};

/// How often a newer picture is taken before this is given up: each has more of its files sent.
const PICTURES_MAX: usize = 20;

/// What is known of a place: the parts of files that are there, shard by shard.
#[derive(Debug)]
pub(crate) struct BaseMaker {
    place: Place,
    line: Line,
    known: Vec<Known>,
}

/// A file to be copied.
struct Wanted {
    path: String,
    key: String,
    contents: Contents,
}

enum Contents {
    Small(Bytes),
    File { path: PathBuf, bytes: u64 },
}

impl BaseMaker {
    pub(crate) fn new(place: &Place, line: Line, newest: Option<&Catalogue>) -> Self {
        let shards = newest.map(|newest| newest.shards.as_slice()).unwrap_or_default();
        let known = shards.iter().map(|shard| known_of(shard).collect()).collect();
        Self { place: place.clone(), line, known }
    }

    /// Copies the files of all shards. The base is not whole before the journal is there up to what
    /// it says, and its catalogue behind that.
    pub(crate) async fn copy(
        &mut self,
        sources: &[Source],
        status: &Status,
    ) -> Result<Catalogue, BackupError> {
        let mut catalogue = Catalogue::begin(self.line.store, self.line.line);
        self.known.resize_with(sources.len(), Known::default);
        status.change(|told| told.base = Some(BaseProgress::default()));
        self.look_what_is_there(sources).await?;
        for (index, source) in sources.iter().enumerate() {
            let mut left = PICTURES_MAX;
            let shard = loop {
                let before = status.told().base.unwrap_or_default();
                match self.copy_shard(index, source, &catalogue, status).await {
                    Err(BackupError::Gone { path }) if left > 0 => {
                        left -= 1;
                        tracing::debug!(path = %path.display(), "it has gone, once more");
                        let sent_bytes = status.told().base.map_or(0, |base| base.sent_bytes);
                        let before = BaseProgress { sent_bytes, ..before };
                        status.change(|told| told.base = Some(before));
                    }
                    copied => break copied?,
                }
            };
            catalogue.shards.push(shard);
        }
        let now = sources.iter().map(|source| source.now().0).max().unwrap_or_default();
        catalogue.taken_ms = now;
        catalogue.sent_bytes = status.told().base.map_or(0, |base| base.sent_bytes);
        // Of the parts that were there before, those that nobody names may be removed.
        self.known = catalogue.shards.iter().map(|shard| known_of(shard).collect()).collect();
        Ok(catalogue)
    }

    /// Forgets of the parts that are known those that are gone from the place: somebody may have
    /// emptied it, or a rule of the bucket removed what is old.
    async fn look_what_is_there(&mut self, sources: &[Source]) -> Result<(), BackupError> {
        for (known, source) in self.known.iter_mut().zip(sources) {
            if known.is_empty() {
                continue;
            }
            let files = self.place.list(&self.line.files(source.index()), None).await?;
            let there: BTreeSet<String> = files.iter().map(leaf).collect();
            known.retain(|stem, crc| there.contains(&format!("{stem}{crc:08x}")));
        }
        Ok(())
    }

    async fn copy_shard(
        &mut self,
        index: usize,
        source: &Source,
        catalogue: &Catalogue,
        status: &Status,
    ) -> Result<ShardBase, BackupError> {
        let of_pictures = source.clone();
        let pictures = tokio::task::spawn_blocking(move || {
            Ok::<_, BackupError>((of_pictures.state()?, of_pictures.streams()?))
        });
        let (state, streams) = pictures.await.map_err(|_| BackupError::Ended)??;
        let id = catalogue.id.simple();
        let mut wanted = Vec::new();
        for (name, bytes) in &state.copied {
            let (path, key) = (format!("state/{name}"), format!("{name}-{id}"));
            wanted.push(Wanted { path, key, contents: Contents::Small(bytes.clone()) });
        }
        wanted.extend(state.files.iter().map(|file| Wanted {
            path: format!("state/{}", file.name),
            key: file.key.clone(),
            contents: Contents::File { path: file.path.clone(), bytes: file.bytes },
        }));
        if let Some(streams) = &streams {
            let (name, bytes) = &streams.synced;
            let (path, key) = (format!("streams/{name}"), format!("{name}-{id}"));
            wanted.push(Wanted { path, key, contents: Contents::Small(bytes.clone()) });
            wanted.extend(streams.files.iter().map(|file| Wanted {
                path: format!("streams/{}", file.name),
                key: format!("events-{}", file.name.trim_end_matches(".events")),
                contents: Contents::File { path: file.path.clone(), bytes: file.bytes },
            }));
        }
        let total: u64 = wanted.iter().map(Wanted::bytes).sum();
        status.change(|told| told.base.get_or_insert_default().total_bytes += total);
        let mut files = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            files.push(self.copy_file(index, source, wanted, status).await?);
        }
        let events = streams.as_ref().map(|streams| streams.position);
        // What has gone meanwhile from the files may be younger than they are: the journal says so.
        let until = source.durable().max(state.position).max(events.unwrap_or(Position::START));
        let events = events.map(|events| events.0);
        Ok(ShardBase { state: state.position.0, events, until: until.0, files })
    }

    async fn copy_file(
        &mut self,
        index: usize,
        source: &Source,
        wanted: Wanted,
        status: &Status,
    ) -> Result<FileEntry, BackupError> {
        let (mut open, total) = (None, wanted.bytes());
        let mut parts = Vec::new();
        let mut at = 0;
        while at < total {
            let bytes = (total - at).min(PART_BYTES as u64) as u32;
            let stem = part_stem(&wanted.key, parts.len(), bytes);
            let known = self.known.get(index).and_then(|known| known.get(&stem)).copied();
            let crc = if let Some(crc) = known {
                crc
            } else {
                let contents = wanted.read(&mut open, at, bytes)?;
                let crc = crc32c::crc32c(&contents);
                let path = self.line.part(source.index(), &format!("{stem}{crc:08x}"));
                self.place.put_patiently(&path, &contents).await?;
                if let Some(known) = self.known.get_mut(index) {
                    known.insert(stem, crc);
                }
                status.change(|told| {
                    told.bytes_total += u64::from(bytes);
                    told.base.get_or_insert_default().sent_bytes += u64::from(bytes);
                });
                crc
            };
            status.change(|told| {
                told.base.get_or_insert_default().done_bytes += u64::from(bytes);
            });
            parts.push((bytes, crc));
            at += u64::from(bytes);
        }
        Ok(FileEntry { path: wanted.path, key: wanted.key, parts })
    }
}

impl Wanted {
    fn bytes(&self) -> u64 {
        match &self.contents {
            Contents::Small(bytes) => bytes.len() as u64,
            Contents::File { bytes, .. } => *bytes,
        }
    }

    /// A part of it. What is read before one part is `at`, unless some were known.
    fn read(&self, open: &mut Option<File>, at: u64, bytes: u32) -> Result<Bytes, BackupError> {
        match &self.contents {
            Contents::Small(contents) => {
                let at = at as usize;
                Ok(contents.slice(at..at + bytes as usize))
            }
            Contents::File { path, .. } => read_part(open, path, at, bytes),
        }
    }
}

fn read_part(
    open: &mut Option<File>,
    path: &Path,
    at: u64,
    bytes: u32,
) -> Result<Bytes, BackupError> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound | ErrorKind::UnexpectedEof => BackupError::Gone { path: path.into() },
        _ => BackupError::File { path: path.into(), source },
    };
    let file = match open {
        Some(file) => file,
        open => open.insert(File::open(path).map_err(failed)?),
    };
    let mut contents = vec![0; bytes as usize];
    file.read_exact_at(&mut contents, at).map_err(failed)?;
    Ok(contents.into())
}
