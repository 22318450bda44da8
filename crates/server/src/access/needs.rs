//! What each command asks of who sends it: one table for all faces. A command that is not in it
//! does not compile.

use std::fmt;

use longshore_engine::{
    Command, FollowUp, GateCommand, HoldCommand, JobAction, JobId, JobTemplate, KindCommand,
    MessageCommand, MessageSettings, MoveTo, NewJob, OperationKind, PublishMessage, QueuePattern,
    Role, SYSTEM_NAMESPACE, ScheduleCommand, Settlement, SlaCommand, StreamCommand, TransactionAsk,
    Verdict,
};

use super::principal::EVERYWHERE;

/// What a role is wanted for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Wanted<'a> {
    /// The queue, exchange, stream and so on of this name.
    Name(&'a str),
    /// All whose name begins so.
    Beginning(&'a str),
    /// The queue of this job.
    Job(JobId),
    /// Anything: what it is about is looked at elsewhere.
    Anything,
    /// All that there is.
    Everything,
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{}", crate::http::text::quoted(name)),
            Self::Beginning(name) => write!(f, "names that begin with \"{}\"", name.escape_debug()),
            Self::Job(id) => write!(f, "the queue of job {}", crate::api::JobIdText(id.0)),
            Self::Anything => f.write_str("anything"),
            Self::Everything => f.write_str("everything"),
        }
    }
}

/// What is asked of somebody: one of some roles, for something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Need<'a> {
    /// Any of these will do, and `admin` always.
    pub(crate) roles: &'static [Role],
    /// For what.
    pub(crate) of: Wanted<'a>,
    /// In this namespace instead of the one that is asked.
    pub(crate) namespace: Option<&'a str>,
}

pub(crate) const READ: &[Role] = &[Role::Read];
pub(crate) const ENQUEUE: &[Role] = &[Role::Enqueue];
pub(crate) const PUBLISH: &[Role] = &[Role::Publish];
pub(crate) const CONSUME: &[Role] = &[Role::Consume];
pub(crate) const WORK: &[Role] = &[Role::Work];
pub(crate) const ADMIN: &[Role] = &[Role::Admin];
/// Who enqueues may follow what becomes of it.
pub(crate) const FOLLOW: &[Role] = &[Role::Read, Role::Enqueue];
/// Who takes messages or events may look at what it takes them from, as who publishes may.
pub(crate) const LOOK: &[Role] = &[Role::Read, Role::Publish, Role::Consume];
pub(crate) const PROGRESS: &[Role] = &[Role::Read, Role::Consume];

impl<'a> Need<'a> {
    pub(crate) const fn new(roles: &'static [Role], of: Wanted<'a>) -> Self {
        Self { roles, of, namespace: None }
    }

    pub(crate) const fn named(roles: &'static [Role], name: &'a str) -> Self {
        Self::new(roles, Wanted::Name(name))
    }

    /// For all that there is in the namespace.
    pub(crate) const fn all(roles: &'static [Role]) -> Self {
        Self::new(roles, Wanted::Everything)
    }

    /// For anything in the namespace.
    pub(crate) const fn any(roles: &'static [Role]) -> Self {
        Self::new(roles, Wanted::Anything)
    }

    /// For what concerns all namespaces.
    pub(crate) const fn everywhere(roles: &'static [Role]) -> Self {
        Self { roles, of: Wanted::Everything, namespace: Some(EVERYWHERE) }
    }

    /// For accounts.
    pub(crate) const fn of_system() -> Self {
        Self { roles: ADMIN, of: Wanted::Everything, namespace: Some(SYSTEM_NAMESPACE) }
    }
}

/// For the queues that a pattern means.
pub(crate) fn of_pattern<'a>(roles: &'static [Role], pattern: &'a QueuePattern) -> Need<'a> {
    match pattern {
        QueuePattern::Exactly(name) => Need::named(roles, name),
        QueuePattern::Prefix(beginning) => Need::new(roles, Wanted::Beginning(beginning)),
    }
}

fn job<'a>(roles: &'static [Role], id: JobId) -> Need<'a> {
    Need::new(roles, Wanted::Job(id))
}

fn settling<'a>(settlements: &'a [Settlement], needs: &mut Vec<Need<'a>>) {
    for settlement in settlements {
        needs.push(job(WORK, settlement.id));
        if let Verdict::Ack { follow_ups, .. } = &settlement.verdict {
            enqueuing(follow_ups, needs);
        }
    }
}

fn enqueuing<'a>(jobs: &'a [FollowUp], needs: &mut Vec<Need<'a>>) {
    needs.extend(jobs.iter().map(|job| Need::named(ENQUEUE, &job.queue)));
    needs.extend(jobs.iter().find_map(|job| spanning(&job.job)));
}

