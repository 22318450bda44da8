//! Reads what memory holds of a state out of its map, when a shard starts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{
    Frontier, Held, Kept, Kind, Kinds, Lanes, LiveLease, Meta, Namespace, NamespaceSlot, Queues,
    Session, State, keys,
};
use crate::Position;
use crate::ids::{JobId, KindId, MonoMs, NamespaceId, QueueId};
use crate::job::{Job, Lease};
use crate::limits::Limits;
use crate::map::OrderedMap;
use crate::operation::Operation;
use crate::queue::{Queue, QueueCounts};
use crate::wire::Wire;

impl<M: OrderedMap> State<M> {
    /// The state that a map holds, which is that at `position`.
    pub(crate) fn load(map: M, position: Position, limits: Limits) -> Self {
        let mut state = Self {
            map,
            position,
            new_outcomes: BTreeMap::new(),
            scratch: Vec::new(),
            limits,
            meta: Meta::NEW,
            meta_changed: false,
            namespaces: BTreeMap::new(),
            namespace_names: BTreeMap::new(),
            namespaces_changed: std::collections::BTreeSet::new(),
            queues: Queues::default(),
            kinds: Kinds::default(),
            lanes: Lanes::default(),
            leases: BTreeMap::new(),
            lease_ends: std::collections::BTreeSet::new(),
            sessions: BTreeMap::new(),
            sessions_of: super::Tally::default(),
            held: super::HeldIndex::default(),
            vanished: super::Vanished::default(),
            operations: BTreeMap::new(),
            timers: Frontier::new(vec![keys::TIMER]),
            at_hand: std::cell::RefCell::default(),
            has_checkpoints: false,
            has_paused: false,
            fresh_queues: std::collections::BTreeSet::new(),
            ended_jobs: Vec::new(),
            mono: MonoMs(0),
        };
        let has_any = |first: u8| state.first(&[first], &[first + 1]).is_some();
        (state.has_checkpoints, state.has_paused) =
            (has_any(keys::CHECKPOINT), has_any(keys::PAUSED));
        if let Some(meta) = state.value(&keys::meta()) {
            state.meta = meta;
        }
        state.load_names();
        let now = state.now();
        state.lanes.advance(now, 0, |_| {});
        state.load_lanes();
        state.load_runs();
        state
    }

    /// Decodes every value whose key begins with `first`.
    fn each<T: Wire>(&self, first: u8) -> Vec<(Vec<u8>, T)> {
        let mut values = Vec::new();
        self.scan(&[first], &[first + 1], &mut |key, value| {
            match T::from_bytes(value) {
                Ok(value) => values.push((key.to_vec(), value)),
                Err(error) => panic!("key {key:02x?} in the state: {error}"),
            }
            ControlFlow::Continue(())
        });
        values
    }

    fn load_names(&mut self) {
        for (_, namespace) in self.each::<Namespace>(keys::NAMESPACE) {
            let kept = self.value(&keys::namespace_kept(namespace.id)).unwrap_or_default();
            self.add_namespace(namespace, kept);
        }
        for (_, queue) in self.each::<Queue>(keys::QUEUE) {
            self.queues.insert(queue, None);
        }
        for (key, counts) in self.each::<QueueCounts>(keys::QUEUE_COUNTS) {
            if let Some(id) = keys::u32_at(&key, 1).map(QueueId)
                && self.queues.get(id).is_some()
            {
                self.queues.change(id).counts = counts;
            }
        }
        self.queues.take_changed();
        self.load_next_due();
        for (key, kind) in self.each::<Kind>(keys::KIND) {
            if let Some(id) = keys::u32_at(&key, 1) {
                self.kinds.insert(KindId(id), kind);
            }
        }
    }

