//! The catalogue of keys: everything that the state tree holds. First bytes are permanent:
//! retired, never reused. Integers are big-endian, so that keys sort as the values do.
//!
//! | byte | key                                                    | value                    |
//! | ---- | ------------------------------------------------------ | ------------------------ |
//! | 0    | -: the store's own                                     | position of the state    |
//! | 1    | -                                                      | `Meta`                   |
//! | 2    | namespace u32                                          | `Namespace`              |
//! | 3    | queue u32                                              | `Queue` but its counts   |
//! | 4    | kind u32                                               | `Kind`                   |
//! | 5    | namespace u32, id 16                                   | `Job`                    |
//! | 6    | namespace u32, queue u32, 255 - priority u8, part u16, |                          |
//! |      | kind u32, available at u64, place u64                  | id: waits in a lane      |
//! | 7    | namespace u32, id 16                                   | `Lease`                  |
//! | 8    | namespace u32, counted ordering key, place u64         | id: unfinished, of a key |
//! | 9    | namespace u32, counted ordering key                    | place of the key's head  |
//! | 10   | namespace u32, queue u32, ended at u64, id 16          | size: a dead job         |
//! | 11   | namespace u32, forget at u64, first id 16              | ids and sizes: outcomes  |
//! | 12   | instant u64, number u8 and key of a `Subject`; a job's | -: look at it then       |
//! |      | is namespace u32, id 16                                |                          |
//! | 13   | namespace u32, queue u32, second u64                   | `DueCount`               |
//! | 14   | namespace u32, id 16, attempt u32                      | `AttemptNote`            |
//! | 15   | body u64                                               | the bytes                |
//! | 16   | namespace u32, id 16                                   | `Tombstone`              |
//! | 17   | namespace u32, forget at u64, id 16                    | -: a tombstone's turn    |
//! | 18   | namespace u32, counted worker, counted session         | `Session`                |
//! | 19   | operation u64                                          | `Operation`              |
//! | 20   | namespace u32, queue u32, place u64                    | id: waits aside, since a |
//! |      |                                                        | key blocks it            |
//! | 21   | namespace u32, id 16                                   | `Checkpoint`             |
//! | 22   | namespace u32, id 16, index u32                        | `SkippedItem`            |
//! | 23   | queue u32                                              | `QueueCounts`            |
//! | 24   | namespace u32                                          | `Kept`                   |
//! | 25   | namespace u32, id 16                                   | -: paused                |
//! | 26   | namespace u32, counted name                            | number of that queue     |
//! | 100  | namespace u32, queue u32, 255 - priority u8, place u64 | `Stored`: a message      |
//! | 101  | likewise                                               | how often it came back   |
//! | 102  | likewise                                               | `MessageLease`           |
//! | 103  | exchange u32                                           | `Exchange`               |
//! | 104  | namespace u32, source exchange u32, number u8 and u32  | -: a binding             |
//! |      | of the `Destination`, `Binding`                        |                          |
//! | 105  | namespace u32, number u8 and u32 of the `Destination`, | -: likewise, by where it |
//! |      | source exchange u32, `Binding`                         | leads                    |
//! | 106  | namespace u32, number u8 and u32 of a `Destination`    | -: deleted, not empty    |
//! | 107  | instant u64, namespace u32, queue u32, 255 - priority  | -: the message expires   |
//! |      | u8, place u64                                          | then                     |
//! | 108  | instant u64, place u64                                 | `Delayed`: a message     |
//! |      |                                                        | that is published then   |
//! | 109  | namespace u32, counted name                            | `Policy`                 |
//! | 130  | namespace u32, schedule u64                            | `Schedule`               |
//! | 131  | namespace u32, name                                    | number of that schedule  |
//! | 132  | namespace u32, schedule u64                            | `ScheduleState`          |
//! | 150  | namespace u32, key 16, beginning of a period u64, or 0 | id: has that unique key  |
//! | 151  | namespace u32, queue u32, 255 - priority u8, part u16, |                          |
//! |      | kind u32, counted limit, counted key, available at     |                          |
//! |      | u64, place u64                                         | id: waits in a line      |
//! | 152  | namespace u32, counted limit, counted key, queue u32,  | available at and place   |
//! |      | 255 - priority u8, part u16, kind u32                  | of the line's first      |
//! | 153  | namespace u32, counted limit                           | `LimitSettings`          |
//! | 154  | namespace u32, counted limit, counted key              | `LimitBudget`            |
//! | 155  | instant u64, namespace u32, counted limit, counted key | -: the budget comes back |
//! | 156  | namespace u32, counted limit, counted key              | -: nothing of it is left |
//! | 170  | body u64                                               | how many hold it, u32,   |
//! |      |                                                        | where more than one do   |
//! | 171  | namespace u32, 1 where closed u8, counted name         | `Gate`                   |
//! | 172  | namespace u32, set u16                                 | names: gates of jobs     |
//! | 234  | namespace u32, set u16                                 | how many jobs need that  |
//! |      |                                                        | set of gates, u64        |
//! | 173  | namespace u32, counted tag                             | `Hold`                   |
//! | 174  | namespace u32, counted tag, id 16                      | -: waits aside for it    |
//! | 175  | namespace u32, id 16                                   | that tag                 |
//! | 176  | namespace u32, counted tag, id 16                      | `LostRun`                |
//! | 180  | namespace u32, counted name                            | `KindSettings`           |
//! | 185  | namespace u32, counted tag                             | how many runs were lost, |
//! |      |                                                        | where not all are kept   |
//! | 190  | namespace u32, queue u32, 255 - priority u8, counted   | `TenantTurn`             |
//! |      | tenant                                                 |                          |
//! | 191  | namespace u32, queue u32, 255 - priority u8, counted   | slot of a line's first,  |
//! |      | tenant, part u16, kind u32                             | and where it stands      |
//! | 192  | namespace u32, queue u32, 255 - priority u8, part u16, |                          |
//! |      | kind u32, counted tenant, available at u64, place u64  | id: waits in a line      |
//! | 193  | namespace u32, queue u32, available at u64, place u64  | -: first of a line       |
//! | 194  | namespace u32, counted name                            | `Sla`                    |
//! | 195  | namespace u32, counted name, minute u64                | `SlaCount`               |
//! | 218  | namespace u32, counted limit                           | `LimitChange`            |
//! | 219  | namespace u32, counted name                            | minute: those before it  |
//! |      |                                                        | in 195 are to be removed |
//! | 220  | namespace u32, queue u32, 255 - priority u8, part u16, |                          |
//! |      | kind u32, counted tenant, count u8 of: counted limit   | id: waits in a line of   |
//! |      | and key; available at u64, place u64                   | several keys             |
//! | 221  | namespace u32, queue u32, 255 - priority u8, counted   | `LineAt`                 |
//! |      | tenant, part u16, kind u32, count u8 of: limit and key |                          |
//! | 222  | namespace u32, counted limit, counted key, queue u32,  | id of the first of a     |
//! |      | 255 - priority u8, part u16, kind u32, slot where the  | line that stands under   |
//! |      | line stands                                            | that key                 |
//! | 200  | stream u32                                             | `Stream`                 |
//! | 201  | partition u64                                          | `PartitionEnds`          |
//! | 202  | partition u64, producer u64                            | `ProducerMark`           |
//! | 203  | namespace u32, counted group, stream u32, index u32    | `KeptOffset`             |
//! | 204  | namespace u32, counted transactional id                | `Transactional`          |
//! | 205  | producer u64, partition u64                            | `OpenPartition`          |
//! | 206  | producer u64, counted group, stream u32, index u32     | `CommittedOffset`        |
//! | 207  | partition u64, offset of the marker u64                | `Aborted`                |
//! | 251  | partition u64, key of events                           | `KeyEvents`              |
//! | 210  | name                                                   | `Account`                |
//! | 211  | number u64                                             | `AuditEntry`             |
//! | 212  | SHA-256 of account, namespace and key                  | `KeptAnswer`             |
//! | 213  | number u64                                             | `AnswerNote`             |