/// A job that is unique among those of all queues meets jobs of any, and may change them.
fn spanning(job: &NewJob) -> Option<Need<'static>> {
    let spans = job.unique.as_ref().is_some_and(|unique| unique.spans_queues);
    spans.then_some(Need::all(ENQUEUE))
}

fn spanning_template(job: &JobTemplate) -> Option<Need<'static>> {
    let spans = job.unique.as_ref().is_some_and(|unique| unique.spans_queues);
    spans.then_some(Need::all(ENQUEUE))
}

/// What is published to the exchange without a name goes to the queues that the keys name.
fn publishing<'a>(messages: &'a [PublishMessage], needs: &mut Vec<Need<'a>>) {
    for message in messages {
        if message.exchange.is_empty() {
            let keys = std::iter::once(&message.routing_key).chain(&message.further_keys);
            needs.extend(keys.map(|queue| Need::named(PUBLISH, queue)));
        } else {
            needs.push(Need::named(PUBLISH, &message.exchange));
        }
    }
}

/// Whoever says where the dead letters of a queue go has to be able to publish there. Without an
/// exchange and a key they go to whatever queue their keys name.
fn dead_letters(settings: &MessageSettings) -> Option<Need<'_>> {
    let exchange = settings.dead_letter_exchange.as_deref()?;
    let to = if exchange.is_empty() {
        settings.dead_letter_routing_key.as_deref()
    } else {
        Some(exchange)
    };
    Some(to.map_or(Need::all(PUBLISH), |to| Need::named(PUBLISH, to)))
}

/// What is published to a queue is an event of its stream as well.
fn events_of(settings: &MessageSettings) -> Option<Need<'_>> {
    settings.stream.as_deref().map(|stream| Need::named(PUBLISH, stream))
}

