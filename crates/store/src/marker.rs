//! The entry that says which position the state on disk has. It is written with every rotation,
//! so that the position moves even where nothing else changed. Readers of the map never see it.

use longshore_engine::Position;

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

/// First byte of the marker's value: the version of what this crate writes.
const FORMAT: u8 = 1;

/// The marker's value: format (1 byte), position (8 bytes, big endian).
pub(crate) fn encode(position: Position) -> [u8; 9] {
    let mut value = [FORMAT; 9];
    value[1..].copy_from_slice(&position.0.to_be_bytes());
    value
}

/// The position in a marker, or what is wrong with it.
pub(crate) fn decode(value: &[u8]) -> Result<Position, String> {
    match value {
        [FORMAT, position @ ..] => position
            .try_into()
            .map(|position| Position(u64::from_be_bytes(position)))
            .map_err(|_| format!("the position marker has {} bytes instead of 9", value.len())),
        [other, ..] => {
            Err(format!("its format is {other}, this version of Longshore knows up to {FORMAT}"))
        }
        [] => Err("the position marker is empty".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        assert_eq!(decode(&encode(Position(77))), Ok(Position(77)));
        assert_eq!(decode(&encode(Position(u64::MAX))), Ok(Position(u64::MAX)));
        assert!(decode(&[]).is_err());
        assert!(decode(&[FORMAT, 1]).is_err());
        assert!(decode(&[9; 9]).unwrap_err().contains("format is 9"));
    }
}