mod lines;

pub(crate) use lines::*;

use crate::ids::{
    BodyId, ExchangeId, JobId, KindId, NamespaceId, OperationId, PartitionId, Place, QueueId,
    ScheduleId, StreamId, TimeMs,
};
use crate::message::{Binding, Destination, MessageTag};
use crate::queueing::{LaneId, Slot};
use crate::timer::Subject;
use crate::wire::Wire;

pub(crate) const META: u8 = 1;
pub(crate) const NAMESPACE: u8 = 2;
pub(crate) const QUEUE: u8 = 3;
pub(crate) const KIND: u8 = 4;
pub(crate) const JOB: u8 = 5;
pub(crate) const LANE: u8 = 6;
pub(crate) const LEASE: u8 = 7;
pub(crate) const KEYED: u8 = 8;
pub(crate) const KEY_HEAD: u8 = 9;
pub(crate) const DEAD: u8 = 10;
pub(crate) const ENDED: u8 = 11;
pub(crate) const TIMER: u8 = 12;
pub(crate) const DUE: u8 = 13;
pub(crate) const ATTEMPT: u8 = 14;
pub(crate) const BODY: u8 = 15;
pub(crate) const TOMBSTONE: u8 = 16;
pub(crate) const TOMBSTONE_ORDER: u8 = 17;
pub(crate) const SESSION: u8 = 18;
pub(crate) const OPERATION: u8 = 19;
pub(crate) const BLOCKED: u8 = 20;
pub(crate) const CHECKPOINT: u8 = 21;
pub(crate) const SKIPPED: u8 = 22;
pub(crate) const QUEUE_COUNTS: u8 = 23;
pub(crate) const NAMESPACE_KEPT: u8 = 24;
pub(crate) const PAUSED: u8 = 25;
pub(crate) const QUEUE_NAME: u8 = 26;
pub(crate) const MESSAGE: u8 = 100;
pub(crate) const RETURNS: u8 = 101;
pub(crate) const MESSAGE_LEASE: u8 = 102;
pub(crate) const EXCHANGE: u8 = 103;
pub(crate) const BINDING: u8 = 104;
pub(crate) const BINDING_TO: u8 = 105;
pub(crate) const EMPTYING: u8 = 106;
pub(crate) const EXPIRY: u8 = 107;
pub(crate) const DELAYED: u8 = 108;
pub(crate) const POLICY: u8 = 109;
pub(crate) const SCHEDULE: u8 = 130;
pub(crate) const SCHEDULE_NAME: u8 = 131;
pub(crate) const SCHEDULE_STATE: u8 = 132;
pub(crate) const UNIQUE: u8 = 150;
pub(crate) const LIMITED: u8 = 151;
pub(crate) const LIMIT_LINE: u8 = 152;
pub(crate) const LIMIT: u8 = 153;
pub(crate) const LIMIT_BUDGET: u8 = 154;
pub(crate) const LIMIT_REFILL: u8 = 155;
pub(crate) const LIMIT_SPENT: u8 = 156;
pub(crate) const BODY_HOLDERS: u8 = 170;
pub(crate) const GATE: u8 = 171;
pub(crate) const GATE_SET: u8 = 172;
pub(crate) const GATE_SET_JOBS: u8 = 234;
pub(crate) const HOLD: u8 = 173;
pub(crate) const HELD_BACK: u8 = 174;
pub(crate) const HELD_BACK_JOB: u8 = 175;
pub(crate) const LOST_RUN: u8 = 176;
pub(crate) const KIND_SET: u8 = 180;
pub(crate) const LOST_COUNT: u8 = 185;
pub(crate) const TENANT: u8 = 190;
pub(crate) const TENANT_LINE: u8 = 191;
pub(crate) const TENANTED: u8 = 192;
pub(crate) const TENANT_FIRST: u8 = 193;
pub(crate) const SLA: u8 = 194;
pub(crate) const SLA_MINUTE: u8 = 195;
pub(crate) const LIMIT_CHANGE: u8 = 218;
pub(crate) const SLA_LEFT: u8 = 219;
pub(crate) const LINED: u8 = 220;
pub(crate) const LINE: u8 = 221;
pub(crate) const LINE_UNDER: u8 = 222;

