//! The archive of the demo: one compressed file per source file, written whole or not at all; which
//! files go into it, and what it takes to check it. It knows no jobs, but for their ids.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// Folders that nobody misses in the archive.
const SKIPPED: &[&str] = &["target", ".git", ".longshore", "longshore-demo", "node_modules"];

/// A file to archive.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    /// Relative to the folder, with `/`.
    pub(super) path: String,
    sha256: [u8; 32],
    pub(super) bytes: u64,
}

impl SourceFile {
    /// The identity of its job: the same path with the same content is the same job. `round`
    /// tells apart jobs for a file that had to be archived once more.
    pub(super) fn job_id(&self, round: &str) -> Uuid {
        let parts = [b"longshore demo", self.path.as_bytes(), &self.sha256, round.as_bytes()];
        let digested = Sha256::digest(parts.join(&0));
        let bytes = digested.first_chunk().expect("a digest is longer than an id");
        Builder::from_custom_bytes(*bytes).into_uuid()
    }
}

/// What is to be archived, without builds, version control and the folder `output`. Paths that are
/// not UTF-8, and files that cannot be read, are named beside.
pub(super) fn walk(folder: &Path, output: &Path) -> io::Result<(Vec<SourceFile>, Vec<PathBuf>)> {
    let output = output.canonicalize()?;
    let (mut folders, mut found, mut skipped) = (vec![folder.to_owned()], Vec::new(), Vec::new());
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(below)? {
            let entry = entry?;
            let (path, kind, name) = (entry.path(), entry.file_type()?, entry.file_name());
            if kind.is_dir() {
                if path.canonicalize().ok().as_ref() != Some(&output)
                    && SKIPPED.iter().all(|it| name != *it)
                {
                    folders.push(path);
                }
            } else if kind.is_file() {
                let known = path.strip_prefix(folder).ok().and_then(Path::to_str);
                match (known.map(str::to_owned), File::open(&path).and_then(digest)) {
                    (Some(path), Ok((sha256, bytes))) => {
                        found.push(SourceFile { path, sha256, bytes });
                    }
                    _ => skipped.push(path),
                }
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    skipped.sort();
    Ok((found, skipped))
}

/// Reads the whole archive. Answers its size, and the files that are missing or wrong in it; what
/// has changed or gone since may be there as it was or as it is. Drafts of killed workers are
/// removed.
pub(super) fn check(archive: &Path, folder: &Path, files: &[SourceFile]) -> (u64, Vec<SourceFile>) {
    let (mut bytes, mut missing) = (0, Vec::new());
    for file in files {
        let target = place(archive, &file.path);
        let archived = archived(&target).ok();
        let is_sound = archived == Some(file.sha256)
            || match File::open(folder.join(&file.path)).and_then(digest) {
                Ok((now, _)) => archived == Some(now),
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
        if is_sound {
            bytes += target.metadata().map_or(0, |metadata| metadata.len());
        } else {
            missing.push(file.clone());
        }
    }
    // Where there are none, there is no such folder.
    let _ = fs::remove_dir_all(drafts(archive));
    (bytes, missing)
}

/// Where the archive keeps the source of this relative path.
fn place(archive: &Path, path: &str) -> PathBuf {
    archive.join(format!("{path}.gz"))
}

/// Where files are that are not whole yet: on the disk of the archive, in a folder of a name that
/// [`walk`] skips, so that no source file is archived there.
fn drafts(archive: &Path) -> PathBuf {
    archive.join("longshore-demo")
}

/// Compresses `source` into the archive under `path`. Doing it again changes nothing; being
/// killed at any moment leaves the archive without it or with all of it.
pub(super) fn store(archive: &Path, path: &str, source: &Path) -> io::Result<()> {
    let (target, drafts) = (place(archive, path), drafts(archive));
    let (sha256, _) = digest(File::open(source)?)?;
    if archived(&target).is_ok_and(|archived| archived == sha256) {
        return Ok(());
    }
    fs::create_dir_all(&drafts)?;
    fs::create_dir_all(target.parent().unwrap_or(archive))?;
    // A name of its own, so that a zombie and its successor never write the same file.
    let draft = drafts.join(Uuid::now_v7().to_string());
    let written = compress(source, &draft).and_then(|()| fs::rename(&draft, target));
    if written.is_err() {
        // On a full disk each attempt would leave its part of the file behind.
        let _ = fs::remove_file(draft);
    }
    written
}

fn compress(source: &Path, draft: &Path) -> io::Result<()> {
    let mut output = File::create(draft)?;
    io::copy(&mut GzEncoder::new(File::open(source)?, Compression::default()), &mut output)?;
    output.sync_data()
}

/// SHA-256 of what the archive holds, decompressed.
fn archived(target: &Path) -> io::Result<[u8; 32]> {
    Ok(digest(MultiGzDecoder::new(BufReader::new(File::open(target)?)))?.0)
}

/// SHA-256 and size.
fn digest(mut input: impl Read) -> io::Result<([u8; 32], u64)> {
    let (mut digest, mut buffer, mut bytes) = (Sha256::new(), vec![0; 64 << 10], 0);
    loop {
        let length = input.read(&mut buffer)?;
        if length == 0 {
            return Ok((digest.finalize().into(), bytes));
        }
        digest.update(&buffer[..length]);
        bytes += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the archive holds the source, after it was stored as `path`.
    fn holds(archive: &Path, path: &str, source: &Path) -> bool {
        store(archive, path, source).unwrap();
        archived(&place(archive, path)).unwrap() == digest(File::open(source).unwrap()).unwrap().0
    }

    #[test]
    fn storing_twice_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (source, archive) = (folder.path().join("a.txt"), folder.path().join("archive"));
        fs::write(&source, "to be kept ".repeat(1000)).unwrap();
        assert!(holds(&archive, "deep/er/a.txt", &source));
        let first = fs::metadata(place(&archive, "deep/er/a.txt")).unwrap();
        assert!(first.len() < 1000, "{} bytes", first.len());
        assert!(holds(&archive, "deep/er/a.txt", &source));
        let again = fs::metadata(place(&archive, "deep/er/a.txt")).unwrap();
        assert_eq!(first.modified().unwrap(), again.modified().unwrap());
    }

    #[test]
    fn a_changed_source_or_a_damaged_archive_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let (source, archive) = (folder.path().join("a"), folder.path().join("archive"));
        fs::write(&source, "one").unwrap();
        assert!(holds(&archive, "a", &source));
        fs::write(&source, "two").unwrap();
        assert!(holds(&archive, "a", &source));
        fs::write(place(&archive, "a"), "no gzip").unwrap();
        assert!(holds(&archive, "a", &source));
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
        fs::create_dir(&out).unwrap();
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
        // A folder of the user's beside the archive.
        fs::create_dir(root.path().join("drafts")).unwrap();
        fs::write(root.path().join("drafts/notes"), "not ours").unwrap();
        fs::write(drafts(&out).join("half"), "half").unwrap();
        let (_, missing) = check(&out, &folder, &files);
        let missing: Vec<_> = missing.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(missing, ["missing", "wrong"]);
        assert!(!drafts(&out).exists(), "what a killed worker left is swept");
        assert!(root.path().join("drafts/notes").exists());
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
            sha256: Sha256::digest(sha256).into(),
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
