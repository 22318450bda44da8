//! Requests that wait for their answer until a deadline: for jobs, or for the end of a job.
//! Volatile: gone with the connection or the process.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::ReplyTo;
use crate::ids::{JobId, MonoMs, NamespaceId};
use crate::state::Tally;

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    awaiting: BTreeMap<(NamespaceId, JobId), BTreeSet<ReplyTo>>,
    quiet: BTreeSet<(NamespaceId, u64, ReplyTo)>,
    replies: BTreeMap<ReplyTo, Waiting>,
    /// How many of them each namespace has, and which.
    of: Tally,
    by_namespace: BTreeSet<(NamespaceId, ReplyTo)>,
    deadlines: BTreeSet<(MonoMs, ReplyTo)>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    ns: NamespaceId,
    deadline: MonoMs,
    target: Target,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// Jobs to run: it is among the consumers.
    Work,
    /// The end of a job.
    End(NamespaceId, JobId),
    /// Messages: it is among those who take them.
    Messages,
    /// That nothing runs with the tag of the hold of that epoch.
    Quiet(NamespaceId, u64),
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.replies.len()
    }

    /// How many wait in a namespace.
    pub(super) fn len_of(&self, ns: NamespaceId) -> usize {
        self.of.of(ns)
    }

    pub(super) fn add(
        &mut self,
        reply_to: ReplyTo,
        ns: NamespaceId,
        deadline: MonoMs,
        target: Target,
    ) {
        if let Target::End(ns, id) = target {
            self.awaiting.entry((ns, id)).or_default().insert(reply_to);
        }
        if let Target::Quiet(ns, epoch) = target {
            self.quiet.insert((ns, epoch, reply_to));
        }
        self.replies.insert(reply_to, Waiting { ns, deadline, target });
        self.of.add(ns);
        self.by_namespace.insert((ns, reply_to));
        self.deadlines.insert((deadline, reply_to));
    }

    /// Forgets the request that waits for this answer; answers what it waited for.
    pub(super) fn remove(&mut self, reply_to: ReplyTo) -> Option<Target> {
        let waiting = self.replies.remove(&reply_to)?;
        self.of.take(waiting.ns);
        self.by_namespace.remove(&(waiting.ns, reply_to));
        self.deadlines.remove(&(waiting.deadline, reply_to));
        if let Target::End(ns, id) = waiting.target
            && let Some(replies) = self.awaiting.get_mut(&(ns, id))
        {
            replies.remove(&reply_to);
            if replies.is_empty() {
                self.awaiting.remove(&(ns, id));
            }
        }
        if let Target::Quiet(ns, epoch) = waiting.target {
            self.quiet.remove(&(ns, epoch, reply_to));
        }
        Some(waiting.target)
    }

    /// Those who wait until nothing runs with the tag of a hold.
    pub(super) fn take_quiet(&mut self, ns: NamespaceId, epoch: u64) -> Vec<ReplyTo> {
        let first = (ns, epoch, ReplyTo(0));
        let waiting = self.quiet.range(first..=(ns, epoch, ReplyTo(u64::MAX)));
        let waiting: Vec<_> = waiting.map(|(.., reply_to)| *reply_to).collect();
        for reply_to in &waiting {
            self.remove(*reply_to);
        }
        waiting
    }

    /// Somebody who waits in a namespace.
    pub(super) fn first_in(&self, ns: NamespaceId) -> Option<(ReplyTo, Target)> {
        let (of, reply_to) = self.by_namespace.range((ns, ReplyTo(0))..).next()?;
        let waiting = self.replies.get(reply_to).filter(|_| *of == ns)?;
        Some((*reply_to, waiting.target))
    }

    /// Those who wait for the end of a job.
    pub(super) fn take_awaiting(&mut self, ns: NamespaceId, id: JobId) -> BTreeSet<ReplyTo> {
        let replies = self.awaiting.remove(&(ns, id)).unwrap_or_default();
        for reply_to in &replies {
            self.remove(*reply_to);
        }
        replies
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