/// Where the name begins in the key of a gate.
pub(crate) const GATE_NAME_AT: usize = 6;
pub(crate) const STREAM: u8 = 200;
pub(crate) const PARTITION: u8 = 201;
pub(crate) const PRODUCER: u8 = 202;
pub(crate) const GROUP_OFFSET: u8 = 203;
pub(crate) const TRANSACTIONAL: u8 = 204;
pub(crate) const OPEN_PARTITION: u8 = 205;
pub(crate) const PENDING_OFFSET: u8 = 206;
pub(crate) const ABORTED: u8 = 207;
pub(crate) const KEY_EVENTS: u8 = 251;
pub(crate) const ACCOUNT: u8 = 210;
pub(crate) const AUDIT: u8 = 211;
pub(crate) const ANSWER: u8 = 212;
pub(crate) const ANSWER_NOTE: u8 = 213;

/// A key under construction.
#[derive(Debug)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn new(first: u8) -> Self {
        let mut bytes = Vec::with_capacity(40);
        bytes.push(first);
        Self(bytes)
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn namespace(self, id: NamespaceId) -> Self {
        self.u32(id.0)
    }

    pub(crate) fn id(mut self, id: JobId) -> Self {
        self.0.extend_from_slice(&id.0);
        self
    }

    /// Text with its length before it, so that no text is the beginning of another.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(&(text.len() as u16).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Text at the end of the key: such keys sort as the texts do.
    pub(crate) fn last(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// The first key after all that begin with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; 2]
}

