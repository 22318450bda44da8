//! The entry that says which position the state on disk has and whose it is. It is written with
//! every rotation, so that the position moves even where nothing else changed. Readers of the map
//! never see it.

use longshore_engine::Position;

use crate::identity::{IDENTITY_BYTES, Identity};

/// The key of the marker. It sorts before every other key; the empty key is not allowed.
pub(crate) const KEY: [u8; 1] = [0];

/// The first key after the marker's. Up to `END` the tables name their body files.
pub(crate) const AFTER: [u8; 2] = [0, 0];

/// The first key that is not this crate's own.
pub(crate) const END: [u8; 1] = [1];

/// Whether others may not use the key.
pub(crate) fn is_own(key: &[u8]) -> bool {
    key.first().is_none_or(|first| *first < END[0])
}

/// First byte of the marker's value: the version of what this crate writes. 1 was never released;
/// it named no store.
const FORMAT: u8 = 2;

/// Length of the marker's value.
const MARKER_BYTES: usize = 1 + IDENTITY_BYTES + 8;

/// The marker's value: format (1 byte), id of the store (16 bytes), number of the shard (4 bytes),
/// position (8 bytes); numbers are big endian.
pub(crate) fn encode(identity: &Identity, position: Position) -> [u8; MARKER_BYTES] {
    let mut value = [FORMAT; MARKER_BYTES];
    value[1..=IDENTITY_BYTES].copy_from_slice(&identity.encode());
    value[1 + IDENTITY_BYTES..].copy_from_slice(&position.0.to_be_bytes());
    value
}

/// Whose the state is and its position, or what is wrong with the marker.
pub(crate) fn decode(value: &[u8]) -> Result<(Identity, Position), String> {
    match value {
        [FORMAT, rest @ ..] => {
            let parts = rest.split_first_chunk::<IDENTITY_BYTES>();
            let parts = parts.and_then(|(identity, rest)| Some((identity, rest.try_into().ok()?)));
            let (identity, position) = parts.ok_or_else(|| {
                format!("the marker has {} bytes instead of {MARKER_BYTES}", value.len())
            })?;
            Ok((Identity::decode(identity), Position(u64::from_be_bytes(position))))
        }
        [other, ..] => Err(format!(
            "its format is {other}, this version of Longshore knows format {FORMAT} only"
        )),
        [] => Err("the position marker is empty".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let identity = Identity { store: [7; 16], shard: 3 };
        for position in [Position(77), Position(u64::MAX)] {
            assert_eq!(decode(&encode(&identity, position)), Ok((identity, position)));
        }
        assert!(decode(&[]).is_err());
        assert!(decode(&[FORMAT, 1]).is_err());
        assert!(decode(&[FORMAT; MARKER_BYTES + 1]).is_err());
        assert!(decode(&[9; 9]).unwrap_err().contains("format is 9"));
    }

    #[test]
    fn the_bytes_are_those_of_the_documentation() {
        let value = encode(&Identity { store: [0xab; 16], shard: 1 }, Position(258));
        let mut expected = vec![2];
        expected.extend([0xab; 16]);
        expected.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(value.as_slice(), expected);
    }
}
