//! The archive of the demo: one compressed file per source file, written whole or not at all,
//! and what it takes to check it. It knows no jobs.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// What the file of an archive is called after the path of its source.
const ENDING: &str = ".gz";
/// What it is called until it is whole, after a dot and the name.
const DRAFT_ENDING: &str = ".tmp";

/// What was put into the archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Stored {
    /// SHA-256 of the source, in hexadecimal.
    pub(crate) sha256: String,
    /// Bytes of the source.
    pub(crate) bytes: u64,
    /// Bytes in the archive.
    pub(crate) compressed: u64,
    /// The archive held it already.
    pub(crate) unchanged: bool,
}

/// Where the archive keeps the source of this relative path.
pub(crate) fn place(archive: &Path, path: &str) -> PathBuf {
    archive.join(format!("{path}{ENDING}"))
}

/// Compresses `source` into the archive under `path`. Doing it again changes nothing; being
/// killed at any moment leaves the archive without it or with all of it.
pub(crate) fn store(archive: &Path, path: &str, source: &Path) -> io::Result<Stored> {
    let target = place(archive, path);
    let (sha256, bytes) = digest_file(source)?;
    if let Ok((archived, _)) = digest_archived(&target)
        && archived == sha256
    {
        let compressed = fs::metadata(&target)?.len();
        return Ok(Stored { sha256, bytes, compressed, unchanged: true });
    }
    let folder = target.parent().unwrap_or(archive);
    fs::create_dir_all(folder)?;
    // Named after the process, so that a zombie and its successor never write the same file.
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!(".{name}.{}{DRAFT_ENDING}", std::process::id()));
    let stored = write_draft(source, &draft).and_then(|stored| {
        fs::rename(&draft, &target)?;
        Ok(stored)
    });
    if stored.is_err() {
        let _ = fs::remove_file(&draft);
    }
    stored
}

fn write_draft(source: &Path, draft: &Path) -> io::Result<Stored> {
    let mut input = File::open(source)?;
    let mut encoder = GzEncoder::new(File::create(draft)?, Compression::default());
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let length = input.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        digest.update(&buffer[..length]);
        encoder.write_all(&buffer[..length])?;
        bytes += length as u64;
    }
    let output = encoder.finish()?;
    output.sync_data()?;
    let compressed = output.metadata()?.len();
    Ok(Stored { sha256: hexadecimal(&digest.finalize()), bytes, compressed, unchanged: false })
}

/// SHA-256 and size of what the archive holds, decompressed.
pub(crate) fn digest_archived(target: &Path) -> io::Result<(String, u64)> {
    digest(MultiGzDecoder::new(BufReader::new(File::open(target)?)))
}

/// SHA-256 and size of a file.
pub(crate) fn digest_file(path: &Path) -> io::Result<(String, u64)> {
    digest(File::open(path)?)
}

fn digest(mut input: impl Read) -> io::Result<(String, u64)> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let length = input.read(&mut buffer)?;
        if length == 0 {
            return Ok((hexadecimal(&digest.finalize()), bytes));
        }
        digest.update(&buffer[..length]);
        bytes += length as u64;
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Relative paths of all that the archive holds, sorted; drafts of killed workers are removed.
pub(crate) fn contents(archive: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(prefix) = folders.pop() {
        let entries = match fs::read_dir(archive.join(&prefix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if name.starts_with('.') && name.ends_with(DRAFT_ENDING) {
                fs::remove_file(entry.path())?;
            } else {
                found.push(path.strip_suffix(ENDING).unwrap_or(&path).to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storing_twice_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (source, archive) = (folder.path().join("a.txt"), folder.path().join("archive"));
        fs::write(&source, "to be kept ".repeat(1000)).unwrap();
        let first = store(&archive, "deep/er/a.txt", &source).unwrap();
        assert!(!first.unchanged && first.compressed < first.bytes);
        let again = store(&archive, "deep/er/a.txt", &source).unwrap();
        assert_eq!(again, Stored { unchanged: true, ..first.clone() });
        let target = place(&archive, "deep/er/a.txt");
        assert_eq!(digest_archived(&target).unwrap(), (first.sha256, first.bytes));
        assert_eq!(contents(&archive).unwrap(), ["deep/er/a.txt"]);
    }

    #[test]
    fn a_changed_source_or_a_damaged_archive_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let (source, archive) = (folder.path().join("a"), folder.path().join("archive"));
        fs::write(&source, "one").unwrap();
        store(&archive, "a", &source).unwrap();
        fs::write(&source, "two").unwrap();
        assert!(!store(&archive, "a", &source).unwrap().unchanged);
        fs::write(place(&archive, "a"), "no gzip").unwrap();
        assert!(!store(&archive, "a", &source).unwrap().unchanged);
        assert_eq!(digest_archived(&place(&archive, "a")).unwrap(), digest_file(&source).unwrap());
    }

    #[test]
    fn what_a_killed_worker_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path();
        fs::write(archive.join(".a.gz.17.tmp"), "half").unwrap();
        fs::write(archive.join(".hidden.gz"), "whole").unwrap();
        assert_eq!(contents(archive).unwrap(), [".hidden"]);
        assert_eq!(fs::read_dir(archive).unwrap().count(), 1);
        assert!(contents(&archive.join("absent")).unwrap().is_empty());
    }

    #[test]
    fn a_source_that_is_gone_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = store(folder.path(), "a", &folder.path().join("gone")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