/// The first key after `key`.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

pub(crate) fn meta() -> Vec<u8> {
    vec![META]
}

pub(crate) fn namespace(id: NamespaceId) -> Vec<u8> {
    Key::new(NAMESPACE).namespace(id).done()
}

pub(crate) fn queue(id: QueueId) -> Vec<u8> {
    Key::new(QUEUE).u32(id.0).done()
}

pub(crate) fn queue_name(ns: NamespaceId, name: &str) -> Vec<u8> {
    Key::new(QUEUE_NAME).namespace(ns).text(name).done()
}

pub(crate) fn queue_counts(id: QueueId) -> Vec<u8> {
    Key::new(QUEUE_COUNTS).u32(id.0).done()
}

pub(crate) fn namespace_kept(id: NamespaceId) -> Vec<u8> {
    Key::new(NAMESPACE_KEPT).namespace(id).done()
}

pub(crate) fn kind(id: KindId) -> Vec<u8> {
    Key::new(KIND).u32(id.0).done()
}

pub(crate) fn job(ns: NamespaceId, id: JobId) -> Vec<u8> {
    Key::new(JOB).namespace(ns).id(id).done()
}

pub(crate) fn lane_entry(
    ns: NamespaceId,
    lane: LaneId,
    available_at: TimeMs,
    place: Place,
) -> Vec<u8> {
    lane_prefix(ns, lane).u64(available_at.0).u64(place.0).done()
}

pub(crate) fn lane_prefix(ns: NamespaceId, lane: LaneId) -> Key {
    let key = Key::new(LANE).namespace(ns).u32(lane.queue.0).u8(lane.urgency);
    key.u16(lane.part.0).u32(lane.kind.0)
}

pub(crate) fn lease(ns: NamespaceId, id: JobId) -> Vec<u8> {
    Key::new(LEASE).namespace(ns).id(id).done()
}

pub(crate) fn keyed(ns: NamespaceId, ordering_key: &str, place: Place) -> Vec<u8> {
    Key::new(KEYED).namespace(ns).text(ordering_key).u64(place.0).done()
}

pub(crate) fn key_head(ns: NamespaceId, ordering_key: &str) -> Vec<u8> {
    Key::new(KEY_HEAD).namespace(ns).text(ordering_key).done()
}

pub(crate) fn dead(ns: NamespaceId, queue: QueueId, ended_at: TimeMs, id: JobId) -> Vec<u8> {
    Key::new(DEAD).namespace(ns).u32(queue.0).u64(ended_at.0).id(id).done()
}

pub(crate) fn ended(ns: NamespaceId, forget_at: TimeMs, id: JobId) -> Vec<u8> {
    Key::new(ENDED).namespace(ns).u64(forget_at.0).id(id).done()
}

