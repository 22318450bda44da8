//! The lines of tenants: who stands in a lane for a tenant, and where.

use std::ops::ControlFlow;

use super::TenantTurn;
use super::weight::weight_of;
use crate::answer::BlockedBy;
use crate::ids::{JobId, KindId, NamespaceId, QueueId, TimeMs, Token};
use crate::job::Job;
use crate::map::Reader;
use crate::queueing::{LaneId, PartId, Slot};
use crate::state::{State, count, keys};
use crate::wire::Wire;

/// Lines of a tenant that move at the end of its turn. It has one per kind and set of gates; those
/// beyond keep their places, and their tenant more than its share.
const LINES_MOVED_MAX: usize = 64;

/// The own slot of a line's first job, and the one at which it stands in the lane.
type Head = (Slot, Slot);

/// That the tenant of a job has had its turn, and other tenants come before it by that.
pub(crate) fn turn_told(
    reader: &dyn Reader,
    ns: NamespaceId,
    queue: QueueId,
    job: &Job,
) -> Option<BlockedBy> {
    let tenant = job.turns_of()?;
    let turn = reader.get(&keys::tenant(ns, (queue, job.urgency()), tenant))?;
    let turn = TenantTurn::from_bytes(&turn).expect("turns were encoded by this engine");
    let own = (job.available_at, job.place);
    (turn.stands(own) != own).then(|| BlockedBy::TenantTurn { tenant: tenant.to_owned() })
}

impl State {
    /// What may be handed out next, where no limit has a say: of a tenant's jobs the first.
    pub(crate) fn stand(
        &mut self,
        ns: NamespaceId,
        lane: LaneId,
        tenant: Option<&str>,
        (slot, id): (Slot, JobId),
    ) {
        let Some(tenant) = tenant else { return self.put_in_lane(ns, lane, slot, id) };
        self.put(&keys::tenanted(ns, lane, tenant, slot), &id);
        let head: Option<Head> = self.value(&keys::tenant_line(ns, lane, tenant));
        if head.is_some_and(|(own, _)| own < slot) {
            return;
        }
        if let Some(head) = head {
            self.withdraw_first(ns, lane, head);
        }
        self.put_first(ns, lane, tenant, (slot, id));
    }

    /// The opposite of [`State::stand`].
    pub(crate) fn stand_back(
        &mut self,
        ns: NamespaceId,
        lane: LaneId,
        tenant: Option<&str>,
        slot: Slot,
    ) {
        let Some(tenant) = tenant else { return self.remove_from_lane(ns, lane, slot) };
        let own = keys::tenanted(ns, lane, tenant, slot);
        self.remove(&own);
        let line = keys::tenant_line(ns, lane, tenant);
        let head: Option<Head> = self.value(&line);
        let Some(head) = head.filter(|(own, _)| *own == slot) else { return };
        self.withdraw_first(ns, lane, head);
        let end = keys::after_prefix(&keys::tenanted_prefix(ns, lane, tenant));
        match self.first(&keys::after(&own), &end) {
            Some((key, id)) => {
                let id = keys::id_at(&id, 0).expect("ids were encoded by this engine");
                self.put_first(ns, lane, tenant, (keys::slot_at_end(&key), id));
            }
            None => self.remove(&line),
        }
    }

    fn put_first(&mut self, ns: NamespaceId, lane: LaneId, tenant: &str, (own, id): (Slot, JobId)) {
        let turn = self.tenant_turn(ns, (lane.queue, lane.urgency), tenant);
        let stands = turn.stands(own);
        self.put(&keys::tenant_line(ns, lane, tenant), &(own, stands));
        self.put_bytes(&keys::tenant_first(ns, lane.queue, own), &[]);
        self.put_in_lane(ns, lane, stands, id);
    }

    fn withdraw_first(&mut self, ns: NamespaceId, lane: LaneId, (own, stands): Head) {
        self.remove(&keys::tenant_first(ns, lane.queue, own));
        self.remove_from_lane(ns, lane, stands);
    }

    pub(crate) fn tenant_turn(
        &self,
        ns: NamespaceId,
        of: (QueueId, u8),
        tenant: &str,
    ) -> TenantTurn {
        self.value(&keys::tenant(ns, of, tenant)).unwrap_or_default()
    }

