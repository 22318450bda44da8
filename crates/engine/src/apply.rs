//! The only mutation of the durable state: one fact at a time. Applying may touch, never fail and
//! never decide; a record that does not fit the state is a bug and says so.

use crate::ids::{KindId, NamespaceId, QueueId};
use crate::limit::LimitKey;
use crate::message::Destination;
use crate::queue::{Queue, QueueCounts};
use crate::record::{Record, Upkeep};
use crate::state::{Kind, State, keys};

impl State {
    /// Applies one record.
    #[expect(clippy::too_many_lines, reason = "the one match of all records, a line each")]
    pub(crate) fn apply(&mut self, record: Record) {
        match record {
            Record::EpochStarted { .. }
            | Record::LevelRaised { .. }
            | Record::NamespaceCreated { .. }
            | Record::NamespaceDeleted { .. }
            | Record::NamespaceEmptied { .. }
            | Record::QueueCreated { .. }
            | Record::QueueChanged { .. }
            | Record::QueueDeleted { .. }
            | Record::KindNamed { .. }
            | Record::KindPut { .. }
            | Record::SessionForgotten { .. }
            | Record::TimersPassed { .. }
            | Record::OperationChanged { .. }
            | Record::OperationForgotten { .. }
            | Record::LimitPut { .. }
            | Record::LimitDeleted { .. }
            | Record::LimitsRefilled { .. }
            | Record::Upkeep { .. }
            | Record::GatePut { .. }
            | Record::GateDeleted { .. }
            | Record::GateSetNamed { .. }
            | Record::SlaPut { .. }
            | Record::SlaDeleted { .. }
            | Record::HoldPut { .. }
            | Record::HoldDeleted { .. }
            | Record::HoldLetGo { .. } => self.apply_to_shard(record),
            Record::JobEnqueued { .. }
            | Record::LeasesGranted { .. }
            | Record::JobSucceeded { .. }
            | Record::AttemptFailed { .. }
            | Record::JobSnoozed { .. }
            | Record::JobReleased { .. }
            | Record::JobCancelled { .. }
            | Record::CancelRequested { .. }
            | Record::ProgressReported { .. }
            | Record::JobExpired { .. }
            | Record::JobDied { .. }
            | Record::JobRetried { .. }
            | Record::JobRescheduled { .. }
            | Record::JobRemoved { .. }
            | Record::OutcomesForgotten { .. }
            | Record::TombstonesForgotten { .. }
            | Record::JobCheckpointed { .. }
            | Record::JobInterrupted { .. }
            | Record::JobPaused { .. }
            | Record::JobResumed { .. }
            | Record::CursorSet { .. }
            | Record::JobReplaced { .. }
            | Record::JobHeldBack { .. } => self.apply_to_jobs(record),
            Record::SchedulePut { namespace, schedule, paused, next } => {
                self.apply_schedule_put(namespace, &schedule, paused, next);
            }
            Record::ScheduleDeleted { namespace, id } => {
                self.apply_schedule_deleted(namespace, id);
            }
            Record::ScheduleMoved { namespace, id, paused, next } => {
                self.apply_schedule_moved(namespace, id, paused, next);
            }
            Record::ScheduleTicked { .. } => self.apply_schedule_ticked(record),
            Record::ExchangeCreated { .. }
            | Record::ExchangeDeleted { .. }
            | Record::BindingAdded { .. }
            | Record::BindingsRemoved { .. }
            | Record::MessagePublished { .. }
            | Record::MessagesEnded { .. }
            | Record::MessagesReturned { .. }
            | Record::MessagesUntaken { .. }
            | Record::MessagesLeased { .. }
            | Record::LeftoversRemoved { .. }
            | Record::MessageDelayed { .. }
            | Record::DelayPassed { .. }
            | Record::Emptied { .. }
            | Record::ExpiriesPassed { .. }
            | Record::PolicyPut { .. }
            | Record::PolicyDeleted { .. } => self.apply_to_messages(record),
            Record::StreamCreated { .. }
            | Record::StreamChanged { .. }
            | Record::PartitionsAdded { .. }
            | Record::StreamDeleted { .. }
            | Record::StreamAppended { .. }
            | Record::StreamTrimmed { .. }
            | Record::ProducerIdTaken { .. }
            | Record::OffsetsCommitted { .. }
            | Record::OffsetsForgotten { .. }
            | Record::ProducersForgotten { .. }
            | Record::TransactionalIdTaken { .. }
            | Record::TransactionExtended { .. }
            | Record::TransactionOffsets { .. }
            | Record::TransactionEnded { .. }
            | Record::TransactionalIdsForgotten { .. }
            | Record::AbortedForgotten { .. } => self.apply_to_streams(record),
            Record::AccountPut { .. }
            | Record::AccountRemoved { .. }
            | Record::AuditNoted { .. }
            | Record::AuditForgotten { .. } => self.apply_to_accounts(record),
            Record::AnswerKept { .. } | Record::AnswersForgotten { .. } => {
                self.apply_to_answers(record);
            }
        }
    }