/// All that a command asks for.
#[expect(clippy::too_many_lines, reason = "the one match of all commands")]
pub(crate) fn needs_of(command: &Command) -> Vec<Need<'_>> {
    let mut needs = Vec::new();
    match command {
        Command::EnqueueJobs(enqueue) => {
            needs.push(Need::named(ENQUEUE, &enqueue.queue));
            needs.extend(enqueue.jobs.iter().find_map(spanning));
        }
        Command::LeaseJobs(lease) => {
            needs.push(Need::any(WORK));
            needs.extend(lease.queues.iter().map(|queue| of_pattern(WORK, queue)));
            settling(&lease.settle, &mut needs);
        }
        Command::Subscribe(subscribe) => {
            needs.push(Need::any(WORK));
            needs.extend(subscribe.queues.iter().map(|(queue, _)| of_pattern(WORK, queue)));
        }
        Command::AddCredit { settle, .. } => {
            needs.push(Need::any(WORK));
            settling(settle, &mut needs);
        }
        Command::SettleJobs(settlements) => {
            needs.push(Need::any(WORK));
            settling(settlements, &mut needs);
        }
        Command::ExtendLeases(all) => {
            needs.push(Need::any(WORK));
            needs.extend(all.iter().map(|it| job(WORK, it.id)));
        }
        Command::CheckpointJobs(all) => {
            needs.push(Need::any(WORK));
            needs.extend(all.iter().map(|it| job(WORK, it.id)));
        }
        Command::StartJobs(all) => {
            needs.push(Need::any(WORK));
            needs.extend(all.iter().map(|(id, _)| job(WORK, *id)));
        }
        // What they are about are the leases of a worker, which it took with the role.
        Command::ResumeSession { .. }
        | Command::ExtendSession { .. }
        | Command::EndSession { .. } => needs.push(Need::any(WORK)),
        Command::AwaitJob { id, .. } => needs.push(job(FOLLOW, *id)),
        // Who enqueued it takes it back.
        Command::CancelJob { id, .. }
        | Command::WithdrawJob { id }
        | Command::RescheduleJob { id, .. } => {
            needs.push(job(ENQUEUE, *id));
        }
        Command::RemoveJob { id }
        | Command::RetryJob { id, .. }
        | Command::PauseJob { id }
        | Command::ResumeJob { id } => needs.push(job(ADMIN, *id)),
        Command::PutQueue { queue, settings } => {
            needs.push(Need::named(ADMIN, queue));
            needs.extend(settings.outcomes.iter().map(|to| Need::named(PUBLISH, to)));
            needs.extend(settings.messages.as_deref().and_then(dead_letters));
            needs.extend(settings.messages.as_deref().and_then(events_of));
        }
        Command::PauseQueue { queue, .. } | Command::DeleteQueue { queue } => {
            needs.push(Need::named(ADMIN, queue));
        }
        Command::GetQueue { queue } => needs.push(Need::named(READ, queue)),
        Command::PutLimit { name, .. } | Command::DeleteLimit { name } => {
            needs.push(Need::named(ADMIN, name));
        }
        Command::GetLimit { name } => needs.push(Need::named(READ, name)),
        Command::ListQueues { .. }
        | Command::ListLimits
        | Command::GetOperation { .. }
        | Command::ListOperations => needs.push(Need::all(READ)),
        Command::StartOperation(kind) => {
            needs.push(of_operation(kind));
            if let OperationKind::ChangeJobs { change } = kind
                && let JobAction::Move { queue } = &change.action
            {
                needs.push(Need::named(ENQUEUE, queue));
            }
            if let OperationKind::MoveMessages { moving } = kind {
                needs.push(match &moving.to {
                    // Where each of them came from.
                    MoveTo::Origin => Need::all(PUBLISH),
                    MoveTo::Queue { queue: to } | MoveTo::Exchange { exchange: to, .. } => {
                        Need::named(PUBLISH, to)
                    }
                });
            }
        }
        Command::CancelOperation { .. } | Command::CreateNamespace | Command::DeleteNamespace => {
            needs.push(Need::all(ADMIN));
        }
        Command::GetNamespace => needs.push(Need::any(READ)),
        Command::ListNamespaces { .. } => needs.push(Need::everywhere(READ)),
        Command::OfSchedule { name, command } => of_schedule(name, command, &mut needs),
        Command::Messages(command) => of_messages(command, &mut needs),
        Command::Kinds(command) => needs.push(match command {
            // What holds for a kind holds for its jobs in whatever queue.
            KindCommand::Put { .. } => Need::all(ADMIN),
            KindCommand::List { .. } | KindCommand::Get { .. } | KindCommand::Unserved { .. } => {
                Need::all(READ)
            }
        }),
        Command::Sla(command) => of_sla(command, &mut needs),
        Command::Gates(command) => needs.push(match command {
            GateCommand::Change { name, .. } | GateCommand::Delete { name } => {
                Need::named(ADMIN, name)
            }
            GateCommand::Get { name } => Need::named(READ, name),
            GateCommand::List => Need::all(READ),
        }),
        Command::Holds(command) => needs.push(match command {
            HoldCommand::Put { tag, .. } | HoldCommand::Delete { tag } => Need::named(ADMIN, tag),
            HoldCommand::Get { tag, .. } => Need::named(READ, tag),
            HoldCommand::List => Need::all(READ),
        }),
        Command::Stream(command) => needs.push(of_streams(command)),
        Command::Accounts(_) => needs.push(Need::of_system()),
        Command::Audited(audited) => return needs_of(&audited.command),
        Command::Keyed(keyed) => return needs_of(&keyed.command),
    }
    needs
}

/// What an operation asks for.
pub(crate) fn of_operation(kind: &OperationKind) -> Need<'_> {
    match kind.queue() {
        Some(queue) => Need::named(ADMIN, queue),
        None => Need::all(ADMIN),
    }
}

fn of_schedule<'a>(name: &'a str, command: &'a ScheduleCommand, needs: &mut Vec<Need<'a>>) {
    match command {
        ScheduleCommand::Put { settings, .. } => {
            needs.push(Need::named(ADMIN, name));
            needs.push(Need::named(ENQUEUE, &settings.job.queue));
            needs.extend(spanning_template(&settings.job));
        }
        ScheduleCommand::Delete
        | ScheduleCommand::Pause
        | ScheduleCommand::Resume
        | ScheduleCommand::Run
        | ScheduleCommand::SetNext(_) => needs.push(Need::named(ADMIN, name)),
        ScheduleCommand::Get => needs.push(Need::named(READ, name)),
    }
}

fn of_sla<'a>(command: &'a SlaCommand, needs: &mut Vec<Need<'a>>) {
    match command {
        SlaCommand::Put { name, settings } => {
            needs.push(Need::named(ADMIN, name));
            needs.extend(settings.breach.iter().map(|job| Need::named(ENQUEUE, &job.queue)));
            needs.extend(settings.breach.as_deref().and_then(spanning_template));
        }
        SlaCommand::Delete { name } => needs.push(Need::named(ADMIN, name)),
        SlaCommand::Get { name } => needs.push(Need::named(READ, name)),
        SlaCommand::List => needs.push(Need::all(READ)),
    }
}

