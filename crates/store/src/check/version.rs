//! The pointer file `current` and the version file that it names: which tables make up the state.
//!
//! ```text
//! current (25 B)  version number u64, XXH3-128 of the version file u128, checksum type u8 = 0
//! section tables  levels u8; per level: runs u8; per run: tables u32;
//! per table: number u64, checksum type u8 = 0, XXH3-128 of its file u128, seqno u64 = 0
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::archive::{self, Section};
use super::{Bytes, CURRENT_FILE, xxh3};
use crate::error::StoreFault;

/// A version names every table in 33 bytes: room for half a million of them.
const VERSION_BYTES_MAX: u64 = 16 << 20;
const LEVELS: u8 = 7;

/// A table as the version knows it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct NamedTable {
    pub(super) number: u64,
    pub(super) checksum: u128,
}

/// Tables by run, newest run first.
#[derive(Debug, Default)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) runs: Vec<Vec<NamedTable>>,
}

/// The current version, or `None` where there is no `current`.
pub(super) fn read_current(dir: &Path) -> Result<Option<Version>, StoreFault> {
    let path = dir.join(CURRENT_FILE);
    let current = match fs::read(&path) {
        Ok(current) => current,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreFault::new(path, error.to_string())),
    };
    let (number, checksum) =
        parse_current(&current).map_err(|what| StoreFault::new(&path, what))?;
    let version_path = dir.join(format!("v{number}"));
    let runs = read_version(&version_path, checksum)
        .unwrap_or_else(|error| Err(format!("it is named by current, but: {error}")))
        .map_err(|what| StoreFault::new(version_path, what))?;
    Ok(Some(Version { number, runs }))
}

fn parse_current(current: &[u8]) -> Result<(u64, u128), String> {
    if current.len() != 25 {
        return Err(format!("it has {} bytes instead of 25", current.len()));
    }
    let mut current = Bytes::new(current);
    let (number, checksum, checksum_type) = (current.u64()?, current.u128()?, current.u8()?);
    if checksum_type != 0 {
        return Err(format!("it has the unknown checksum type {checksum_type}"));
    }
    Ok((number, checksum))
}

type Runs = Vec<Vec<NamedTable>>;

fn read_version(path: &Path, checksum: u128) -> io::Result<Result<Runs, String>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > VERSION_BYTES_MAX {
        return Ok(Err(format!("it has {length} bytes, more than a version can have")));
    }
    let bytes = archive::read(&file, 0, length)?;
    if xxh3(&bytes) != checksum {
        return Ok(Err("its checksum is not the one in current".into()));
    }
    let sections = archive::sections(&file)?;
    Ok(sections.and_then(|sections| parse_version(&bytes, &sections)))
}

fn parse_version(bytes: &[u8], sections: &[Section]) -> Result<Runs, String> {
    let section = |name: &str| {
        sections
            .iter()
            .find(|section| section.name == name.as_bytes())
            .and_then(|section| {
                let start = usize::try_from(section.position).ok()?;
                bytes.get(start..start.checked_add(usize::try_from(section.bytes).ok()?)?)
            })
            .ok_or_else(|| format!("it has no section \"{name}\""))
    };
    for (name, expected) in [
        ("format_version", &[3][..]),
        ("tree_type", &[0]),
        ("level_count", &[LEVELS]),
        ("filter_hash_type", &[0]),
        ("blob_files", &[0; 4]),
    ] {
        let found = section(name)?;
        if found != expected {
            let shown = |bytes: &[u8]| {
                bytes.iter().take(16).map(|it| format!("{it:02x}")).collect::<Vec<_>>().concat()
            };
            let (found, expected) = (shown(found), shown(expected));
            return Err(format!("its section \"{name}\" is {found} instead of {expected} (hex)"));
        }
    }
    section("blob_gc_stats")?;
    parse_runs(section("tables")?)
}

fn parse_runs(bytes: &[u8]) -> Result<Runs, String> {
    let mut bytes = Bytes::new(bytes);
    let mut seen = BTreeSet::new();
    let mut runs = Vec::new();
    let levels = bytes.u8()?;
    if levels != LEVELS {
        return Err(format!("it has {levels} levels instead of {LEVELS}"));
    }
    for _ in 0..levels {
        for _ in 0..bytes.u8()? {
            let mut run = Vec::new();
            for _ in 0..bytes.u32()? {
                let number = bytes.u64()?;
                let (checksum_type, checksum, seqno) = (bytes.u8()?, bytes.u128()?, bytes.u64()?);
                if (checksum_type, seqno) != (0, 0) {
                    return Err(format!(
                        "table {number} has checksum type {checksum_type}, seqno {seqno}"
                    ));
                }
                if !seen.insert(number) {
                    return Err(format!("it names table {number} twice"));
                }
                run.push(NamedTable { number, checksum });
            }
            if run.is_empty() {
                return Err("it has an empty run of tables".into());
            }
            runs.push(run);
        }
    }
    bytes.finish()?;
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_that_lie_are_refused() {
        let mut current = 3u64.to_le_bytes().to_vec();
        current.extend(9u128.to_le_bytes());
        current.push(0);
        assert_eq!(parse_current(&current), Ok((3, 9)));
        assert!(parse_current(&current[..24]).is_err());
        current[24] = 1;
        assert!(parse_current(&current).is_err());
    }

    #[test]
    fn table_lists_that_lie_are_refused() {
        let table = |number: u64| {
            let mut table = number.to_le_bytes().to_vec();
            table.push(0);
            table.extend(5u128.to_le_bytes());
            table.extend(0u64.to_le_bytes());
            table
        };
        let list = |count: u32, tables: &[u64]| {
            let mut list = vec![7, 1];
            list.extend(count.to_le_bytes());
            list.extend(tables.iter().flat_map(|number| table(*number)));
            list.extend([0; 6]);
            list
        };
        assert_eq!(
            parse_runs(&list(1, &[4])),
            Ok(vec![vec![NamedTable { number: 4, checksum: 5 }]])
        );
        assert!(parse_runs(&list(2, &[4, 4])).is_err());
        assert!(parse_runs(&list(0, &[])).is_err());
        assert!(parse_runs(&list(u32::MAX, &[4])).is_err());
        assert!(parse_runs(&[6, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(parse_runs(&[]).is_err());
    }
}
