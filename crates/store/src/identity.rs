//! Whose state a folder holds. It stands in the marker, so that the state of another store or shard
//! is told from this one even where their positions fit.

use std::fmt;

/// Bytes of an identity as it is written.
pub(crate) const IDENTITY_BYTES: usize = 20;

/// Whose state it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// Id of the store.
    pub store: [u8; 16],
    /// Number of the shard in it.
    pub shard: u32,
}

impl Identity {
    /// Id of the store, then the number of the shard, big endian as all of the marker.
    pub(crate) fn encode(&self) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0; IDENTITY_BYTES];
        bytes[..16].copy_from_slice(&self.store);
        bytes[16..].copy_from_slice(&self.shard.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; IDENTITY_BYTES]) -> Self {
        let (store, shard) = (bytes.first_chunk(), bytes.last_chunk());
        Self {
            store: *store.expect("it is longer"),
            shard: u32::from_be_bytes(*shard.expect("it is longer")),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of store ", self.shard)?;
        self.store.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