fn of_messages<'a>(command: &'a MessageCommand, needs: &mut Vec<Need<'a>>) {
    match command {
        MessageCommand::DeclareQueue(declare) => {
            needs.push(Need::named(ADMIN, &declare.queue));
            needs.extend(dead_letters(&declare.settings));
            needs.extend(events_of(&declare.settings));
        }
        MessageCommand::GetQueue { queue, .. } | MessageCommand::Blocked { queue, .. } => {
            needs.push(Need::named(LOOK, queue));
        }
        MessageCommand::DeleteQueue { queue, .. } | MessageCommand::PurgeQueue { queue, .. } => {
            needs.push(Need::named(ADMIN, queue));
        }
        MessageCommand::DeclareExchange(declare) => {
            needs.push(Need::named(ADMIN, &declare.exchange));
            needs.extend(declare.alternate.iter().map(|to| Need::named(PUBLISH, to)));
        }
        MessageCommand::GetExchange { exchange } => needs.push(Need::named(LOOK, exchange)),
        MessageCommand::DeleteExchange { exchange, .. } => {
            needs.push(Need::named(ADMIN, exchange));
        }
        // Who binds decides where all of an exchange goes.
        MessageCommand::Bind(binding) | MessageCommand::Unbind(binding) => {
            needs.push(Need::named(ADMIN, &binding.source));
            needs.push(Need::named(ADMIN, &binding.destination));
        }
        MessageCommand::ListExchanges { .. }
        | MessageCommand::ListBindings { .. }
        | MessageCommand::ListPolicies => needs.push(Need::all(READ)),
        MessageCommand::Publish(messages) => {
            needs.push(Need::any(PUBLISH));
            publishing(messages, needs);
        }
        MessageCommand::Consume(consume) => needs.push(Need::named(CONSUME, &consume.queue)),
        MessageCommand::GetOne { queue, .. } => needs.push(Need::named(CONSUME, queue)),
        MessageCommand::Lease(lease) => needs.push(Need::named(CONSUME, &lease.queue)),
        // What they are about was taken with the role.
        MessageCommand::Cancel { .. }
        | MessageCommand::Untaken { .. }
        | MessageCommand::AddCredit(_)
        | MessageCommand::ShareCredit(_)
        | MessageCommand::Settle { .. }
        | MessageCommand::CloseConnection { .. } => needs.push(Need::any(CONSUME)),
        MessageCommand::SettleLeased(settlements) => {
            needs.push(Need::any(CONSUME));
            needs.extend(settlements.iter().map(|it| Need::named(CONSUME, &it.message.queue)));
        }
        MessageCommand::ReturnLeased(messages) | MessageCommand::ExtendLeased { messages, .. } => {
            needs.push(Need::any(CONSUME));
            needs.extend(messages.iter().map(|(it, _)| Need::named(CONSUME, &it.queue)));
        }
        MessageCommand::Transact(transaction) => {
            if !transaction.settlements.is_empty() {
                needs.push(Need::any(CONSUME));
            }
            let leased = transaction.leased.iter();
            needs.extend(leased.map(|it| Need::named(CONSUME, &it.message.queue)));
            publishing(&transaction.publishes, needs);
            enqueuing(&transaction.enqueues, needs);
        }
        MessageCommand::PutPolicy { .. } | MessageCommand::DeletePolicy { .. } => {
            needs.push(Need::all(ADMIN));
        }
    }
}

/// Partitions have numbers here: whoever asks for them by the name of their stream looks at the
/// name first.
fn of_streams(command: &StreamCommand) -> Need<'_> {
    match command {
        StreamCommand::Create { stream, .. }
        | StreamCommand::Change { stream, .. }
        | StreamCommand::AddPartitions { stream, .. }
        | StreamCommand::Delete { stream } => Need::named(ADMIN, stream),
        StreamCommand::Append(_) | StreamCommand::TakeProducerId => Need::any(PUBLISH),
        StreamCommand::Trim { .. } | StreamCommand::ForgetAborted { .. } => Need::any(ADMIN),
        // It makes jobs of what others publish.
        StreamCommand::Trigger(_) => Need::all(ADMIN),
        StreamCommand::CommitOffsets { group, .. } => Need::named(CONSUME, group),
        StreamCommand::GetOffsets { group, .. } => Need::named(PROGRESS, group),
        StreamCommand::ForgetGroup { group } => Need::named(ADMIN, group),
        StreamCommand::GroupsUsed { .. } => Need::any(CONSUME),
        StreamCommand::Transact(command) => match &command.ask {
            TransactionAsk::CommitOffsets { group, .. } => Need::named(CONSUME, group),
            TransactionAsk::Take { .. }
            | TransactionAsk::AddPartitions { .. }
            | TransactionAsk::AddOffsets { .. }
            | TransactionAsk::End { .. } => Need::named(PUBLISH, &command.id),
        },
    }
}
