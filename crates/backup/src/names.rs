//! What objects are called.
//!
//! ```text
//! STORE/LINE/bases/TAKEN-ID                  a catalogue; what it names is whole
//! STORE/LINE/shard-N/pieces/FIRST            entries of the journal from that position on
//! STORE/LINE/shard-N/files/KEY.INDEX.LEN.CRC a part of a file, by what is in it
//! ```
//!
//! STORE and LINE are UUIDs, TAKEN is milliseconds since 1970 with 16 digits, FIRST a position with
//! 20 digits, INDEX the number of the part, LEN its length, CRC its CRC32C.

use longshore_engine::Position;
use object_store::path::Path;
use uuid::Uuid;

/// Whose copies these are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    pub(crate) store: Uuid,
    pub(crate) line: Uuid,
}

impl Line {
    fn path(&self, rest: &str) -> Path {
        Path::from(format!("{}/{}/{rest}", self.store, self.line))
    }

    pub(crate) fn bases(&self) -> Path {
        self.path("bases")
    }

    pub(crate) fn base(&self, taken_ms: u64, id: Uuid) -> Path {
        self.path(&format!("bases/{taken_ms:016}-{id}"))
    }

    pub(crate) fn pieces(&self, shard: u32) -> Path {
        self.path(&format!("shard-{shard}/pieces"))
    }

    pub(crate) fn piece(&self, shard: u32, first: Position) -> Path {
        self.path(&format!("shard-{shard}/pieces/{:020}", first.0))
    }

    pub(crate) fn files(&self, shard: u32) -> Path {
        self.path(&format!("shard-{shard}/files"))
    }

    pub(crate) fn part(&self, shard: u32, part: &str) -> Path {
        self.path(&format!("shard-{shard}/files/{part}"))
    }
}

/// The last part of a name.
pub(crate) fn leaf(path: &Path) -> String {
    path.filename().unwrap_or_default().to_owned()
}

/// The first position of a piece.
pub(crate) fn first_of(path: &Path) -> Option<Position> {
    let leaf = path.filename().filter(|leaf| leaf.len() == 20)?;
    leaf.parse().ok().map(Position)
}

/// When the base with that name was taken, in milliseconds since 1970.
pub(crate) fn taken_of(path: &Path) -> Option<u64> {
    path.filename()?.split_once('-')?.0.parse().ok()
}
