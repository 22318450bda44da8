//! What clients tried and what they were told: all that a judge outside the server can know. It
//! is kept from the clients' side alone and never looks into the engine.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::{Answer, Command, EndKind, JobId, JobState, JobView, NewJob, TimeMs, Token};

use super::accounts::KnownAccounts;
use super::gates::KnownGates;
use super::holds::KnownHolds;
use super::keyed::{self, KnownKeys};
use super::limits::KnownLimits;
use super::order::Order;
use super::queues::SetQueues;
use super::scopes::KnownScopes;
use super::slas::KnownSlas;
use super::{Check, expected, ops};

/// A job: its namespace's number and its id.
pub(crate) type JobKey = (usize, JobId);

/// How a job ended for good, as somebody was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Succeeded,
    Cancelled,
    Expired,
    Removed,
    /// It never was, as whoever enqueued it was told.
    Withdrawn,
}

/// What may be done with all jobs that a filter means.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Many {
    Retried,
    Cancelled,
    Moved,
    Removed,
}

/// A run that was handed to a worker.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what clients saw and tried, each by itself")]
pub(crate) struct Granted {
    /// Ends that its worker tried to tell.
    pub(crate) tried: Vec<EndKind>,
    /// Jobs that enter with its ack.
    pub(crate) follow_ups: Vec<JobId>,
    /// The end that its worker was told.
    pub(crate) told: Option<EndKind>,
    /// Its worker, or the server for it, may have given it back unstarted.
    pub(crate) given_back: bool,
    /// Its worker was told that it goes on, after it had begun.
    pub(crate) started: bool,
    /// Its worker was told that its progress or a checkpoint of it is kept.
    pub(crate) reported: bool,
    /// Its worker was told that its start was heard.
    pub(crate) start_heard: bool,
    /// Its session ended, and the lease with it.
    pub(crate) session_ended: bool,
    /// Its worker came back and was told that the lease is lost.
    pub(crate) lost: bool,
    /// Its worker was told that a cursor of its own is saved.
    pub(crate) moved: bool,
    /// Somebody was told that it was ended by force.
    pub(crate) forced: bool,
    /// The worker, its session and its turn.
    pub(crate) by: (String, String, Option<u64>),
}

impl Granted {
    /// Whether the server knows that it has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.reported || self.start_heard
    }
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what clients saw and tried, each by itself")]
pub(crate) struct Told {
    pub(crate) new: NewJob,
    pub(crate) queue: String,
    /// The job with whose ack it enters.
    pub(crate) follows: Option<JobId>,
    /// Somebody was told that it is enqueued.
    pub(crate) acked: bool,
    /// Attempts to enqueue it, and how many of them were refused.
    pub(crate) tries: u32,
    pub(crate) refusals: u32,
    pub(crate) grants: BTreeMap<Token, Granted>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) cancel_tried: bool,
    pub(crate) remove_tried: bool,
    pub(crate) retry_tried: bool,
    /// Somebody was told that it is held back, and nobody tried to resume it since.
    pub(crate) paused: bool,
    /// Attempts to move it to another time, or to retry it, of which nobody heard yet.
    pub(crate) moves_untold: u32,
    /// Attempts to withdraw it, of which nobody heard yet.
    pub(crate) withdrawals_untold: u32,
    /// It was moved to this time: before it is not handed over.
    pub(crate) not_before: Option<TimeMs>,
    /// Items that a checkpoint was answered for, and those that one was tried for.
    pub(crate) done_at_least: u64,
    pub(crate) done_at_most: u64,
}

