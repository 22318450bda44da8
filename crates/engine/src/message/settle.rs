//! How messages leave whoever has them: what is recorded when they are done with or go back.

use std::collections::BTreeMap;

use super::{BodyRef, MessageEnd, MessageTag, Slot};
use crate::ids::{BodyId, NamespaceId, QueueId};
use crate::map::OrderedMap;
use crate::record::Record;
use crate::state::State;

/// Messages of one record at most.
const PER_RECORD: usize = 256;

/// Messages of one queue that ended in one way.
#[derive(Debug)]
struct Ended {
    end: MessageEnd,
    entries: Vec<Slot>,
    bytes: u64,
    bodies: Vec<BodyId>,
}

/// Ends of messages, gathered into as few records as may be.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    ended: BTreeMap<(QueueId, u8), Ended>,
    returned: BTreeMap<QueueId, Vec<Slot>>,
    untaken: BTreeMap<QueueId, Vec<Slot>>,
}

impl Ends {
    /// A message is gone.
    pub(crate) fn end(&mut self, tag: MessageTag, body: BodyRef, end: MessageEnd) {
        let entry = self.ended.entry((tag.queue, end as u8));
        let none = || Ended { end, entries: Vec::new(), bytes: 0, bodies: Vec::new() };
        let ended = entry.or_insert_with(none);
        ended.entries.push(tag.slot());
        ended.bytes += body.bytes;
        ended.bodies.extend(body.apart);
    }

    /// A message goes back, which counts.
    pub(crate) fn give_back(&mut self, tag: MessageTag) {
        self.returned.entry(tag.queue).or_default().push(tag.slot());
    }

    /// A message that came to nobody goes back, which does not count.
    pub(crate) fn untaken(&mut self, tag: MessageTag) {
        self.untaken.entry(tag.queue).or_default().push(tag.slot());
    }

    /// The records of all.
    pub(crate) fn into_records(self, namespace: NamespaceId) -> Vec<Record> {
        let mut records = Vec::new();
        for ((queue, _), Ended { end, entries, bytes, bodies }) in self.ended {
            records.push(Record::MessagesEnded { namespace, queue, entries, bytes, end, bodies });
        }
        for (queue, slots) in self.returned {
            for entries in slots.chunks(PER_RECORD) {
                let entries = entries.to_vec();
                records.push(Record::MessagesReturned { namespace, queue, entries });
            }
        }
        for (queue, entries) in self.untaken {
            records.push(Record::MessagesUntaken { namespace, queue, entries });
        }
        records
    }
}

impl<M: OrderedMap> State<M> {
    /// Whether a message that its consumer does not keep may go back once more.
    pub(crate) fn may_return(&self, ns: NamespaceId, tag: MessageTag) -> bool {
        let settings = self.queues.get(tag.queue).and_then(|it| it.settings.messages.as_deref());
        let limit = settings.and_then(|settings| settings.delivery_limit);
        limit.is_none_or(|limit| self.returns(ns, tag) < limit)
    }
}
