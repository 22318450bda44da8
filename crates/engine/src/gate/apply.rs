//! What memory knows of gates, and what closing and opening one changes: which parts of lanes,
//! which kinds and which queues are out of the merge.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::ControlFlow;

use super::Gate;
use super::sets::GateSets;
use crate::answer::{BlockedBy, Instruction};
use crate::circle::Circle;
use crate::ids::{GateId, JobId, KindId, NamespaceId, QueueId};
use crate::job::Job;
use crate::map::Reader;
use crate::queueing::LiveLease;
use crate::state::{State, keys};
use crate::timer::Subject;
use crate::wire::Wire;

/// Queues that are offered again, and runs whose instruction is looked at, at a time.
const LOOKS_PER_TICK: usize = 1024;

/// What memory holds of gates.
#[derive(Debug, Default)]
pub(crate) struct Gating {
    gates: BTreeMap<NamespaceId, BTreeMap<String, Gate>>,
    /// The numbers of the sets of gates that jobs name, from 1 on.
    pub(super) sets: GateSets,
    /// Closed gates on which each queue and each kind depends. What depends on none is not here.
    queues: BTreeMap<(NamespaceId, String), u32>,
    kinds: BTreeMap<(NamespaceId, String), u32>,
    /// Closed gates of each namespace, where it has any.
    closed: BTreeMap<NamespaceId, u32>,
    /// Volatile: where the look is through queues that are offered again.
    offered: BTreeMap<NamespaceId, Circle<QueueId>>,
    /// Volatile: where the look is through runs that may have to be told something.
    told: BTreeMap<NamespaceId, Circle<JobId>>,
    /// Volatile: the namespaces in which each of the two looked last: they take turns.
    last: [Option<NamespaceId>; 2],
}

/// The namespace that comes after the last one, in a circle; it is the last one then.
fn next_in_turn<T>(
    of: &BTreeMap<NamespaceId, T>,
    last: &mut Option<NamespaceId>,
) -> Option<NamespaceId> {
    let from = last.map_or(Unbounded, Excluded);
    let next = of.range((from, Unbounded)).next().or_else(|| of.first_key_value());
    *last = next.map(|(ns, _)| *ns);
    *last
}

/// One more closed gate, or one less.
fn turn<K: Ord + Clone>(counts: &mut BTreeMap<K, u32>, of: &K, closed: bool) {
    let count = counts.entry(of.clone()).or_default();
    if closed {
        *count += 1;
    } else {
        *count = count.checked_sub(1).expect("a gate that opens was closed");
    }
    if *count == 0 {
        counts.remove(of);
    }
}

impl Gating {
    pub(super) fn of(&self, ns: NamespaceId, name: &str) -> Option<&Gate> {
        self.gates.get(&ns)?.get(name)
    }

    pub(super) fn numbered(&self, ns: NamespaceId, id: GateId) -> Option<(&str, &Gate)> {
        let mut all = self.gates.get(&ns)?.iter();
        all.find(|(_, gate)| gate.id == id).map(|(name, gate)| (name.as_str(), gate))
    }

    /// The gates of a namespace, in the order of their names.
    pub(super) fn all(&self, ns: NamespaceId) -> impl Iterator<Item = (&String, &Gate)> {
        self.gates.get(&ns).into_iter().flatten()
    }

    /// The names of the gates on which a kind depends.
    pub(crate) fn over_kind(&self, ns: NamespaceId, kind: &str) -> Vec<String> {
        let over = |gate: &Gate| gate.kinds.iter().any(|name| name == kind);
        self.all(ns).filter(|(_, gate)| over(gate)).map(|(name, _)| name.clone()).collect()
    }

    /// How many gates a namespace has.
    pub(super) fn count(&self, ns: NamespaceId) -> usize {
        self.gates.get(&ns).map_or(0, BTreeMap::len)
    }

    /// How many gates there are, and how many of them are closed.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let all: usize = self.gates.values().map(BTreeMap::len).sum();
        (all as u64, self.closed.values().map(|count| u64::from(*count)).sum())
    }

    /// The number of a set of gates: 0 is that of none.
    pub(crate) fn set_of(&self, ns: NamespaceId, gates: &[String]) -> Option<u16> {
        if gates.is_empty() {
            return Some(0);
        }
        self.sets.number(ns, gates)
    }

    /// Whether no job needs the number of a set of gates.
    pub(crate) fn is_unused_set(&self, ns: NamespaceId, set: u16) -> bool {
        self.sets.is_unused(ns, set)
    }

    /// How many sets a namespace has.
    #[cfg(test)]
    pub(crate) fn sets_of(&self, ns: NamespaceId) -> usize {
        self.sets.all(ns).count()
    }

    pub(crate) fn holds_queue(&self, ns: NamespaceId, queue: &str) -> bool {
        !self.queues.is_empty() && self.queues.contains_key(&(ns, queue.to_owned()))
    }

    fn holds_kind(&self, ns: NamespaceId, kind: &str) -> bool {
        !self.kinds.is_empty() && self.kinds.contains_key(&(ns, kind.to_owned()))
    }

    fn is_closed(&self, ns: NamespaceId, name: &str) -> bool {
        self.of(ns, name).is_some_and(|gate| gate.closed)
    }

    /// Whether a closed gate holds back what is as the job.
    fn holds(&self, ns: NamespaceId, job: &Job) -> bool {
        self.closed.contains_key(&ns)
            && (job.options.gates.iter().any(|gate| self.is_closed(ns, gate))
                || self.holds_queue(ns, &job.queue)
                || self.holds_kind(ns, &job.kind))
    }

    /// Whether queues are to be offered again, or runs to be looked at.
    pub(crate) fn goes_on(&self) -> bool {
        !self.offered.is_empty() || !self.told.is_empty()
    }
}