pub(crate) fn timer(at: TimeMs, subject: Subject) -> Vec<u8> {
    subject.append_to(Key::new(TIMER).u64(at.0)).done()
}

/// The instant and the subject of a timer's key.
pub(crate) fn timer_of(key: &[u8]) -> Option<(TimeMs, Subject)> {
    Some((TimeMs(u64_at(key, 1)?), Subject::of_key(key.get(9..)?)?))
}

pub(crate) fn due(ns: NamespaceId, queue: QueueId, second: u64) -> Vec<u8> {
    Key::new(DUE).namespace(ns).u32(queue.0).u64(second).done()
}

pub(crate) fn attempt(ns: NamespaceId, id: JobId, attempt: u32) -> Vec<u8> {
    Key::new(ATTEMPT).namespace(ns).id(id).u32(attempt).done()
}

pub(crate) fn body(id: BodyId) -> Vec<u8> {
    Key::new(BODY).u64(id.0).done()
}

pub(crate) fn body_holders(id: BodyId) -> Vec<u8> {
    Key::new(BODY_HOLDERS).u64(id.0).done()
}

pub(crate) fn tombstone(ns: NamespaceId, id: JobId) -> Vec<u8> {
    Key::new(TOMBSTONE).namespace(ns).id(id).done()
}

pub(crate) fn tombstone_order(ns: NamespaceId, forget_at: TimeMs, id: JobId) -> Vec<u8> {
    Key::new(TOMBSTONE_ORDER).namespace(ns).u64(forget_at.0).id(id).done()
}

pub(crate) fn session(ns: NamespaceId, worker: &str, session: &str) -> Vec<u8> {
    Key::new(SESSION).namespace(ns).text(worker).text(session).done()
}

pub(crate) fn operation(id: OperationId) -> Vec<u8> {
    Key::new(OPERATION).u64(id.0).done()
}

pub(crate) fn blocked(ns: NamespaceId, queue: QueueId, place: Place) -> Vec<u8> {
    Key::new(BLOCKED).namespace(ns).u32(queue.0).u64(place.0).done()
}

pub(crate) fn checkpoint(ns: NamespaceId, id: JobId) -> Vec<u8> {
    Key::new(CHECKPOINT).namespace(ns).id(id).done()
}

pub(crate) fn skipped(ns: NamespaceId, id: JobId, index: u32) -> Vec<u8> {
    Key::new(SKIPPED).namespace(ns).id(id).u32(index).done()
}

pub(crate) fn paused(ns: NamespaceId, id: JobId) -> Vec<u8> {
    Key::new(PAUSED).namespace(ns).id(id).done()
}

pub(crate) fn delayed(at: TimeMs, place: Place) -> Vec<u8> {
    Key::new(DELAYED).u64(at.0).u64(place.0).done()
}

pub(crate) fn unique(ns: NamespaceId, key: [u8; 16], since: Option<TimeMs>) -> Vec<u8> {
    Key::new(UNIQUE).namespace(ns).id(JobId(key)).u64(since.map_or(0, |since| since.0)).done()
}

pub(crate) fn schedule(ns: NamespaceId, id: ScheduleId) -> Vec<u8> {
    Key::new(SCHEDULE).namespace(ns).u64(id.0).done()
}

pub(crate) fn schedule_name(ns: NamespaceId, name: &str) -> Vec<u8> {
    Key::new(SCHEDULE_NAME).namespace(ns).last(name).done()
}

pub(crate) fn schedule_state(ns: NamespaceId, id: ScheduleId) -> Vec<u8> {
    Key::new(SCHEDULE_STATE).namespace(ns).u64(id.0).done()
}

fn lane_of(key: Key, lane: LaneId) -> Key {
    key.u32(lane.queue.0).u8(lane.urgency).u16(lane.part.0).u32(lane.kind.0)
}

/// What the keys of the gates of a namespace begin with that are closed, or open.
pub(crate) fn gates(ns: NamespaceId, closed: bool) -> Vec<u8> {
    Key::new(GATE).namespace(ns).u8(closed.into()).done()
}

