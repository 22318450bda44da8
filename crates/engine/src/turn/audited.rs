//! Commands of administrators. What they change is described before and after. Where both differ,
//! the trail gets an entry in the same commit.

use bytes::Bytes;

use super::Turn;
use crate::account::{AuditNote, AuditedCommand};
use crate::command::{Command, ReplyTo, Request};
use crate::gate::GateCommand;
use crate::hold::{Hold, HoldCommand};
use crate::ids::{NamespaceId, ScheduleId};
use crate::kind::KindCommand;
use crate::message::MessageCommand;
use crate::moment::Moment;
use crate::schedule::{JobTemplate, Schedule, ScheduleCommand, ScheduleState};
use crate::sla::{Sla, SlaCommand};
use crate::state::keys;
use crate::stream::{StreamCommand, TriggerCommand};

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
    Kind,
    Trigger,
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
            (Self::Trigger, false) => "trigger.put",
            (Self::Trigger, true) => "trigger.delete",
            (Self::Operation, _) => "operation.start",
            (Self::Kind, _) => "kind.put",
        }
    }
}

/// The state of something: what the trail tells of it, and what the trail leaves out since it may
/// be secret or long.
#[derive(Debug, PartialEq)]
struct Told {
    text: String,
    untold: Option<Contents>,
}

/// The args and the metadata of a job.
type Contents = (Bytes, Option<Bytes>);

/// Replaces what a job carries by its length.
fn take_contents(job: &mut JobTemplate) -> Contents {
    let length = |of: &Bytes| Bytes::from(format!("{} bytes", of.len()));
    let args = length(&job.args);
    let metadata = job.metadata.as_ref().map(length);
    (std::mem::replace(&mut job.args, args), std::mem::replace(&mut job.metadata, metadata))
}

/// What a command may change, and its name; `None` where it changes nothing that is noted.
fn subject(command: &Command) -> Option<(What, String)> {
    let (what, name) = match command {
        Command::PutQueue { queue, .. }
        | Command::PauseQueue { queue, .. }
        | Command::DeleteQueue { queue }
        | Command::Messages(MessageCommand::DeleteQueue { queue, .. }) => (What::Queue, queue),
        Command::PutLimit { name, .. } | Command::DeleteLimit { name } => (What::Limit, name),
        Command::Sla(SlaCommand::Put { name, .. } | SlaCommand::Delete { name }) => {
            (What::Sla, name)
        }
        Command::Kinds(KindCommand::Put { name, .. }) => (What::Kind, name),
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
        Command::Messages(MessageCommand::DeclareQueue(declare)) => (What::Queue, &declare.queue),
        Command::Stream(
            StreamCommand::Create { stream: name, .. }
            | StreamCommand::Change { stream: name, .. }
            | StreamCommand::AddPartitions { stream: name, .. }
            | StreamCommand::Delete { stream: name },
        ) => (What::Stream, name),
        Command::Stream(StreamCommand::Trigger(command)) => match command {
            TriggerCommand::Put { trigger, .. } | TriggerCommand::Replay { trigger, .. } => {
                (What::Trigger, &trigger.name)
            }
            TriggerCommand::Delete { trigger } => (What::Trigger, trigger),
            TriggerCommand::Fire(_) => return None,
        },
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

impl Turn {
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
            before: before.map(|told| told.text),
            after: after.map(|told| told.text),
        };
        let record = self.state.decide_audit(&by, note, moment);
        self.record(record);
    }

    /// How something is now.
    fn told_of(&self, what: What, namespace: &str, name: &str) -> Option<Told> {
        let ns = self.state.namespaces.named(namespace)?;
        let text = match what {
            What::Sla => {
                let mut sla = self.state.value::<Sla>(&keys::sla(ns, name))?;
                let untold = sla.settings.breach.as_deref_mut().map(take_contents);
                return Some(Told { text: format!("{:?}", sla.settings), untold });
            }
            What::Schedule => return self.schedule_told(ns, name),
            _ => self.text_of(what, ns, name)?,
        };
        Some(Told { text, untold: None })
    }

    fn text_of(&self, what: What, ns: NamespaceId, name: &str) -> Option<String> {
        match what {
            What::Namespace => Some("there".to_owned()),
            What::Queue => {
                let queue = self.state.queues.named(ns, name)?;
                // Those of a connection come and go with it.
                let passing = queue.settings.messages.as_deref().is_some_and(|it| {
                    it.exclusive || it.auto_delete || !it.durable || it.expires_ms.is_some()
                });
                (!passing).then(|| format!("{:?}", queue.settings))
            }
            What::Limit => {
                let limit = self.state.limit_view(ns, name).ok()?;
                Some(format!("{:?}", limit.settings))
            }
            What::Gate => {
                let view = self.state.gate_view(ns, name).ok()?;
                Some(format!("{:?}", view.gate))
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
            What::Trigger => {
                let stream = self.state.stream_of_trigger(ns, name)?;
                let trigger = stream.settings.triggers.iter().find(|it| it.name == name)?;
                Some(format!("of stream {:?}, {trigger:?}", stream.name))
            }
            // Described together with what the trail leaves out.
            What::Sla | What::Schedule => None,
            What::Kind => self.state.kind_settings.of(ns, name).map(|set| format!("{set:?}")),
            What::Operation => {
                Some(format!("{} operations so far", self.state.meta.next_operation.0 - 1))
            }
        }
    }

    fn schedule_told(&self, ns: NamespaceId, name: &str) -> Option<Told> {
        let id = self.state.value::<ScheduleId>(&keys::schedule_name(ns, name))?;
        let mut schedule = self.state.value::<Schedule>(&keys::schedule(ns, id))?;
        let untold = Some(take_contents(&mut schedule.settings.job));
        let state = self.state.value::<ScheduleState>(&keys::schedule_state(ns, id));
        let paused = state.is_some_and(|state| state.paused);
        let text = format!("{}{schedule:?}", if paused { "paused, " } else { "" });
        Some(Told { text, untold })
    }
}
