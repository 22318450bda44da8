//! Body files: the bodies of one flush, one after the other, and an index of them. What the state
//! knows of such a file stands in its tables; a file that they do not name is not part of it.
//!
//! ```text
//! bodies          as they are, in order of their keys, without a gap
//! index           "LONGSHRB", level u32, number of the file u64,
//!                 then per body: length u32, length of the key u16, key
//! in the tables   key 00, number of the file u64 (big endian); value: level u8, length of the
//!                 bodies u64, length of the index u64, XXH3-128 of the index u128
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use longshore_engine::{LEVEL, OtherLevel};
use lsm_tree::Slice;

use crate::body::Pointer;
use crate::check::{Bytes, archive, xxh3};
use crate::error::StoreFault;
use crate::marker;
use crate::merge::{Merge, Value};
use crate::tables::Tables;

/// The folder of body files within that of the state.
pub(crate) const FOLDER: &str = "bodies";

const MAGIC: &[u8; 8] = b"LONGSHRB";

/// Where the file of that number is in the state at `dir`.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(FOLDER).join(number.to_string())
}

/// A body file as the tables name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BodyFile {
    /// The position of the state whose flush wrote it, so no number ever means two files.
    pub(crate) number: u64,
    pub(crate) bodies_bytes: u64,
    index_bytes: u64,
    index_checksum: u128,
}

/// A body as the index has it.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Indexed {
    pub(crate) key: Vec<u8>,
    pub(crate) range: Range<u64>,
}

impl BodyFile {
    /// The key under which the tables name it.
    pub(crate) fn key(number: u64) -> [u8; 9] {
        let mut key = [marker::KEY[0]; 9];
        key[1..].copy_from_slice(&number.to_be_bytes());
        key
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = vec![LEVEL];
        value.extend(self.bodies_bytes.to_le_bytes());
        value.extend(self.index_bytes.to_le_bytes());
        value.extend(self.index_checksum.to_le_bytes());
        value
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<Self, String> {
        let number = key.get(1..).and_then(|number| number.try_into().ok());
        let number = number.map(u64::from_be_bytes).ok_or("its key is none")?;
        let mut value = Bytes::new(value);
        OtherLevel::check(value.u8()?.into()).map_err(|other| other.to_string())?;
        let (bodies_bytes, index_bytes) = (value.u64()?, value.u64()?);
        let file = Self { number, bodies_bytes, index_bytes, index_checksum: value.u128()? };
        value.finish()?;
        Ok(file)
    }

    /// What tells its index from that of any other file.
    pub(crate) fn checksum(&self) -> u128 {
        self.index_checksum
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bodies_bytes.saturating_add(self.index_bytes)
    }

    /// All bodies of the file, in order, after its length and its index were found sound.
    pub(crate) fn index(&self, dir: &Path) -> Result<Vec<Indexed>, StoreFault> {
        let path = path(dir, self.number);
        self.read_index(&path)
            .unwrap_or_else(|error| match error.kind() {
                ErrorKind::NotFound => Err("it is missing, the tables name it".into()),
                _ => Err(error.to_string()),
            })
            .map_err(|what| StoreFault::new(path, what))
    }

    fn read_index(&self, path: &Path) -> io::Result<Result<Vec<Indexed>, String>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        if length != self.bytes() {
            return Ok(Err(format!("it has {length} bytes instead of {}", self.bytes())));
        }
        let index = archive::read(&file, self.bodies_bytes, self.index_bytes)?;
        if xxh3(&index) != self.index_checksum {
            return Ok(Err("the checksum of its index does not match".into()));
        }
        Ok(self.parse_index(&index))
    }

