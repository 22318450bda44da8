//! Starting and stopping operations: one record fixes what they mean and up to where.

use std::collections::{BTreeMap, VecDeque};

use super::{Operation, OperationKind, OperationState};
use crate::ids::{NamespaceId, OperationId};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

impl OperationKind {
    /// The queue that it is confined to.
    pub fn queue(&self) -> Option<&str> {
        match self {
            Self::PurgeQueue { queue, .. } | Self::DeleteQueue { queue } => Some(queue),
            Self::MoveMessages { moving } => Some(&moving.queue),
            Self::ChangeJobs { change } => change.filter.queue.as_deref(),
            Self::RetryDead { queue, .. } | Self::PurgeDead { queue, .. } => queue.as_deref(),
        }
    }

    /// How many jobs or messages it changes at most. Which of the jobs that wait are the first is
    /// settled only when they run, so what purges those has no limit.
    pub fn limit(&self) -> Option<u64> {
        match self {
            Self::RetryDead { limit, .. } | Self::PurgeDead { limit, .. } => *limit,
            Self::MoveMessages { moving } => moving.limit,
            Self::ChangeJobs { change } => change.limit,
            Self::PurgeQueue { .. } | Self::DeleteQueue { .. } => None,
        }
    }
}

impl State {
    pub(crate) fn decide_operation_started(
        &self,
        ns: NamespaceId,
        kind: &OperationKind,
        moment: Moment,
    ) -> Result<Vec<Record>, Rejection> {
        if kind.limit() == Some(0) {
            let (value, allowed) = ("0".to_owned(), "at least 1".to_owned());
            return Err(Rejection::ValueRefused { field: "limit", value, allowed });
        }
        let running = self.operations.running();
        let of_namespace = running.clone().filter(|o| o.namespace == ns).count();
        let room = self.limits.operations_max.check(of_namespace, running.count());
        room.map_err(|(scope, limit)| Rejection::TooManyOperations { scope, limit })?;
        let candidates = match (kind, kind.queue()) {
            (OperationKind::ChangeJobs { change }, _) => {
                self.check_jobs_change(ns, change)?;
                self.jobs_change_candidates(ns, &change.filter)
            }
            (_, Some(name)) => {
                let unknown = || Rejection::QueueUnknown { queue: name.to_owned() };
                match kind {
                    OperationKind::MoveMessages { moving } => self.check_move(ns, moving)?,
                    _ => self.check_holds_jobs(ns, name)?,
                }
                count(kind, self.queues.named(ns, name).ok_or_else(unknown)?)
            }
            // Only dead jobs are meant without naming a queue.
            (_, None) => self.jobs.dead_of(ns) as u64,
        };
        let candidates = kind.limit().map_or(candidates, |limit| limit.min(candidates));
        let operation = Operation {
            id: self.meta.next_operation,
            namespace: ns,
            kind: kind.clone(),
            upper: self.meta.next_place,
            state: OperationState::Running,
            candidates,
            examined: 0,
            changed: 0,
            cursor: None,
            started_at: moment.at,
            ended_at: None,
            kept: 0,
            kept_why: None,
            full: Vec::new(),
            first: None,
        };
        let mut records = vec![Record::OperationChanged { operation: Box::new(operation) }];
        let forgotten = self.operations_to_forget(ns);
        records.extend(forgotten.into_iter().map(|id| Record::OperationForgotten { id }));
        Ok(records)
    }

    /// Finished operations that go for one more of a namespace: its own oldest ones where it has
    /// too many, else those of whoever has the most, itself before others.
    fn operations_to_forget(&self, ns: NamespaceId) -> Vec<OperationId> {
        let kept = self.limits.operations_kept;
        let mut ended: BTreeMap<NamespaceId, VecDeque<OperationId>> = BTreeMap::new();
        let mut total = 0;
        for operation in self.operations.0.values().filter(|o| o.state != OperationState::Running) {
            ended.entry(operation.namespace).or_default().push_back(operation.id);
            total += 1;
        }
        let mut forgotten = Vec::new();
        loop {
            let own = ended.get(&ns).map_or(0, VecDeque::len);
            let of = if own >= kept.namespace {
                Some(ns)
            } else if total >= kept.shard {
                let most = |(of, ids): &(&NamespaceId, &VecDeque<_>)| (ids.len(), **of == ns, **of);
                ended.iter().max_by_key(most).map(|(of, _)| *of)
            } else {
                None
            };
            let oldest = of.and_then(|of| ended.get_mut(&of)).and_then(VecDeque::pop_front);
            let Some(oldest) = oldest else { return forgotten };
            forgotten.push(oldest);
            total -= 1;
        }
    }

    /// The operation of that number in the namespace.
    pub(crate) fn operation(
        &self,
        ns: NamespaceId,
        id: OperationId,
    ) -> Result<&Operation, Rejection> {
        let found = self.operations.0.get(&id).filter(|operation| operation.namespace == ns);
        found.ok_or(Rejection::OperationUnknown { id })
    }

    pub(crate) fn decide_operation_cancelled(
        &self,
        ns: NamespaceId,
        id: OperationId,
        moment: Moment,
    ) -> Result<Option<Record>, Rejection> {
        let mut operation = self.operation(ns, id)?.clone();
        if operation.state != OperationState::Running {
            return Ok(None);
        }
        operation.state = OperationState::Cancelled;
        operation.ended_at = Some(moment.at);
        Ok(Some(Record::OperationChanged { operation: Box::new(operation) }))
    }

    pub(crate) fn apply_operation_changed(&mut self, operation: Operation) {
        let id = operation.id;
        if id >= self.meta.next_operation {
            self.meta_mut().next_operation = OperationId(id.0 + 1);
        }
        self.put(&crate::state::keys::operation(id), &operation);
        self.operations.insert(operation);
    }

    pub(crate) fn apply_operation_forgotten(&mut self, id: OperationId) {
        self.operations.0.remove(&id);
        self.remove(&crate::state::keys::operation(id));
    }
}

fn count(kind: &OperationKind, queue: &crate::queue::Queue) -> u64 {
    let counts = &queue.counts;
    match kind {
        OperationKind::PurgeQueue { .. } => counts.waiting + counts.blocked,
        OperationKind::RetryDead { .. } | OperationKind::PurgeDead { .. } => counts.dead,
        OperationKind::DeleteQueue { .. } => counts.waiting + counts.blocked + counts.dead,
        OperationKind::MoveMessages { .. } => counts.messages,
        OperationKind::ChangeJobs { .. } => counts.backlog() + counts.dead,
    }
}
