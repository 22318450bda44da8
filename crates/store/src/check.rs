//! Whether the state in a folder is whole. Reads only, and trusts nothing: opening the tree
//! comes after it, since the tree deletes what it does not know and aborts on wild lengths.

pub(crate) mod archive;
mod bodies;
mod table;
mod version;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use longshore_engine::Position;
use lsm_tree::checksum::ChecksummedWriter;

use crate::body_file::{self, BodyFile, KeyRange};
use crate::error::StoreFault;
use crate::identity::Identity;
use crate::open::position_of;
use crate::tables::Tables;
use version::{NamedTable, Version};

/// The file in a state's folder that names its version. It is replaced with every new one, and
/// there from the first opening on.
pub const CURRENT_FILE: &str = "current";

/// How much of the state is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// What opening needs: pointer, version, envelope and description of every table, length and
    /// index of every body file.
    Structure,
    /// Every block of every table and every body as well.
    Everything,
}

/// What a sound state consists of.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The position of the state.
    pub position: Position,
    /// Number of the tree's current version; `None` where there is no state yet.
    pub version: Option<u64>,
    /// How many tables it has.
    pub tables: usize,
    /// How many entries they hold, tombstones and overwritten ones included.
    pub entries: u64,
    /// How many body files it has.
    pub body_files: usize,
    /// How many bytes all these files have.
    pub bytes: u64,
    /// Files that a crash left behind. Harmless; opening removes them.
    pub leftovers: Vec<PathBuf>,
    pub(crate) bodies: Vec<BodyFile>,
    pub(crate) body_keys: KeyRange,
}

