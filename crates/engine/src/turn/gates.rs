//! Commands about gates, and gates that open by themselves.

use super::Turn;
use crate::answer::Answer;
use crate::gate::{GateAnswer, GateCommand};
use crate::ids::{GateId, NamespaceId, TimeMs};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::timer::Subject;

impl Turn {
    pub(super) fn handle_gates(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        command: GateCommand,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let name = match command {
            GateCommand::Change { name, change } => {
                let record = self.state.decide_gate_change(ns, &name, &change, moment)?;
                self.try_record(created.into_iter().chain(record).collect::<Vec<_>>())?;
                name
            }
            GateCommand::Delete { name } => {
                let record = self.state.decide_gate_deleted(ns, &name)?;
                self.record(record);
                return Ok(Answer::Gates(GateAnswer::Deleted));
            }
            GateCommand::Get { name } => name,
            GateCommand::List => return Ok(Answer::Gates(self.state.gate_views(ns))),
        };
        let view = self.state.gate_view(ns, &name)?;
        Ok(Answer::Gates(GateAnswer::Gate(Box::new(view))))
    }

    /// A gate may be due to open.
    pub(super) fn pass_gate(
        &mut self,
        (at, namespace, id): (TimeMs, NamespaceId, GateId),
        moment: Moment,
    ) {
        let opened = self.state.decide_gate_expired(namespace, id, moment);
        let timers = vec![(at, Subject::Gate { namespace, id })];
        self.record_all(
            opened.into_iter().chain([Record::TimersPassed { timers }]).collect::<Vec<_>>(),
        );
    }
}
