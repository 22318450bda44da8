//! The manifest of a store. An input whose first byte is odd gets the right checksum at its end.

use longshore_server::Manifest;

use crate::novelty::{saw, sound};

/// A manifest is read as it was written, or refused.
pub fn target(input: &[u8]) {
    let Some((flags, text)) = input.split_first() else { return };
    let mut bytes = text.to_vec();
    if flags % 2 == 1 {
        let crc = crc32c::crc32c(text);
        bytes.extend_from_slice(format!("crc32c {crc:08x}\n").as_bytes());
    }
    match Manifest::decode(&bytes) {
        Ok(manifest) => {
            assert_eq!(Manifest::decode(manifest.encode().as_bytes()), Ok(manifest));
            saw(("manifest", manifest.shards));
            sound();
        }
        Err(error) => saw(error.to_string().chars().take(16).collect::<String>()),
    }
}
