//! When each group has something to do, so that nobody looks at all groups for that. What is filed
//! for one may be earlier than it has: who is heard puts off what would come, and files nothing.

use std::collections::{BTreeMap, BTreeSet};

/// When groups are to be looked at, by their names.
#[derive(Debug, Default)]
pub(crate) struct Dues {
    by_time: BTreeSet<(u64, String)>,
    of: BTreeMap<String, u64>,
}

impl Dues {
    /// A group has nothing to do before that instant, or at all.
    pub(crate) fn set(&mut self, name: &str, due_ms: Option<u64>) {
        if self.of.get(name).copied() == due_ms {
            return;
        }
        if let Some((name, before)) = self.of.remove_entry(name) {
            self.by_time.remove(&(before, name));
        }
        if let Some(due_ms) = due_ms {
            self.by_time.insert((due_ms, name.to_owned()));
            self.of.insert(name.to_owned(), due_ms);
        }
    }

    /// A group has something to do at that instant, and perhaps earlier.
    pub(crate) fn hasten(&mut self, name: &str, due_ms: u64) {
        if self.of.get(name).is_none_or(|before| due_ms < *before) {
            self.set(name, Some(due_ms));
        }
    }

    /// When a group is to be looked at.
    pub(crate) fn first_ms(&self) -> Option<u64> {
        self.by_time.first().map(|(due_ms, _)| *due_ms)
    }

    /// The groups that are to be looked at by then, which have nothing filed any more.
    pub(crate) fn take(&mut self, now_ms: u64) -> Vec<String> {
        let mut due = Vec::new();
        while self.first_ms().is_some_and(|first| first <= now_ms) {
            let Some((_, name)) = self.by_time.pop_first() else { break };
            self.of.remove(&name);
            due.push(name);
        }
        due
    }
}
