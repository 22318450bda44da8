//! The corpus: `corpus/<target>/<name>`, one input per file, committed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// An input and the name of its file.
pub type Named = (String, Vec<u8>);

/// The folder of a target's inputs.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The inputs of a target in the order of their names.
pub fn read(target: &str) -> Result<Vec<Named>> {
    let folder = folder(target);
    let mut inputs = Vec::new();
    let entries = fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        inputs.push((name, bytes));
    }
    inputs.sort();
    Ok(inputs)
}

/// Adds what is missing of `inputs`. What is there already stays: it may be of an older format.
pub fn add(target: &str, inputs: &[Named]) -> Result<usize> {
    let folder = folder(target);
    fs::create_dir_all(&folder)?;
    let mut added = 0;
    for (name, bytes) in inputs {
        let path = folder.join(name);
        if !path.exists() {
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            added += 1;
        }
    }
    Ok(added)
}
