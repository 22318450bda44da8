//! Questions to a snapshot of a state. They are asked on other threads than the shard's.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::answer::JobView;
use crate::ids::{BodyId, JobId, NamespaceId, PartitionId, QueueId, ScheduleId, TimeMs};
use crate::job::{AttemptNote, Body, Job, JobFilter, Lease, SkippedItem};
use crate::map::Reader;
use crate::message::{MessageFilter, MessagePage, peek};
use crate::operation::OperationKind;
use crate::queue::Queue;
use crate::queueing::blockers_of;
use crate::rejection::Rejection;
use crate::schedule::{Schedule, ScheduleView};
use crate::state::{Namespace, Tombstone, keys};
use crate::stream::{KeyEvents, ProducerView, ReadOffset, TransactionView, groups, told};
use crate::wire::Wire;

pub use crate::limit::limits_unsettled;

/// What became of a job.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It is there.
    Found(Box<JobView>),
    /// It was there; its client's id is remembered.
    Gone,
    /// Nothing is known of it.
    Unknown,
    /// There is no such namespace.
    NamespaceUnknown,
}

/// A page of jobs.
#[derive(Clone, Debug)]
pub struct Page {
    /// The jobs, in a stable order.
    pub jobs: Vec<JobView>,
    /// Where to go on; `None` at the end.
    pub next: Option<Bytes>,
    /// How many jobs were looked at.
    pub examined: usize,
}

fn value<T: Wire>(reader: &dyn Reader, key: &[u8]) -> Option<T> {
    Some(decoded(key, &reader.get(key)?))
}

fn decoded<T: Wire>(key: &[u8], bytes: &Bytes) -> T {
    match T::from_bytes(bytes) {
        Ok(value) => value,
        Err(error) => panic!("key {key:02x?} in the state: {error}"),
    }
}

