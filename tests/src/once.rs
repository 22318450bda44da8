//! Workers that write down each start of a run in a file of their own, for the verdict over jobs
//! that run at most once. Told to end, they give back what they have begun wherever the protocol
//! has a word for that, so that it is the server that has to see to the promise.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Result;
use longshore::Job;
use serde::{Deserialize, Serialize};

pub mod grpc;
pub mod http;
pub mod sdk;

/// How long leases hold.
pub const LEASE_MS: u64 = 2_000;
/// How the files begin in which starts are written down.
const PREFIX: &str = "starts-";

/// A job: it takes some time, and then has failed or is done.
#[derive(Clone, Debug, Deserialize, Job, Serialize)]
pub struct Errand {
    /// How long it takes.
    pub ms: u64,
    /// Whether it fails.
    pub fails: bool,
}

/// What one process writes down.
#[derive(Debug)]
pub struct Starts(File);

impl Starts {
    /// The file of the worker `name` in a folder.
    pub fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(format!("{PREFIX}{name}"));
        Ok(Self(File::options().create(true).append(true).open(path)?))
    }

    /// One line, which a kill of the process does not take back.
    pub fn note(&self, id: &str) -> io::Result<()> {
        (&self.0).write_all(format!("{id}\n").as_bytes())
    }
}

/// What all workers of a folder wrote down: how often each job was started.
pub fn starts(folder: &Path) -> Result<HashMap<String, u32>> {
    let mut starts = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) {
            continue;
        }
        for id in fs::read_to_string(&path)?.lines() {
            *starts.entry(id.to_owned()).or_default() += 1;
        }
    }
    Ok(starts)
}

/// A program for `longshore work --exec` that does the same, with `$STARTS` as its file.
pub const PROGRAM: &str = "\
read -r args
echo \"$LONGSHORE_JOB_ID\" >> \"$STARTS\"
sleep 0.1
case \"$args\" in *true*) exit 1 ;; esac
";

/// Where that program's worker writes.
pub fn file_of(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join(format!("{PREFIX}{name}"))
}
