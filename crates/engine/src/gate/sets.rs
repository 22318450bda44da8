//! The sets of gates that jobs name, each with a number, which stands in the parts of their lanes.
//! Jobs that need a number are counted: those that have not ended, and dead ones, which may wait
//! again. A number that none needs any more is kept for a while, since the same gates are named
//! again as a rule; where more than a few are kept so, it is given to the next set.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::GATE_SETS_MAX;
use crate::ids::NamespaceId;
use crate::job::Job;
use crate::rejection::Rejection;
use crate::state::{State, count, keys};

/// Numbers of a namespace that keep the gates that they had though no job needs them.
const UNUSED_KEPT: usize = 4;

#[derive(Debug)]
struct GateSet {
    number: u16,
    /// Jobs that need it.
    jobs: u64,
}

/// The sets of a namespace. Their numbers are 1, 2 and so on without a gap.
#[derive(Debug, Default)]
struct SetsOf {
    by_gates: BTreeMap<Vec<String>, GateSet>,
    /// Numbers that no job needs.
    unused: BTreeSet<u16>,
}

impl SetsOf {
    /// So many jobs need a set from now on.
    fn count(&mut self, gates: &[String], jobs: u64) {
        let Some(set) = self.by_gates.get_mut(gates) else { return };
        set.jobs = jobs;
        if jobs == 0 {
            self.unused.insert(set.number);
        } else {
            self.unused.remove(&set.number);
        }
    }
}

/// All sets that have numbers.
#[derive(Debug, Default)]
pub(super) struct GateSets(BTreeMap<NamespaceId, SetsOf>);

impl GateSets {
    /// The sets of a namespace and their numbers.
    pub(super) fn all(&self, ns: NamespaceId) -> impl Iterator<Item = (&Vec<String>, u16)> {
        let sets = self.0.get(&ns).into_iter().flat_map(|of| &of.by_gates);
        sets.map(|(gates, set)| (gates, set.number))
    }

    /// The number of a set of gates.
    pub(super) fn number(&self, ns: NamespaceId, gates: &[String]) -> Option<u16> {
        self.0.get(&ns)?.by_gates.get(gates).map(|set| set.number)
    }

    /// Whether no job needs a number.
    pub(super) fn is_unused(&self, ns: NamespaceId, number: u16) -> bool {
        self.0.get(&ns).is_some_and(|of| of.unused.contains(&number))
    }

    pub(super) fn insert(&mut self, ns: NamespaceId, number: u16, gates: Vec<String>) {
        self.0.entry(ns).or_default().by_gates.insert(gates, GateSet { number, jobs: 0 });
    }

    fn forget(&mut self, ns: NamespaceId, gates: &[String]) {
        if let Some(of) = self.0.get_mut(&ns) {
            of.by_gates.remove(gates);
        }
    }

    /// So many jobs need a set from now on.
    pub(super) fn count(&mut self, ns: NamespaceId, gates: &[String], jobs: u64) {
        if let Some(of) = self.0.get_mut(&ns) {
            of.count(gates, jobs);
        }
    }

    /// The namespace is gone. The numbers that it had.
    pub(super) fn remove(&mut self, ns: NamespaceId) -> Vec<u16> {
        let gone = self.0.remove(&ns).unwrap_or_default();
        gone.by_gates.into_values().map(|set| set.number).collect()
    }

    /// The number for a set that has none, beside those that the same command uses. Of those that
    /// no job needs it has given those up to `given`.
    fn next(&self, ns: NamespaceId, used: &BTreeMap<u16, bool>, given: u16) -> Option<u16> {
        let none = SetsOf::default();
        let of = self.0.get(&ns).unwrap_or(&none);
        let unused = of.unused.range((Bound::Excluded(given), Bound::Unbounded));
        let mut unused = unused.filter(|number| !used.contains_key(number)).copied();
        if of.unused.len() > UNUSED_KEPT
            && let Some(number) = unused.next()
        {
            return Some(number);
        }
        let last = used.last_key_value().map_or(0, |(number, _)| usize::from(*number));
        let next = 1 + last.max(of.by_gates.len());
        if next > GATE_SETS_MAX { unused.next() } else { Some(next as u16) }
    }
}

impl State {
    /// The number for a set of gates that has none. Those in `used` the same command uses; of those
    /// that no job needs it has given those up to `given`.
    pub(crate) fn decide_gate_set(
        &self,
        namespace: NamespaceId,
        used: &BTreeMap<u16, bool>,
        given: u16,
    ) -> Result<u16, Rejection> {
        let next = self.gating.sets.next(namespace, used, given);
        next.ok_or(Rejection::TooManyGateSets { limit: GATE_SETS_MAX })
    }

    /// Where the number had other gates, no job needs those any more.
    pub(crate) fn apply_gate_set_named(&mut self, ns: NamespaceId, set: u16, gates: &[String]) {
        if let Some(before) = self.value::<Vec<String>>(&keys::gate_set(ns, set)) {
            assert!(self.gating.sets.is_unused(ns, set), "jobs need the gates {before:?} of {set}");
            self.gating.sets.forget(ns, &before);
        }
        self.put(&keys::gate_set(ns, set), &gates.to_vec());
        self.put(&keys::gate_set_jobs(ns, set), &0_u64);
        self.add_gate_set(ns, set, gates.to_vec());
        self.gating.sets.count(ns, gates, 0);
    }

    /// One more job needs the number of its gates.
    pub(crate) fn enter_gate_set(&mut self, ns: NamespaceId, job: &Job) {
        self.count_gate_set(ns, job, |jobs| *jobs += 1);
    }

    /// A job needs the number of its gates no more.
    pub(crate) fn leave_gate_set(&mut self, ns: NamespaceId, job: &Job) {
        self.count_gate_set(ns, job, |jobs| count::take(jobs, 1, "jobs of a set of gates"));
    }

    fn count_gate_set(&mut self, ns: NamespaceId, job: &Job, change: impl FnOnce(&mut u64)) {
        let gates = &job.options.gates;
        if gates.is_empty() {
            return;
        }
        let of = self.gating.sets.0.get_mut(&ns).expect("gates that jobs name have numbers");
        let set = of.by_gates.get(gates).expect("gates that jobs name have numbers");
        let (number, mut jobs) = (set.number, set.jobs);
        change(&mut jobs);
        of.count(gates, jobs);
        self.put(&keys::gate_set_jobs(ns, number), &jobs);
    }
}
