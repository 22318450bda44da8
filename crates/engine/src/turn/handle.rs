//! One command after the other: what each decides, and its answer.

use super::Turn;
use super::waiters::Target;
use crate::answer::{Answer, Instruction, QueueView};
use crate::bounds::check_name;
use crate::command::{CheckpointJob, Command, Extension, ReplyTo, Request};
use crate::gate::GateCommand;
use crate::hold::HoldCommand;
use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::job::Decision;
use crate::kind::KindCommand;
use crate::limit::LIMIT_LOOKS;
use crate::looks::Looks;
use crate::message::MessageCommand;
use crate::moment::Moment;
use crate::queue::{Queue, QueueSettings};
use crate::record::Record;
use crate::rejection::Rejection;
use crate::schedule::ScheduleCommand;
use crate::sla::SlaCommand;
use crate::stream::StreamCommand;

/// The namespace that always exists where it is asked for.
const DEFAULT_NAMESPACE: &str = "default";

/// Namespaces in one answer at most.
const NAMESPACES_PER_PAGE_MAX: usize = 1000;

/// Queues in one answer at most.
const QUEUES_PER_PAGE_MAX: usize = 200;

/// Comparisons of kinds with what workers ask for, lanes of queues, and seconds that jobs became
/// due in and no record has settled, in one answer at most: about a millisecond.
pub(super) const LOOKS_MAX: usize = 20_000;
pub(super) const KINDS_TOLD_MAX: usize = 100;

impl Turn {
    pub(super) fn handle(&mut self, request: Request, moment: Moment) {
        let Request { namespace, reply_to, command } = request;
        let answer = match command {
            Command::CreateNamespace => self.handle_create_namespace(&namespace),
            Command::ListNamespaces { after, limit } => {
                Ok(self.list_namespaces(after.as_deref(), limit))
            }
            Command::Accounts(command) => self.handle_accounts(command, moment),
            Command::Audited(audited) => {
                return self.handle_audited((namespace, reply_to), *audited, moment);
            }
            Command::Keyed(keyed) => {
                return self.handle_keyed((namespace, reply_to), *keyed, moment);
            }
            command => match self.resolve(&namespace, &command) {
                Ok((ns, created)) => {
                    return self.handle_in(ns, created, reply_to, command, moment);
                }
                Err(rejection) => Err(rejection),
            },
        };
        self.reply(reply_to, answer.unwrap_or_else(Answer::Rejected));
    }

    /// The namespace's number, and the record that creates it where its first use does.
    fn resolve(
        &self,
        name: &str,
        command: &Command,
    ) -> Result<(NamespaceId, Option<Record>), Rejection> {
        if let Some(ns) = self.state.namespaces.named(name) {
            return Ok((ns, None));
        }
        let uses = matches!(
            command,
            Command::EnqueueJobs(_)
                | Command::LeaseJobs(_)
                | Command::Subscribe(_)
                | Command::ResumeSession { .. }
                | Command::PutQueue { .. }
                | Command::PauseQueue { paused: true, .. }
                | Command::OfSchedule { command: ScheduleCommand::Put { .. }, .. }
                | Command::PutLimit { .. }
                | Command::Gates(GateCommand::Change { .. })
                | Command::Sla(SlaCommand::Put { .. })
                | Command::Kinds(KindCommand::Put { .. })
                | Command::Holds(HoldCommand::Put { .. })
                | Command::Messages(
                    MessageCommand::DeclareQueue(_) | MessageCommand::DeclareExchange(_)
                )
                | Command::Stream(StreamCommand::Create { .. })
        );
        if !uses || !(self.state.limits.namespaces_on_first_use || name == DEFAULT_NAMESPACE) {
            return Err(Rejection::NamespaceUnknown { name: name.to_owned() });
        }
        let record = self.decide_namespace_created(name)?;
        Ok((self.state.meta.next_namespace, Some(record)))
    }

    fn decide_namespace_created(&self, name: &str) -> Result<Record, Rejection> {
        check_name(&self.state.limits, "namespace", name)?;
        if name.starts_with('_') {
            return Err(Rejection::NameReserved { name: name.to_owned() });
        }
        let limit = self.state.limits.namespaces_max;
        if self.state.namespaces.len_named() >= limit {
            return Err(Rejection::TooManyNamespaces { limit });
        }
        let id = self.state.meta.next_namespace;
        Ok(Record::NamespaceCreated { id, name: name.to_owned() })
    }

