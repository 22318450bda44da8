//! Sessions of workers that number their asks: which was answered last, and which grants may not
//! have arrived.

use std::collections::BTreeMap;
use std::ops::Bound::{self, Unbounded};

use super::{State, Tally, Unwritten, keys};
use crate::ids::{JobId, MonoMs, NamespaceId, Token};
use crate::wire::{Wire, wire_struct};

/// Asks whose grants a session remembers as possibly not arrived.
const ASKS_MAX: usize = 32;

/// A session: its namespace, worker and name.
pub(crate) type SessionKey = (NamespaceId, String, String);

wire_struct! {
    /// What one ask was granted.
    pub(crate) struct AskGrants {
        /// Its number.
        pub(crate) ask: u64,
        /// The jobs and their tokens, in the order of delivery.
        pub(crate) grants: Vec<(JobId, Token)>,
    }
}

wire_struct! {
    /// A session as it is kept.
    pub(crate) struct Session {
        /// The last ask that was granted something.
        pub(crate) last_ask: u64,
        /// Grants of asks not known to have arrived, the oldest first.
        pub(crate) unseen: Vec<AskGrants>,
        /// Volatile: when it last asked.
        pub(crate) touched: MonoMs = _,
    }
}

/// The sessions of a shard.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: BTreeMap<SessionKey, Session>,
    /// How many each namespace has.
    of: Tally,
    changed: Unwritten<SessionKey>,
}

impl Sessions {
    pub(crate) fn get(&self, key: &SessionKey) -> Option<&Session> {
        self.all.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many a namespace has.
    pub(crate) fn len_of(&self, ns: NamespaceId) -> usize {
        self.of.of(ns)
    }

    pub(crate) fn from(
        &self,
        from: Bound<SessionKey>,
    ) -> impl Iterator<Item = (&SessionKey, &Session)> {
        self.all.range((from, Unbounded))
    }

    pub(super) fn insert(&mut self, key: SessionKey, session: Session) {
        self.of.add(key.0);
        self.all.insert(key, session);
    }

    /// An ask of the session was granted these.
    pub(crate) fn remember_ask(
        &mut self,
        key: &SessionKey,
        (ask, seen): (u64, Option<u64>),
        grants: impl Iterator<Item = (JobId, Token)>,
        touched: MonoMs,
    ) {
        if !self.all.contains_key(key) {
            self.insert(key.clone(), Session { last_ask: ask, unseen: Vec::new(), touched });
        }
        let session = self.all.get_mut(key).expect("it is there now");
        session.touched = touched;
        session.last_ask = ask;
        match seen {
            Some(seen) => session.unseen.retain(|grants| grants.ask > seen),
            None => session.unseen.retain(|grants| grants.ask == ask),
        }
        match session.unseen.last_mut().filter(|last| last.ask == ask) {
            Some(last) => last.grants.extend(grants),
            None => session.unseen.push(AskGrants { ask, grants: grants.collect() }),
        }
        if session.unseen.len() > ASKS_MAX {
            session.unseen.remove(0);
        }
        self.changed.note(key);
    }

    /// Nobody could ask while the shard was not there: every session counts as heard of just now.
    pub(crate) fn touch_all(&mut self, now: MonoMs) {
        for session in self.all.values_mut() {
            session.touched = now;
        }
    }
}

impl State {
    /// Writes the sessions that changed since they were last written.
    pub(super) fn put_sessions(&mut self) {
        for key in self.sessions.changed.take() {
            self.put_session(&key);
        }
    }

    /// Writes some of them, where there are too many.
    pub(super) fn put_excess_sessions(&mut self) {
        while let Some(key) = self.sessions.changed.take_excess() {
            self.put_session(&key);
        }
    }

    fn put_session(&mut self, key: &SessionKey) {
        if let Some(value) = self.sessions.get(key).map(Wire::to_bytes) {
            self.put_bytes(&keys::session(key.0, &key.1, &key.2), &value);
        }
    }

    pub(crate) fn forget_session(&mut self, key: &SessionKey) {
        if self.sessions.all.remove(key).is_some() {
            self.sessions.of.take(key.0);
            self.sessions.changed.forget(key);
        }
        self.remove(&keys::session(key.0, &key.1, &key.2));
    }
}
