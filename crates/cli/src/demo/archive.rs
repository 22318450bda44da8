//! The archive of the demo: one compressed file per source file, written whole or not at all; which
//! files go into it, and what it takes to check it. It knows no jobs, but for their ids.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What the file of an archive is called after the path of its source.
const ENDING: &str = ".gz";
/// What it is called until it is whole, after a dot and the name.
const DRAFT_ENDING: &str = ".tmp";
/// Folders that nobody misses in the archive.
const SKIPPED: &[&str] = &["target", ".git", ".longshore", "longshore-demo", "node_modules"];

/// A file to archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SourceFile {
    /// Relative to the folder, with `/`.
    pub(super) path: String,
    /// SHA-256 in hexadecimal.
    pub(super) sha256: String,
    /// Its size.
    pub(super) bytes: u64,
}

impl SourceFile {
    /// The identity of its job: the same path with the same content is the same job. `round`
    /// tells apart jobs for a file that had to be archived once more.
    pub(super) fn job_id(&self, round: &str) -> Uuid {
        let mut digest = Sha256::new();
        for part in ["longshore demo", &self.path, &self.sha256, round] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut bytes = [0; 16];
        for (byte, digested) in bytes.iter_mut().zip(digest.finalize()) {
            *byte = digested;
        }
        // Version 8: the meaning of the bits is the maker's.
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid::from_bytes(bytes)
    }
}

/// Calls `visit` with the relative path of every file below `folder`. Links are not followed.
fn walk_files(
    folder: &Path,
    mut visit: impl FnMut(&fs::DirEntry, &str) -> io::Result<bool>,
) -> io::Result<()> {
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if visit(&entry, &path)? {
                folders.push((entry.path(), format!("{path}/")));
            }
        }
    }
    Ok(())
}

/// Every regular file below `folder`, sorted by path, without builds, version control and the
/// folder `output`. Paths that are not UTF-8, and files that cannot be read, are named beside.
pub(super) fn walk(folder: &Path, output: &Path) -> io::Result<(Vec<SourceFile>, Vec<PathBuf>)> {
    let output = output.canonicalize().ok();
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    walk_files(folder, |entry, path| {
        let kind = entry.file_type()?;
        let Ok(name) = entry.file_name().into_string() else {
            skipped.push(entry.path());
            return Ok(false);
        };
        if kind.is_dir() {
            let ours = output.is_some() && entry.path().canonicalize().ok() == output;
            return Ok(!ours && !SKIPPED.contains(&name.as_str()));
        }
        if kind.is_file() {
            match digest(File::open(entry.path())) {
                Ok((sha256, bytes)) => {
                    found.push(SourceFile { path: path.to_owned(), sha256, bytes });
                }
                Err(_) => skipped.push(entry.path()),
            }
        }
        Ok(false)
    })?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((found, skipped))
}

/// Reads the whole archive. Answers its size, and the files that are missing or wrong in it; what
/// has changed or gone since may be there as it was or as it is. Drafts of killed workers are
/// removed.
pub(super) fn check(
    archive: &Path,
    folder: &Path,
    files: &[SourceFile],
) -> io::Result<(u64, Vec<SourceFile>)> {
    let (mut bytes, mut missing) = (0, Vec::new());
    for file in files {
        let target = place(archive, &file.path);
        let archived = digest_archived(&target).map(|(sha256, _)| sha256).unwrap_or_default();
        let is_sound = archived == file.sha256
            || match digest(File::open(folder.join(&file.path))) {
                Ok((now, _)) => archived == now,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
        if is_sound {
            bytes += target.metadata().map_or(0, |metadata| metadata.len());
        } else {
            missing.push(file.clone());
        }
    }
    walk_files(archive, |entry, _| {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && name.ends_with(DRAFT_ENDING) {
            fs::remove_file(entry.path())?;
        }
        Ok(entry.file_type().is_ok_and(|kind| kind.is_dir()))
    })?;
    Ok((bytes, missing))
}

/// What was put into the archive.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub(super) struct Stored {
    /// SHA-256 of the source, in hexadecimal.
    sha256: String,
    /// Bytes of the source, and in the archive.
    bytes: u64,
    compressed: u64,
    /// The archive held it already.
    unchanged: bool,
}