pub(crate) fn gate(ns: NamespaceId, closed: bool, name: &str) -> Vec<u8> {
    Key(gates(ns, closed)).text(name).done()
}

pub(crate) fn gate_set(ns: NamespaceId, set: u16) -> Vec<u8> {
    Key::new(GATE_SET).namespace(ns).u16(set).done()
}

pub(crate) fn gate_set_jobs(ns: NamespaceId, set: u16) -> Vec<u8> {
    Key::new(GATE_SET_JOBS).namespace(ns).u16(set).done()
}

pub(crate) fn hold(ns: NamespaceId, tag: &str) -> Vec<u8> {
    Key::new(HOLD).namespace(ns).text(tag).done()
}

/// What keys begin with that name the jobs that wait aside for a tag.
pub(crate) fn held_back(ns: NamespaceId, tag: &str) -> Vec<u8> {
    Key::new(HELD_BACK).namespace(ns).text(tag).done()
}

pub(crate) fn held_back_of(ns: NamespaceId, tag: &str, id: JobId) -> Vec<u8> {
    Key(held_back(ns, tag)).id(id).done()
}

pub(crate) fn held_back_job(ns: NamespaceId, id: JobId) -> Vec<u8> {
    Key::new(HELD_BACK_JOB).namespace(ns).id(id).done()
}

/// What keys begin with that name the runs of which nobody knows what became while a tag is held.
pub(crate) fn lost_runs(ns: NamespaceId, tag: &str) -> Vec<u8> {
    Key::new(LOST_RUN).namespace(ns).text(tag).done()
}

pub(crate) fn lost_run(ns: NamespaceId, tag: &str, id: JobId) -> Vec<u8> {
    Key(lost_runs(ns, tag)).id(id).done()
}

/// How many runs were lost while a tag is held, where not all of them have a key.
pub(crate) fn lost_count(ns: NamespaceId, tag: &str) -> Vec<u8> {
    Key::new(LOST_COUNT).namespace(ns).text(tag).done()
}

pub(crate) fn account(name: &str) -> Vec<u8> {
    Key::new(ACCOUNT).last(name).done()
}

pub(crate) fn audit(number: u64) -> Vec<u8> {
    Key::new(AUDIT).u64(number).done()
}

pub(crate) fn answer(key: &[u8; 32]) -> Vec<u8> {
    [&[ANSWER], &key[..]].concat()
}

pub(crate) fn answer_note(number: u64) -> Vec<u8> {
    Key::new(ANSWER_NOTE).u64(number).done()
}

pub(crate) fn sla(ns: NamespaceId, name: &str) -> Vec<u8> {
    Key::new(SLA).namespace(ns).text(name).done()
}

pub(crate) fn kind_set(ns: NamespaceId, name: &str) -> Vec<u8> {
    Key::new(KIND_SET).namespace(ns).text(name).done()
}

pub(crate) fn sla_left(ns: NamespaceId, name: &str) -> Vec<u8> {
    Key::new(SLA_LEFT).namespace(ns).text(name).done()
}

pub(crate) fn sla_minute(ns: NamespaceId, name: &str, minute: u64) -> Vec<u8> {
    Key::new(SLA_MINUTE).namespace(ns).text(name).u64(minute).done()
}

/// The counted text that begins at `at`, and where it ends.
pub(crate) fn text_at(key: &[u8], at: usize) -> Option<(String, usize)> {
    let length = u16::from_be_bytes(key.get(at..at + 2)?.try_into().ok()?);
    let end = at + 2 + usize::from(length);
    let text = std::str::from_utf8(key.get(at + 2..end)?).ok()?;
    Some((text.to_owned(), end))
}

/// Two counted texts, one after the other.
pub(crate) fn texts_at(key: &[u8], at: usize) -> Option<(String, String)> {
    let (first, end) = text_at(key, at)?;
    Some((first, text_at(key, end)?.0))
}

fn of_message(first: u8, ns: NamespaceId, tag: MessageTag) -> Vec<u8> {
    Key::new(first).namespace(ns).u32(tag.queue.0).u8(tag.urgency).u64(tag.place.0).done()
}

