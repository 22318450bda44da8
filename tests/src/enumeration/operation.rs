//! What a process does to files, from its system calls. It knows nothing of what lies on a disk
//! afterwards.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::strace::{Call, read};

/// The calls that are recorded. What changes a file by another one shows when the files of the run
/// are compared with what the model says of them.
pub const CALLS: &str = "openat,write,pwrite64,pwritev,lseek,ftruncate,fallocate,rename,renameat,renameat2,\
    unlink,unlinkat,mkdir,mkdirat,fsync,fdatasync";

/// A change. Paths are relative to the folder that is watched, which itself is the empty path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operation {
    /// A file is opened for writing, and made where it is missing if `create` is set.
    Open {
        /// The file.
        path: String,
        /// Whether it is made where it is missing.
        create: bool,
        /// Whether it is emptied.
        truncate: bool,
    },
    /// Bytes are written; without an offset where the last ones ended.
    Write {
        /// The file.
        path: String,
        /// Where.
        offset: Option<u64>,
        /// What.
        bytes: Vec<u8>,
    },
    /// The next write without an offset goes there.
    Seek {
        /// The file.
        path: String,
        /// Where to.
        offset: u64,
    },
    /// A file gets this length.
    SetLength {
        /// The file.
        path: String,
        /// How long it is then.
        len_bytes: u64,
    },
    /// A file gets at least this length.
    Allocate {
        /// The file.
        path: String,
        /// How long it is then at least.
        len_bytes: u64,
    },
    /// What a file holds there reads as zeros from now on; its length stays.
    Punch {
        /// The file.
        path: String,
        /// Where the hole begins.
        offset: u64,
        /// How long it is.
        len_bytes: u64,
    },
    /// A folder is made.
    MakeFolder {
        /// The folder.
        path: String,
    },
    /// A file gets another name, in the place of one that has it.
    Rename {
        /// Its old name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// A name is removed.
    Remove {
        /// The name.
        path: String,
    },
    /// What was done to a file or folder before this began is durable.
    Sync {
        /// The file or folder.
        path: String,
        /// When it began: steps before it were over.
        begun: usize,
    },
    /// Not to the folder: a client writes down what it does.
    Note {
        /// What.
        bytes: Vec<u8>,
    },
}

/// An operation, and when it was over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// What was done.
    pub operation: Operation,
    /// How many calls of the trace were over before it.
    pub at: usize,
    /// Whether it is known to have happened; if not, the process ended meanwhile.
    pub finished: bool,
}

/// What is watched.
#[derive(Debug)]
pub struct Watched<'a> {
    /// The folder of the store, absolute.
    pub data: &'a Path,
    /// The file of the clients' history.
    pub history: &'a Path,
}

impl Watched<'_> {
    /// The steps of a trace. Its calls count from `first` on.
    pub fn steps(&self, trace: &str, first: usize) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for (index, call) in read(trace)?.iter().enumerate() {
            if call.failed() {
                continue;
            }
            let operation = self.operation(call, first);
            let operation = operation.with_context(|| format!("{} {}", call.name, call.arguments));
            let Some(operation) = operation? else { continue };
            let expected = match &operation {
                Operation::Write { bytes, .. } | Operation::Note { bytes } => Some(bytes.len()),
                Operation::Open { .. } | Operation::Seek { .. } => None,
                _ => Some(0),
            };
            let expected = expected.map(|expected| expected.to_string());
            // A SIGKILL cuts a write short, or has strace read a result where there is none.
            let finished = call.result.is_some() && (expected.is_none() || call.result == expected);
            // Calls return in order, so the number of those that did serves as a clock.
            steps.push(Step { operation, at: first + index, finished });
        }
        Ok(steps)
    }

    fn relative(&self, path: &str) -> Option<String> {
        let path = Path::new(path).strip_prefix(self.data).ok()?;
        path.to_str().map(str::to_owned)
    }

    fn named(&self, text: Option<&Vec<u8>>) -> Result<Option<String>> {
        Ok(self.relative(str::from_utf8(text.context("no path")?)?))
    }

    fn operation(&self, call: &Call, first: usize) -> Result<Option<Operation>> {
        let texts = call.texts()?;
        match call.name.as_str() {
            "openat" => self.opened(call, &texts),
            "rename" | "renameat" | "renameat2" => {
                match (self.named(texts.first())?, self.named(texts.get(1))?) {
                    (Some(from), Some(to)) => Ok(Some(Operation::Rename { from, to })),
                    (None, None) => Ok(None),
                    _ => bail!("a rename into or out of the folder"),
                }
            }
            "unlink" | "unlinkat" => {
                Ok(self.named(texts.first())?.map(|path| Operation::Remove { path }))
            }
            "mkdir" | "mkdirat" => {
                Ok(self.named(texts.first())?.map(|path| Operation::MakeFolder { path }))
            }
            _ => self.of_descriptor(call, texts, first),
        }
    }

    fn opened(&self, call: &Call, texts: &[Vec<u8>]) -> Result<Option<Operation>> {
        let flag = |name| call.arguments.split([',', '|', ' ']).any(|flag| flag == name);
        let Some(path) = self.named(texts.first())? else { return Ok(None) };
        if flag("O_RDONLY") && !flag("O_CREAT") {
            return Ok(None);
        }
        if flag("O_APPEND") || flag("O_TMPFILE") {
            bail!("a way to open that is not modelled");
        }
        let (create, truncate) = (flag("O_CREAT"), flag("O_TRUNC"));
        Ok(Some(Operation::Open { path, create, truncate }))
    }

    /// Calls on a file that is open.
    fn of_descriptor(
        &self,
        call: &Call,
        texts: Vec<Vec<u8>>,
        first: usize,
    ) -> Result<Option<Operation>> {
        let Some(file) = call.file()? else { return Ok(None) };
        let mut texts = texts.into_iter();
        let mut bytes = || texts.next().context("no bytes");
        if Path::new(&file) == self.history && call.name == "write" {
            return Ok(Some(Operation::Note { bytes: bytes()? }));
        }
        let Some(path) = self.relative(&file) else { return Ok(None) };
        let written = call.result.as_ref().and_then(|result| result.parse::<u64>().ok());
        Ok(Some(match call.name.as_str() {
            "write" | "pwrite64" => {
                let bytes = bytes()?;
                let [offset] = call.numbers()?;
                let offset = (call.name == "pwrite64").then_some(offset);
                Operation::Write { path, offset, bytes }
            }
            "pwritev" => {
                let [offset] = call.numbers()?;
                let mut all: Vec<u8> = texts.flatten().collect();
                // A call that wrote a part of it is followed by one that writes the rest.
                all.truncate(written.map_or(all.len(), |written| written as usize));
                Operation::Write { path, offset: Some(offset), bytes: all }
            }
            "lseek" => match written {
                Some(offset) => Operation::Seek { path, offset },
                None => return Ok(None),
            },
            "ftruncate" => {
                let [len_bytes] = call.numbers()?;
                Operation::SetLength { path, len_bytes }
            }
            "fallocate" if call.arguments.contains("FALLOC_FL_PUNCH_HOLE") => {
                let [offset, len_bytes] = call.numbers()?;
                Operation::Punch { path, offset, len_bytes }
            }
            "fallocate" => {
                let [mode, offset, len_bytes] = call.numbers()?;
                if mode != 0 {
                    bail!("a way to allocate that is not modelled");
                }
                Operation::Allocate { path, len_bytes: offset + len_bytes }
            }
            "fsync" | "fdatasync" => Operation::Sync { path, begun: first + call.before },
            name => bail!("{name} is not known"),
        }))
    }
}
