//! Which turn each session asked last. Turns that grant nothing are in no record, and a late one of
//! them must be granted nothing either: its worker has gone on. Only this life of the shard knows.

use std::collections::BTreeMap;

use crate::ids::MonoMs;
use crate::state::SessionKey;

/// The last turn of a session.
#[derive(Debug)]
struct Asked {
    turn: u64,
    at: MonoMs,
}

/// Those who asked lately, and those who did before the first were too many: bounded, since whoever
/// asks without being granted anything is in no other count.
#[derive(Debug, Default)]
pub(super) struct AskedTurns {
    young: BTreeMap<SessionKey, Asked>,
    old: BTreeMap<SessionKey, Asked>,
}

impl AskedTurns {
    /// A session asks its turn, which is not lower than its last one. Where `max` have asked since,
    /// those who asked before them are forgotten.
    pub(super) fn note(&mut self, key: &SessionKey, turn: u64, at: MonoMs, max: usize) {
        if let Some(asked) = self.young.get_mut(key) {
            *asked = Asked { turn, at };
            return;
        }
        self.old.remove(key);
        if self.young.len() >= max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.clone(), Asked { turn, at });
    }

    pub(super) fn last(&self, key: &SessionKey) -> Option<u64> {
        self.young.get(key).or_else(|| self.old.get(key)).map(|asked| asked.turn)
    }

    /// Forgets those who have not asked for so long.
    pub(super) fn sweep(&mut self, now: MonoMs, idle_ms: u64) {
        for generation in [&mut self.young, &mut self.old] {
            generation.retain(|_, asked| asked.at.plus(idle_ms) > now);
        }
    }
}
