//! Goes through a recording and stops at the moments that matter. A sync takes away what a crash
//! may leave and nothing else does, so the moments before syncs, and the end, have all of it.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;

use anyhow::{Context, Result, bail};

use super::client::{Clients, take_in};
use super::files::Files;
use super::image::{Choice, Fate, Image};
use super::operation::{Operation, Step};
use super::record::{Life, Recording};

/// A moment at which it may crash.
#[derive(Debug)]
pub struct Moment<'a> {
    /// Which one.
    pub name: String,
    /// What is durable then, and what is not.
    pub files: &'a Files,
    /// What clients know and wait for.
    pub clients: &'a Clients,
    /// What they have written down.
    pub history: &'a [u8],
}

/// Shows all moments of a recording, in order. Syncs of what `ignored` says count for nothing.
pub fn walk(
    recording: &Recording,
    ignored: &dyn Fn(&str) -> bool,
    visit: &mut dyn FnMut(&Moment<'_>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut walk = Walk {
        files: recording.start.files.clone(),
        clients: Clients::new(),
        history: recording.start.history.clone(),
        changed: true,
        visit,
    };
    take_in(&mut walk.clients, &recording.start.history)?;
    for (index, life) in recording.lives.iter().enumerate() {
        let walked = walk.live(life, index, ignored);
        if walked.with_context(|| format!("life {index}"))?.is_break() {
            break;
        }
    }
    Ok(())
}

struct Walk<'a> {
    files: Files,
    clients: Clients,
    history: Vec<u8>,
    /// Whether anything happened since the last moment.
    changed: bool,
    visit: &'a mut dyn FnMut(&Moment<'_>) -> Result<ControlFlow<()>>,
}

impl Walk<'_> {
    fn live(
        &mut self,
        life: &Life,
        index: usize,
        ignored: &dyn Fn(&str) -> bool,
    ) -> Result<ControlFlow<()>> {
        for step in &life.steps {
            let Some(step) = self.as_it_happened(step, &life.after) else { continue };
            let name = || format!("life {index}, before {:?}", Brief(&step.operation));
            match &step.operation {
                Operation::Sync { path, .. } if ignored(path) => continue,
                Operation::Sync { .. } => {
                    if self.stop(name())?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Operation::Note { bytes } => {
                    take_in(&mut self.clients, bytes)?;
                    self.history.extend(bytes);
                    self.changed = true;
                }
                _ => self.changed = true,
            }
            self.files.apply(&step.operation, step.at).with_context(name)?;
        }
        // What the model says of all that was done is what is there: nothing escaped the record.
        let modelled = Image::of(&self.files, &Choice::all(Fate::Kept));
        if let Some(path) = different(&modelled, &life.after) {
            let unfinished = life.steps.iter().filter(|step| !step.finished);
            let unfinished: Vec<_> = unfinished.map(|step| Brief(&step.operation)).collect();
            bail!("model and folder differ in {path}; when it was killed: {unfinished:?}");
        }
        self.stop(format!("the end of life {index}"))
    }

    /// Of what a SIGKILL interrupted the folder tells whether it was done, and how much of it.
    fn as_it_happened<'s>(&self, step: &'s Step, after: &Image) -> Option<Cow<'s, Step>> {
        if step.finished {
            return Some(Cow::Borrowed(step));
        }
        let entry = |path: &String| after.entries.get(path);
        let contents = |path: &String| entry(path).and_then(Option::as_ref);
        let happened = match &step.operation {
            Operation::Write { path, offset, bytes } => {
                let begin = offset.map_or(self.files.position(path)?, |offset| offset as usize);
                let there = contents(path)?.get(begin..)?;
                let bytes = there.get(..bytes.len()).unwrap_or(there).to_vec();
                let offset = Some(begin as u64);
                let operation = Operation::Write { path: path.clone(), offset, bytes };
                return Some(Cow::Owned(Step { operation, ..step.clone() }));
            }
            Operation::Punch { path, offset, len_bytes } => {
                let there = contents(path)?.get(*offset as usize..)?;
                let bytes = there.get(..*len_bytes as usize).unwrap_or(there).to_vec();
                let (path, offset) = (path.clone(), Some(*offset));
                let operation = Operation::Write { path, offset, bytes };
                return Some(Cow::Owned(Step { operation, ..step.clone() }));
            }
            Operation::Open { path, truncate: true, .. } => {
                contents(path).is_some_and(Vec::is_empty)
            }
            Operation::Open { path, .. } | Operation::MakeFolder { path } => entry(path).is_some(),
            Operation::SetLength { path, len_bytes } | Operation::Allocate { path, len_bytes } => {
                contents(path).is_some_and(|contents| contents.len() as u64 == *len_bytes)
            }
            Operation::Rename { from, .. } => entry(from).is_none(),
            Operation::Remove { path } => entry(path).is_none(),
            Operation::Seek { .. } | Operation::Sync { .. } => false,
            Operation::Note { .. } => true,
        };
        happened.then_some(Cow::Borrowed(step))
    }

    fn stop(&mut self, name: String) -> Result<ControlFlow<()>> {
        if !std::mem::take(&mut self.changed) {
            return Ok(ControlFlow::Continue(()));
        }
        let (files, clients, history) = (&self.files, &self.clients, &self.history);
        (self.visit)(&Moment { name, files, clients, history })
    }
}

fn different<'a>(a: &'a Image, b: &'a Image) -> Option<&'a String> {
    let mut paths = a.entries.keys().chain(b.entries.keys());
    paths.find(|path| a.entries.get(*path) != b.entries.get(*path))
}

/// An operation without the bytes that it writes.
struct Brief<'a>(&'a Operation);

impl fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Operation::Write { path, offset, bytes } => {
                write!(f, "write of {} bytes to {path} at {offset:?}", bytes.len())
            }
            operation => write!(f, "{operation:?}"),
        }
    }
}