impl Told {
    /// Whether an outcome may be all that is left of it: one that is dead is kept.
    fn may_have_ended(&self) -> bool {
        let ends = |end: &EndKind| matches!(end, EndKind::Acked | EndKind::Discarded);
        let mut grants = self.grants.values();
        self.outcome.is_some()
            || self.cancel_tried
            || self.new.expiry.is_some()
            || grants.any(|granted| granted.tried.iter().any(ends))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Shadow {
    pub(crate) jobs: BTreeMap<JobKey, Told>,
    tokens: BTreeMap<Token, JobKey>,
    /// Queues whose jobs may have been removed by an operation, of all namespaces.
    purged: BTreeSet<(usize, String)>,
    /// What workers said of earlier turns: worker, session, the last turn that they saw, and the
    /// turn in which they said so.
    pub(crate) passed: Vec<(String, String, u64, u64)>,
    /// Namespaces of which all dead jobs may have been retried.
    retried: BTreeSet<usize>,
    /// Namespaces of which all jobs of a kind, or all, may have been changed so.
    changed: BTreeSet<(usize, Many, Option<String>)>,
    /// The time of the shard's last entry, when the answer that is being told was released.
    pub(crate) now: TimeMs,
    /// The disk has had no room at some time, so that what was due may have been put off.
    pub(crate) disk_was_full: bool,
    /// What is known of the settings of queues.
    pub(crate) set: SetQueues,
    /// What is known of gates.
    pub(crate) gates: KnownGates,
    /// What is known of holds.
    pub(crate) holds: KnownHolds,
    /// What is known of accounts.
    pub(crate) accounts: KnownAccounts,
    /// What is known of service levels.
    pub(crate) slas: KnownSlas,
    /// What is known of limits.
    pub(crate) limits: KnownLimits,
    /// What is known of limits over queues, kinds and namespaces.
    pub(crate) scopes: KnownScopes,
    /// What is known of keys.
    pub(crate) keys: KnownKeys,
    /// What was seen of the order of jobs.
    pub(crate) order: Order,
    /// Little is kept of jobs that have ended.
    pub(crate) forgets: bool,
}

impl Shadow {
    /// Nothing is known of a run, in which little or much is kept of jobs that have ended.
    pub(crate) fn of(forgets: bool) -> Self {
        Self { forgets, ..Self::default() }
    }

    /// A client sends this: from now on it may have happened.
    pub(crate) fn tried(&mut self, namespace: usize, command: &Command) {
        self.order.tried(command);
        match command {
            Command::EnqueueJobs(enqueue) => ops::enqueue::tried(self, namespace, enqueue),
            Command::LeaseJobs(request) => ops::lease::tried(self, namespace, request),
            Command::SettleJobs(settlements) | Command::AddCredit { settle: settlements, .. } => {
                ops::settle::tried(self, namespace, settlements);
            }
            Command::CheckpointJobs(all) => ops::checkpoint::tried(self, namespace, all),
            Command::CancelJob { id, .. } => ops::admin::cancel_tried(self, namespace, *id),
            Command::RemoveJob { id } => ops::admin::remove_tried(self, namespace, *id),
            Command::WithdrawJob { id } => expected::tried(self, (namespace, *id)),
            Command::RetryJob { id, .. } => ops::admin::retry_tried(self, namespace, *id),
            Command::RescheduleJob { id, .. } => ops::admin::move_tried(self, namespace, *id),
            Command::PutQueue { queue, .. }
            | Command::PauseQueue { queue, .. }
            | Command::DeleteQueue { queue } => self.set.tried(namespace, queue),
            Command::ResumeJob { id } => ops::admin::resume_tried(self, namespace, *id),
            Command::Gates(command) => self.gates.tried(namespace, command),
            Command::Holds(command) => self.holds.tried(namespace, command),
            Command::Accounts(command) => self.accounts.tried(command),
            Command::Keyed(command) => keyed::tried(self, namespace, command),
            Command::StartOperation(kind) => ops::operation::tried(self, namespace, kind),
            Command::PutLimit { .. } | Command::DeleteLimit { .. } => {
                self.scopes.tried(namespace, command);
            }
            _ => {}
        }
    }

    /// The server released this answer.
    pub(crate) fn told(&mut self, namespace: usize, command: &Command, answer: &Answer) -> Check {
        match command {
            Command::EnqueueJobs(enqueue) => ops::enqueue::told(self, namespace, enqueue, answer),
            Command::LeaseJobs(request) => ops::lease::told(self, namespace, request, answer),
            Command::SettleJobs(settlements) | Command::AddCredit { settle: settlements, .. } => {
                ops::settle::told(self, namespace, settlements, answer)
            }
            Command::ExtendLeases(extensions) => {
                ops::heartbeat::told(self, namespace, extensions, answer)
            }
            Command::CheckpointJobs(all) => ops::checkpoint::told(self, namespace, all, answer),
            Command::StartJobs(_) | Command::ResumeSession { .. } | Command::EndSession { .. } => {
                ops::session::told(self, namespace, command, answer)
            }
            Command::PauseJob { id } => ops::admin::pause_told(self, (namespace, *id), answer),
            Command::RescheduleJob { id, .. } | Command::RetryJob { id, .. } => {
                ops::admin::move_told(self, (namespace, *id), command, answer)
            }
            Command::PutQueue { queue, .. }
            | Command::PauseQueue { queue, .. }
            | Command::DeleteQueue { queue } => {
                self.set.told(namespace, queue, answer);
                Ok(())
            }
            Command::Holds(command) => self.holds.told(namespace, command, answer),
            Command::Accounts(command) => self.accounts.told(command, answer),
            Command::Sla(_) => self.slas.told(namespace, answer, self.now),
            Command::PutLimit { name, .. } => {
                self.limits.told(namespace, name, answer, self.now);
                self.scopes.told(namespace, command, answer, self.now);
                Ok(())
            }
            Command::DeleteLimit { .. } => {
                self.scopes.told(namespace, command, answer, self.now);
                Ok(())
            }
            Command::Keyed(command) => keyed::told(self, namespace, command, answer),
            Command::Gates(command) => {
                self.gates.told(namespace, command, answer);
                Ok(())
            }
            Command::WithdrawJob { id } => expected::told(self, (namespace, *id), answer),
            Command::AwaitJob { id, .. }
            | Command::CancelJob { id, .. }
            | Command::RemoveJob { id }
            | Command::ResumeJob { id } => ops::admin::job_told(self, (namespace, *id), answer),
            _ => Ok(()),
        }
    }

    /// The run that was handed out under a token.
    pub(crate) fn granted(
        &mut self,
        namespace: usize,
        id: JobId,
        token: Token,
    ) -> Option<&mut Granted> {
        self.jobs.get_mut(&(namespace, id))?.grants.get_mut(&token)
    }

    pub(crate) fn job(&mut self, key: JobKey) -> Option<&mut Told> {
        self.jobs.get_mut(&key)
    }

    /// Whether the job may be gone although nobody was told so.
    pub(crate) fn may_be_missing(&self, key: JobKey) -> bool {
        let Some(told) = self.jobs.get(&key) else { return true };
        let kept_briefly = told.new.retain_ms.is_some();
        // It may have been in any queue that was purged.
        let moved = self.may_be(key, Many::Moved) && self.purged.iter().any(|it| it.0 == key.0);
        kept_briefly
            || (self.forgets && (told.may_have_ended() || self.may_be(key, Many::Cancelled)))
            || told.remove_tried
            || told.withdrawals_untold > 0
            || told.outcome == Some(Outcome::Withdrawn)
            || moved
            || self.may_be(key, Many::Removed)
            || self.purged.contains(&(key.0, told.queue.clone()))
    }

    /// Whether a dead job may have been given another life.
    pub(crate) fn may_be_retried(&self, key: JobKey) -> bool {
        let Some(told) = self.jobs.get(&key) else { return true };
        told.retry_tried || self.retried.contains(&key.0) || self.may_be(key, Many::Retried)
    }

    pub(crate) fn note_purge(&mut self, namespace: usize, queue: String) {
        self.purged.insert((namespace, queue));
    }

    pub(crate) fn note_many(&mut self, namespace: usize, what: Many, kind: Option<String>) {
        self.changed.insert((namespace, what, kind));
    }

    /// Whether something may have been done with a job as with all that a filter means.
    pub(crate) fn may_be(&self, key: JobKey, what: Many) -> bool {
        let Some(told) = self.jobs.get(&key) else { return true };
        let noted = |kind| self.changed.contains(&(key.0, what, kind));
        !self.changed.is_empty() && (noted(None) || noted(Some(told.new.kind.clone())))
    }

    pub(crate) fn note_retry_of_all(&mut self, namespace: usize) {
        self.retried.insert(namespace);
    }

    /// Enters a token that was handed out; whether it is new. Each is of one job, and those of a
    /// job only grow; so do all, but for `repeated` ones, whose first answer was never released.
    pub(crate) fn note_token(
        &mut self,
        token: Token,
        key: JobKey,
        repeated: bool,
    ) -> Result<bool, String> {
        if let Some(of) = self.tokens.get(&token) {
            if *of != key {
                return Err(format!("token {token} was handed out for {} and {}", of.1, key.1));
            }
            return Ok(false);
        }
        let last = if repeated {
            self.jobs.get(&key).and_then(|told| told.grants.keys().next_back())
        } else {
            self.tokens.keys().next_back()
        };
        if let Some(last) = last.filter(|last| **last > token) {
            return Err(format!("token {token} was handed out after {last}"));
        }
        self.tokens.insert(token, key);
        Ok(true)
    }

    /// Somebody was told how a job ended for good; it stays so.
    pub(crate) fn note_outcome(&mut self, key: JobKey, outcome: Outcome) -> Check {
        let Some(told) = self.jobs.get_mut(&key) else { return Ok(()) };
        match told.outcome {
            Some(earlier)
                if earlier != outcome
                    && (outcome != Outcome::Removed || earlier == Outcome::Withdrawn) =>
            {
                Err(format!("job {} was {earlier:?} and is {outcome:?}", key.1))
            }
            _ => {
                told.outcome = Some(outcome);
                Ok(())
            }
        }
    }

    /// Somebody was shown a job.
    pub(crate) fn note_view(&mut self, key: JobKey, view: &JobView) -> Check {
        let Some(told) = self.jobs.get(&key) else {
            return Err(format!("job {} is shown, but nobody enqueued it", key.1));
        };
        let outcome = match view.state() {
            JobState::Succeeded => Outcome::Succeeded,
            JobState::Cancelled => Outcome::Cancelled,
            JobState::Expired => Outcome::Expired,
            state => {
                return match told.outcome {
                    Some(outcome) => Err(format!("job {} was {outcome:?} and is {state:?}", key.1)),
                    None => Ok(()),
                };
            }
        };
        if let Some(gone @ (Outcome::Removed | Outcome::Withdrawn)) = told.outcome {
            return Err(format!("job {} was {gone:?} and is {outcome:?}", key.1));
        }
        self.note_outcome(key, outcome)
    }
}