    /// One more job of its tenant has not ended.
    pub(crate) fn enter_tenant(&mut self, ns: NamespaceId, queue: QueueId, job: &Job) {
        let Some(tenant) = &job.options.tenant else { return };
        let of = (queue, job.urgency());
        let mut turn = self.tenant_turn(ns, of, tenant);
        turn.jobs += 1;
        let totals = &mut self.meta_mut().tenants;
        totals.jobs += 1;
        totals.tenants += u64::from(turn.jobs == 1);
        self.put(&keys::tenant(ns, of, tenant), &turn);
    }

    /// A job has ended: with its last one nothing is known of a tenant any more.
    pub(crate) fn leave_tenant(&mut self, ns: NamespaceId, job: &Job) {
        let Some(tenant) = &job.options.tenant else { return };
        let of = (self.queue_of(ns, job), job.urgency());
        let mut turn = self.tenant_turn(ns, of, tenant);
        count::take(&mut turn.jobs, 1, "jobs of a tenant");
        let totals = &mut self.meta_mut().tenants;
        count::take(&mut totals.jobs, 1, "jobs of tenants");
        count::take(&mut totals.tenants, u64::from(turn.jobs == 0), "tenants");
        let key = keys::tenant(ns, of, tenant);
        if turn.jobs == 0 {
            self.remove(&key);
        } else {
            self.put(&key, &turn);
        }
    }

    /// A job is granted, and out of its lane: where its tenant had its turn by that, all that the
    /// tenant has in the lanes goes behind what waits, as far as it has the same time by its
    /// levels. What has more stays: going back each time, it would wait for ever beside the rest.
    pub(crate) fn take_turn(&mut self, ns: NamespaceId, queue: QueueId, job: &Job, token: Token) {
        let Some(tenant) = job.turns_of() else { return };
        let of = (queue, job.urgency());
        let weights = self.queues.get(queue).map(|it| it.settings.tenants.as_slice());
        let weight = weight_of(weights.unwrap_or_default(), tenant);
        let mut turn = self.tenant_turn(ns, of, tenant);
        turn.used += 1;
        let over = turn.used >= weight;
        if over {
            turn.used = 0;
            (turn.ended_at, turn.turn) = (self.now(), Some(token.counter));
        }
        self.put(&keys::tenant(ns, of, tenant), &turn);
        if !over {
            return;
        }
        let deadline_ms = self.slas.deadline_ms(ns, &job.queue, &job.kind);
        let lane = self.lane_of(ns, queue, job);
        self.move_lines_of(ns, (lane, tenant), |state, lane| {
            let kind = state.kinds.name(lane.kind).unwrap_or_default();
            state.slas.deadline_ms(ns, &job.queue, kind) == deadline_ms
        });
        for (lane, (own, before)) in self.tenant_lines(ns, of, tenant) {
            let kind = self.kinds.name(lane.kind).unwrap_or_default();
            if self.slas.deadline_ms(ns, &job.queue, kind) != deadline_ms {
                continue;
            }
            let stands = turn.stands(own);
            if stands != before {
                let id = self.value(&keys::tenanted(ns, lane, tenant, own));
                self.remove_from_lane(ns, lane, before);
                self.put(&keys::tenant_line(ns, lane, tenant), &(own, stands));
                self.put_in_lane(ns, lane, stands, id.expect("a line has a first job"));
            }
        }
    }

    fn tenant_lines(
        &self,
        ns: NamespaceId,
        (queue, urgency): (QueueId, u8),
        tenant: &str,
    ) -> Vec<(LaneId, Head)> {
        let prefix = keys::tenant_lines(ns, (queue, urgency), tenant);
        let mut lines = Vec::new();
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
            let at = prefix.len();
            let lane = || {
                let part = PartId::at(key, at)?;
                let kind = KindId(keys::u32_at(key, at + 2)?);
                Some(LaneId { queue, urgency, part, kind })
            };
            let head = crate::wire::Wire::from_bytes(value);
            let line = lane().zip(head.ok());
            lines.push(line.unwrap_or_else(|| panic!("key {key:02x?} in the state is no line's")));
            if lines.len() < LINES_MOVED_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        lines
    }

    /// When the longest waiting job of the queue became available that stands first in a line of
    /// its tenant.
    pub(crate) fn oldest_of_tenants(&self, ns: NamespaceId, queue: QueueId) -> Option<TimeMs> {
        let prefix = keys::of_queue(keys::TENANT_FIRST, ns, queue);
        let (key, _) = self.first(&prefix, &keys::after_prefix(&prefix))?;
        Some(keys::slot_at_end(&key).0)
    }
}
