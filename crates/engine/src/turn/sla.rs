//! What people ask of service levels, and when it is looked whether they are kept.

use super::Turn;
use crate::answer::Answer;
use crate::ids::{MonoMs, NamespaceId};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::sla::{SlaAnswer, SlaCommand};

/// How often it is looked whether levels are kept, in milliseconds.
const LOOK_MS: u64 = 1000;

/// Namespaces whose levels one turn looks at.
const NAMESPACES_LOOKED_AT: usize = 4;

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

    /// Looks now and then whether levels are breached, or kept again: of some namespaces in a turn.
    pub(super) fn look_at_slas(&mut self, moment: Moment) {
        if self.stopping || self.next_look_at_slas().is_none_or(|at| at > moment.mono) {
            return;
        }
        if self.sla_round.is_empty() {
            self.slas_looked_at = moment.mono;
            self.sla_round = self.state.slas.namespaces();
        }
        for _ in 0..NAMESPACES_LOOKED_AT {
            let Some(ns) = self.sla_round.pop() else { return };
            let records = self.state.decide_breaches(ns, moment);
            self.record_all(records);
        }
    }

    /// When it is to be looked next; never where there are none.
    pub(super) fn next_look_at_slas(&self) -> Option<MonoMs> {
        if self.stopping || self.state.slas.is_empty() {
            return None;
        }
        let goes_on = !self.sla_round.is_empty();
        Some(if goes_on { self.slas_looked_at } else { self.slas_looked_at.plus(LOOK_MS) })
    }
}
