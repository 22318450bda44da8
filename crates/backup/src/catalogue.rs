//! What a base consists of: for each shard the position of its state, and the files, each in parts
//! that are objects by themselves. It is written when all of them are there, so whoever finds it
//! finds a whole one.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_engine::{LEVEL, OtherLevel};
use longshore_node::SHARDS_MAX;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest catalogue that is read: a million parts of files.
pub(crate) const CATALOGUE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a part of a file.
pub(crate) const PART_BYTES: usize = 8 << 20;
const CRC: &str = "\ncrc32c ";

/// A base: the files of a store while it was running. What the journal has from the lowest
/// position of a shard up to `until` has to be applied to them, and makes them whole.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The level of all that is in it.
    pub level: u8,
    /// The store.
    pub store: Uuid,
    /// The line of the store.
    pub line: Uuid,
    /// Its own number.
    pub id: Uuid,
    /// When its last file was there, milliseconds since 1970: it holds nothing younger.
    pub taken_ms: u64,
    /// Bytes that were sent for it; the others were there.
    pub sent_bytes: u64,
    /// Its shards, all of the store, in their order.
    pub shards: Vec<ShardBase>,
}

/// What is read of a catalogue of any level.
#[derive(Deserialize)]
struct Head {
    level: u32,
}

/// A shard in a base.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShardBase {
    /// The position of its state.
    pub state: u64,
    /// Up to which position the files of its streams are complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// The journal has to be applied up to here at least.
    pub until: u64,
    /// Its files.
    pub files: Vec<FileEntry>,
}

/// A file in a base.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it goes in the folder of its shard.
    pub path: String,
    /// What the names of its parts begin with.
    pub key: String,
    /// Its parts, in order: length and CRC32C. The names of the objects follow from that.
    pub parts: Vec<(u32, u32)>,
}

impl FileEntry {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|(bytes, _)| u64::from(*bytes)).sum()
    }

    /// The objects of its parts, in order, with length and checksum.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (String, u32, u32)> {
        let parts = self.parts.iter().enumerate();
        parts.map(|(index, (bytes, crc))| {
            (format!("{}{crc:08x}", part_stem(&self.key, index, *bytes)), *bytes, *crc)
        })
    }
}

/// What the name of a part begins with, before its checksum.
pub(crate) fn part_stem(key: &str, index: usize, bytes: u32) -> String {
    format!("{key}.{index:05}.{bytes}.")
}

impl ShardBase {
    /// After which position the journal is needed.
    pub fn kept(&self) -> u64 {
        self.events.map_or(self.state, |events| events.min(self.state))
    }
}

impl Catalogue {
    /// Bytes of all of its files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().flat_map(|shard| &shard.files).map(FileEntry::bytes).sum()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("names and numbers have a JSON form");
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(format!("{CRC}{crc:08x}\n").as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
        let whole = text.strip_suffix('\n').and_then(|text| text.rsplit_once(CRC));
        let (body, crc) = whole.ok_or("it does not end with its checksum")?;
        if format!("{:08x}", crc32c::crc32c(body.as_bytes())) != crc {
            return Err("its checksum does not match".into());
        }
        let head: Head = serde_json::from_str(body).map_err(|error| error.to_string())?;
        OtherLevel::check(head.level).map_err(|other| other.to_string())?;
        let catalogue: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        if catalogue.shards.is_empty() || catalogue.shards.len() > SHARDS_MAX as usize {
            return Err(format!("it has {} shards", catalogue.shards.len()));
        }
        for shard in &catalogue.shards {
            if shard.until < shard.state.max(shard.events.unwrap_or(0)) {
                return Err(format!("it ends at {}, before its state", shard.until));
            }
            let odd = shard.files.iter().find(|file| !is_path(&file.path) || !is_key(&file.key));
            if let Some(odd) = odd {
                return Err(format!(
                    "no file of a store is called \"{}\"",
                    odd.path.escape_debug()
                ));
            }
        }
        Ok(catalogue)
    }

    pub(crate) fn begin(store: Uuid, line: Uuid) -> Self {
        let id = Uuid::now_v7();
        Self { level: LEVEL, store, line, id, taken_ms: 0, sent_bytes: 0, shards: Vec::new() }
    }
}

/// Parts that are there, by what their names begin with: their checksums.
pub(crate) type Known = BTreeMap<String, u32>;

/// The parts of one shard that a catalogue names.
pub(crate) fn known_of(shard: &ShardBase) -> impl Iterator<Item = (String, u32)> {
    shard.files.iter().flat_map(|file| {
        let parts = file.parts.iter().enumerate();
        parts.map(|(index, (bytes, crc))| (part_stem(&file.key, index, *bytes), *crc))
    })
}

/// Whether a file of a shard may be called so. It leads nowhere else.
fn is_path(path: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((folder, name)) = path.split_once('/') else { return false };
    match folder {
        "state" => match name.split_once('/') {
            Some((folder, name)) => ["tables", "bodies"].contains(&folder) && digits(name),
            None => name == "current" || name.strip_prefix('v').is_some_and(digits),
        },
        "streams" => {
            let hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
            let events = name.strip_suffix(".events");
            name == "synced" || events.is_some_and(|name| name.bytes().all(hex))
        }
        _ => false,
    }
}

fn is_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !key.is_empty() && key.len() <= 200 && key.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(path: &str) -> Catalogue {
        let file = FileEntry { path: path.into(), key: "table-4".into(), parts: vec![(7, 9)] };
        let shard = ShardBase { state: 5, events: Some(3), until: 8, files: vec![file] };
        Catalogue { shards: vec![shard], ..Catalogue::begin(Uuid::now_v7(), Uuid::now_v7()) }
    }

    #[test]
    fn it_comes_back_and_a_damaged_one_is_refused() {
        let catalogue = catalogue("state/tables/4");
        let bytes = Bytes::from(catalogue.encode());
        assert_eq!(Catalogue::decode(&bytes), Ok(catalogue.clone()));
        assert_eq!(catalogue.shards[0].kept(), 3);
        for at in 0..bytes.len() {
            assert!(Catalogue::decode(&bytes.slice(..at)).is_err(), "cut at {at}");
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert!(Catalogue::decode(&damaged.into()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in [
            "../x",
            "state/../../x",
            "state/tables/../4",
            "/etc/passwd",
            "state/vx",
            "streams/a/b",
            "journal/1.segment",
            "state/tables/",
            "streams/..events/x",
            "",
        ] {
            let bytes = catalogue(path).encode().into();
            assert!(Catalogue::decode(&bytes).is_err(), "{path}");
        }
        for path in
            ["state/current", "state/v17", "state/bodies/9", "streams/synced", "streams/0-1.events"]
        {
            Catalogue::decode(&catalogue(path).encode().into()).unwrap();
        }
    }
}
