//! Entries: the records of one command, as they stand in the journal.

use bytes::Bytes;
use longshore_engine::Entry;
use longshore_engine::wire::Wire;

use crate::novelty::{saw, sound};

/// What decodes encodes to bytes that decode to the same.
pub fn target(input: &[u8]) {
    match Entry::from_bytes(&Bytes::copy_from_slice(input)) {
        Ok(entry) => {
            let bytes = entry.to_bytes();
            assert_eq!(Entry::from_bytes(&bytes).as_ref(), Ok(&entry), "decoded, encoded, decoded");
            // The first byte of a record's encoding is its number.
            let kinds: Vec<_> = entry.records.iter().take(4).map(std::mem::discriminant).collect();
            saw((kinds, entry.records.len().min(8)));
            sound();
        }
        Err(error) => saw((error.what, error.at.ilog2_or_zero())),
    }
}

/// Offsets of about the same size count as one answer.
trait Log2 {
    fn ilog2_or_zero(self) -> u32;
}

impl Log2 for usize {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}
