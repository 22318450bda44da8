//! Commands about service levels, and when they are checked.

use super::Turn;
use crate::answer::Answer;
use crate::ids::{MonoMs, NamespaceId};
use crate::looks::Looks;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::sla::{SLA_TICK_LOOKS, SlaAnswer, SlaCommand};

/// How often it is looked whether levels are kept, in milliseconds.
const LOOK_MS: u64 = 1000;

/// Levels that one turn looks at, as far as what it may look at for them reaches.
const LEVELS_LOOKED_AT: usize = 100;

impl Turn {
    pub(super) fn handle_sla(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        command: SlaCommand,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let name = match command {
            SlaCommand::Put { name, settings } => {
                let record = self.state.decide_sla_put(ns, &name, *settings, moment)?;
                self.try_record(created.into_iter().chain(record).collect::<Vec<_>>())?;
                name
            }
            SlaCommand::Delete { name } => {
                let record = self.state.decide_sla_deleted(ns, &name)?;
                self.record(record);
                return Ok(Answer::Sla(SlaAnswer::Deleted));
            }
            SlaCommand::Get { name } => name,
            SlaCommand::List => return Ok(Answer::Sla(self.state.slas_told(ns, moment.at))),
        };
        let view = self.state.sla_view(ns, &name, moment.at)?;
        Ok(Answer::Sla(SlaAnswer::Sla(Box::new(view))))
    }

    /// Looks now and then whether levels are breached, or kept again: at some in a turn.
    pub(super) fn look_at_slas(&mut self, moment: Moment) {
        if !self.stopping && self.next_look_at_slas().is_some_and(|at| at <= moment.mono) {
            self.look_at_some_slas(moment, &mut Looks::new(SLA_TICK_LOOKS));
        }
    }

    /// Goes on with the round over levels, as far as that reaches.
    pub(super) fn look_at_some_slas(&mut self, moment: Moment, looks: &mut Looks) {
        let mut after = self.sla_round.take().unwrap_or_else(|| {
            self.slas_looked_at = moment.mono;
            (NamespaceId(0), None)
        });
        for n in 0..LEVELS_LOOKED_AT {
            let of = (after.0, after.1.as_deref());
            let Some((ns, name, records)) = self.state.decide_breach(of, moment, looks) else {
                return;
            };
            // Too few late jobs were counted of it, perhaps: the next tick begins with it.
            if n > 0 && looks.is_used_up() {
                break;
            }
            self.record_all(records);
            after = (ns, Some(name));
            if looks.is_used_up() {
                break;
            }
        }
        self.sla_round = Some(after);
    }

    /// When it is to be looked next; never where there are none.
    pub(super) fn next_look_at_slas(&self) -> Option<MonoMs> {
        if self.stopping || self.state.slas.is_empty() {
            return None;
        }
        let goes_on = self.sla_round.is_some();
        Some(if goes_on { self.slas_looked_at } else { self.slas_looked_at.plus(LOOK_MS) })
    }
}
