//! Requests that wait: workers for jobs, others for the end of a job. Volatile: gone with the
//! connection or the process.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{LeaseJobs, QueuePattern, ReplyTo};
use crate::ids::{JobId, MonoMs, NamespaceId};
use crate::job::EndKind;
use crate::rejection::Rejection;
use crate::state::{SessionKey, Tally};

/// The order in which workers began to wait.
pub(super) type Ticket = u64;

/// A worker that waits for a job.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) reply_to: ReplyTo,
    pub(super) ns: NamespaceId,
    pub(super) request: Box<LeaseJobs>,
    /// What became of its settlements.
    pub(super) settled: Vec<Result<EndKind, Rejection>>,
    deadline: MonoMs,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next: Ticket,
    workers: BTreeMap<Ticket, Waiter>,
    exact: BTreeMap<(NamespaceId, String), BTreeSet<Ticket>>,
    prefix: BTreeMap<NamespaceId, BTreeSet<Ticket>>,
    sessions: BTreeMap<SessionKey, Ticket>,
    awaiting: BTreeMap<(NamespaceId, JobId), BTreeSet<ReplyTo>>,
    replies: BTreeMap<ReplyTo, Waiting>,
    /// How many of them each namespace has.
    of: Tally,
    deadlines: BTreeSet<(MonoMs, ReplyTo)>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    deadline: MonoMs,
    target: Target,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// A job to run.
    Work(Ticket),
    /// The end of a job.
    End(NamespaceId, JobId),
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.replies.len()
    }

    /// How many wait in a namespace.
    pub(super) fn len_of(&self, ns: NamespaceId) -> usize {
        self.of.of(ns)
    }

    pub(super) fn has_workers(&self) -> bool {
        !self.workers.is_empty()
    }

    pub(super) fn add_worker(
        &mut self,
        reply_to: ReplyTo,
        ns: NamespaceId,
        request: Box<LeaseJobs>,
        settled: Vec<Result<EndKind, Rejection>>,
        deadline: MonoMs,
    ) {
        let ticket = self.next;
        self.next += 1;
        for pattern in &request.queues {
            match pattern {
                QueuePattern::Exactly(name) => {
                    self.exact.entry((ns, name.clone())).or_default().insert(ticket);
                }
                QueuePattern::Prefix(_) => {
                    self.prefix.entry(ns).or_default().insert(ticket);
                }
            }
        }
        if !request.session.is_empty() {
            let key = (ns, request.worker.clone(), request.session.clone());
            self.sessions.insert(key, ticket);
        }
        self.replies.insert(reply_to, Waiting { deadline, target: Target::Work(ticket) });
        self.of.add(ns);
        self.deadlines.insert((deadline, reply_to));
        self.workers.insert(ticket, Waiter { reply_to, ns, request, settled, deadline });
    }

    pub(super) fn remove_worker(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.workers.remove(&ticket)?;
        for pattern in &waiter.request.queues {
            match pattern {
                QueuePattern::Exactly(name) => {
                    drop_from(&mut self.exact, &(waiter.ns, name.clone()), &ticket);
                }
                QueuePattern::Prefix(_) => drop_from(&mut self.prefix, &waiter.ns, &ticket),
            }
        }
        let request = &waiter.request;
        let key = (waiter.ns, request.worker.clone(), request.session.clone());
        if self.sessions.get(&key) == Some(&ticket) {
            self.sessions.remove(&key);
        }
        self.replies.remove(&waiter.reply_to);
        self.of.take(waiter.ns);
        self.deadlines.remove(&(waiter.deadline, waiter.reply_to));
        Some(waiter)
    }

    /// Those who wait in a namespace.
    pub(super) fn in_namespace(&self, ns: NamespaceId) -> Vec<(ReplyTo, Target)> {
        let is_in = |target: &Target| match target {
            Target::Work(ticket) => self.workers.get(ticket).is_some_and(|it| it.ns == ns),
            Target::End(of, _) => *of == ns,
        };
        let waiting = self.replies.iter().filter(|(_, waiting)| is_in(&waiting.target));
        waiting.map(|(reply_to, waiting)| (*reply_to, waiting.target)).collect()
    }

    /// The worker of that session that waits.
    pub(super) fn of_session(&mut self, key: &SessionKey) -> Option<Waiter> {
        let ticket = *self.sessions.get(key)?;
        self.remove_worker(ticket)
    }

    pub(super) fn worker(&self, ticket: Ticket) -> Option<&Waiter> {
        self.workers.get(&ticket)
    }

    /// Who waits longest for a queue, or longest of those who came after `after`.
    pub(super) fn next_for(
        &self,
        ns: NamespaceId,
        queue: &str,
        after: Option<Ticket>,
    ) -> Option<Ticket> {
        let from = after.map_or(0, |ticket| ticket + 1);
        let exact = self.exact.get(&(ns, queue.to_owned()));
        let exact = exact.and_then(|tickets| tickets.range(from..).next().copied());
        let asks = |ticket: &&Ticket| {
            let waiter = self.workers.get(ticket);
            waiter.is_some_and(|it| it.request.queues.iter().any(|asked| asked.matches(queue)))
        };
        let prefix = self.prefix.get(&ns);
        let prefix = prefix.and_then(|tickets| tickets.range(from..).find(asks).copied());
        [exact, prefix].into_iter().flatten().min()
    }

    pub(super) fn add_awaiting(
        &mut self,
        reply_to: ReplyTo,
        ns: NamespaceId,
        id: JobId,
        deadline: MonoMs,
    ) {
        self.awaiting.entry((ns, id)).or_default().insert(reply_to);
        self.replies.insert(reply_to, Waiting { deadline, target: Target::End(ns, id) });
        self.of.add(ns);
        self.deadlines.insert((deadline, reply_to));
    }

    /// Those who wait for the end of a job.
    pub(super) fn take_awaiting(&mut self, ns: NamespaceId, id: JobId) -> BTreeSet<ReplyTo> {
        let replies = self.awaiting.remove(&(ns, id)).unwrap_or_default();
        for reply_to in &replies {
            if let Some(waiting) = self.replies.remove(reply_to) {
                self.of.take(ns);
                self.deadlines.remove(&(waiting.deadline, *reply_to));
            }
        }
        replies
    }

    /// Forgets the request that waits for this answer; false where none does.
    pub(super) fn remove_reply(&mut self, reply_to: ReplyTo) -> bool {
        let Some(waiting) = self.replies.get(&reply_to).copied() else { return false };
        match waiting.target {
            Target::Work(ticket) => {
                self.remove_worker(ticket);
            }
            Target::End(ns, id) => {
                drop_from(&mut self.awaiting, &(ns, id), &reply_to);
                self.replies.remove(&reply_to);
                self.of.take(ns);
                self.deadlines.remove(&(waiting.deadline, reply_to));
            }
        }
        true
    }

    /// When the next one has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<MonoMs> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// One that has waited long enough by then.
    pub(super) fn overdue(&self, now: MonoMs) -> Option<(ReplyTo, Target)> {
        let (deadline, reply_to) = self.deadlines.first()?;
        let waiting = self.replies.get(reply_to)?;
        (*deadline <= now).then_some((*reply_to, waiting.target))
    }
}

fn drop_from<K: Ord, V: Ord>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