    fn handle_in(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        reply_to: ReplyTo,
        command: Command,
        moment: Moment,
    ) {
        let answer = match command {
            Command::EnqueueJobs(command) => {
                let decision = self.state.decide_enqueue(ns, &command, moment);
                let answer = self.carry_out_with(created, decision);
                self.conflicts.note(&command.jobs, &answer);
                answer
            }
            Command::LeaseJobs(request) => match self.check_lease_request(ns, &request) {
                Ok(()) => {
                    self.record_all(Vec::from_iter(created));
                    return self.handle_lease(ns, reply_to, request, moment);
                }
                Err(rejection) => Err(rejection),
            },
            Command::Subscribe(command) => self.handle_subscribe(ns, created, *command, moment),
            Command::PutQueue { queue, settings } => {
                let decision = self.decide_put_queue(ns, &queue, settings);
                self.change_queue(created, decision, ns, &queue, moment)
            }
            Command::PauseQueue { queue, paused } => {
                let decision = self.decide_pause_queue(ns, &queue, paused);
                self.change_queue(created, decision, ns, &queue, moment)
            }
            Command::PutLimit { name, settings } => {
                let decided = self.state.decide_limit_put(ns, &name, settings);
                decided.and_then(|record| {
                    self.try_record(created.into_iter().chain(record).collect::<Vec<_>>())?;
                    self.record_all(Vec::from_iter(self.state.decide_limit_slice(ns, &name)));
                    Ok(Answer::Limit(Box::new(self.state.limit_view(ns, &name)?)))
                })
            }
            Command::ResumeSession { holder, held } => match self.check_holder(&holder) {
                Ok(()) => {
                    self.record_all(Vec::from_iter(created));
                    return self.resume_session(ns, reply_to, (&holder, held), moment);
                }
                Err(rejection) => Err(rejection),
            },
            Command::ExtendSession { holder, known } => {
                return self.extend_session(ns, reply_to, (&holder, known), moment);
            }
            Command::EndSession { holder, why, goodbye } => {
                return self.end_session(ns, reply_to, (&holder, why, goodbye), moment);
            }
            Command::AwaitJob { id, wait_ms } => {
                return self.handle_await(ns, reply_to, id, wait_ms, moment);
            }
            Command::Messages(command) => {
                return self.handle_messages(ns, created, reply_to, command, moment);
            }
            Command::Kinds(command) => self.handle_kinds(ns, created, command),
            Command::Sla(command) => self.handle_sla(ns, created, command, moment),
            Command::Gates(command) => self.handle_gates(ns, created, command, moment),
            Command::Holds(command) => {
                match self.handle_holds(ns, created, (reply_to, command), moment) {
                    Some(answer) => answer,
                    None => return,
                }
            }
            Command::OfSchedule { name, command } => {
                self.handle_schedule(ns, created, (&name, command), moment)
            }
            Command::Stream(command) => self.handle_stream(ns, created, command, moment),
            command => self.handle_admin(ns, command, moment),
        };
        self.reply(reply_to, answer.unwrap_or_else(Answer::Rejected));
    }