/// Checks the state in `dir` without changing anything, and that it is the one of `expected`, where
/// that is given. Everything found wrong is named; the list is never empty.
pub fn check(
    dir: &Path,
    depth: Depth,
    expected: Option<Identity>,
) -> Result<Report, Vec<StoreFault>> {
    let folder = Folder::read(dir).map_err(|fault| vec![fault])?;
    let Some(version) = version::read_current(dir).map_err(|fault| vec![fault])? else {
        return folder.check_fresh(dir).map_err(|fault| vec![fault]);
    };
    let mut faults = Vec::new();
    if let Err(fault) = folder.check_versions(dir, version.number) {
        faults.push(fault);
    }
    let mut report = Report {
        version: Some(version.number),
        leftovers: folder.leftovers(dir, &version),
        ..Report::default()
    };
    let mut runs = Vec::new();
    for named_run in &version.runs {
        let mut run = Vec::new();
        for named in named_run {
            match table::check(dir, named, depth) {
                Ok(table) => {
                    report.tables += 1;
                    report.entries += table.metadata.item_count;
                    report.bytes += fs::metadata(&*table.path).map_or(0, |file| file.len());
                    run.push(table);
                }
                Err(fault) => faults.push(fault),
            }
        }
        runs.push(run);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let tables = Tables::of_runs(dir, version.number, runs);
    report.position = position_of(dir, &tables, expected).map_err(|fault| vec![fault])?;
    (report.bodies, report.body_keys) = bodies::check(&tables, depth)?;
    report.body_files = report.bodies.len();
    report.bytes += report.bodies.iter().map(BodyFile::bytes).sum::<u64>();
    let named: BTreeSet<u64> = report.bodies.iter().map(|file| file.number).collect();
    let unnamed = folder.bodies.difference(&named);
    report.leftovers.extend(unnamed.map(|number| body_file::path(dir, *number)));
    Ok(report)
}

/// Checks every byte of one table.
pub(crate) fn check_table(dir: &Path, number: u64, checksum: u128) -> Result<(), StoreFault> {
    table::check(dir, &NamedTable { number, checksum }, Depth::Everything).map(drop)
}

/// The number of a version, and its tables with their checksums.
type CurrentTables = (u64, Vec<(u64, u128)>);

/// The number of the current version, its tables and their checksums; `None` where there is none.
pub(crate) fn current_tables(dir: &Path) -> Result<Option<CurrentTables>, StoreFault> {
    let version = version::read_current(dir)?;
    Ok(version.map(|version| {
        let tables = version.runs.iter().flatten().map(|table| (table.number, table.checksum));
        (version.number, tables.collect())
    }))
}

/// Removes the tables that are not `known` and the body files that are not among `bodies`, after
/// making sure that the version on disk is number `version`. Forgets known tables that are gone.
pub(crate) fn remove_unknown(
    dir: &Path,
    version: u64,
    known: &mut BTreeSet<u64>,
    bodies: &BTreeSet<u64>,
) -> Result<(), StoreFault> {
    let current = version::read_current(dir)?.map(|current| current.number);
    if current != Some(version) {
        let current = current.map_or_else(|| "none".to_owned(), |current| current.to_string());
        let what = format!("the version that it names is {current}, in memory it is {version}");
        return Err(StoreFault::new(dir.join(CURRENT_FILE), what));
    }
    // Files may vanish meanwhile: snapshots that end remove the tables that only they needed.
    let tables = remove_others(&dir.join("tables"), known)?;
    known.retain(|number| tables.contains(number));
    remove_others(&dir.join(body_file::FOLDER), bodies)?;
    Ok(())
}

/// Removes the files of a folder that are not to be kept. Answers the numbers of all.
fn remove_others(folder: &Path, kept: &BTreeSet<u64>) -> Result<BTreeSet<u64>, StoreFault> {
    let found: BTreeSet<u64> =
        names(folder)?.iter().filter_map(|(name, _)| number_of(name)).collect();
    for number in found.difference(kept) {
        let path = folder.join(number.to_string());
        fs::remove_file(&path).map_err(|error| StoreFault::new(path, error.to_string()))?;
    }
    Ok(found)
}

/// The names in a tree's folder, as far as the tree knows them.
#[derive(Debug, Default)]
struct Folder {
    versions: BTreeSet<u64>,
    tables: BTreeSet<u64>,
    bodies: BTreeSet<u64>,
    temporary: Vec<PathBuf>,
}

impl Folder {
    fn read(dir: &Path) -> Result<Self, StoreFault> {
        let mut folder = Self::default();
        for (name, path) in names(dir)? {
            if let Some(number) = name.strip_prefix('v') {
                let number = number_of(number).ok_or_else(|| {
                    StoreFault::new(&path, "it is not a version file, and opening would remove it")
                })?;
                folder.versions.insert(number);
            } else if is_temporary(&name) {
                folder.temporary.push(path);
            }
        }
        folder.tables = numbered(&dir.join("tables"), "it is not a table")?;
        folder.bodies = numbered(&dir.join(body_file::FOLDER), "it is not a body file")?;
        Ok(folder)
    }

    /// Without `current` there must be nothing yet, or what a crash while creating it leaves.
    fn check_fresh(self, dir: &Path) -> Result<Report, StoreFault> {
        let files = self.tables.len() + self.bodies.len();
        if files == 0 && self.versions.iter().all(|number| *number == 0) {
            return Ok(Report { leftovers: self.temporary, ..Report::default() });
        }
        let what = format!(
            "it is missing, but there are {} tables, {} body files and {} versions",
            self.tables.len(),
            self.bodies.len(),
            self.versions.len()
        );
        Err(StoreFault::new(dir.join(CURRENT_FILE), what))
    }

    /// A version is written before `current` names it, so a crash may leave the next one, but
    /// none beyond it.
    fn check_versions(&self, dir: &Path, current: u64) -> Result<(), StoreFault> {
        match self.versions.last() {
            Some(last) if *last > current + 1 => Err(StoreFault::new(
                dir.join(CURRENT_FILE),
                format!("it names version {current}, but there is version {last}"),
            )),
            _ => Ok(()),
        }
    }

    fn leftovers(&self, dir: &Path, version: &Version) -> Vec<PathBuf> {
        let named: BTreeSet<u64> =
            version.runs.iter().flatten().map(|named| named.number).collect();
        let versions = self.versions.iter().filter(|number| **number != version.number);
        let tables = self.tables.difference(&named);
        let mut leftovers = self.temporary.clone();
        leftovers.extend(versions.map(|number| dir.join(format!("v{number}"))));
        leftovers.extend(tables.map(|number| dir.join("tables").join(number.to_string())));
        leftovers
    }
}

/// The pointer file is replaced by renaming a temporary one, which a crash may leave behind.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_prefix(".tmp").is_some_and(|rest| {
        rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// The numbers that are the names of a folder's files; anything else there is a fault.
fn numbered(folder: &Path, otherwise: &str) -> Result<BTreeSet<u64>, StoreFault> {
    let number = |(name, path): (String, PathBuf)| {
        number_of(&name).filter(|_| path.is_file()).ok_or_else(|| StoreFault::new(path, otherwise))
    };
    names(folder)?.into_iter().map(number).collect()
}

fn names(dir: &Path) -> Result<Vec<(String, PathBuf)>, StoreFault> {
    let fault = |error: io::Error| StoreFault::new(dir, error.to_string());
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fault)?;
        names.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(names)
}

/// A number as it stands in file names: decimal, no sign, no leading zeros.
fn number_of(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

pub(crate) fn xxh3(bytes: &[u8]) -> u128 {
    let mut hash = ChecksummedWriter::new(io::sink());
    hash.write_all(bytes).expect("a sink takes everything");
    hash.checksum().into_u128()
}

/// Reads numbers off a slice, little endian.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| format!("it ends {} bytes early", count.saturating_sub(self.0.len())))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("take gives what was asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, String> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, String> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(crate) fn finish(self) -> Result<(), String> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(format!("it has {} bytes too many", self.0.len()))
        }
    }
}
