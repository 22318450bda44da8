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
use crate::level::OtherLevel;
use crate::limits::Limits;
use crate::map::OrderedMap;
use crate::operation::Operation;
use crate::queue::{Queue, QueueCounts};
use crate::wire::{Input, Wire};

impl State {
    /// The state that a map holds, which is that at `position`, unless it is of another level.
    pub(crate) fn load(
        map: Box<dyn OrderedMap>,
        position: Position,
        limits: Limits,
    ) -> Result<Self, OtherLevel> {
        if let Some(meta) = map.get(&keys::meta()) {
            // Of the rest nothing is known where the level is another one.
            let level = u32::take(&mut Input::new(&meta));
            OtherLevel::check(
                level.unwrap_or_else(|error| panic!("the numbers of a shard: {error}")),
            )?;
        }
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
            namespaces_changed: super::Unwritten::default(),
            forgetting: std::cell::RefCell::default(),
            queues: Queues::default(),
            kinds: Kinds::default(),
            lanes: Lanes::default(),
            leases: BTreeMap::new(),
            lease_ends: std::collections::BTreeSet::new(),
            sessions: BTreeMap::new(),
            sessions_changed: super::Unwritten::default(),
            dead_of: super::Tally::default(),
            sessions_of: super::Tally::default(),
            held: super::HeldIndex::default(),
            vanished: super::Vanished::default(),
            operations: BTreeMap::new(),
            timers: Frontier::new(vec![keys::TIMER]),
            messages: crate::message::Messages::default(),
            streams: crate::stream::Streams::default(),
            at_hand: std::cell::RefCell::default(),
            has_checkpoints: false,
            has_paused: false,
            has_shared_bodies: false,
            limiting: crate::limit::Limiting::default(),
            gating: crate::gate::Gating::default(),
            slas: crate::sla::Slas::default(),
            holding: crate::hold::Holding::default(),
            accounts: crate::account::Accounts::default(),
            answers: crate::keyed::KeptAnswers::default(),
            fresh_queues: std::collections::BTreeSet::new(),
            ended_jobs: Vec::new(),
            mono: MonoMs(0),
        };
        let has_any = |first: u8| state.first(&[first], &[first + 1]).is_some();
        let found = [keys::CHECKPOINT, keys::PAUSED, keys::BODY_HOLDERS].map(has_any);
        [state.has_checkpoints, state.has_paused, state.has_shared_bodies] = found;
        if let Some(meta) = state.value(&keys::meta()) {
            state.meta = meta;
        }
        state.load_names();
        state.load_limits();
        state.load_gates();
        state.load_holds();
        state.load_slas();
        state.load_accounts();
        state.load_answers();
        let now = state.now();
        state.lanes.advance(now, 0, |_| {});
        state.load_lanes();
        state.load_runs();
        state.load_messages();
        state.load_streams();
        Ok(state)
    }

    /// Decodes every value whose key begins with `first`.
    pub(crate) fn each<T: Wire>(&self, first: u8) -> Vec<(Vec<u8>, T)> {
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
            let kept = self.value(&keys::namespace_kept(namespace.id));
            let kept =
                kept.unwrap_or_else(|| panic!("namespace {} has lost its counts", namespace.id));
            self.add_namespace(namespace, kept);
        }
        let counts = self.each::<QueueCounts>(keys::QUEUE_COUNTS).into_iter();
        let id = |key: &[u8]| keys::u32_at(key, 1).map(QueueId);
        let mut counts: BTreeMap<_, _> =
            counts.filter_map(|(key, counts)| Some((id(&key)?, counts))).collect();
        for (_, mut queue) in self.each::<Queue>(keys::QUEUE) {
            queue.counts = counts
                .remove(&queue.id)
                .unwrap_or_else(|| panic!("queue {} has lost its counts", queue.id));
            self.dead_of.add_many(queue.namespace, queue.counts.dead as usize);
            self.queues.insert(queue, None);
        }
        self.load_kind_settings();
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
        self.forgetting.get_mut().note(ns);
    }

    fn load_runs(&mut self) {
        let mut running: BTreeMap<QueueId, u64> = BTreeMap::new();
        for (key, lease) in self.each::<Lease>(keys::LEASE) {
            if let (Some(ns), Some(id)) = (keys::u32_at(&key, 1), keys::id_at(&key, 5)) {
                let ns = NamespaceId(ns);
                let job = self.job(ns, id).expect("a lease is of a job that exists");
                *running.entry(self.queue_of(ns, &job)).or_default() += 1;
                self.add_lease(ns, id, lease, job);
            }
        }
        for queue in self.queues.all_after(None) {
            let (counted, found) = (queue.counts.running, running.get(&queue.id).unwrap_or(&0));
            assert!(
                counted == *found,
                "the count of running jobs of queue {} is {counted}, and {found} have a lease",
                queue.id
            );
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
        let (held, begun, spared) = (Held::Apart, false, false);
        let live = LiveLease { lease, job, expires, timeout, spared, paused, held, begun };
        self.count_lease(ns, &live.job);
        if let Some(kind) = self.kind_of(ns, &live.job) {
            self.kinds.count_running(kind, true);
        }
        self.holding.count_lease(ns, &live.job.options.tags, true);
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
