//! Tests of the whole crate through its public interface.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use longshore_engine::{OrderedMap, Position, Reader};

use crate::LsmConfig;

mod bodies;
mod brief;
mod flips;
mod folder;
mod kill;
mod model;
mod threads;

const BODY_BYTES_MIN: usize = 2000;

type Model = BTreeMap<Vec<u8>, Bytes>;

/// A key and the value that it has from now on, or none where it is removed.
type Change = (Vec<u8>, Option<Bytes>);

/// Writes a group of one entry. What is put under keys that begin with 1 is said not to live for
/// long.
fn write(map: &mut impl OrderedMap, position: Position, changes: Vec<Change>) {
    for (key, value) in changes {
        match value {
            Some(value) if key.first() == Some(&1) && map.get(&key).is_none() => {
                map.put_brief(position, &key, &value);
            }
            _ => map.put(position, &key, value.as_deref()),
        }
    }
    map.seal(position);
}

/// A small generator, so that a seed is a reproduction.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn tiny() -> LsmConfig {
    LsmConfig {
        memtable_bytes: 64 << 10,
        brief_keys_max: 40,
        brief_bytes_max: 8 << 10,
        table_bytes: 64 << 10,
        young_tables: 4,
        body_bytes_min: BODY_BYTES_MIN,
        ..LsmConfig::default()
    }
}

fn everything(map: &dyn Reader, from: &[u8], to: &[u8], limit: usize) -> Vec<(Vec<u8>, Bytes)> {
    let mut entries = Vec::new();
    map.scan(from, to, &mut |key, value| {
        entries.push((key.to_vec(), value.clone()));
        if entries.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    entries
}