    #[expect(clippy::too_many_lines, reason = "the one match of all that is left, an arm each")]
    fn handle_admin(
        &mut self,
        ns: NamespaceId,
        command: Command,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        match command {
            Command::SettleJobs(settlements) => {
                Ok(Answer::Settled(self.settle_all(ns, &settlements, moment)))
            }
            Command::AddCredit { consumer, credit, settle } => {
                Ok(self.handle_add_credit(ns, (consumer, credit), &settle, moment))
            }
            Command::ExtendLeases(extensions) => Ok(self.extend_all(ns, &extensions)),
            Command::CheckpointJobs(told) => Ok(self.checkpoint_all(ns, &told, moment)),
            Command::StartJobs(jobs) => Ok(self.start_jobs(ns, &jobs)),
            Command::CancelJob { id, force } => self.handle_cancel(ns, id, force, moment),
            Command::RemoveJob { id } => {
                let record = self.state.decide_removal(ns, id)?;
                self.record(record);
                Ok(Answer::JobRemoved)
            }
            Command::WithdrawJob { id } => {
                let Some(record) = self.state.decide_withdrawal(ns, id)? else {
                    return Ok(self.job_answer(ns, id, moment.at));
                };
                self.record(record);
                Ok(Answer::JobWithdrawn)
            }
            Command::RescheduleJob { id, start } => {
                let record = self.state.decide_reschedule(ns, id, start, moment)?;
                self.record(record);
                Ok(self.job_answer(ns, id, moment.at))
            }
            Command::RetryJob { id, from } => {
                let records = self.state.decide_retry(ns, id, &from)?;
                self.record_all(records);
                Ok(self.job_answer(ns, id, moment.at))
            }
            Command::PauseJob { id } => self.handle_pause(ns, id, true, moment),
            Command::ResumeJob { id } => self.handle_pause(ns, id, false, moment),
            Command::DeleteQueue { queue } => self.handle_delete_queue(ns, &queue),
            Command::GetQueue { queue } => self.queue_answer(ns, &queue, moment),
            Command::ListQueues { after, limit } => {
                Ok(self.list_queues(ns, after.as_deref(), limit, moment))
            }
            Command::StartOperation(kind) => {
                let records = self.state.decide_operation_started(ns, &kind, moment)?;
                let id = self.state.meta.next_operation;
                self.record_all(records);
                self.operation_answer(ns, id)
            }
            Command::CancelOperation { id } => {
                let record = self.state.decide_operation_cancelled(ns, id, moment)?;
                self.record_all(Vec::from_iter(record));
                self.operation_answer(ns, id)
            }
            Command::GetOperation { id } => self.operation_answer(ns, id),
            Command::ListOperations => {
                Ok(Answer::Operations(self.state.operations.of(ns).cloned().collect()))
            }
            Command::DeleteLimit { name } => self.handle_delete_limit(ns, &name),
            Command::GetLimit { name } => self.limit_answer(ns, &name),
            Command::ListLimits => {
                let looks = &mut Looks::new(LIMIT_LOOKS);
                Ok(Answer::Limits(self.state.limit_views(ns, usize::MAX, (0, looks))))
            }
            Command::DeleteNamespace => self.handle_delete_namespace(ns, moment),
            Command::GetNamespace => Ok(self.namespace_answer(ns)),
            Command::EnqueueJobs(_)
            | Command::OfSchedule { .. }
            | Command::Stream(_)
            | Command::LeaseJobs(_)
            | Command::Subscribe(_)
            | Command::PutQueue { .. }
            | Command::PauseQueue { .. }
            | Command::PutLimit { .. }
            | Command::ResumeSession { .. }
            | Command::ExtendSession { .. }
            | Command::EndSession { .. }
            | Command::AwaitJob { .. }
            | Command::Messages(_)
            | Command::Gates(_)
            | Command::Sla(_)
            | Command::Kinds(_)
            | Command::Holds(_)
            | Command::CreateNamespace
            | Command::Accounts(_)
            | Command::Audited(_)
            | Command::Keyed(_)
            | Command::ListNamespaces { .. } => unreachable!("handled before"),
        }
    }

    fn handle_delete_limit(&mut self, ns: NamespaceId, name: &str) -> Result<Answer, Rejection> {
        let record = self.state.decide_limit_deleted(ns, name)?;
        self.record(record);
        self.record_all(Vec::from_iter(self.state.decide_limit_slice(ns, name)));
        Ok(Answer::LimitDeleted)
    }

    fn limit_answer(&self, ns: NamespaceId, name: &str) -> Result<Answer, Rejection> {
        Ok(Answer::Limit(Box::new(self.state.limit_view(ns, name)?)))
    }

    /// Records what was decided, after the creation of the namespace where it brings that about.
    fn carry_out_with(
        &mut self,
        created: Option<Record>,
        decision: Decision,
    ) -> Result<Answer, Rejection> {
        let (mut records, answer) = decision?;
        records.splice(0..0, created);
        self.try_record(records)?;
        Ok(answer)
    }

    /// Records a change of a queue. The answer is the queue as it is then.
    fn change_queue(
        &mut self,
        created: Option<Record>,
        decision: Result<Vec<Record>, Rejection>,
        ns: NamespaceId,
        name: &str,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let mut records = decision?;
        records.splice(0..0, created);
        self.try_record(records)?;
        self.queue_answer(ns, name, moment)
    }

    fn extend_all(&mut self, ns: NamespaceId, extensions: &[Extension]) -> Answer {
        let mut answers: Vec<Result<Instruction, Rejection>> = Vec::new();
        for extension in extensions {
            let decided = self.state.decide_extension(ns, extension);
            answers.push(decided.map(|(record, instruction)| {
                if let Some(record) = record {
                    self.record(record);
                }
                self.state.note_extended(ns, extension.id);
                self.state.extend_lease(ns, extension.id, extension.lease_ms);
                instruction
            }));
        }
        Answer::Extended(answers)
    }

    fn checkpoint_all(
        &mut self,
        ns: NamespaceId,
        told: &[CheckpointJob],
        moment: Moment,
    ) -> Answer {
        let mut answers: Vec<Result<Instruction, Rejection>> = Vec::with_capacity(told.len());
        for told in told {
            let decided = self.state.decide_checkpoint(ns, told, moment);
            answers.push(decided.and_then(|(record, instruction)| {
                if let Some(record) = record {
                    self.try_record([record])?;
                }
                self.state.note_started(ns, told.id);
                self.state.extend_lease(ns, told.id, told.lease_ms);
                Ok(instruction)
            }));
        }
        Answer::Extended(answers)
    }

