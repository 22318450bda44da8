//! Commands of administrators: what is there is told before and after, and where that differs, the
//! trail has it, in the same commit.

use super::Turn;
use crate::account::{AuditNote, AuditedCommand};
use crate::command::{Command, ReplyTo, Request};
use crate::gate::GateCommand;
use crate::hold::{Hold, HoldCommand};
use crate::ids::{NamespaceId, ScheduleId};
use crate::map::OrderedMap;
use crate::message::MessageCommand;
use crate::moment::Moment;
use crate::schedule::{Schedule, ScheduleCommand, ScheduleState};
use crate::sla::{Sla, SlaCommand};
use crate::state::keys;
use crate::stream::StreamCommand;

/// What a command may change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Queue,
    Limit,
    Sla,
    Gate,
    Hold,
    Schedule,
    Policy,
    Stream,
    Namespace,
    Operation,
}

impl What {
    /// What is done, where it is there before and after or only one of both.
    fn action(self, before: bool, after: bool) -> &'static str {
        match (self, before && !after) {
            (Self::Queue, false) => "queue.put",
            (Self::Queue, true) => "queue.delete",
            (Self::Limit, false) => "limit.put",
            (Self::Limit, true) => "limit.delete",
            (Self::Sla, false) => "sla.put",
            (Self::Sla, true) => "sla.delete",
            (Self::Gate, false) => "gate.put",
            (Self::Gate, true) => "gate.delete",
            (Self::Hold, false) => "hold.put",
            (Self::Hold, true) => "hold.delete",
            (Self::Schedule, false) => "schedule.put",
            (Self::Schedule, true) => "schedule.delete",
            (Self::Policy, false) => "policy.put",
            (Self::Policy, true) => "policy.delete",
            (Self::Stream, false) => "stream.put",
            (Self::Stream, true) => "stream.delete",
            (Self::Namespace, false) => "namespace.put",
            (Self::Namespace, true) => "namespace.delete",
            (Self::Operation, _) => "operation.start",
        }
    }
}

/// What a command may change, and its name; `None` where it changes nothing that is noted.
fn subject(command: &Command) -> Option<(What, String)> {
    let (what, name) = match command {
        Command::PutQueue { queue, .. }
        | Command::PauseQueue { queue, .. }
        | Command::DeleteQueue { queue } => (What::Queue, queue),
        Command::PutLimit { name, .. } | Command::DeleteLimit { name } => (What::Limit, name),
        Command::Sla(SlaCommand::Put { name, .. } | SlaCommand::Delete { name }) => {
            (What::Sla, name)
        }
        Command::Gates(GateCommand::Change { name, .. } | GateCommand::Delete { name }) => {
            (What::Gate, name)
        }
        Command::Holds(HoldCommand::Put { tag, .. } | HoldCommand::Delete { tag }) => {
            (What::Hold, tag)
        }
        Command::OfSchedule { name, command } => match command {
            ScheduleCommand::Get | ScheduleCommand::Run => return None,
            _ => (What::Schedule, name),
        },
        Command::Messages(
            MessageCommand::PutPolicy { name, .. } | MessageCommand::DeletePolicy { name },
        ) => (What::Policy, name),
        Command::Stream(
            StreamCommand::Create { stream: name, .. }
            | StreamCommand::Change { stream: name, .. }
            | StreamCommand::AddPartitions { stream: name, .. }
            | StreamCommand::Delete { stream: name },
        ) => (What::Stream, name),
        Command::CreateNamespace | Command::DeleteNamespace => {
            return Some((What::Namespace, String::new()));
        }
        Command::StartOperation(kind) => return Some((What::Operation, format!("{kind:?}"))),
        _ => return None,
    };
    Some((what, name.clone()))
}

impl Command {
    /// Whether it is one of those of administrators whose changes the trail has.
    pub fn is_audited(&self) -> bool {
        subject(self).is_some()
    }
}

impl<M: OrderedMap> Turn<M> {
    pub(super) fn handle_audited(
        &mut self,
        (namespace, reply_to): (String, ReplyTo),
        audited: AuditedCommand,
        moment: Moment,
    ) {
        let AuditedCommand { by, command } = audited;
        let Some((what, name)) = subject(&command) else {
            return self.handle(Request { namespace, reply_to, command }, moment);
        };
        let before = self.told_of(what, &namespace, &name);
        self.handle(Request { namespace: namespace.clone(), reply_to, command }, moment);
        let after = self.told_of(what, &namespace, &name);
        if before == after {
            return;
        }
        let is_namespace = what == What::Namespace;
        let note = AuditNote {
            action: what.action(before.is_some(), after.is_some()),
            namespace: (!is_namespace).then_some(namespace.as_str()),
            object: if is_namespace { &namespace } else { &name },
            before,
            after,
        };
        let record = self.state.decide_audit(&by, note, moment);
        self.record(record);
    }

    /// How something is now.
    fn told_of(&self, what: What, namespace: &str, name: &str) -> Option<String> {
        let ns = *self.state.namespace_names.get(namespace)?;
        match what {
            What::Namespace => Some("there".to_owned()),
            What::Queue => {
                let queue = self.state.queues.named(ns, name)?;
                Some(format!("{:?}", queue.settings))
            }
            What::Limit => {
                let limit = self.state.limit_view(ns, name).ok()?;
                Some(format!("{:?}", limit.settings))
            }
            What::Gate => {
                let view = self.state.gate_view(ns, name).ok()?;
                Some(format!("{:?}", view.gate))
            }
            What::Sla => {
                let sla = self.state.value::<Sla>(&keys::sla(ns, name))?;
                Some(format!("{:?}", sla.settings))
            }
            What::Hold => {
                let hold = self.state.value::<Hold>(&keys::hold(ns, name))?;
                Some(format!("{hold:?}"))
            }
            What::Policy => {
                let policy = self.state.policy_named(ns, name)?;
                Some(format!("{policy:?}"))
            }
            What::Stream => {
                let stream = self.state.streams.named(ns, name)?;
                Some(format!("{} partitions, {:?}", stream.partitions.len(), stream.settings))
            }
            What::Schedule => self.schedule_told(ns, name),
            What::Operation => {
                Some(format!("{} operations so far", self.state.meta.next_operation.0 - 1))
            }
        }
    }

    fn schedule_told(&self, ns: NamespaceId, name: &str) -> Option<String> {
        let id = self.state.value::<ScheduleId>(&keys::schedule_name(ns, name))?;
        let schedule = self.state.value::<Schedule>(&keys::schedule(ns, id))?;
        let state = self.state.value::<ScheduleState>(&keys::schedule_state(ns, id));
        let paused = state.is_some_and(|state| state.paused);
        Some(format!("{}{schedule:?}", if paused { "paused, " } else { "" }))
    }
}
