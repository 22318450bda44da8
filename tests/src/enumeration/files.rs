//! The model of a disk and its file system: what is durable, and what is under way to it. It
//! assumes what `docs/format.md` says is assumed, and nothing more.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::image::Image;
use super::operation::Operation;

/// A file or a folder, whatever it is called.
pub type Id = usize;

/// A change of a file that is not durable yet.
#[derive(Clone, Debug)]
pub enum Change {
    /// Bytes are written, and the file is extended where it is shorter.
    Write {
        /// Where.
        offset: usize,
        /// What.
        bytes: Vec<u8>,
    },
    /// The file gets this length: cut, or extended with zeros.
    SetLength {
        /// How long it is then.
        len_bytes: usize,
    },
}

/// A change of the names in a folder that is not durable yet.
#[derive(Clone, Debug)]
pub enum Naming {
    /// Something new has this name.
    Add(String, Id),
    /// The name is gone.
    Remove(String),
    /// What has the first name has the second one instead.
    Rename(String, String),
}

/// A file or folder.
#[derive(Clone, Debug)]
pub enum Node {
    /// A file.
    File(File),
    /// A folder.
    Folder(Folder),
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// What a loss of power leaves in any case.
    pub durable: Vec<u8>,
    /// What came after it, with the moment at which each was over.
    pub pending: Vec<(usize, Change)>,
    /// What the processes see.
    pub visible: Vec<u8>,
    /// Where the next write without an offset goes.
    position: usize,
}

/// The names in a folder.
pub type Names = BTreeMap<String, Id>;

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// What a loss of power leaves in any case.
    pub durable: Names,
    /// What came after it, in order.
    pub pending: Vec<(usize, Naming)>,
    /// What the processes see.
    pub visible: Names,
}

/// A disk. The first node is the folder that is watched.
#[derive(Clone, Debug)]
pub struct Files {
    /// Every file and folder that ever was.
    pub nodes: Vec<Node>,
}

impl Default for Files {
    /// An empty folder.
    fn default() -> Self {
        Self { nodes: vec![Node::Folder(Folder::default())] }
    }
}

impl Change {
    /// Does it to what a file holds.
    pub fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                contents.resize(contents.len().max(offset + bytes.len()), 0);
                contents[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Self::SetLength { len_bytes } => contents.resize(*len_bytes, 0),
        }
    }
}

impl Naming {
    /// Does it to the names of a folder.
    pub fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(name, id) => drop(names.insert(name.clone(), *id)),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}

impl Files {
    /// A disk on which all of this is durable.
    pub fn of(image: &Image) -> Self {
        let mut files = Self::default();
        // Folders come before what is in them.
        for (path, contents) in &image.entries {
            let node = match contents {
                None => Node::Folder(Folder::default()),
                Some(bytes) => Node::File(File {
                    durable: bytes.clone(),
                    visible: bytes.clone(),
                    ..File::default()
                }),
            };
            files.add(path, node, 0).expect("an image has the folders of what is in it");
        }
        for node in &mut files.nodes {
            if let Node::Folder(folder) = node {
                folder.pending.clear();
                folder.durable.clone_from(&folder.visible);
            }
        }
        files
    }

    /// The same for processes that start now: all that was done was over before them.
    #[must_use]
    pub fn for_next(mut self) -> Self {
        for node in &mut self.nodes {
            match node {
                Node::File(file) => file.pending.iter_mut().for_each(|(at, _)| *at = 0),
                Node::Folder(folder) => folder.pending.iter_mut().for_each(|(at, _)| *at = 0),
            }
        }
        self
    }

    /// Does an operation that was over at `at`.
    pub fn apply(&mut self, operation: &Operation, at: usize) -> Result<()> {
        match operation {
            Operation::Open { path, create, truncate } => self.open(path, *create, *truncate, at),
            Operation::Write { path, offset, bytes } => {
                let file = self.file(path)?;
                let begin = offset.map_or(file.position, |offset| offset as usize);
                if offset.is_none() {
                    file.position += bytes.len();
                }
                file.change(at, Change::Write { offset: begin, bytes: bytes.clone() });
                Ok(())
            }
            Operation::Seek { path, offset } => {
                self.file(path)?.position = *offset as usize;
                Ok(())
            }
            Operation::SetLength { path, len_bytes } => {
                self.file(path)?.set_length(at, *len_bytes as usize);
                Ok(())
            }
            Operation::Allocate { path, len_bytes } => {
                let file = self.file(path)?;
                file.set_length(at, file.visible.len().max(*len_bytes as usize));
                Ok(())
            }
            Operation::Punch { path, offset, len_bytes } => {
                let file = self.file(path)?;
                let offset = (*offset as usize).min(file.visible.len());
                let len_bytes = (*len_bytes as usize).min(file.visible.len() - offset);
                file.change(at, Change::Write { offset, bytes: vec![0; len_bytes] });
                Ok(())
            }
            Operation::MakeFolder { path } => {
                // The watched folder itself is there before anything else is.
                if path.is_empty() {
                    Ok(())
                } else {
                    self.add(path, Node::Folder(Folder::default()), at)
                }
            }
            Operation::Rename { from, to } => self.rename(from, to, at),
            Operation::Remove { path } => {
                let (folder, name) = self.parent(path)?;
                folder.change(at, Naming::Remove(name));
                Ok(())
            }
            Operation::Sync { path, begun } => self.sync(path, *begun),
            Operation::Note { .. } => Ok(()),
        }
    }