/// The closed gates that hold a waiting job back.
pub(crate) fn gates_told(reader: &dyn Reader, ns: NamespaceId, job: &Job) -> Vec<BlockedBy> {
    let prefix = keys::gates(ns, true);
    let mut told = Vec::new();
    reader.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
        let Some((name, _)) = keys::text_at(key, prefix.len()) else {
            panic!("key {key:02x?} in the state is no gate's")
        };
        let gate = Gate::from_bytes(value).expect("gates were encoded by this engine");
        if gate.is_about(&name, job) {
            let Gate { reason, expires_at, .. } = gate;
            told.push(BlockedBy::Gate { name, reason, expires_at });
        }
        ControlFlow::Continue(())
    });
    told
}

impl State {
    pub(super) fn add_gate_set(&mut self, ns: NamespaceId, set: u16, gates: Vec<String>) {
        let closed = gates.iter().any(|gate| self.gating.is_closed(ns, gate));
        self.lanes.shut_set(ns, set, closed);
        self.gating.sets.insert(ns, set, gates);
    }

    pub(crate) fn apply_gate_put(&mut self, ns: NamespaceId, name: &str, gate: &Gate) {
        if gate.id > self.meta.last_gate {
            self.meta_mut().last_gate = gate.id;
        }
        let before = self.gating.of(ns, name).cloned();
        if let Some(before) = &before {
            self.remove(&keys::gate(ns, before.closed, name));
            if let Some(at) = before.expires_at {
                self.clear_timer(at, Subject::Gate { namespace: ns, id: before.id });
            }
        }
        self.put(&keys::gate(ns, gate.closed, name), gate);
        if let Some(at) = gate.expires_at {
            self.set_timer(at, Subject::Gate { namespace: ns, id: gate.id });
        }
        self.gating.gates.entry(ns).or_default().insert(name.to_owned(), gate.clone());
        self.turn_gates(ns, name, (before.as_ref(), Some(gate)));
    }

    pub(crate) fn apply_gate_deleted(&mut self, ns: NamespaceId, name: &str) {
        let gates = self.gating.gates.entry(ns).or_default();
        let gate = gates.remove(name).expect("the record names a gate that exists");
        if gates.is_empty() {
            self.gating.gates.remove(&ns);
        }
        self.remove(&keys::gate(ns, gate.closed, name));
        if let Some(at) = gate.expires_at {
            self.clear_timer(at, Subject::Gate { namespace: ns, id: gate.id });
        }
        self.turn_gates(ns, name, (Some(&gate), None));
    }

    /// Turns the switches of a gate from what it was to what it is.
    fn turn_gates(
        &mut self,
        ns: NamespaceId,
        name: &str,
        (before, after): (Option<&Gate>, Option<&Gate>),
    ) {
        let [before, after] = [before, after].map(|gate| gate.filter(|gate| gate.closed));
        if before.is_none() && after.is_none() {
            return;
        }
        let gating = &mut self.gating;
        for (gate, closed) in [(after, true), (before, false)] {
            let Some(gate) = gate else { continue };
            turn(&mut gating.closed, &ns, closed);
            for queue in &gate.queues {
                turn(&mut gating.queues, &(ns, queue.clone()), closed);
            }
            for kind in &gate.kinds {
                turn(&mut gating.kinds, &(ns, kind.clone()), closed);
            }
        }
        for gate in [before, after].into_iter().flatten() {
            for queue in &gate.queues {
                if let Some((id, paused)) =
                    self.queues.named(ns, queue).map(|queue| (queue.id, queue.settings.paused))
                {
                    let shut = self.is_shut(id, paused);
                    self.lanes.shut(id, shut);
                }
            }
            for kind in &gate.kinds {
                for id in self.kinds.all_of(ns, kind) {
                    self.switch_kind((ns, kind), id);
                }
            }
        }
        let named = self.gating.sets.all(ns);
        let named = named.filter(|(gates, _)| gates.iter().any(|gate| gate == name));
        for (gates, set) in named {
            let closed = gates.iter().any(|gate| self.gating.is_closed(ns, gate));
            self.lanes.shut_set(ns, set, closed);
        }
        self.tell_all_runs(ns);
        if before.is_some() {
            self.offer_all(ns);
        }
    }

