//! The state's folder: pointer, version file, tables. An input is a byte of flags and a folder.
//! With flag 1 the checksums of the envelopes and of the pointer are made right first.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use longshore_store::{Depth, check};
use lsm_tree::checksum::ChecksummedWriter;

use crate::folder::{self, File};
use crate::novelty::{saw, sound};

const FLAG_SEAL: u8 = 1;
const TRAILER_BYTES: usize = 38;

/// The folder is sound, or what is wrong with it is named.
pub fn target(input: &[u8]) {
    let Some((flags, files)) = input.split_first() else { return };
    let mut files = folder::decode(files);
    if flags & FLAG_SEAL > 0 {
        seal(&mut files);
    }
    let Ok(dir) = tempfile::tempdir() else { return };
    if write(dir.path(), &files).is_err() {
        return;
    }
    for depth in [Depth::Structure, Depth::Everything] {
        match check(dir.path(), depth, None) {
            Ok(report) => {
                saw((report.tables, report.version, report.leftovers.len()));
                sound();
            }
            Err(faults) => {
                assert!(!faults.is_empty(), "a refusal says why");
                saw(faults.iter().map(|fault| shape(&fault.to_string())).collect::<Vec<_>>());
            }
        }
    }
}

/// A message without its path and its numbers.
fn shape(message: &str) -> String {
    let said = message.rsplit('/').next().unwrap_or(message);
    said.chars().filter(|c| !c.is_ascii_digit()).take(60).collect()
}

fn write(dir: &Path, files: &[File]) -> io::Result<()> {
    fs::create_dir(dir.join("tables"))?;
    for (name, contents) in files {
        let (folder, name) = match name.strip_prefix("tables/") {
            Some(name) => (dir.join("tables"), name),
            None => (dir.to_owned(), name.as_str()),
        };
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '.';
        // Nothing that leads out of the folder.
        if !name.is_empty() && name.chars().all(sound) && !name.starts_with("..") {
            fs::write(folder.join(name), contents)?;
        }
    }
    Ok(())
}

fn seal(files: &mut [File]) {
    for (_, contents) in files.iter_mut() {
        seal_contents(contents);
    }
    let number = |name: &str| name.strip_prefix('v')?.parse::<u64>().ok();
    let version = files.iter().find_map(|(name, contents)| Some((number(name)?, xxh3(contents))));
    let current = files.iter_mut().find(|(name, _)| name == "current");
    if let (Some((number, checksum)), Some((_, current))) = (version, current)
        && let Some((head, _)) = current.split_first_chunk_mut::<24>()
    {
        head[..8].copy_from_slice(&number.to_le_bytes());
        head[8..].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Makes the checksum of the table of contents right, if the trailer says where that is.
fn seal_contents(contents: &mut [u8]) -> Option<()> {
    let trailer_at = contents.len().checked_sub(TRAILER_BYTES)?;
    let (body, trailer) = contents.split_at_mut(trailer_at);
    let number = |at: usize| {
        let bytes = trailer.get(at..at + 8)?.first_chunk::<8>()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    };
    let (position, length) = (number(22)?, number(30)?);
    let checksum = xxh3(body.get(position..position.checked_add(length)?)?);
    trailer.get_mut(6..22)?.copy_from_slice(&checksum.to_le_bytes());
    Some(())
}

fn xxh3(bytes: &[u8]) -> u128 {
    let mut hash = ChecksummedWriter::new(io::sink());
    hash.write_all(bytes).expect("a sink takes everything");
    hash.checksum().into_u128()
}