    fn apply_to_shard(&mut self, record: Record) {
        match record {
            Record::EpochStarted { epoch } => self.meta_mut().epoch = epoch,
            Record::LevelRaised { level } => self.meta_mut().level = level,
            Record::NamespaceCreated { id, name } => self.apply_namespace_created(id, name),
            Record::NamespaceDeleted { id } => self.apply_namespace_deleted(id),
            Record::NamespaceEmptied { id } => self.apply_namespace_emptied(id),
            Record::QueueCreated { namespace, id, name, settings } => {
                self.meta_mut().next_queue = QueueId(id.0 + 1);
                let counts = QueueCounts::EMPTY;
                self.note_outcomes(id, settings.outcomes.as_ref());
                self.put(&keys::queue_name(namespace, &name), &id);
                self.queues.insert(Queue { id, namespace, name, settings, counts }, None);
                self.queues.change(id);
                self.put_queue(id);
            }
            Record::QueueChanged { id, settings } => {
                let shut = self.is_shut(id, settings.paused);
                self.note_outcomes(id, settings.outcomes.as_ref());
                self.lanes.shut(id, shut);
                self.queues.change(id).settings = settings;
                self.put_queue(id);
                self.note_fresh([id]);
            }
            Record::QueueDeleted { id } => self.apply_queue_deleted(id),
            Record::KindNamed { namespace, id, name, version } => {
                self.meta_mut().next_kind = KindId(id.0 + 1);
                let kind = Kind { namespace, name: name.clone(), version, waiting: 0 };
                self.put(&keys::kind(id), &kind);
                self.limit_new_kind((namespace, &name), id);
                self.shut_new_kind((namespace, &name), id);
                self.kinds.insert(id, kind);
            }
            Record::KindPut { namespace, name, settings } => {
                self.apply_kind_put(namespace, name, *settings);
            }
            Record::SessionForgotten { namespace, worker, session } => {
                self.forget_session(&(namespace, worker, session));
            }
            Record::TimersPassed { timers } => self.apply_timers_passed(&timers),
            Record::OperationChanged { operation } => self.apply_operation_changed(*operation),
            Record::OperationForgotten { id } => self.apply_operation_forgotten(id),
            Record::LimitPut { namespace, name, settings } => {
                self.apply_limit_whole(namespace, &name, Some(&settings));
            }
            Record::LimitDeleted { namespace, name } => {
                self.apply_limit_whole(namespace, &name, None);
            }
            Record::Upkeep { fact } => self.apply_upkeep(*fact),
            Record::LimitsRefilled { refills } => self.apply_limits_refilled(refills),
            Record::GatePut { namespace, name, gate } => {
                self.apply_gate_put(namespace, &name, &gate);
            }
            Record::GateDeleted { namespace, name } => self.apply_gate_deleted(namespace, &name),
            Record::GateSetNamed { namespace, set, gates } => {
                self.apply_gate_set_named(namespace, set, &gates);
            }
            Record::SlaPut { namespace, name, sla } => self.apply_sla_put(namespace, &name, *sla),
            Record::SlaDeleted { namespace, name } => self.apply_sla_deleted(namespace, &name),
            Record::HoldPut { namespace, tag, hold } => self.apply_hold_put(namespace, &tag, *hold),
            Record::HoldDeleted { namespace, tag } => self.apply_hold_deleted(namespace, &tag),
            Record::HoldLetGo { namespace, tag, jobs } => {
                self.apply_hold_let_go(namespace, &tag, &jobs);
            }
            _ => unreachable!("apply sends the records of jobs elsewhere"),
        }
    }

    fn apply_upkeep(&mut self, fact: Upkeep) {
        match fact {
            Upkeep::LimitChanged { namespace, name, settings } => {
                self.apply_limit_changed(namespace, &name, settings.as_ref());
            }
            Upkeep::LimitKeysSettled { namespace, name, keys, next } => {
                self.apply_limit_keys_settled(namespace, &name, keys, next);
            }
            Upkeep::LimitKeySettled { namespace, name, key } => {
                self.settle_key(&LimitKey { ns: namespace, name, key });
            }
            Upkeep::SlaMinutesRemoved { namespace, name, minutes, more } => {
                self.apply_sla_minutes_removed(namespace, name, &minutes, more);
            }
            Upkeep::LineMoved { namespace, id, under } => {
                self.apply_line_moved(namespace, id, under);
            }
            Upkeep::JobMoved { namespace, id, queue, priority, place } => {
                self.apply_job_moved(namespace, id, (queue, place), priority);
            }
            Upkeep::JobWithdrawn { namespace, id } => self.apply_job_withdrawn(namespace, id),
            Upkeep::JobTold { namespace, id } => self.apply_job_told(namespace, id),
            Upkeep::LivesTold { namespace, lots } => self.apply_lives_told(&namespace, lots),
            Upkeep::KeysForgotten { keys } => self.apply_keys_forgotten(&keys),
        }
    }

