//! One folder that a crash may leave: what became of each change that was not durable. It knows
//! nothing of what the files mean.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result};

use super::files::{Change, Files, Id, Node};
use crate::random::Random;

/// Writes are torn at multiples of this, among others.
const SECTOR_BYTES: usize = 512;

/// A folder: every file and folder in it by its path.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Image {
    /// Contents of files, and nothing for folders.
    pub entries: BTreeMap<String, Option<Vec<u8>>>,
}

/// How a write is torn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tear {
    /// Its first bytes are there.
    Begin,
    /// Its last bytes are there.
    End,
    /// Some of its sectors are there.
    Sectors,
    /// Only the length of the file is.
    Length,
    /// What it was to change is the old, the new or neither.
    Noise,
}

impl Tear {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Begin, Self::End, Self::Sectors, Self::Length, Self::Noise];
}

/// What becomes of a change of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The disk never got it.
    Lost,
    /// The disk has it.
    Kept,
    /// The disk has some of it, by chance.
    Torn(Tear, u64),
}

/// What a crash leaves of all that was under way.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The fate of changes of files that are not named below.
    pub fate: Fate,
    /// The fate of a file's change, by its number.
    pub fates: BTreeMap<(Id, usize), Fate>,
    /// How many changes of names a folder keeps; where it is not named, all or, where other changes
    /// are lost, none.
    pub names: BTreeMap<Id, usize>,
}

impl Choice {
    /// One that says the same of everything.
    pub fn all(fate: Fate) -> Self {
        Self { fate, fates: BTreeMap::new(), names: BTreeMap::new() }
    }
}

impl Image {
    /// What a crash leaves of `files`.
    pub fn of(files: &Files, choice: &Choice) -> Self {
        let mut image = Self::default();
        image.add(files, choice, 0, "");
        image
    }

    /// What is in a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut image = Self::default();
        image.read_in(folder, "")?;
        Ok(image)
    }

    /// Puts it into an empty folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (path, contents) in &self.entries {
            let path = folder.join(path);
            match contents {
                None => fs::create_dir(&path),
                Some(contents) => fs::write(&path, contents),
            }
            .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// A number that hardly two of them share.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn add(&mut self, files: &Files, choice: &Choice, id: Id, path: &str) {
        let folder = match &files.nodes[id] {
            Node::File(file) => {
                let mut contents = file.durable.clone();
                for (index, (_, change)) in file.pending.iter().enumerate() {
                    let fate = choice.fates.get(&(id, index)).unwrap_or(&choice.fate);
                    suffer(change, *fate, &mut contents);
                }
                self.entries.insert(path.to_owned(), Some(contents));
                return;
            }
            Node::Folder(folder) => folder,
        };
        if !path.is_empty() {
            self.entries.insert(path.to_owned(), None);
        }
        let default = if choice.fate == Fate::Lost { 0 } else { folder.pending.len() };
        let kept = choice.names.get(&id).copied().unwrap_or(default);
        let mut names = folder.durable.clone();
        folder.pending.iter().take(kept).for_each(|(_, naming)| naming.apply(&mut names));
        for (name, id) in names {
            self.add(files, choice, id, &join(path, &name));
        }
    }

    fn read_in(&mut self, folder: &Path, path: &str) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = join(path, &entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.entries.insert(name.clone(), None);
                self.read_in(&entry.path(), &name)?;
            } else {
                self.entries.insert(name, Some(fs::read(entry.path())?));
            }
        }
        Ok(())
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// Does to a file what is left of a change.
fn suffer(change: &Change, fate: Fate, contents: &mut Vec<u8>) {
    match (fate, change) {
        (Fate::Lost, _) => {}
        (Fate::Kept, _) | (Fate::Torn(..), Change::SetLength { .. }) => change.apply(contents),
        (Fate::Torn(tear, seed), Change::Write { offset, bytes }) => {
            tear_write(tear, seed, *offset, bytes, contents);
        }
    }
}