/// Where the archive keeps the source of this relative path.
fn place(archive: &Path, path: &str) -> PathBuf {
    archive.join(format!("{path}{ENDING}"))
}

/// Compresses `source` into the archive under `path`. Doing it again changes nothing; being
/// killed at any moment leaves the archive without it or with all of it.
pub(super) fn store(archive: &Path, path: &str, source: &Path) -> io::Result<Stored> {
    let target = place(archive, path);
    let (sha256, bytes) = digest(File::open(source))?;
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
    let mut encoder = GzEncoder::new(File::create(draft)?, Compression::default());
    let (sha256, bytes) = copy(File::open(source)?, &mut encoder)?;
    let output = encoder.finish()?;
    output.sync_data()?;
    let compressed = output.metadata()?.len();
    Ok(Stored { sha256, bytes, compressed, unchanged: false })
}

/// SHA-256 and size of what the archive holds, decompressed.
fn digest_archived(target: &Path) -> io::Result<(String, u64)> {
    copy(MultiGzDecoder::new(BufReader::new(File::open(target)?)), io::sink())
}

/// SHA-256 and size of a file.
fn digest(file: io::Result<File>) -> io::Result<(String, u64)> {
    copy(file?, io::sink())
}

/// Copies, and answers SHA-256 and size.
fn copy(mut input: impl Read, mut output: impl Write) -> io::Result<(String, u64)> {
    let (mut digest, mut buffer, mut bytes) = (Sha256::new(), vec![0; 64 << 10], 0);
    loop {
        let length = input.read(&mut buffer)?;
        if length == 0 {
            let digested = digest.finalize();
            let text = digested.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            return Ok((text, bytes));
        }
        digest.update(&buffer[..length]);
        output.write_all(&buffer[..length])?;
        bytes += length as u64;
    }
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
        assert_eq!(
            digest_archived(&place(&archive, "a")).unwrap(),
            digest(File::open(&source)).unwrap()
        );
    }

    #[test]
    fn a_source_that_is_gone_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = store(folder.path(), "a", &folder.path().join("gone")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        let root = tempfile::tempdir().unwrap();
        let (folder, out) = (root.path().join("in"), root.path().join("out"));
        fs::create_dir(&folder).unwrap();
        for name in ["sound", "missing", "wrong", "changed", "gone"] {
            fs::write(folder.join(name), name).unwrap();
        }
        let (files, _) = walk(&folder, &out).unwrap();
        fs::write(folder.join("changed"), "new").unwrap();
        for name in ["sound", "wrong", "changed"] {
            store(&out, name, &folder.join(name)).unwrap();
        }
        fs::write(place(&out, "wrong"), "x").unwrap();
        fs::remove_file(folder.join("gone")).unwrap();
        fs::write(out.join(".sound.gz.17.tmp"), "half").unwrap();
        let checked = check(&out, &folder, &files).unwrap();
        let missing: Vec<_> = checked.1.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(missing, ["missing", "wrong"]);
        assert!(!out.join(".sound.gz.17.tmp").exists(), "what a killed worker left is swept");
    }

    #[test]
    fn walks_files_but_not_builds_links_and_its_own_output() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["b/c.txt", "a.txt", "target/x", ".git/x", "out/archive/x.gz", ".hidden"] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("loop")).unwrap();
        let (found, skipped) = walk(root, &root.join("out")).unwrap();
        let paths: Vec<_> = found.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [".hidden", "a.txt", "b/c.txt"]);
        assert!(skipped.is_empty());
    }

    #[test]
    fn a_job_is_its_path_and_its_content() {
        let file = |path: &str, sha256: &str| SourceFile {
            path: path.to_owned(),
            sha256: sha256.to_owned(),
            bytes: 1,
        };
        let id = file("a", "x").job_id("");
        assert_eq!(id, file("a", "x").job_id(""));
        assert_eq!(id.get_version_num(), 8);
        for other in [file("b", "x"), file("a", "y"), file("ax", "")] {
            assert_ne!(id, other.job_id(""));
        }
        assert_ne!(id, file("a", "x").job_id("2"));
    }
}