    fn parse_index(&self, index: &[u8]) -> Result<Vec<Indexed>, String> {
        let mut bytes = Bytes::new(index);
        let head = (bytes.array()?, bytes.u32()?, bytes.u64()?);
        if head != (*MAGIC, LEVEL.into(), self.number) {
            return Err("its index begins otherwise than that of this file does".into());
        }
        let mut bodies = Vec::new();
        let mut end = 0u64;
        while !bytes.is_empty() {
            let (length, key_bytes) = (bytes.u32()?, bytes.u16()?);
            let key = bytes.take(key_bytes.into())?.to_vec();
            let range = end..end.saturating_add(length.into());
            end = range.end;
            bodies.push(Indexed { key, range });
        }
        if end != self.bodies_bytes {
            return Err(format!("its index ends at {end} instead of {}", self.bodies_bytes));
        }
        Ok(bodies)
    }
}

/// All keys from one to another, or none.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyRange(Option<(Vec<u8>, Vec<u8>)>);

impl KeyRange {
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|(first, last)| first[..] <= *key && *key <= last[..])
    }

    pub(crate) fn extend(&mut self, key: &[u8]) {
        match &mut self.0 {
            None => self.0 = Some((key.to_vec(), key.to_vec())),
            Some((first, _)) if *key < first[..] => *first = key.to_vec(),
            Some((_, last)) if *key > last[..] => *last = key.to_vec(),
            Some(_) => {}
        }
    }

    pub(crate) fn extend_by(&mut self, other: &Self) {
        if let Some((first, last)) = &other.0 {
            self.extend(first);
            self.extend(last);
        }
    }
}

/// The body files that the tables name.
pub(crate) fn named(tables: &Tables) -> Result<Vec<BodyFile>, StoreFault> {
    let (from, to) = (Slice::from(marker::AFTER), Slice::from(marker::END));
    let mut files = Vec::new();
    for entry in Merge::new(tables.ranges(&from, &to).collect()) {
        let entry = entry?;
        let Some(value) = entry.value else { continue };
        let Value::Here(value) = value else {
            return Err(StoreFault::new(tables.dir(), "a body file is named by a pointer"));
        };
        let file = BodyFile::decode(&entry.key, &value).map_err(|what| {
            StoreFault::new(tables.dir(), format!("what its tables say of a body file: {what}"))
        })?;
        files.push(file);
    }
    Ok(files)
}

/// Writes a body file. It is whole and durable once `finish` has returned.
#[derive(Debug)]
pub(crate) struct Writer {
    number: u64,
    file: BufWriter<File>,
    folder: PathBuf,
    offset: u64,
    index: Vec<u8>,
    keys: KeyRange,
}

impl Writer {
    /// Begins the file of that number, anew if there is an unfinished one.
    pub(crate) fn create(dir: &Path, number: u64) -> io::Result<Self> {
        let folder = dir.join(FOLDER);
        // Durable with the folder above, which the tree syncs before a new version counts.
        fs::create_dir_all(&folder)?;
        let file = BufWriter::new(File::create(path(dir, number))?);
        let mut index = MAGIC.to_vec();
        index.extend(u32::from(LEVEL).to_le_bytes());
        index.extend(number.to_le_bytes());
        Ok(Self { number, file, folder, offset: 0, index, keys: KeyRange::default() })
    }

    pub(crate) fn add(&mut self, key: &[u8], body: &[u8]) -> io::Result<Pointer> {
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let key_bytes = u16::try_from(key.len()).map_err(io::Error::other)?;
        self.file.write_all(body)?;
        self.index.extend(length.to_le_bytes());
        self.index.extend(key_bytes.to_le_bytes());
        self.index.extend(key);
        self.keys.extend(key);
        let pointer =
            Pointer { file: self.number, offset: self.offset, length, checksum: xxh3(body) };
        self.offset += u64::from(length);
        Ok(pointer)
    }

    /// Answers also among which keys those of its bodies are.
    pub(crate) fn finish(mut self) -> io::Result<(BodyFile, KeyRange)> {
        self.file.write_all(&self.index)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        let file = BodyFile {
            number: self.number,
            bodies_bytes: self.offset,
            index_bytes: self.index.len() as u64,
            index_checksum: xxh3(&self.index),
        };
        Ok((file, self.keys))
    }
}
