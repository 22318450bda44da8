//! What may be asked of gates.

use std::collections::BTreeSet;

use super::{
    GATES_MAX, GATES_OF_JOB_MAX, Gate, GateAnswer, GateChange, GateClosed, GateView, TARGETS_MAX,
};
use crate::bounds::{check_name, check_size, resolve_start};
use crate::ids::{GateId, NamespaceId, TimeMs};
use crate::job::Job;
use crate::limits::Limits;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

/// The gates that a job names.
pub(crate) fn check_gates(limits: &Limits, gates: &[String]) -> Result<(), Rejection> {
    check_names(limits, "gates", gates, GATES_OF_JOB_MAX)
}

fn check_names(
    limits: &Limits,
    field: &'static str,
    names: &[String],
    most: usize,
) -> Result<(), Rejection> {
    if names.len() > most {
        let (value, allowed) = (format!("{} names", names.len()), format!("at most {most}"));
        return Err(Rejection::ValueRefused { field, value, allowed });
    }
    names.iter().try_for_each(|name| check_name(limits, field, name))
}

/// Each name once, in order: sets are told apart by that.
pub(crate) fn sorted(names: &[String]) -> Vec<String> {
    names.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

impl Gate {
    pub(super) fn is_about(&self, name: &str, job: &Job) -> bool {
        job.options.gates.iter().any(|gate| gate == name)
            || self.queues.contains(&job.queue)
            || self.kinds.contains(&job.kind)
    }
}

impl State {
    /// The record that changes a gate; none where it is so already.
    pub(crate) fn decide_gate_change(
        &self,
        namespace: NamespaceId,
        name: &str,
        change: &GateChange,
        moment: Moment,
    ) -> Result<Option<Record>, Rejection> {
        check_name(&self.limits, "gate", name)?;
        for (field, names) in [("queues", &change.queues), ("kinds", &change.kinds)] {
            check_names(&self.limits, field, names.as_deref().unwrap_or_default(), TARGETS_MAX)?;
        }
        let known = self.gating.of(namespace, name);
        if known.is_none() && self.gating.count(namespace) >= GATES_MAX {
            return Err(Rejection::TooManyGates { limit: GATES_MAX });
        }
        let new = || {
            let id = GateId(self.meta.last_gate.0 + 1);
            let (closed, reason, expires_at) = (false, None, None);
            let (queues, kinds) = (Vec::new(), Vec::new());
            Gate { id, since: moment.at, closed, reason, expires_at, queues, kinds }
        };
        let mut gate = known.cloned().unwrap_or_else(new);
        if let Some(wanted) = &change.closed {
            self.turn_gate(&mut gate, wanted, moment.at)?;
        }
        if let Some(queues) = &change.queues {
            gate.queues = sorted(queues);
        }
        if let Some(kinds) = &change.kinds {
            gate.kinds = sorted(kinds);
        }
        if known == Some(&gate) {
            return Ok(None);
        }
        let (name, gate) = (name.to_owned(), Box::new(gate));
        Ok(Some(Record::GatePut { namespace, name, gate }))
    }

    fn turn_gate(
        &self,
        gate: &mut Gate,
        wanted: &GateClosed,
        now: TimeMs,
    ) -> Result<(), Rejection> {
        let GateClosed { closed, reason, expiry } = wanted;
        let value = match (reason, expiry) {
            _ if *closed => None,
            (Some(_), _) => Some("reason"),
            (_, Some(_)) => Some("expires_at"),
            _ => None,
        };
        if let Some(field) = value {
            let allowed = "none where the gate is open".to_owned();
            return Err(Rejection::ValueRefused { field, value: "given".to_owned(), allowed });
        }
        if let Some(reason) = reason {
            check_size("reason", reason.len(), self.limits.error_message_bytes_max as u64)?;
        }
        let resolve = |start| resolve_start(&self.limits, "expires_at", start, now);
        let expires_at = expiry.map(resolve).transpose()?;
        if let Some(at) = expires_at.filter(|at| *at <= now) {
            let (value, allowed) = (at.to_string(), "an instant that is still to come".to_owned());
            return Err(Rejection::ValueRefused { field: "expires_at", value, allowed });
        }
        if gate.closed != *closed {
            (gate.closed, gate.since) = (*closed, now);
        }
        gate.reason.clone_from(reason);
        gate.expires_at = expires_at;
        Ok(())
    }

    pub(crate) fn decide_gate_deleted(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Record, Rejection> {
        self.gate_view(namespace, name)?;
        Ok(Record::GateDeleted { namespace, name: name.to_owned() })
    }

    /// The record of a gate that opens by itself, where it is to do so by now.
    pub(crate) fn decide_gate_expired(
        &self,
        namespace: NamespaceId,
        id: GateId,
        moment: Moment,
    ) -> Option<Record> {
        let (name, gate) = self.gating.numbered(namespace, id)?;
        gate.expires_at.filter(|at| *at <= moment.at)?;
        let (reason, expires_at, since) = (None, None, moment.at);
        let gate = Gate { closed: false, reason, expires_at, since, ..gate.clone() };
        Some(Record::GatePut { namespace, name: name.to_owned(), gate: Box::new(gate) })
    }

    pub(crate) fn gate_view(&self, ns: NamespaceId, name: &str) -> Result<GateView, Rejection> {
        let unknown = || Rejection::GateUnknown { name: name.to_owned() };
        let gate = self.gating.of(ns, name).ok_or_else(unknown)?;
        let running =
            self.leases.of(ns).filter(|(_, live)| gate.is_about(name, live.job())).count() as u64;
        Ok(GateView { name: name.to_owned(), gate: gate.clone(), running })
    }

    /// The gates of the namespace. What runs is looked at once for all of them.
    pub(crate) fn gate_views(&self, ns: NamespaceId) -> GateAnswer {
        let mut views: Vec<GateView> = self
            .gating
            .all(ns)
            .map(|(name, gate)| GateView { name: name.clone(), gate: gate.clone(), running: 0 })
            .collect();
        for (_, live) in self.leases.of(ns) {
            for view in views.iter_mut().filter(|view| view.gate.is_about(&view.name, live.job())) {
                view.running += 1;
            }
        }
        GateAnswer::Gates(views)
    }
}
