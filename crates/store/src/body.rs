//! Pointers to bodies: large values that stand in body files instead of the tables, so that no
//! compaction rewrites them. A pointer carries the checksum of what it points to.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use bytes::Bytes;

use crate::body_file;
use crate::check::{self, xxh3};
use crate::error::StoreFault;

/// Stands in the tables as the value of a key, in an entry of its own type.
///
/// ```text
/// offset, number of the file, length, length again (LEB128 each), XXH3-128 of the body u128
/// ```
///
/// The first four are laid out as the tree's own pointers are: it reads them when it compacts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pointer {
    pub(crate) file: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) checksum: u128,
}

impl Pointer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        for number in [self.offset, self.file, self.length.into(), self.length.into()] {
            put_leb128(&mut bytes, number);
        }
        bytes.extend(self.checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes;
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = take_leb128(&mut bytes)?;
        }
        let [offset, file, length, again] = numbers;
        let checksum = u128::from_le_bytes(bytes.try_into().ok()?);
        let length = u32::try_from(length).ok().filter(|_| length == again)?;
        Some(Self { file, offset, length, checksum })
    }
}

fn put_leb128(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The body that the encoded `pointer` in the state at `dir` points to.
pub(crate) fn read(dir: &Path, pointer: &[u8]) -> Result<Bytes, StoreFault> {
    let Some(pointer) = Pointer::decode(pointer) else {
        return Err(StoreFault::new(dir, "a pointer to a body makes no sense"));
    };
    let path = body_file::path(dir, pointer.file);
    let body = read_at(&path, &pointer).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreFault::new(&path, "it is missing, a table points to it"),
        _ => StoreFault::new(&path, error.to_string()),
    })?;
    if xxh3(&body) != pointer.checksum {
        let Pointer { length, offset, .. } = pointer;
        let what = format!("the checksum of the {length} bytes at {offset} does not match");
        return Err(StoreFault::new(path, what));
    }
    Ok(body.into())
}

fn read_at(path: &Path, pointer: &Pointer) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    check::archive::read(&file, pointer.offset, pointer.length.into())
}

#[cfg(test)]
mod tests {
    use lsm_tree::coding::Decode as _;

    use super::*;

    #[test]
    fn pointers_round_trip_and_are_what_the_tree_reads() {
        for (file, offset, length) in [(0, 0, 0), (300, 127, 128), (u64::MAX, u64::MAX, u32::MAX)] {
            let pointer = Pointer { file, offset, length, checksum: 77 << 100 };
            let bytes = pointer.encode();
            assert_eq!(Pointer::decode(&bytes), Some(pointer));
            assert_eq!(Pointer::decode(&bytes[..bytes.len() - 1]), None);
            let tree = lsm_tree::BlobIndirection::decode_from(&mut &bytes[..]).unwrap();
            let expected =
                format!("blob_file_id: {file}, offset: {offset}, on_disk_size: {length}");
            assert!(format!("{tree:?}").contains(&expected), "{tree:?}");
        }
    }
}
