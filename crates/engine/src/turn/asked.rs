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

#[derive(Debug, Default)]
pub(super) struct AskedTurns(BTreeMap<SessionKey, Asked>);

impl AskedTurns {
    /// A session asks its turn, which is not lower than its last one.
    pub(super) fn note(&mut self, key: &SessionKey, turn: u64, at: MonoMs) {
        if let Some(asked) = self.0.get_mut(key) {
            *asked = Asked { turn, at };
        } else {
            self.0.insert(key.clone(), Asked { turn, at });
        }
    }

    pub(super) fn last(&self, key: &SessionKey) -> Option<u64> {
        self.0.get(key).map(|asked| asked.turn)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets those who have not asked for so long.
    pub(super) fn sweep(&mut self, now: MonoMs, idle_ms: u64) {
        self.0.retain(|_, asked| asked.at.plus(idle_ms) > now);
    }
}
