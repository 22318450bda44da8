//! The manifest of a store: what is fixed when it is created. A small text file with a checksum;
//! it knows nothing of what the shards hold.

use std::fmt;

use longshore_engine::{LEVEL, OtherLevel};
use thiserror::Error;
use uuid::Uuid;

/// The most shards that a store may have.
pub const SHARDS_MAX: u32 = 256;
/// The longest manifest that is read.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4096;

const TITLE: &str = "longshore store";

/// What was fixed when the store was created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// The level of all that is in the store. The line has another name: earlier versions know it.
    pub format: u32,
    /// Identity of the store.
    pub store_id: Uuid,
    /// Number of shards.
    pub shards: u32,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ManifestError {
    /// Another version wrote it, and all that is in the store.
    #[error(transparent)]
    OtherLevel(#[from] OtherLevel),
    /// It is damaged.
    #[error("{what}")]
    Damaged {
        /// What is wrong.
        what: String,
    },
}

impl Manifest {
    /// A manifest for a new store.
    pub fn create(shards: u32) -> Self {
        Self { format: LEVEL.into(), store_id: Uuid::now_v7(), shards }
    }

    /// The text as it stands in the file:
    ///
    /// ```text
    /// longshore store
    /// format 3
    /// id 01890a5d-ac96-774b-bcce-b302099a8057
    /// shards 2
    /// crc32c 8 hexadecimal digits, of all bytes before this line
    /// ```
    pub fn encode(&self) -> String {
        let text = self.to_string();
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}crc32c {crc:08x}\n")
    }

    /// Reads what [`Manifest::encode`] wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let text = str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let (body, crc) = text
            .strip_suffix('\n')
            .and_then(|text| text.rsplit_once("\ncrc32c "))
            .ok_or_else(|| damaged("it does not end with its checksum"))?;
        let body_bytes = bytes.get(..=body.len()).unwrap_or_default();
        let expected = format!("{:08x}", crc32c::crc32c(body_bytes));
        if crc != expected {
            return Err(damaged(format!("its checksum is {crc}, expected {expected}")));
        }
        let mut lines = body.lines();
        if lines.next() != Some(TITLE) {
            return Err(damaged("it does not begin as a manifest"));
        }
        let format: u32 = field(lines.next(), "format")?;
        OtherLevel::check(format)?;
        let store_id: Uuid = field(lines.next(), "id")?;
        let shards: u32 = field(lines.next(), "shards")?;
        if shards == 0 || shards > SHARDS_MAX {
            return Err(damaged(format!("it says {shards} shards, allowed: 1 to {SHARDS_MAX}")));
        }
        match lines.next() {
            None => Ok(Self { format, store_id, shards }),
            Some(line) => {
                Err(damaged(format!("its line \"{}\" is not known", line.escape_debug())))
            }
        }
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}")?;
        writeln!(f, "format {}", self.format)?;
        writeln!(f, "id {}", self.store_id)?;
        writeln!(f, "shards {}", self.shards)
    }
}

fn field<T: std::str::FromStr>(line: Option<&str>, name: &str) -> Result<T, ManifestError> {
    line.and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| damaged(format!("{name} is missing or no value that it can have")))
}

fn damaged(what: impl Into<String>) -> ManifestError {
    ManifestError::Damaged { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let manifest = Manifest::create(2);
        let text = manifest.encode();
        assert_eq!(Manifest::decode(text.as_bytes()), Ok(manifest));
        for index in 0..text.len() {
            assert!(Manifest::decode(&text.as_bytes()[..index]).is_err(), "cut at {index}");
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[index] ^= 1 << bit;
                assert!(Manifest::decode(&bytes).is_err(), "bit {bit} of byte {index}");
            }
        }
    }

    #[test]
    fn another_level_is_named_whatever_follows() {
        for found in [1, 200] {
            let text = Manifest { format: found, ..Manifest::create(2) }.to_string() + "new 1\n";
            let crc = crc32c::crc32c(text.as_bytes());
            let text = format!("{text}crc32c {crc:08x}\n");
            let other = ManifestError::OtherLevel(OtherLevel { found });
            assert_eq!(Manifest::decode(text.as_bytes()), Err(other));
        }
    }

    #[test]
    fn absurd_shard_counts_are_refused() {
        for shards in [0, SHARDS_MAX + 1] {
            let text = Manifest { shards, ..Manifest::create(2) }.encode();
            assert!(Manifest::decode(text.as_bytes()).is_err(), "{shards}");
        }
    }
}