    /// Whether a name in a folder was changed into this one, and that is not durable.
    pub fn is_renaming(&self, folder: &str, name: &str) -> bool {
        let renamed = |naming: &Naming| matches!(naming, Naming::Rename(_, to) if to == name);
        match self.find(folder).map(|id| &self.nodes[id]) {
            Some(Node::Folder(folder)) => folder.pending.iter().any(|(_, naming)| renamed(naming)),
            _ => false,
        }
    }

    /// What has this path for the processes.
    pub fn find(&self, path: &str) -> Option<Id> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(0, |id, name| {
            let Node::Folder(folder) = &self.nodes[id] else { return None };
            folder.visible.get(name).copied()
        })
    }

    /// Where the next write without an offset goes in a file.
    pub fn position(&self, path: &str) -> Option<usize> {
        match &self.nodes[self.find(path)?] {
            Node::File(file) => Some(file.position),
            Node::Folder(_) => None,
        }
    }

    fn open(&mut self, path: &str, create: bool, truncate: bool, at: usize) -> Result<()> {
        if self.find(path).is_none() && create {
            self.add(path, Node::File(File::default()), at)?;
        }
        let file = self.file(path)?;
        file.position = 0;
        if truncate {
            file.set_length(at, 0);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str, at: usize) -> Result<()> {
        if split(from).0 != split(to).0 {
            bail!("a rename from one folder to another, {from} to {to}, is not modelled");
        }
        let to = split(to).1.to_owned();
        let (folder, from) = self.parent(from)?;
        folder.change(at, Naming::Rename(from, to));
        Ok(())
    }

    fn sync(&mut self, path: &str, begun: usize) -> Result<()> {
        let id = self.find(path).with_context(|| format!("{path} is synced and not there"))?;
        match &mut self.nodes[id] {
            Node::File(file) => {
                for change in take_before(&mut file.pending, begun) {
                    change.apply(&mut file.durable);
                }
            }
            Node::Folder(folder) => {
                for naming in take_before(&mut folder.pending, begun) {
                    naming.apply(&mut folder.durable);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &str, node: Node, at: usize) -> Result<()> {
        let id = self.nodes.len();
        let (folder, name) = self.parent(path)?;
        folder.change(at, Naming::Add(name, id));
        self.nodes.push(node);
        Ok(())
    }

    fn parent(&mut self, path: &str) -> Result<(&mut Folder, String)> {
        let (parent, name) = split(path);
        let id = self.find(parent).with_context(|| format!("{parent} is not there"))?;
        match &mut self.nodes[id] {
            Node::Folder(folder) => Ok((folder, name.to_owned())),
            Node::File(_) => bail!("{parent} is no folder"),
        }
    }

    fn file(&mut self, path: &str) -> Result<&mut File> {
        let id = self.find(path).with_context(|| format!("{path} is not there"))?;
        match &mut self.nodes[id] {
            Node::File(file) => Ok(file),
            Node::Folder(_) => bail!("{path} is no file"),
        }
    }
}

impl File {
    fn change(&mut self, at: usize, change: Change) {
        change.apply(&mut self.visible);
        self.pending.push((at, change));
    }

    fn set_length(&mut self, at: usize, len_bytes: usize) {
        if len_bytes != self.visible.len() {
            self.change(at, Change::SetLength { len_bytes });
        }
    }
}

impl Folder {
    /// Everything that may have a name in it after a crash.
    pub fn possible(&self) -> impl Iterator<Item = Id> {
        let added = self.pending.iter().filter_map(|(_, naming)| match naming {
            Naming::Add(_, id) => Some(*id),
            Naming::Remove(_) | Naming::Rename(..) => None,
        });
        self.durable.values().copied().chain(added)
    }

    fn change(&mut self, at: usize, naming: Naming) {
        naming.apply(&mut self.visible);
        self.pending.push((at, naming));
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Takes out what was over before `begun`. What was over later may have come too late for a sync.
fn take_before<T>(pending: &mut Vec<(usize, T)>, begun: usize) -> Vec<T> {
    let count = pending.partition_point(|(at, _)| *at < begun);
    pending.drain(..count).map(|(_, change)| change).collect()
}
