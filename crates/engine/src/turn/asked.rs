//! Which turn each session asked last. Turns that grant nothing are in no record, and a late one of
//! them must be granted nothing either: its worker has gone on. Only this life of the shard knows.

use std::collections::BTreeMap;

use crate::ids::{MonoMs, NamespaceId};
use crate::state::{SessionKey, Tally};

/// The last turn of a session.
#[derive(Debug)]
struct Asked {
    turn: u64,
    at: MonoMs,
}

#[derive(Debug, Default)]
pub(super) struct AskedTurns {
    sessions: BTreeMap<SessionKey, Asked>,
    /// How many of them each namespace has.
    of: Tally,
}

impl AskedTurns {
    /// A session asks its turn, which is not lower than its last one.
    pub(super) fn note(&mut self, key: &SessionKey, turn: u64, at: MonoMs) {
        if let Some(asked) = self.sessions.get_mut(key) {
            *asked = Asked { turn, at };
        } else {
            self.of.add(key.0);
            self.sessions.insert(key.clone(), Asked { turn, at });
        }
    }

    pub(super) fn last(&self, key: &SessionKey) -> Option<u64> {
        self.sessions.get(key).map(|asked| asked.turn)
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// How many a namespace has.
    pub(super) fn len_of(&self, ns: NamespaceId) -> usize {
        self.of.of(ns)
    }

    /// Forgets those who have not asked for so long.
    pub(super) fn sweep(&mut self, now: MonoMs, idle_ms: u64) {
        let of = &mut self.of;
        self.sessions.retain(|key, asked| {
            let stays = asked.at.plus(idle_ms) > now;
            if !stays {
                of.take(key.0);
            }
            stays
        });
    }
}