/// The namespace of that name.
fn namespace(reader: &dyn Reader, name: &str) -> Option<NamespaceId> {
    let mut found = None;
    reader.scan(&[keys::NAMESPACE], &[keys::NAMESPACE + 1], &mut |_, value| {
        match Namespace::from_bytes(value) {
            Ok(namespace) if namespace.name == name && !namespace.deleted => {
                found = Some(namespace.id);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    });
    found
}

fn queue(reader: &dyn Reader, ns: NamespaceId, name: &str) -> Option<QueueId> {
    value(reader, &keys::queue_name(ns, name))
}

/// Which queues are paused, asked once for each.
#[derive(Default)]
struct Pauses(BTreeMap<String, Option<(QueueId, bool)>>);

impl Pauses {
    fn of(&mut self, reader: &dyn Reader, ns: NamespaceId, name: &str) -> Option<(QueueId, bool)> {
        if let Some(known) = self.0.get(name) {
            return *known;
        }
        let found = queue(reader, ns, name).and_then(|id| value(reader, &keys::queue(id)));
        let of = found.map(|queue: Queue| (queue.id, queue.settings.paused));
        self.0.insert(name.to_owned(), of);
        of
    }
}

/// The job of that id.
pub fn find_job(reader: &dyn Reader, name: &str, id: JobId, now: TimeMs) -> Lookup {
    let Some(ns) = namespace(reader, name) else { return Lookup::NamespaceUnknown };
    if let Some(view) = view(reader, ns, id, &mut Pauses::default(), now) {
        return Lookup::Found(Box::new(view));
    }
    match value::<Tombstone>(reader, &keys::tombstone(ns, id)) {
        Some(_) => Lookup::Gone,
        None => Lookup::Unknown,
    }
}

fn view(
    reader: &dyn Reader,
    ns: NamespaceId,
    id: JobId,
    queues: &mut Pauses,
    now: TimeMs,
) -> Option<JobView> {
    let job: Job = value(reader, &keys::job(ns, id))?;
    let lease: Option<Lease> = value(reader, &keys::lease(ns, id));
    Some(view_of(reader, ns, (job, lease), queues, now))
}

fn view_of(
    reader: &dyn Reader,
    ns: NamespaceId,
    (job, lease): (Job, Option<Lease>),
    queues: &mut Pauses,
    now: TimeMs,
) -> JobView {
    let id = job.id;
    let may_have_one = lease.is_some() || job.has_run();
    let checkpoint = may_have_one.then(|| value(reader, &keys::checkpoint(ns, id))).flatten();
    let unfinished = job.phase.is_unfinished();
    let paused = unfinished && reader.get(&keys::paused(ns, id)).is_some();
    let blocked_by = if unfinished && lease.is_none() {
        blockers_of(reader, ns, &job, queues.of(reader, ns, &job.queue))
    } else {
        Vec::new()
    };
    JobView { job, lease, checkpoint, paused, blocked_by, now }
}

/// The items that a job gave up on, as far as they are kept, the oldest first.
pub fn skipped_of(reader: &dyn Reader, name: &str, id: JobId) -> Vec<SkippedItem> {
    let Some(ns) = namespace(reader, name) else { return Vec::new() };
    let mut items = Vec::new();
    let from = keys::skipped(ns, id, 0);
    reader.scan(&from, &keys::skipped(ns, id, u32::MAX), &mut |_, value| {
        items.extend(SkippedItem::from_bytes(value));
        ControlFlow::Continue(())
    });
    items
}

/// The attempts of a job that did not succeed, the oldest first.
pub fn attempts_of(reader: &dyn Reader, name: &str, id: JobId) -> Vec<AttemptNote> {
    let Some(ns) = namespace(reader, name) else { return Vec::new() };
    let mut notes = Vec::new();
    let from = keys::attempt(ns, id, 0);
    reader.scan(&from, &keys::attempt(ns, id, u32::MAX), &mut |_, value| {
        notes.extend(AttemptNote::from_bytes(value));
        ControlFlow::Continue(())
    });
    notes
}

/// What the state holds and must hold is not there: damage, not an empty value. A read unwinds with
/// it, and whoever called stops the shard.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("body {body} is missing in the state")]
pub struct BodyMissing {
    /// The body that a job of the same snapshot names.
    pub body: BodyId,
}

/// The bytes of a body that a job of this snapshot names.
pub fn body_of(reader: &dyn Reader, body: &Body) -> Bytes {
    match body {
        Body::Inline { bytes } => bytes.clone(),
        Body::Stored { id, .. } => match reader.get(&keys::body(*id)) {
            Some(bytes) => bytes,
            None => std::panic::panic_any(BodyMissing { body: *id }),
        },
    }
}

/// Looks at messages of a queue, by the names of its namespace and itself, without taking them: up
/// to `limit` that are meant after `cursor`, about `bytes_max` bytes of them. Those with consumers
/// of connections are among them. A page ends also once it has looked at many that are not meant.
pub fn peek_messages(
    reader: &dyn Reader,
    named: (&str, &str),
    filter: &MessageFilter,
    cursor: Option<&Bytes>,
    bounds: (usize, usize),
) -> Result<MessagePage, Rejection> {
    let (ns, found) = message_queue(reader, named)?;
    filter.check()?;
    peek::peek_messages(reader, (ns, &found), filter, cursor, bounds)
}

/// How many messages of a queue are meant, and how many were looked at: so many of both at most.
pub fn count_messages(
    reader: &dyn Reader,
    namespace: &str,
    queue: &str,
    filter: &MessageFilter,
    bounds: (usize, u64),
) -> Result<(u64, u64), Rejection> {
    let (ns, found) = message_queue(reader, (namespace, queue))?;
    filter.check()?;
    peek::count_messages(reader, (ns, &found), filter, bounds)
}

fn message_queue(
    reader: &dyn Reader,
    (name, queue_name): (&str, &str),
) -> Result<(NamespaceId, Queue), Rejection> {
    let Some(ns) = namespace(reader, name) else {
        return Err(Rejection::NamespaceUnknown { name: name.to_owned() });
    };
    let found = queue(reader, ns, queue_name).and_then(|id| value(reader, &keys::queue(id)));
    let unknown = || Rejection::QueueUnknown { queue: queue_name.to_owned() };
    Ok((ns, found.ok_or_else(unknown)?))
}

/// Names of groups of consumers of streams, after one of them, and whether there are more; `None`
/// where the namespace does not exist.
pub fn group_names(
    reader: &dyn Reader,
    name: &str,
    after: Option<&str>,
    limit: usize,
) -> Option<(Vec<String>, bool)> {
    Some(groups::group_names(reader, namespace(reader, name)?, after, limit))
}

/// How far a group of consumers has read, of `limit` partitions at most.
pub fn group_offsets(
    reader: &dyn Reader,
    name: &str,
    group: &str,
    limit: usize,
) -> Vec<ReadOffset> {
    let found = namespace(reader, name);
    found.map_or_else(Vec::new, |ns| groups::read_offsets(reader, ns, group, limit))
}

/// What is known of the events of a key, in a partition of a stream that counts them and keeps
/// those from `start` on.
pub fn key_events(
    reader: &dyn Reader,
    partition: PartitionId,
    (key, start): (&[u8], u64),
) -> Option<KeyEvents> {
    crate::stream::key_events(reader, partition, (key, start))
}

/// All transactional ids of a namespace, in the order of their names.
pub fn transactions(reader: &dyn Reader, name: &str) -> Vec<TransactionView> {
    namespace(reader, name).map_or_else(Vec::new, |ns| told::transactions(reader, ns))
}

/// One of them, with the partitions to which its open transaction may append.
pub fn transaction(
    reader: &dyn Reader,
    name: &str,
    id: &str,
) -> Option<(TransactionView, Vec<PartitionId>)> {
    told::transaction(reader, namespace(reader, name)?, id)
}

/// Producers that appended to a partition, `limit` at most, and whether there are more.
pub fn producers(
    reader: &dyn Reader,
    partition: PartitionId,
    limit: usize,
) -> (Vec<ProducerView>, bool) {
    told::producers(reader, partition, limit)
}

/// Up to `limit` jobs after `cursor`, with no more than `looks_max` looks: one for each job, and
/// more for args that are read. `None` where the namespace does not exist.
pub fn list_jobs(
    reader: &dyn Reader,
    name: &str,
    filter: &JobFilter,
    cursor: Option<&Bytes>,
    (limit, looks_max): (usize, usize),
    now: TimeMs,
) -> Option<Page> {
    let ns = namespace(reader, name)?;
    let mut queues = Pauses::default();
    let (mut page, mut looks) = (Page { jobs: Vec::new(), next: None, examined: 0 }, 0);
    page.next = walk(reader, ns, filter, cursor, &mut |job, lease| {
        if page.jobs.len() >= limit || looks >= looks_max {
            return None;
        }
        looks += filter.looks(job);
        page.examined += 1;
        if filter.takes(reader, (job, lease.is_some()), now) {
            page.jobs.push(view_of(reader, ns, (job.clone(), lease), &mut queues, now));
        }
        Some(())
    });
    Some(page)
}

/// How many jobs after `cursor` an operation would change and how many were looked at, and where to
/// go on: so many looks at most. `None` where the namespace does not exist.
pub fn count_jobs(
    reader: &dyn Reader,
    name: &str,
    kind: &OperationKind,
    cursor: Option<&Bytes>,
    looks_max: usize,
    now: TimeMs,
) -> Option<(u64, u64, Option<Bytes>)> {
    let ns = namespace(reader, name)?;
    let (mut matched, mut examined, mut looks) = (0, 0, 0);
    let filter = kind.looked_at();
    let next = walk(reader, ns, &filter, cursor, &mut |job, lease| {
        if looks >= looks_max {
            return None;
        }
        looks += filter.looks(job);
        examined += 1;
        matched += u64::from(kind.means(reader, &filter, (job, lease.as_ref()), now));
        Some(())
    });
    Some((matched, examined, next))
}

/// Visits the jobs in the index of a filter, until one is not taken, which is where to go on.
fn walk(
    reader: &dyn Reader,
    ns: NamespaceId,
    filter: &JobFilter,
    cursor: Option<&Bytes>,
    visit: &mut dyn FnMut(&Job, Option<Lease>) -> Option<()>,
) -> Option<Bytes> {
    let index = filter.index();
    let mut key = keys::Key::new(index).namespace(ns);
    if let (keys::DEAD, Some(name)) = (index, &filter.queue) {
        key = key.u32(queue(reader, ns, name)?.0);
    }
    let prefix = key.done();
    let to = keys::after_prefix(&prefix);
    // A cursor is a key of this very range; any other is as good as the range's beginning or end.
    let from = cursor.map_or(&prefix[..], |cursor| (&cursor[..]).max(&prefix[..]));
    let mut next = None;
    reader.scan(from, &to, &mut |key, value| {
        let id = key.len().checked_sub(16).and_then(|at| keys::id_at(key, at));
        let job: Option<Job> = match index {
            keys::JOB => Some(decoded(key, value)),
            _ => id.and_then(|id| self::value(reader, &keys::job(ns, id))),
        };
        let Some(job) = job else { return ControlFlow::Continue(()) };
        let lease = match index {
            keys::LEASE => Some(decoded(key, value)),
            _ if job.phase.is_unfinished() => self::value(reader, &keys::lease(ns, job.id)),
            _ => None,
        };
        if visit(&job, lease).is_none() {
            next = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    next
}

fn schedule(reader: &dyn Reader, ns: NamespaceId, id: ScheduleId) -> Option<ScheduleView> {
    let schedule: Schedule = value(reader, &keys::schedule(ns, id))?;
    let state = value(reader, &keys::schedule_state(ns, id));
    let state = state.unwrap_or_else(|| panic!("schedule {id} has lost its state"));
    Some(ScheduleView { schedule, state })
}

/// The schedule of that name in the namespace of that name.
pub fn find_schedule(
    reader: &dyn Reader,
    namespace_name: &str,
    name: &str,
) -> Option<ScheduleView> {
    let ns = namespace(reader, namespace_name)?;
    schedule(reader, ns, value(reader, &keys::schedule_name(ns, name))?)
}

/// Up to `limit` schedules in the order of their names, and where to go on. `None` where the
/// namespace does not exist.
pub fn list_schedules(
    reader: &dyn Reader,
    name: &str,
    cursor: Option<&Bytes>,
    limit: usize,
) -> Option<(Vec<ScheduleView>, Option<Bytes>)> {
    let ns = namespace(reader, name)?;
    let prefix = keys::Key::new(keys::SCHEDULE_NAME).namespace(ns).done();
    let from = cursor.map_or(&prefix[..], |cursor| (&cursor[..]).max(&prefix[..]));
    let (mut schedules, mut next) = (Vec::new(), None);
    reader.scan(from, &keys::after_prefix(&prefix), &mut |key, id| {
        if schedules.len() >= limit {
            next = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        let id = ScheduleId::from_bytes(id).ok();
        schedules.extend(id.and_then(|id| schedule(reader, ns, id)));
        ControlFlow::Continue(())
    });
    Some((schedules, next))
}
