//! One table file against what the version says of it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use lsm_tree::checksum::ChecksummedWriter;
use lsm_tree::{Cache, Checksum, Slice, Table};

use super::Depth;
use super::archive;
use super::version::NamedTable;
use crate::error::{StoreFault, words_of};
use crate::open::panic_text;

/// The table, open for reading, after its envelope and description were found sound; with
/// `Depth::Everything` also every byte and every entry.
pub(super) fn check(dir: &Path, named: &NamedTable, depth: Depth) -> Result<Table, StoreFault> {
    let path = dir.join("tables").join(named.number.to_string());
    check_file(&path, named, depth)
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => Err("it is missing, the current version names it".into()),
            _ => Err(error.to_string()),
        })
        .map_err(|what| StoreFault::new(path, what))
}

fn check_file(path: &Path, named: &NamedTable, depth: Depth) -> io::Result<Result<Table, String>> {
    let file = File::open(path)?;
    let sections = match archive::sections(&file)? {
        Ok(sections) => sections,
        Err(what) => return Ok(Err(what)),
    };
    for name in ["tli", "meta"] {
        let found = sections.iter().find(|section| section.name == name.as_bytes());
        if found.is_none_or(|section| u32::try_from(section.bytes).is_err()) {
            return Ok(Err(format!("its section \"{name}\" is missing or too large")));
        }
    }
    let whole = if depth == Depth::Everything { checksum(file)? } else { named.checksum };
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let table = open(path, named)?;
        if depth == Depth::Everything {
            read_all(&table)?;
        }
        Ok(table)
    }));
    // What a block says is the better answer, so the checksum of the whole file comes last.
    Ok(opened.unwrap_or_else(|panic| Err(panic_text(&*panic))).and_then(|table| {
        if whole == named.checksum {
            Ok(table)
        } else {
            Err("its checksum is not the one that the current version has for it".into())
        }
    }))
}

fn open(path: &Path, named: &NamedTable) -> Result<Table, String> {
    let table = Table::recover(
        path.to_owned(),
        Checksum::from_raw(named.checksum),
        0,
        0,
        Arc::new(Cache::with_capacity_bytes(1 << 20)),
        None,
        true,
        true,
    )
    .map_err(|error| format!("its description could not be read: {}", words_of(&error)))?;
    if table.id() != named.number {
        return Err(format!("it says that it is table {}", table.id()));
    }
    Ok(table)
}

fn read_all(table: &Table) -> Result<(), String> {
    let mut count = 0;
    let mut last: Option<Slice> = None;
    for entry in table.iter() {
        let entry =
            entry.map_err(|error| format!("after {count} entries: {}", words_of(&error)))?;
        if last.as_ref().is_some_and(|last| *last > entry.key.user_key) {
            return Err(format!("after {count} entries: its keys are out of order"));
        }
        last = Some(entry.key.user_key);
        count += 1;
    }
    if count != table.metadata.item_count {
        let expected = table.metadata.item_count;
        return Err(format!("it has {count} entries and says that it has {expected}"));
    }
    Ok(())
}

fn checksum(file: File) -> io::Result<u128> {
    let mut hash = ChecksummedWriter::new(io::sink());
    let mut file = file;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.checksum().into_u128()),
            read => hash.write_all(buffer.get(..read).unwrap_or_default())?,
        }
    }
}
