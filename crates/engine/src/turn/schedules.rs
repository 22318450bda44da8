//! Timers in their order, where each slot of a schedule is a step of its own; and commands about
//! schedules.

use super::Turn;
use crate::answer::Answer;
use crate::ids::NamespaceId;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::schedule::ScheduleCommand;
use crate::timer::Subject;

/// What the slots of one tick may cost for each item of a slice, in slots that are looked for: of
/// the usual slice about a millisecond.
const SLOTS_COST_PER_ITEM: usize = 2;

/// What looking for the first timers once more weighs.
const LOOK_COST: usize = 8;

impl Turn {
    /// Does what timers that are due ask for: a slice of them, in their order, since the index
    /// forgets what lies before what was taken last.
    pub(super) fn pass_timers(&mut self, moment: Moment) {
        let mut left = SLOTS_COST_PER_ITEM * self.state.limits.slice_items_max;
        loop {
            let due = self.state.timers_due(moment);
            let is_job = |subject: &Subject| matches!(subject, Subject::Job { .. });
            let mut again = false;
            for alike in due.chunk_by(|(_, one), (_, other)| is_job(one) && is_job(other)) {
                match alike.first() {
                    Some((at, Subject::Schedule { namespace, id })) => {
                        if left == 0 {
                            return;
                        }
                        let of = (*at, self.grants);
                        let decided = self.state.decide_tick(*namespace, *id, of, moment);
                        left = left.saturating_sub(decided.cost);
                        // Where it makes up for what was missed, its next slot is due, too, and may
                        // come before what follows here.
                        again = decided.records.iter().any(|record| match record {
                            Record::ScheduleTicked { next, .. } => {
                                next.is_some_and(|next| next.due <= moment.at)
                            }
                            _ => false,
                        });
                        self.record_all(decided.records);
                    }
                    Some((_, Subject::Job { .. })) => {
                        self.record_all(self.state.decide_timers(alike, moment));
                    }
                    Some((at, Subject::Gate { namespace, id })) => {
                        self.pass_gate((*at, *namespace, *id), moment);
                    }
                    None => {}
                }
                if again {
                    break;
                }
            }
            if !again {
                return;
            }
            left = left.saturating_sub(LOOK_COST);
        }
    }

    pub(super) fn handle_schedule(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        (name, command): (&str, ScheduleCommand),
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let state = &self.state;
        let mut job = None;
        let mut records: Vec<Record> = match command {
            ScheduleCommand::Put { settings, paused } => {
                let wanted = (&*settings, paused);
                Vec::from_iter(state.decide_schedule_put(ns, name, wanted, moment)?)
            }
            ScheduleCommand::Delete => {
                let record = state.decide_schedule_deleted(ns, name)?;
                self.record(record);
                return Ok(Answer::ScheduleDeleted);
            }
            ScheduleCommand::Pause => {
                Vec::from_iter(state.decide_schedule_pause(ns, name, true, moment)?)
            }
            ScheduleCommand::Resume => {
                Vec::from_iter(state.decide_schedule_pause(ns, name, false, moment)?)
            }
            ScheduleCommand::Run => {
                let (records, id) = state.decide_run_now(ns, name, moment)?;
                job = Some(id);
                records
            }
            ScheduleCommand::SetNext(start) => {
                vec![state.decide_schedule_moved(ns, name, start, moment)?]
            }
            ScheduleCommand::Get => Vec::new(),
        };
        records.splice(0..0, created);
        self.try_record(records)?;
        Ok(Answer::Schedule(Box::new(self.state.schedule_named(ns, name)?), job))
    }
}