    fn handle_cancel(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        force: bool,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let Some(record) = self.state.decide_cancel(ns, id, force)? else {
            return Ok(self.job_answer(ns, id, moment.at));
        };
        let ends_run = matches!(record, Record::JobCancelled { token: Some(_), .. });
        let live = self.state.leases.get(ns, id).filter(|_| ends_run);
        let lease = live.map(|live| Box::new(live.lease().clone()));
        self.record(record);
        Ok(match (self.job_answer(ns, id, moment.at), lease) {
            (Answer::Job(view), Some(lease)) => Answer::RunEnded { view, lease },
            (answer, _) => answer,
        })
    }

    fn handle_pause(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        pause: bool,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let record = self.state.decide_pause(ns, id, pause)?;
        self.record_all(Vec::from_iter(record));
        Ok(self.job_answer(ns, id, moment.at))
    }

    fn handle_await(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        id: JobId,
        wait_ms: u64,
        moment: Moment,
    ) {
        let job = self.state.job(ns, id);
        let unfinished = job.is_some_and(|job| job.phase.is_unfinished());
        if !unfinished || wait_ms == 0 || self.stopping {
            let answer = self.job_answer(ns, id, moment.at);
            return self.reply(reply_to, answer);
        }
        if let Err(rejection) = self.check_waiting(ns) {
            return self.reply(reply_to, Answer::Rejected(rejection));
        }
        let wait_ms = wait_ms.min(self.state.limits.wait_ms_max);
        self.waiters.add(reply_to, ns, moment.mono.plus(wait_ms), Target::End(ns, id));
    }

    fn decide_put_queue(
        &self,
        ns: NamespaceId,
        name: &str,
        settings: QueueSettings,
    ) -> Result<Vec<Record>, Rejection> {
        check_name(&self.state.limits, "queue", name)?;
        let limits = &self.state.limits;
        crate::job::check_defaults(&self.state, &settings.defaults)?;
        if let Some(exchange) = &settings.outcomes {
            check_name(limits, "outcomes", exchange)?;
        }
        crate::tenant::check_weights(limits, &settings.tenants)?;
        self.state.check_holds_jobs(ns, name)?;
        Ok(match self.state.queues.named(ns, name) {
            Some(known) if known.settings == settings => Vec::new(),
            Some(known) => vec![Record::QueueChanged { id: known.id, settings }],
            None => vec![self.state.decide_queue_created(ns, name, settings, 0)?],
        })
    }

    /// Pausing creates the queue where it is not there yet: its first job is to wait.
    fn decide_pause_queue(
        &self,
        ns: NamespaceId,
        name: &str,
        paused: bool,
    ) -> Result<Vec<Record>, Rejection> {
        let Some(known) = self.state.queues.named(ns, name) else {
            if !paused {
                return Err(Rejection::QueueUnknown { queue: name.to_owned() });
            }
            let settings = QueueSettings { paused, ..QueueSettings::DEFAULT };
            return self.decide_put_queue(ns, name, settings);
        };
        self.state.check_holds_jobs(ns, name)?;
        let settings = QueueSettings { paused, ..known.settings.clone() };
        let changed = known.settings != settings;
        Ok(changed.then_some(Record::QueueChanged { id: known.id, settings }).into_iter().collect())
    }

    fn handle_delete_queue(&mut self, ns: NamespaceId, name: &str) -> Result<Answer, Rejection> {
        let queue = self.queue(ns, name)?;
        if queue.settings.messages.is_some() {
            let only = (true, true);
            let deleted = self.delete_message_queue(ns, name, None, only);
            return deleted.map(|_| Answer::QueueDeleted);
        }
        let (id, backlog, dead) = (queue.id, queue.counts.backlog(), queue.counts.dead);
        if backlog + dead > 0 {
            let queue = name.to_owned();
            return Err(Rejection::QueueNotEmpty { queue, backlog, dead });
        }
        self.record(Record::QueueDeleted { id });
        Ok(Answer::QueueDeleted)
    }

    fn queue(&self, ns: NamespaceId, name: &str) -> Result<&Queue, Rejection> {
        let unknown = || Rejection::QueueUnknown { queue: name.to_owned() };
        self.state.queues.named(ns, name).ok_or_else(unknown)
    }

    fn queue_answer(
        &self,
        ns: NamespaceId,
        name: &str,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let queue = self.queue(ns, name)?;
        Ok(Answer::Queue(Box::new(self.queue_view(queue, moment.at, &mut { LOOKS_MAX }))))
    }