fn tear_write(tear: Tear, seed: u64, offset: usize, bytes: &[u8], contents: &mut Vec<u8>) {
    let mut random = Random::new(seed);
    let cut = random.below(bytes.len() as u64) as usize;
    let end = offset + if tear == Tear::Begin { cut } else { bytes.len() };
    contents.resize(contents.len().max(end), 0);
    let mut whole = Vec::new();
    for (index, byte) in bytes.iter().enumerate() {
        let at = offset + index;
        if index == 0 || at.is_multiple_of(SECTOR_BYTES) {
            whole.push(random.number());
        }
        let sector = whole.last().copied().unwrap_or_default();
        let new = match tear {
            Tear::Begin => index < cut,
            Tear::End => index >= cut,
            Tear::Sectors => sector & 1 == 1,
            Tear::Length => false,
            Tear::Noise => match sector % 3 {
                0 => false,
                1 => true,
                _ => {
                    // Bytes that are the same before and after stay as they are.
                    if contents[at] != *byte {
                        contents[at] = random.number() as u8;
                    }
                    false
                }
            },
        };
        if new {
            contents[at] = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enumeration::operation::Operation;

    fn create(path: &str) -> Operation {
        Operation::Open { path: path.to_owned(), create: true, truncate: true }
    }

    fn write(path: &str, bytes: &[u8]) -> Operation {
        Operation::Write { path: path.to_owned(), offset: Some(0), bytes: bytes.to_vec() }
    }

    fn sync(path: &str, begun: usize) -> Operation {
        Operation::Sync { path: path.to_owned(), begun }
    }

    fn after(operations: &[Operation]) -> Files {
        let mut files = Files::default();
        for (at, operation) in operations.iter().enumerate() {
            files.apply(operation, at).unwrap();
        }
        files
    }

    fn left(files: &Files, choice: &Choice) -> Vec<(String, Vec<u8>)> {
        let entries = Image::of(files, choice).entries;
        entries.into_iter().map(|(path, contents)| (path, contents.unwrap())).collect()
    }

    #[test]
    fn what_was_synced_stays_and_the_rest_may_go() {
        let rename = Operation::Rename { from: "a".to_owned(), to: "b".to_owned() };
        let files = after(&[
            create("a"),
            write("a", b"xx"),
            sync("a", 2),
            sync("", 3),
            rename,
            write("b", b"yyy"),
        ]);
        let lost = Choice::all(Fate::Lost);
        assert_eq!(left(&files, &lost), [("a".to_owned(), b"xx".to_vec())]);
        assert_eq!(left(&files, &Choice::all(Fate::Kept)), [("b".to_owned(), b"yyy".to_vec())]);
        let renamed = Choice { names: BTreeMap::from([(0, 1)]), ..lost };
        assert_eq!(left(&files, &renamed), [("b".to_owned(), b"xx".to_vec())]);
    }

    #[test]
    fn a_sync_covers_only_what_was_over_when_it_began() {
        let files = after(&[create("a"), sync("", 1), write("a", b"x"), sync("a", 2)]);
        assert_eq!(left(&files, &Choice::all(Fate::Lost)), [("a".to_owned(), Vec::new())]);
    }

    #[test]
    fn a_torn_write_leaves_alone_what_it_does_not_change() {
        let (old, new) = (vec![1; 4096], [vec![1; 100], vec![2; 3000]].concat());
        let files = after(&[create("a"), write("a", &old), sync("a", 2), sync("", 3)]);
        let mut files = files;
        files.apply(&write("a", &new), 4).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for tear in Tear::ALL {
            for seed in 0..20 {
                let torn = left(&files, &Choice::all(Fate::Torn(tear, seed)));
                let torn = &torn.first().unwrap().1;
                assert_eq!((&torn[..100], &torn[3100..]), (&old[..100], &old[3100..]));
                seen.insert(torn.clone());
            }
        }
        assert!(seen.len() > 20, "{}", seen.len());
    }
}