    /// A version of a kind has a number from now on.
    pub(crate) fn shut_new_kind(&mut self, (ns, name): (NamespaceId, &str), id: KindId) {
        self.switch_kind((ns, name), id);
    }

    /// Turns the switch over the lanes of a kind to what gates and limits say.
    pub(crate) fn switch_kind(&mut self, (ns, name): (NamespaceId, &str), id: KindId) {
        let held = self.gating.holds_kind(ns, name) || self.limiting.holds_kind(id);
        self.lanes.hold_kind(ns, id, held);
    }

    /// The namespace is gone, and its gates with it.
    pub(crate) fn drop_gates(&mut self, ns: NamespaceId) {
        let names: Vec<String> = self.gating.all(ns).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.apply_gate_deleted(ns, &name);
        }
        for set in self.gating.sets.remove(ns) {
            self.remove(&keys::gate_set(ns, set));
            self.remove(&keys::gate_set_jobs(ns, set));
        }
        self.gating.offered.remove(&ns);
        self.gating.told.remove(&ns);
    }

    /// Reads the gates when a shard starts, after its names and before its lanes.
    pub(crate) fn load_gates(&mut self) {
        for (key, gate) in self.each::<Gate>(keys::GATE) {
            let ns = keys::u32_at(&key, 1).map(NamespaceId);
            let Some((ns, (name, _))) = ns.zip(keys::text_at(&key, keys::GATE_NAME_AT)) else {
                panic!("key {key:02x?} in the state is no gate's")
            };
            self.gating.gates.entry(ns).or_default().insert(name.clone(), gate.clone());
            self.turn_gates(ns, &name, (None, Some(&gate)));
        }
        for (key, gates) in self.each::<Vec<String>>(keys::GATE_SET) {
            let set = key.get(5..7).and_then(|bytes| bytes.try_into().ok());
            let ns = keys::u32_at(&key, 1).map(NamespaceId);
            let Some((ns, set)) = ns.zip(set.map(u16::from_be_bytes)) else {
                panic!("key {key:02x?} in the state is no set of gates")
            };
            let jobs: Option<u64> = self.value(&keys::gate_set_jobs(ns, set));
            self.add_gate_set(ns, set, gates.clone());
            self.gating.sets.count(ns, &gates, jobs.expect("jobs of a set of gates are counted"));
        }
    }

    /// What a run shall do.
    pub(crate) fn instruct(&self, ns: NamespaceId, live: &LiveLease) -> Instruction {
        match live.instruction() {
            // What runs at most once would not go on afterwards: it comes to its end.
            Instruction::Continue if live.job().options.at_most_once => Instruction::Continue,
            Instruction::Continue if self.gating.holds(ns, live.job()) => {
                Instruction::Interrupt { reason: "gate" }
            }
            Instruction::Continue if self.holds.held_of(ns, &live.job().options.tags).is_some() => {
                Instruction::Interrupt { reason: "hold" }
            }
            instruction => instruction,
        }
    }

    /// Something may hand out again in a namespace: its queues are offered to those who wait.
    pub(crate) fn offer_all(&mut self, ns: NamespaceId) {
        self.gating.offered.entry(ns).or_default().begin();
        self.offer_some();
    }

    fn offer_some(&mut self) {
        let Gating { offered, last: [last, _], .. } = &mut self.gating;
        let Some(ns) = next_in_turn(offered, last) else { return };
        let Some(circle) = offered.get_mut(&ns) else { return };
        let lanes = &self.lanes;
        let (seen, over) =
            circle.go_on(LOOKS_PER_TICK, |after, most| lanes.queues_after(after, most));
        if over {
            offered.remove(&ns);
        }
        let due: Vec<_> = seen.into_iter().filter(|id| lanes.is_due_in(*id, ns)).collect();
        self.note_fresh(due);
    }

    /// What runs shall do may have changed in a namespace: their sessions are told with their next
    /// heartbeats.
    pub(crate) fn tell_all_runs(&mut self, ns: NamespaceId) {
        self.gating.told.entry(ns).or_default().begin();
        self.tell_some_runs();
    }

    fn tell_some_runs(&mut self) {
        let Gating { told, last: [_, last], .. } = &mut self.gating;
        let Some(ns) = next_in_turn(told, last) else { return };
        let Some(circle) = told.get_mut(&ns) else { return };
        let leases = &self.leases;
        let (runs, over) = circle.go_on(LOOKS_PER_TICK, |after, most| {
            leases.after(ns, after.copied()).map(|(id, _)| id).take(most).collect()
        });
        if over {
            told.remove(&ns);
        }
        for id in runs {
            self.note_told(ns, id);
        }
    }

    /// A slice of what closing and opening left to be done.
    pub(crate) fn advance_gates(&mut self) {
        self.offer_some();
        self.tell_some_runs();
    }
}
