//! The body files that the tables name, and the bodies to which their entries point.

use std::collections::{BTreeMap, BTreeSet};

use super::Depth;
use crate::body::{self, Pointer};
use crate::body_file::{self, BodyFile, KeyRange};
use crate::error::StoreFault;
use crate::merge::{Merge, Value};
use crate::tables::Tables;

/// The body files, and among which keys those of their bodies are, after length and index of each
/// were found sound; with `Depth::Everything` also all that is pointed to. What nothing points to
/// may be anything.
pub(super) fn check(
    tables: &Tables,
    depth: Depth,
) -> Result<(Vec<BodyFile>, KeyRange), Vec<StoreFault>> {
    let files = body_file::named(tables).map_err(|fault| vec![fault])?;
    let (mut faults, mut keys) = (Vec::new(), KeyRange::default());
    for file in &files {
        match file.index(tables.dir()) {
            Ok(bodies) => bodies.iter().for_each(|body| keys.extend(&body.key)),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() && depth == Depth::Everything {
        faults = read_all(tables, &files).unwrap_or_else(|fault| vec![fault]);
    }
    if faults.is_empty() { Ok((files, keys)) } else { Err(faults) }
}

/// Reads every body. Answers the first fault of each file.
fn read_all(tables: &Tables, files: &[BodyFile]) -> Result<Vec<StoreFault>, StoreFault> {
    let named: BTreeSet<u64> = files.iter().map(|file| file.number).collect();
    let mut faults = BTreeMap::new();
    for entry in Merge::new(tables.all().collect()) {
        let Some(Value::Apart(pointer)) = entry?.value else { continue };
        let number = Pointer::decode(&pointer).map(|pointer| pointer.file);
        if faults.contains_key(&number) {
            continue;
        }
        if let Err(fault) = body::read(tables.dir(), &pointer) {
            faults.insert(number, fault);
        } else if let Some(unnamed) = number.filter(|number| !named.contains(number)) {
            let path = body_file::path(tables.dir(), unnamed);
            let what = "a table points to it, but none names it";
            faults.insert(number, StoreFault::new(path, what));
        }
    }
    Ok(faults.into_values().collect())
}
