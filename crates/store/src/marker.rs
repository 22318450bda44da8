//! The entry that says which position the state on disk has and whose it is. It is written with
//! every rotation, so that the position moves even where nothing else changed. Readers of the map
//! never see it.

use longshore_engine::{LEVEL, OtherLevel, Position};

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

/// Length of the marker's value.
const MARKER_BYTES: usize = 1 + IDENTITY_BYTES + 8;

/// The marker's value: level of all that is on disk (1 byte), id of the store (16 bytes), number of
/// the shard (4 bytes), position (8 bytes); numbers are big endian.
pub(crate) fn encode(identity: &Identity, position: Position) -> [u8; MARKER_BYTES] {
    let mut value = [LEVEL; MARKER_BYTES];
    value[1..=IDENTITY_BYTES].copy_from_slice(&identity.encode());
    value[1 + IDENTITY_BYTES..].copy_from_slice(&position.0.to_be_bytes());
    value
}

/// Whose the state is and its position, or what is wrong with the marker.
pub(crate) fn decode(value: &[u8]) -> Result<(Identity, Position), String> {
    match value {
        [LEVEL, rest @ ..] => {
            let parts = rest.split_first_chunk::<IDENTITY_BYTES>();
            let parts = parts.and_then(|(identity, rest)| Some((identity, rest.try_into().ok()?)));
            let (identity, position) = parts.ok_or_else(|| {
                format!("the marker has {} bytes instead of {MARKER_BYTES}", value.len())
            })?;
            Ok((Identity::decode(identity), Position(u64::from_be_bytes(position))))
        }
        [found, ..] => Err(OtherLevel { found: (*found).into() }.to_string()),
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
        assert!(decode(&[LEVEL, 1]).is_err());
        assert!(decode(&[LEVEL; MARKER_BYTES + 1]).is_err());
        assert!(decode(&[200; 9]).unwrap_err().contains("level is 200"));
    }

    #[test]
    fn the_bytes_are_those_of_the_documentation() {
        let value = encode(&Identity { store: [0xab; 16], shard: 1 }, Position(258));
        let mut expected = vec![LEVEL];
        expected.extend([0xab; 16]);
        expected.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(value.as_slice(), expected);
    }
}
