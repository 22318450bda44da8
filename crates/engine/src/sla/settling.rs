//! What a change of service levels leaves to be done in slices: minutes to be removed, and lanes to
//! be merged by new deadlines.

use std::ops::ControlFlow;

use super::SlaTarget;
use super::measure::{MINUTE_MS, Measured};
use crate::ids::NamespaceId;
use crate::queueing::LaneId;
use crate::record::{Record, Upkeep};
use crate::state::{State, keys};

/// Lanes whose deadlines are looked at in one tick.
const LANES_PER_TICK: usize = 1024;

/// A round over all lanes.
#[derive(Debug, Default)]
pub(crate) struct DeadlineRound {
    /// The last lane that was looked at.
    after: Option<LaneId>,
    /// Deadlines have changed since it began: another one follows.
    again: bool,
}

impl State {
    /// Forgets what was measured of a level: the present minute at once, since more may be counted
    /// in it, the rest in slices.
    pub(super) fn drop_minutes(&mut self, ns: NamespaceId, name: &str, of: Option<Measured>) {
        let Some(of) = of else { return };
        let present = self.now().0 / MINUTE_MS;
        let (mut earlier, mut gone) = (false, Vec::new());
        for (minute, _) in of.minutes.iter().rev() {
            if *minute < present {
                earlier = true;
                break;
            }
            gone.push(*minute);
        }
        for minute in gone {
            self.remove(&keys::sla_minute(ns, name, minute));
        }
        if earlier {
            self.put(&keys::sla_left(ns, name), &present);
            self.slas.left.insert((ns, name.to_owned()), present);
        }
    }

    /// The record of minutes of gone levels that are removed, a slice of them.
    pub(crate) fn decide_minutes_removed(&self) -> Option<Record> {
        let ((ns, name), before) = self.slas.left.first_key_value()?;
        let (from, to) = (keys::sla_minute(*ns, name, 0), keys::sla_minute(*ns, name, *before));
        let (mut minutes, mut more) = (Vec::new(), false);
        self.scan(&from, &to, &mut |key, _| {
            more = minutes.len() >= self.limits.slice_items_max;
            if more {
                return ControlFlow::Break(());
            }
            let at = key.len().saturating_sub(8);
            minutes.push(keys::u64_at(key, at).expect("the keys of minutes end with them"));
            ControlFlow::Continue(())
        });
        let (namespace, name) = (*ns, name.clone());
        let fact = Upkeep::SlaMinutesRemoved { namespace, name, minutes, more };
        Some(Record::Upkeep { fact: Box::new(fact) })
    }

    pub(crate) fn apply_sla_minutes_removed(
        &mut self,
        ns: NamespaceId,
        name: String,
        minutes: &[u64],
        more: bool,
    ) {
        for minute in minutes {
            self.remove(&keys::sla_minute(ns, &name, *minute));
        }
        if !more {
            self.remove(&keys::sla_left(ns, &name));
            self.slas.left.remove(&(ns, name));
        }
    }

    pub(super) fn load_minutes_left(&mut self) {
        for (key, before) in self.each::<u64>(keys::SLA_LEFT) {
            let ns = keys::u32_at(&key, 1).map(NamespaceId);
            let (ns, name) = ns.zip(keys::text_at(&key, 5)).expect("keys of levels have names");
            self.slas.left.insert((ns, name.0), before);
        }
    }

    /// Jobs of these queues and kinds have other deadlines from now on. New lanes are merged by
    /// them at once; lanes that there are follow in slices.
    pub(super) fn change_deadlines<'a>(&mut self, of: impl Iterator<Item = &'a SlaTarget>) {
        let mut of = of;
        if of.all(|target| matches!(target, SlaTarget::Schedule { .. })) {
            return;
        }
        match &mut self.slas.round {
            Some(round) => round.again = true,
            None => self.slas.round = Some(DeadlineRound::default()),
        }
        self.advance_deadlines();
    }

    /// A slice of a round over the lanes.
    pub(crate) fn advance_deadlines(&mut self) {
        let Self { lanes, kinds, slas, .. } = self;
        let Some(round) = slas.round.take() else { return };
        let ids = lanes.ids_after(round.after, LANES_PER_TICK);
        lanes.set_deadlines(&ids, |ns, queue, kind| {
            slas.deadline_ms(ns, queue, kinds.name(kind).unwrap_or_default())
        });
        slas.round = match (ids.last(), round.again) {
            (Some(last), _) if ids.len() == LANES_PER_TICK => {
                Some(DeadlineRound { after: Some(*last), ..round })
            }
            (_, true) => Some(DeadlineRound::default()),
            _ => None,
        };
    }

    /// Whether levels left something to be done.
    pub(crate) fn slas_go_on(&self) -> bool {
        self.slas.round.is_some() || !self.slas.left.is_empty()
    }
}