    /// A queue as it is told, with who asks for it.
    pub(super) fn queue_view(&self, queue: &Queue, now: TimeMs, looks: &mut usize) -> QueueView {
        let (ns, name) = (queue.namespace, queue.name.as_str());
        *looks = looks.saturating_sub(self.state.seconds_to_settle(queue, now));
        // Once for their kinds, and once for the oldest entry.
        *looks = looks.saturating_sub(2 * self.state.lanes.told_of(queue.id));
        let kinds = self.state.lanes.kinds(queue.id);
        let reserved = self.state.kinds.reserved();
        let named = |id| {
            let kind = self.state.kinds.get(id)?;
            Some(((kind.name.as_str(), kind.version), reserved.contains(&id)))
        };
        let kinds = kinds.into_iter().filter_map(named);
        let unconsumed = self.demand.without(ns, name, kinds, looks);
        let mut unconsumed: Vec<String> = unconsumed.into_iter().map(|(kind, _)| kind).collect();
        unconsumed.sort_unstable();
        unconsumed.dedup();
        unconsumed.truncate(KINDS_TOLD_MAX);
        let messages = queue.settings.messages.is_some();
        let messages = messages.then(|| Box::new(self.message_view(queue)));
        let view = self.state.queue_view(queue, (self.demand.of(ns, name), unconsumed), now);
        QueueView { messages, ..view }
    }

    fn list_queues(
        &self,
        ns: NamespaceId,
        after: Option<&str>,
        limit: usize,
        moment: Moment,
    ) -> Answer {
        let mut queues = self.state.queues.after(ns, after);
        let page = self.queue_views(&mut queues, moment.at, limit.min(QUEUES_PER_PAGE_MAX));
        Answer::Queues(page, queues.next().is_some())
    }

    /// The next queues as they are told: up to `most`, or fewer where there is much to tell of
    /// them, but one at least.
    pub(super) fn queue_views<'a>(
        &self,
        queues: &mut impl Iterator<Item = &'a Queue>,
        now: TimeMs,
        most: usize,
    ) -> Vec<QueueView> {
        let mut views = Vec::new();
        let mut looks = LOOKS_MAX;
        while views.len() < most
            && looks >= LOOKS_MAX / 2
            && let Some(queue) = queues.next()
        {
            views.push(self.queue_view(queue, now, &mut looks));
        }
        views
    }

    fn operation_answer(
        &self,
        ns: NamespaceId,
        id: crate::ids::OperationId,
    ) -> Result<Answer, Rejection> {
        Ok(Answer::Operation(Box::new(self.state.operation(ns, id)?.clone())))
    }

    fn handle_create_namespace(&mut self, name: &str) -> Result<Answer, Rejection> {
        if self.state.namespaces.named(name).is_none() {
            let record = self.decide_namespace_created(name)?;
            self.record(record);
        }
        let ns = self.state.namespaces.named(name).expect("created just now at the latest");
        Ok(self.namespace_answer(ns))
    }

    fn handle_delete_namespace(
        &mut self,
        id: NamespaceId,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let queues = self.state.queues.len_of(id) as u64;
        let schedules = self.state.namespaces.get(id).map_or(0, |slot| slot.kept().schedules);
        if queues + schedules > 0 {
            let name = self.state.namespaces.name(id);
            return Err(match queues {
                0 => Rejection::NamespaceHasSchedules { name, schedules },
                queues => Rejection::NamespaceNotEmpty { name, queues },
            });
        }
        let streams = self.state.streams.count_of(id) as u64;
        if streams > 0 {
            let name = self.state.namespaces.name(id);
            return Err(Rejection::NamespaceHasStreams { name, streams });
        }
        self.record(Record::NamespaceDeleted { id });
        // They would wait for what nobody can enqueue there: the name, used anew, is another one.
        self.leaving.insert(id);
        self.send_some_away(moment);
        Ok(Answer::NamespaceDeleted)
    }

    fn namespace_answer(&self, ns: NamespaceId) -> Answer {
        let slot = self.state.namespaces.get(ns).expect("resolved before");
        Answer::Namespace(self.state.namespace_view(slot))
    }

    fn list_namespaces(&self, after: Option<&str>, limit: usize) -> Answer {
        let mut slots = self.state.namespaces.after(after);
        let page = slots.by_ref().take(limit.min(NAMESPACES_PER_PAGE_MAX));
        let page = page.map(|slot| self.state.namespace_view(slot)).collect();
        Answer::Namespaces(page, slots.next().is_some())
    }
}