pub(crate) fn message(ns: NamespaceId, tag: MessageTag) -> Vec<u8> {
    of_message(MESSAGE, ns, tag)
}

pub(crate) fn returns(ns: NamespaceId, tag: MessageTag) -> Vec<u8> {
    of_message(RETURNS, ns, tag)
}

pub(crate) fn message_lease(ns: NamespaceId, tag: MessageTag) -> Vec<u8> {
    of_message(MESSAGE_LEASE, ns, tag)
}

pub(crate) fn expiry(at: TimeMs, ns: NamespaceId, tag: MessageTag) -> Vec<u8> {
    let key = Key::new(EXPIRY).u64(at.0).namespace(ns);
    key.u32(tag.queue.0).u8(tag.urgency).u64(tag.place.0).done()
}

/// What the keys of one lane of messages begin with.
pub(crate) fn message_lane(ns: NamespaceId, queue: QueueId, urgency: u8) -> Vec<u8> {
    Key::new(MESSAGE).namespace(ns).u32(queue.0).u8(urgency).done()
}

/// What keys of one sort begin with that are of one queue.
pub(crate) fn of_queue(first: u8, ns: NamespaceId, queue: QueueId) -> Vec<u8> {
    Key::new(first).namespace(ns).u32(queue.0).done()
}

pub(crate) fn policy(ns: NamespaceId, name: &str) -> Vec<u8> {
    Key::new(POLICY).namespace(ns).text(name).done()
}

pub(crate) fn exchange(id: ExchangeId) -> Vec<u8> {
    Key::new(EXCHANGE).u32(id.0).done()
}

impl Key {
    fn destination(self, to: Destination) -> Self {
        match to {
            Destination::Queue { id } | Destination::Jobs { id, .. } => self.u8(1).u32(id.0),
            Destination::Exchange { id } => self.u8(2).u32(id.0),
            Destination::Stream { id } => self.u8(3).u32(id.0),
        }
    }

    fn value(mut self, value: &impl Wire) -> Self {
        self.0.extend_from_slice(&value.to_bytes());
        self
    }
}

/// What keys of bindings begin with that lead from an exchange.
pub(crate) fn bindings_from(ns: NamespaceId, source: ExchangeId) -> Key {
    Key::new(BINDING).namespace(ns).u32(source.0)
}

/// What keys of bindings begin with that lead somewhere.
pub(crate) fn bindings_to(ns: NamespaceId, to: Destination) -> Key {
    Key::new(BINDING_TO).namespace(ns).destination(to)
}

pub(crate) fn binding(ns: NamespaceId, binding: &Binding) -> Vec<u8> {
    bindings_from(ns, binding.source).destination(binding.destination).value(binding).done()
}

pub(crate) fn binding_to(ns: NamespaceId, binding: &Binding) -> Vec<u8> {
    bindings_to(ns, binding.destination).u32(binding.source.0).value(binding).done()
}

pub(crate) fn emptying(ns: NamespaceId, what: Destination) -> Vec<u8> {
    Key::new(EMPTYING).namespace(ns).destination(what).done()
}

pub(crate) fn stream(id: StreamId) -> Vec<u8> {
    Key::new(STREAM).u32(id.0).done()
}

pub(crate) fn partition(id: PartitionId) -> Vec<u8> {
    Key::new(PARTITION).u64(id.0).done()
}

pub(crate) fn producer(partition: PartitionId, producer: u64) -> Vec<u8> {
    Key::new(PRODUCER).u64(partition.0).u64(producer).done()
}

pub(crate) fn group_prefix(ns: NamespaceId, group: &str) -> Vec<u8> {
    Key::new(GROUP_OFFSET).namespace(ns).text(group).done()
}

pub(crate) fn group_offset(ns: NamespaceId, group: &str, stream: StreamId, index: u32) -> Vec<u8> {
    let key = Key::new(GROUP_OFFSET).namespace(ns).text(group);
    key.u32(stream.0).u32(index).done()
}

pub(crate) fn transactional(ns: NamespaceId, id: &str) -> Vec<u8> {
    Key::new(TRANSACTIONAL).namespace(ns).text(id).done()
}

