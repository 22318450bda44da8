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
//! | 200  | stream u32                                             | `Stream`                 |
//! | 201  | partition u64                                          | `PartitionEnds`          |
//! | 202  | partition u64, producer u64                            | `ProducerMark`           |
//! | 203  | namespace u32, counted group, stream u32, index u32    | `KeptOffset`             |

use crate::ids::{
    BodyId, JobId, KindId, NamespaceId, OperationId, PartitionId, Place, QueueId, StreamId, TimeMs,
};
use crate::queueing::LaneId;
use crate::timer::Subject;

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
pub(crate) const STREAM: u8 = 200;
pub(crate) const PARTITION: u8 = 201;
pub(crate) const PRODUCER: u8 = 202;
pub(crate) const GROUP_OFFSET: u8 = 203;

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

/// The 16 bytes of a job id that begin at `at`.
pub(crate) fn id_at(key: &[u8], at: usize) -> Option<JobId> {
    key.get(at..at + 16)?.try_into().ok().map(JobId)
}

/// The big-endian `u64` that begins at `at`.
pub(crate) fn u64_at(key: &[u8], at: usize) -> Option<u64> {
    key.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
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
            STREAM,
            PARTITION,
            PRODUCER,
            GROUP_OFFSET,
        ];
        assert_eq!(named, used);
    }
}
