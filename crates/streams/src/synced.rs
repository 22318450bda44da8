//! Up to which position of the journal the files are complete and durable, and how long each of
//! those was that are written to. What lies behind that is written anew by the next start.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | `LSSTREAM` |
//! | 8 | 8 | position |
//! | 16 | 4 | number of partitions that have events or had some |
//! | 20 | 32 each | partition, first offset of its last file, bytes of that, end of the partition |
//! | - | 4 | CRC32C of all before it |
//!
//! Integers are little-endian.

use std::collections::BTreeMap;
use std::io;

use longshore_engine::{PartitionId, Position};
use longshore_journal::disk::Disk;

use crate::error::OpenError;

pub(crate) const SYNCED_NAME: &str = "synced";
const NEXT_NAME: &str = "synced.next";
const MAGIC: [u8; 8] = *b"LSSTREAM";
const HEAD_BYTES: usize = 20;
const ROW_BYTES: usize = 32;
const CRC_BYTES: usize = 4;

/// Where a partition ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct End {
    /// The first offset of its last file.
    pub(crate) base: u64,
    /// Bytes of that file; 0 where there need not be one.
    pub(crate) len_bytes: u64,
    /// The offset of the next event.
    #[expect(clippy::struct_field_names, reason = "it is the end that counts")]
    pub(crate) end: u64,
}

/// How far the files are complete.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Synced {
    pub(crate) position: Position,
    pub(crate) ends: BTreeMap<PartitionId, End>,
}

impl Synced {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + ROW_BYTES * self.ends.len() + CRC_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.position.0.to_le_bytes());
        bytes.extend((self.ends.len() as u32).to_le_bytes());
        for (partition, end) in &self.ends {
            for field in [partition.0, end.base, end.len_bytes, end.end] {
                bytes.extend(field.to_le_bytes());
            }
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (rest, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or("it is too short")?;
        if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
            return Err("its checksum is another one");
        }
        let rest = rest.strip_prefix(&MAGIC).ok_or("it begins otherwise")?;
        let (position, rest) = rest.split_first_chunk::<8>().ok_or("it is too short")?;
        let (count, rows) = rest.split_first_chunk::<4>().ok_or("it is too short")?;
        let (rows, odd) = rows.as_chunks::<ROW_BYTES>();
        if !odd.is_empty() || rows.len() != u32::from_le_bytes(*count) as usize {
            return Err("it has another length than it says");
        }
        let row = |row: &[u8; ROW_BYTES]| {
            let mut fields = row.as_chunks::<8>().0.iter().map(|it| u64::from_le_bytes(*it));
            let mut next = || fields.next().unwrap_or_default();
            let partition = PartitionId(next());
            (partition, End { base: next(), len_bytes: next(), end: next() })
        };
        let position = Position(u64::from_le_bytes(*position));
        Ok(Self { position, ends: rows.iter().map(row).collect() })
    }

    /// Reads it, `None` where it is not there.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let path = || disk.path(SYNCED_NAME);
        let io = |source| OpenError::Io { operation: "read", path: path(), source };
        let file = match disk.open(SYNCED_NAME, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io)?,
        };
        let len = file.len_bytes().map_err(io)?;
        // 1,000,000 partitions would be 32 MB.
        if len > 1 << 28 {
            return Err(OpenError::SyncedDamaged { path: path(), what: "it is too long" });
        }
        let mut bytes = vec![0; len as usize];
        let read = file.read_at(&mut bytes, 0).map_err(io)?;
        bytes.truncate(read);
        let decoded = Self::decode(&bytes);
        decoded.map(Some).map_err(|what| OpenError::SyncedDamaged { path: path(), what })
    }

    /// Puts it in the place of the last one, durably.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let file = disk.create(NEXT_NAME)?;
        file.write_at(&self.encode(), 0)?;
        file.sync_data()?;
        disk.rename(NEXT_NAME, SYNCED_NAME)?;
        disk.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_a_damaged_one_is_refused() {
        let end = End { base: 5, len_bytes: 700, end: 9 };
        let ends = [(PartitionId(3), end), (PartitionId(8), End { base: 0, ..end })];
        let synced = Synced { position: Position(99), ends: ends.into_iter().collect() };
        let bytes = synced.encode();
        assert_eq!(Synced::decode(&bytes), Ok(synced));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Synced::decode(&damaged).is_err(), "byte {at}");
            assert!(Synced::decode(&bytes[..at]).is_err());
        }
    }
}