pub(crate) fn open_partition(producer: u64, partition: PartitionId) -> Vec<u8> {
    Key::new(OPEN_PARTITION).u64(producer).u64(partition.0).done()
}

pub(crate) fn pending_offset(producer: u64, group: &str, stream: StreamId, index: u32) -> Vec<u8> {
    Key::new(PENDING_OFFSET).u64(producer).text(group).u32(stream.0).u32(index).done()
}

pub(crate) fn key_events(partition: PartitionId, key: &[u8]) -> Vec<u8> {
    let mut bytes = Key::new(KEY_EVENTS).u64(partition.0).done();
    bytes.extend_from_slice(key);
    bytes
}

pub(crate) fn aborted(partition: PartitionId, last: u64) -> Vec<u8> {
    Key::new(ABORTED).u64(partition.0).u64(last).done()
}

/// The 16 bytes of a job id that begin at `at`.
pub(crate) fn id_at(key: &[u8], at: usize) -> Option<JobId> {
    key.get(at..at + 16)?.try_into().ok().map(JobId)
}

/// The big-endian `u64` that begins at `at`.
pub(crate) fn u64_at(key: &[u8], at: usize) -> Option<u64> {
    key.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

/// The slot at the end of a waiting entry's key.
pub(crate) fn slot_at_end(key: &[u8]) -> Slot {
    let at = key.len().checked_sub(16).expect("entries of lines end with their slots");
    let slot = || Some((TimeMs(u64_at(key, at)?), Place(u64_at(key, at + 8)?)));
    slot().expect("entries of lines end with their slots")
}

/// The big-endian `u32` that begins at `at`.
pub(crate) fn u32_at(key: &[u8], at: usize) -> Option<u32> {
    key.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the store keeps the position that its state has.
    const STORE: u8 = 0;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a line for each of them")]
    fn the_catalogue_names_every_first_byte() {
        let rows = include_str!("keys.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
        let named: Vec<u8> = rows.filter_map(|row| row.split(' ').next()?.parse().ok()).collect();
        let used = [
            STORE,
            META,
            NAMESPACE,
            QUEUE,
            KIND,
            JOB,
            LANE,
            LEASE,
            KEYED,
            KEY_HEAD,
            DEAD,
            ENDED,
            TIMER,
            DUE,
            ATTEMPT,
            BODY,
            TOMBSTONE,
            TOMBSTONE_ORDER,
            SESSION,
            OPERATION,
            BLOCKED,
            CHECKPOINT,
            SKIPPED,
            QUEUE_COUNTS,
            NAMESPACE_KEPT,
            PAUSED,
            QUEUE_NAME,
            MESSAGE,
            RETURNS,
            MESSAGE_LEASE,
            EXCHANGE,
            BINDING,
            BINDING_TO,
            EMPTYING,
            EXPIRY,
            DELAYED,
            POLICY,
            SCHEDULE,
            SCHEDULE_NAME,
            SCHEDULE_STATE,
            UNIQUE,
            LIMITED,
            LIMIT_LINE,
            LIMIT,
            LIMIT_BUDGET,
            LIMIT_REFILL,
            LIMIT_SPENT,
            BODY_HOLDERS,
            GATE,
            GATE_SET,
            GATE_SET_JOBS,
            HOLD,
            HELD_BACK,
            HELD_BACK_JOB,
            LOST_RUN,
            KIND_SET,
            LOST_COUNT,
            TENANT,
            TENANT_LINE,
            TENANTED,
            TENANT_FIRST,
            SLA,
            SLA_MINUTE,
            LIMIT_CHANGE,
            SLA_LEFT,
            LINED,
            LINE,
            LINE_UNDER,
            STREAM,
            PARTITION,
            PRODUCER,
            GROUP_OFFSET,
            TRANSACTIONAL,
            OPEN_PARTITION,
            PENDING_OFFSET,
            ABORTED,
            KEY_EVENTS,
            ACCOUNT,
            AUDIT,
            ANSWER,
            ANSWER_NOTE,
        ];
        assert_eq!(named, used);
    }
}