    fn apply_to_jobs(&mut self, record: Record) {
        match record {
            Record::JobEnqueued { namespace, job } => self.apply_job_enqueued(namespace, *job),
            Record::LeasesGranted { namespace, worker, session, ask, seen, grants } => {
                let ask = ask.map(|ask| (ask, seen));
                self.apply_leases_granted(namespace, (worker, session), ask, &grants);
            }
            Record::JobSucceeded { namespace, id, result, location, .. } => {
                self.apply_job_succeeded(namespace, id, result, location);
            }
            Record::AttemptFailed { namespace, id, cause, error, next, .. } => {
                self.apply_attempt_failed(namespace, id, &cause, error, next);
            }
            Record::JobSnoozed { namespace, id, available_at, .. } => {
                self.apply_job_snoozed(namespace, id, available_at);
            }
            Record::JobReleased { namespace, id, ran, .. } => {
                self.apply_job_released(namespace, id, ran);
            }
            Record::JobCancelled { namespace, id, token, reason, error } => {
                self.apply_job_cancelled(namespace, id, token.is_some(), reason, error);
            }
            Record::CancelRequested { namespace, id } => {
                self.apply_cancel_requested(namespace, id);
            }
            Record::ProgressReported { namespace, id, progress, progress_text } => {
                self.apply_progress_reported(namespace, id, progress, progress_text);
            }
            Record::JobExpired { namespace, id } => self.apply_job_expired(namespace, id),
            Record::JobDied { namespace, id, reason, forget_at } => {
                self.apply_job_died(namespace, id, reason, forget_at);
            }
            Record::JobRetried { namespace, id, place } => {
                self.apply_job_retried(namespace, id, place);
            }
            Record::JobRescheduled { namespace, id, available_at } => {
                self.apply_job_rescheduled(namespace, id, available_at);
            }
            Record::JobRemoved { namespace, id } => self.apply_job_removed(namespace, id),
            Record::OutcomesForgotten { namespace, lots, tombstones_until } => {
                self.apply_outcomes_forgotten(namespace, &lots, tombstones_until);
            }
            Record::TombstonesForgotten { namespace, tombstones, early } => {
                self.apply_tombstones_forgotten(namespace, &tombstones, early);
            }
            Record::JobCheckpointed { namespace, id, token, saved } => {
                self.apply_job_checkpointed(namespace, id, token, *saved);
            }
            Record::JobInterrupted { namespace, id, reason, available_at, .. } => {
                self.apply_job_interrupted(namespace, id, reason, available_at);
            }
            Record::JobPaused { namespace, id } => self.apply_job_paused(namespace, id),
            Record::JobResumed { namespace, id } => self.apply_job_resumed(namespace, id),
            Record::CursorSet { namespace, id, cursor } => {
                self.apply_cursor_set(namespace, id, cursor);
            }
            Record::JobReplaced { namespace, id, args, available_at } => {
                self.apply_job_replaced(namespace, id, args, available_at);
            }
            Record::JobHeldBack { namespace, id, tag } => {
                self.apply_job_held_back(namespace, id, &tag);
            }
            _ => unreachable!("apply sends the records of the shard elsewhere"),
        }
    }

    fn apply_queue_deleted(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get(id) {
            let name = keys::queue_name(queue.namespace, &queue.name);
            let counts = queue.counts.clone();
            let (namespace, holds_messages) = (queue.namespace, queue.settings.messages.is_some());
            self.meta_mut().gone.add_queue(&counts);
            self.remove(&name);
            if holds_messages {
                self.messages.drop_shelf(id, counts.messages);
            }
            let what = Destination::Queue { id };
            if holds_messages || self.is_bound(namespace, what) {
                self.begin_emptying(namespace, what);
            }
        }
        self.note_outcomes(id, None);
        self.queues.delete(id);
        self.remove(&keys::queue(id));
        self.remove(&keys::queue_counts(id));
    }

    /// What a removed namespace has beside queues, schedules, streams and what is forgotten of it
    /// bit by bit.
    pub(crate) fn drop_what_is_in(&mut self, ns: NamespaceId) {
        self.drop_limits(ns);
        self.drop_gates(ns);
        self.drop_holds(ns);
        self.drop_slas(ns);
        self.drop_kind_settings(ns);
        self.drop_policies(ns);
        self.drop_exchanges(ns);
        // It has no queues, so no lane is of these.
        for kind in self.kinds.remove_of(ns) {
            self.remove(&keys::kind(kind));
            self.limiting.forget_kind(kind);
            self.lanes.hold_kind(ns, kind, false);
        }
    }
}
