//! Sessions of workers: which turn was answered last, and which grants may not have arrived.

use super::{State, keys};
use crate::ids::{JobId, MonoMs, NamespaceId, Token};
use crate::wire::{Wire, wire_struct};

/// Turns whose grants a session remembers as possibly not arrived.
const TURNS_MAX: usize = 32;

/// A session: its namespace, worker and name.
pub(crate) type SessionKey = (NamespaceId, String, String);

wire_struct! {
    /// What one turn granted.
    pub(crate) struct TurnGrants {
        /// The turn.
        pub(crate) turn: u64,
        /// The jobs and their tokens, in the order of delivery.
        pub(crate) grants: Vec<(JobId, Token)>,
    }
}

wire_struct! {
    /// A session as it is kept.
    pub(crate) struct Session {
        /// The last turn that granted something.
        pub(crate) last_turn: u64,
        /// Grants of turns not known to have arrived, the oldest first.
        pub(crate) unseen: Vec<TurnGrants>,
        /// Volatile: when it last asked.
        pub(crate) touched: MonoMs = _,
    }
}

impl State {
    /// A turn of the session granted these.
    pub(crate) fn remember_turn(
        &mut self,
        key: &SessionKey,
        turn: u64,
        seen: Option<u64>,
        grants: impl Iterator<Item = (JobId, Token)>,
    ) {
        let touched = self.mono;
        let sessions_of = &mut self.sessions_of;
        let session = self.sessions.entry(key.clone()).or_insert_with(|| {
            sessions_of.add(key.0);
            Session { last_turn: turn, unseen: Vec::new(), touched }
        });
        session.touched = touched;
        session.last_turn = turn;
        match seen {
            Some(seen) => session.unseen.retain(|grants| grants.turn > seen),
            None => session.unseen.retain(|grants| grants.turn == turn),
        }
        match session.unseen.last_mut().filter(|last| last.turn == turn) {
            Some(last) => last.grants.extend(grants),
            None => session.unseen.push(TurnGrants { turn, grants: grants.collect() }),
        }
        if session.unseen.len() > TURNS_MAX {
            session.unseen.remove(0);
        }
        self.sessions_changed.note(key);
    }

    /// Whether a grant is still the job's run, and not about to end.
    pub(crate) fn has_lease(&self, ns: NamespaceId, id: JobId, token: Token) -> bool {
        let live = self.leases.get(&(ns, id));
        live.is_some_and(|live| live.lease.token == token && live.expires >= self.mono)
    }

    /// Writes the sessions that changed since they were last written.
    pub(crate) fn put_sessions(&mut self) {
        for key in self.sessions_changed.take() {
            self.put_session(&key);
        }
    }

    pub(super) fn put_session(&mut self, key: &SessionKey) {
        if let Some(value) = self.sessions.get(key).map(Wire::to_bytes) {
            self.put_bytes(&keys::session(key.0, &key.1, &key.2), &value);
        }
    }

    /// Nobody could ask while the shard was not there: every session counts as heard of just now.
    pub(crate) fn touch_sessions(&mut self) {
        for session in self.sessions.values_mut() {
            session.touched = self.mono;
        }
    }

    pub(crate) fn forget_session(&mut self, key: &SessionKey) {
        if self.sessions.remove(key).is_some() {
            self.sessions_of.take(key.0);
            self.sessions_changed.forget(key);
        }
        self.remove(&keys::session(key.0, &key.1, &key.2));
    }
}
