//! The real files that the demo works on: which, their checksums, and the identity of the job of
//! each. Reading only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::archive;

/// Folders that nobody misses in the archive.
const SKIPPED: &[&str] = &["target", ".git", ".longshore", "longshore-demo", "node_modules"];

/// A file to archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SourceFile {
    /// Relative to the folder, with `/`.
    pub(crate) path: String,
    /// SHA-256 in hexadecimal.
    pub(crate) sha256: String,
    /// Its size.
    pub(crate) bytes: u64,
}

impl SourceFile {
    /// The identity of its job: the same path with the same content is the same job. `round`
    /// tells apart jobs for a file that had to be archived once more.
    pub(crate) fn job_id(&self, round: &str) -> Uuid {
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

/// Every regular file below `folder`, sorted by path, without builds, version control and the
/// folder `output`. Links are not followed. Paths that are not UTF-8, and files that cannot be
/// read, are named beside.
pub(crate) fn walk(folder: &Path, output: &Path) -> io::Result<(Vec<SourceFile>, Vec<PathBuf>)> {
    let output = output.canonicalize().ok();
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let Ok(name) = entry.file_name().into_string() else {
                skipped.push(entry.path());
                continue;
            };
            let path = format!("{prefix}{name}");
            if kind.is_dir() {
                let ours = output.is_some() && entry.path().canonicalize().ok() == output;
                if !ours && !SKIPPED.contains(&name.as_str()) {
                    folders.push((entry.path(), format!("{path}/")));
                }
            } else if kind.is_file() {
                match archive::digest_file(&entry.path()) {
                    Ok((sha256, bytes)) => found.push(SourceFile { path, sha256, bytes }),
                    Err(_) => skipped.push(entry.path()),
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((found, skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

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
