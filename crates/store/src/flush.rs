//! What a flush writes of one memtable: the newest entry of each key, large values in a body file
//! and only pointers to them in the tables.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use lsm_tree::{InternalValue, Memtable, ValueType};

use crate::body::Pointer;
use crate::body_file::{BodyFile, KeyRange, Writer};
use crate::error::StoreFault;
use crate::tables::Tables;
use crate::view::Sealed;

pub(crate) struct Flush<'a> {
    sealed: &'a Sealed,
    below: &'a Tables,
    body_bytes_min: usize,
    /// Body files that are no longer to be named.
    unused: &'a BTreeSet<u64>,
    /// Among which the keys of all bodies below are.
    body_keys: &'a KeyRange,
    /// The file with the memtable's bodies, once it is written.
    pub(crate) file: Option<BodyFile>,
    pub(crate) file_keys: KeyRange,
    /// To its bodies, in order.
    pointers: Vec<Pointer>,
    /// Body files below to whose bodies the memtable takes pointers away.
    pub(crate) touched: BTreeSet<u64>,
}

impl<'a> Flush<'a> {
    pub(crate) fn new(
        sealed: &'a Sealed,
        below: &'a Tables,
        body_bytes_min: usize,
        unused: &'a BTreeSet<u64>,
        body_keys: &'a KeyRange,
    ) -> Self {
        Self {
            sealed,
            below,
            body_bytes_min,
            unused,
            body_keys,
            file: None,
            file_keys: KeyRange::default(),
            pointers: Vec::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Writes the body file, if there is anything for it. Comes before `entries`.
    pub(crate) fn write_bodies(&mut self, dir: &Path) -> io::Result<()> {
        if !self.sealed.has_bodies {
            return Ok(());
        }
        let mut writer = None;
        for (entry, _) in newest(&self.sealed.memtable) {
            if is_body(&entry, self.body_bytes_min) {
                let writer = match &mut writer {
                    Some(writer) => writer,
                    None => writer.insert(Writer::create(dir, self.sealed.position.0)?),
                };
                self.pointers.push(writer.add(&entry.key.user_key, &entry.value)?);
            }
        }
        if let Some(writer) = writer {
            let (file, keys) = writer.finish()?;
            (self.file, self.file_keys) = (Some(file), keys);
        }
        Ok(())
    }

    /// The entries for the tables. What was added and removed in memory leaves no trace on disk,
    /// unless the tables below have something for the tombstone to hide. A tombstone of what was
    /// not added here hides something below, as a rule: a look at the tables would cost more than
    /// the few that hide nothing.
    pub(crate) fn entries(&mut self) -> impl Iterator<Item = lsm_tree::Result<InternalValue>> {
        let mut entries = newest(&self.sealed.memtable);
        // Where body files are named comes right after the marker.
        let marker = entries.next();
        let named = self.named().into_iter().map(|entry| (entry, true));
        let mut pointers = std::mem::take(&mut self.pointers).into_iter();
        let (below, body_keys, touched) = (self.below, self.body_keys, &mut self.touched);
        let body_bytes_min = self.body_bytes_min;
        marker.into_iter().chain(named).chain(entries).filter_map(move |(mut entry, alone)| {
            let may_be_trace = entry.is_tombstone() && !alone;
            if may_be_trace || body_keys.contains(&entry.key.user_key) {
                match hides(below, &entry, touched) {
                    Ok(false) if may_be_trace => return None,
                    Ok(_) => {}
                    Err(fault) => return Some(Err(io::Error::other(fault).into())),
                }
            }
            if is_body(&entry, body_bytes_min) {
                let pointer = pointers.next().expect("a pointer was made for each body");
                entry.value = pointer.encode().into();
                entry.key.value_type = ValueType::Indirection;
            }
            Some(Ok(entry))
        })
    }

    /// What the tables are to say of body files from now on, in order of keys.
    fn named(&self) -> Vec<InternalValue> {
        let entry = |number, value: Vec<u8>, kind| {
            let seqno = self.sealed.position.0;
            InternalValue::from_components(BodyFile::key(number), value, seqno, kind)
        };
        let unused = self.unused.iter();
        let mut named: Vec<_> =
            unused.map(|number| entry(*number, Vec::new(), ValueType::Tombstone)).collect();
        // Its number is the position, so it comes after all others.
        named.extend(self.file.map(|file| entry(file.number, file.encode(), ValueType::Value)));
        named
    }
}

/// Whether the entry hides a value in the tables; if that is a body, its file is noted.
fn hides(
    below: &Tables,
    entry: &InternalValue,
    touched: &mut BTreeSet<u64>,
) -> Result<bool, StoreFault> {
    let Some(hidden) = below.get(&entry.key.user_key)? else { return Ok(false) };
    if hidden.key.value_type == ValueType::Indirection {
        touched.extend(Pointer::decode(&hidden.value).map(|pointer| pointer.file));
    }
    Ok(!hidden.is_tombstone())
}

fn is_body(entry: &InternalValue, body_bytes_min: usize) -> bool {
    !entry.is_tombstone() && entry.value.len() >= body_bytes_min
}

/// The newest entry of each key, and whether it is the only one.
fn newest(memtable: &Memtable) -> impl Iterator<Item = (InternalValue, bool)> {
    let mut entries = memtable.iter().peekable();
    std::iter::from_fn(move || {
        let newest = entries.next()?;
        let mut alone = true;
        while entries.next_if(|older| older.key.user_key == newest.key.user_key).is_some() {
            alone = false;
        }
        Some((newest, alone))
    })
}
