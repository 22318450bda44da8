//! Reads what memory holds of a state out of its map, when a shard starts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{
    Frontier, Jobs, Kind, Kinds, Lanes, Leases, Namespace, Namespaces, Numbers, Queues, Session,
    Sessions, State, keys,
};
use crate::Position;
use crate::ids::{KindId, MonoMs, NamespaceId, QueueId};
use crate::job::Lease;
use crate::level::OtherLevel;
use crate::limits::Limits;
use crate::map::OrderedMap;
use crate::operation::{Operation, Operations};
use crate::queue::{Queue, QueueCounts};
use crate::rope::Rope;
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
            scratch: Rope::flat(),
            limits,
            meta: Numbers::load(None),
            namespaces: Namespaces::default(),
            queues: Queues::default(),
            kinds: Kinds::default(),
            kind_settings: crate::kind::KindsSet::default(),
            lanes: Lanes::default(),
            leases: Leases::default(),
            sessions: Sessions::default(),
            operations: Operations::default(),
            timers: Frontier::new(vec![keys::TIMER]),
            messages: crate::message::Messages::default(),
            streams: crate::stream::Streams::default(),
            jobs: Jobs::default(),
            rare: Vec::new(),
            limiting: crate::limit::Limiting::default(),
            gating: crate::gate::Gating::default(),
            slas: crate::sla::Slas::default(),
            holds: crate::hold::Holds::default(),
            accounts: crate::account::Accounts::default(),
            answers: crate::keyed::KeptAnswers::default(),
            fresh_queues: std::collections::BTreeSet::new(),
            mono: MonoMs(0),
        };
        for first in [keys::CHECKPOINT, keys::PAUSED, keys::BODY_HOLDERS, keys::HELD_BACK] {
            if state.first(&[first], &[first + 1]).is_some() {
                state.note_rare(first);
            }
        }
        state.meta = Numbers::load(state.value(&keys::meta()));
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
            self.namespaces.insert(namespace, kept);
        }
        let counts = self.each::<QueueCounts>(keys::QUEUE_COUNTS).into_iter();
        let id = |key: &[u8]| keys::u32_at(key, 1).map(QueueId);
        let mut counts: BTreeMap<_, _> =
            counts.filter_map(|(key, counts)| Some((id(&key)?, counts))).collect();
        for (_, mut queue) in self.each::<Queue>(keys::QUEUE) {
            queue.counts = counts
                .remove(&queue.id)
                .unwrap_or_else(|| panic!("queue {} has lost its counts", queue.id));
            self.jobs.add_dead(queue.namespace, queue.counts.dead as usize);
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
                self.sessions.insert(key, session);
            }
        }
        for (_, operation) in self.each::<Operation>(keys::OPERATION) {
            self.operations.insert(operation);
        }
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
