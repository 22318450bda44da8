//! Whether the archive holds every file exactly once: by reading all of it again.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use super::archive;
use super::files::SourceFile;

/// What is in the archive.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Files that are there with the right checksum.
    pub(super) sound: u64,
    /// Files that changed or went while the demo ran; what is archived is what they were or are.
    pub(super) changed: u64,
    /// Their size in the archive.
    pub(super) compressed: u64,
    /// Paths of files that are missing or wrong.
    pub(super) missing: Vec<String>,
    /// Files in the archive without a source: from earlier runs.
    pub(super) others: u64,
}

/// Reads the whole archive.
pub(super) fn check(archive: &Path, folder: &Path, files: &[SourceFile]) -> io::Result<Checked> {
    let mut checked = Checked::default();
    for file in files {
        let target = archive::place(archive, &file.path);
        let archived = archive::digest_archived(&target).ok().map(|(sha256, _)| sha256);
        if archived.as_ref() == Some(&file.sha256) {
            checked.sound += 1;
        } else {
            match (archived, archive::digest_file(&folder.join(&file.path))) {
                (Some(archived), Ok((now, _))) if archived == now => checked.changed += 1,
                (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => checked.changed += 1,
                _ => {
                    checked.missing.push(file.path.clone());
                    continue;
                }
            }
        }
        checked.compressed += target.metadata().map_or(0, |metadata| metadata.len());
    }
    let known: HashSet<_> = files.iter().map(|file| file.path.as_str()).collect();
    let contents = archive::contents(archive)?;
    checked.others = contents.iter().filter(|path| !known.contains(path.as_str())).count() as u64;
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::files::walk;
    use super::*;

    #[test]
    fn what_is_missing_wrong_changed_or_left_over_is_told() {
        let root = tempfile::tempdir().unwrap();
        let (folder, out) = (root.path().join("in"), root.path().join("out"));
        fs::create_dir(&folder).unwrap();
        for name in ["sound", "missing", "wrong", "changed", "gone"] {
            fs::write(folder.join(name), name).unwrap();
        }
        let (files, _) = walk(&folder, &out).unwrap();
        fs::write(folder.join("changed"), "new").unwrap();
        for name in ["sound", "wrong", "changed"] {
            archive::store(&out, name, &folder.join(name)).unwrap();
        }
        archive::store(&out, "older", &folder.join("sound")).unwrap();
        fs::write(archive::place(&out, "wrong"), "x").unwrap();
        fs::remove_file(folder.join("gone")).unwrap();
        let checked = check(&out, &folder, &files).unwrap();
        assert_eq!((checked.sound, checked.changed, checked.others), (1, 2, 1));
        assert_eq!(checked.missing, ["missing", "wrong"]);
    }
}