    /// The first due counter of each queue that has one.
    fn load_next_due(&mut self) {
        let mut from = vec![keys::DUE];
        while let Some((key, _)) = self.first(&from, &[keys::DUE + 1]) {
            if let Some(id) = keys::u32_at(&key, 5).map(QueueId) {
                self.queues.set_next_due(id, keys::u64_at(&key, 9));
            }
            from = keys::after_prefix(key.get(..9).unwrap_or(&key));
        }
    }

    pub(crate) fn add_namespace(&mut self, namespace: Namespace, kept: Kept) {
        let ns = namespace.id;
        if !namespace.deleted {
            self.namespace_names.insert(namespace.name.clone(), ns);
        }
        let prefix = |first| keys::Key::new(first).namespace(ns).done();
        let slot = NamespaceSlot {
            namespace,
            kept,
            outcomes: Frontier::new(prefix(keys::ENDED)),
            tombstones: Frontier::new(prefix(keys::TOMBSTONE_ORDER)),
        };
        self.namespaces.insert(ns, slot);
    }

    fn load_runs(&mut self) {
        for (key, lease) in self.each::<Lease>(keys::LEASE) {
            if let (Some(ns), Some(id)) = (keys::u32_at(&key, 1), keys::id_at(&key, 5)) {
                let ns = NamespaceId(ns);
                let job = self.job(ns, id).expect("a lease is of a job that exists");
                self.add_lease(ns, id, lease, job);
            }
        }
        for (key, session) in self.each::<Session>(keys::SESSION) {
            if let Some(key) = session_key(&key) {
                self.sessions_of.add(key.0);
                self.sessions.insert(key, session);
            }
        }
        for (_, operation) in self.each::<Operation>(keys::OPERATION) {
            self.operations.insert(operation.id, operation);
        }
    }

    /// Holds a lease from this instant of the clock that never steps.
    pub(crate) fn add_lease(&mut self, ns: NamespaceId, id: JobId, lease: Lease, job: Arc<Job>) {
        let timeout = job.options.timeout_ms.map(|timeout_ms| self.mono.plus(timeout_ms));
        let expires = self.mono.plus(lease.lease_ms);
        let expires = timeout.map_or(expires, |timeout| expires.min(timeout));
        self.lease_ends.insert((expires, ns, id));
        self.at_hand.get_mut().jobs.remove(&(ns, id));
        let paused = self.is_paused(ns, id);
        let (held, begun) = (Held::Apart, false);
        let live = LiveLease { lease, job, expires, timeout, paused, held, begun };
        self.leases.insert((ns, id), Box::new(live));
    }

    /// Every lease stands for one more of its lengths: a restart does not run everything twice.
    pub(crate) fn renew_leases(&mut self) {
        self.lease_ends.clear();
        let mono = self.mono;
        let at = self.now();
        let ids: Vec<_> = self.leases.keys().copied().collect();
        for (ns, id) in ids {
            let timeout_ms = self.job(ns, id).and_then(|job| job.options.timeout_ms);
            let Some(live) = self.leases.get_mut(&(ns, id)) else { continue };
            let ran_ms = at.since(live.lease.started_at);
            live.timeout =
                timeout_ms.map(|timeout_ms| mono.plus(timeout_ms.saturating_sub(ran_ms)));
            let expires = mono.plus(live.lease.lease_ms);
            live.expires = live.timeout.map_or(expires, |timeout| expires.min(timeout));
            self.lease_ends.insert((live.expires, ns, id));
        }
        self.index_sessions();
    }
}

fn session_key(key: &[u8]) -> Option<super::SessionKey> {
    let ns = NamespaceId(keys::u32_at(key, 1)?);
    let text = |at: usize| {
        let length = u16::from_be_bytes(key.get(at..at + 2)?.try_into().ok()?);
        let end = at + 2 + usize::from(length);
        let text = std::str::from_utf8(key.get(at + 2..end)?).ok()?;
        Some((text.to_owned(), end))
    };
    let (worker, end) = text(5)?;
    Some((ns, worker, text(end)?.0))
}
