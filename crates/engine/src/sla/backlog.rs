//! What the need of workers is told of: jobs that wait and could start now. What gates, limits and
//! pauses hold back needs no worker, least of all while a database is being spared.

use std::ops::ControlFlow;

use super::{BACKLOG_TOLD_MAX, SlaTarget};
use crate::ids::{NamespaceId, Place, TimeMs};
use crate::limit::{LimitRule, LimitScope};
use crate::looks::Looks;
use crate::queueing::LaneId;
use crate::state::{State, keys};

impl State {
    /// Jobs that a level is about and that could start now. Where something holds back some of
    /// them, and of kinds, up to [`BACKLOG_TOLD_MAX`] are counted, and of jobs that name a key of a
    /// limit the first of each.
    pub(super) fn startable(
        &self,
        ns: NamespaceId,
        (target, lanes): (&SlaTarget, &[LaneId]),
        now: TimeMs,
        looks: &mut Looks,
    ) -> u64 {
        if self.limiting.holds_namespace(ns) {
            return 0;
        }
        let is_open = |lane: &LaneId| self.lanes.hands_out(ns, *lane);
        if let SlaTarget::Queue { name } = target {
            let Some(queue) = self.queues.named(ns, name) else { return 0 };
            if self.is_shut(queue.id, queue.settings.paused) {
                return 0;
            }
            let by_key =
                |(_, limit): (_, &crate::limit::LimitSettings)| limit.scope == LimitScope::Key;
            if lanes.iter().all(is_open) && !self.limiting.all(ns).any(by_key) {
                let (scheduled, retrying) = self.not_yet_due(queue, now);
                return queue.counts.waiting.saturating_sub(scheduled + retrying);
            }
        }
        let mut count = 0;
        for lane in lanes.iter().filter(|lane| is_open(lane)) {
            count += self.due_in(ns, *lane, now, (BACKLOG_TOLD_MAX - count, &mut *looks));
            if count >= BACKLOG_TOLD_MAX || looks.is_used_up() {
                break;
            }
        }
        count as u64
    }

    /// Jobs of a lane whose time has come, up to `most`.
    fn due_in(
        &self,
        ns: NamespaceId,
        lane: LaneId,
        now: TimeMs,
        (most, looks): (usize, &mut Looks),
    ) -> usize {
        if !looks.seek() {
            return 0;
        }
        let mut count = 0;
        let mut counted = |is_due: bool| {
            count += usize::from(is_due);
            if count < most && looks.step() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        if lane.part.is_tenanted() && !lane.part.is_limited() {
            let lines = keys::tenanted_of_lane(ns, lane);
            // Lines of tenants one after the other: each begins with what became available first.
            self.scan(&lines, &keys::after_prefix(&lines), &mut |key, _| {
                let at = keys::text_at(key, lines.len()).and_then(|(_, at)| keys::u64_at(key, at));
                counted(at.is_some_and(|at| at <= now.0))
            });
            return count;
        }
        // What was taken from the tree before the head is passed over.
        let Some(((at, place), _)) = self.lanes.head(lane) else { return 0 };
        if at > now {
            return 0;
        }
        let from = keys::lane_entry(ns, lane, at, place);
        let to = keys::lane_entry(ns, lane, now.plus(1), Place(0));
        self.scan(&from, &to, &mut |_, _| counted(true));
        count
    }

    /// How many jobs of a queue or kind, each of which runs so long, limits let run at a time.
    pub(super) fn let_run_by_limits(
        &self,
        ns: NamespaceId,
        target: &SlaTarget,
        run_ms: f64,
    ) -> u64 {
        let names = |of: &Option<String>, name: &String| of.as_ref().is_none_or(|of| of == name);
        let over = self.limiting.all(ns).filter(|(_, limit)| match (&limit.scope, target) {
            (LimitScope::Namespace, _) => true,
            (LimitScope::Queue { name: of }, SlaTarget::Queue { name })
            | (LimitScope::Kind { name: of }, SlaTarget::Kind { name }) => names(of, name),
            _ => false,
        });
        let at_a_time = |starts: u64, period_ms: u64| {
            let periods = (run_ms / period_ms.max(1) as f64).ceil().clamp(0.0, 1e6);
            #[expect(clippy::cast_sign_loss, reason = "it is clamped")]
            let periods = periods as u64;
            starts.saturating_mul(periods + 1)
        };
        let most = over.map(|(_, limit)| match limit.rule {
            LimitRule::Concurrency { max } => max,
            LimitRule::Window { max, period_ms } => at_a_time(max, period_ms),
            LimitRule::Bucket { burst, count, period_ms } => {
                burst.saturating_add(at_a_time(count, period_ms))
            }
        });
        most.min().unwrap_or(u64::MAX)
    }
}
