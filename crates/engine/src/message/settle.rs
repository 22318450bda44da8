//! How messages leave whoever has them: what is recorded when they are done with or go back.

use std::collections::BTreeMap;

use super::{MessageEnd, MessageTag, Slot};
use crate::ids::{NamespaceId, QueueId};
use crate::map::OrderedMap;
use crate::record::Record;
use crate::state::State;

/// Messages of one record at most.
const PER_RECORD: usize = 256;

/// Ends of messages, gathered into as few records as may be.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    ended: BTreeMap<(QueueId, u8), (MessageEnd, Vec<Slot>, u64)>,
    returned: BTreeMap<QueueId, Vec<Slot>>,
}

impl Ends {
    /// A message is gone.
    pub(crate) fn end(&mut self, tag: MessageTag, bytes: u64, end: MessageEnd) {
        let entry = self.ended.entry((tag.queue, end as u8));
        let (_, slots, total) = entry.or_insert_with(|| (end, Vec::new(), 0));
        slots.push(tag.slot());
        *total += bytes;
    }

    /// A message goes back, which counts.
    pub(crate) fn give_back(&mut self, tag: MessageTag) {
        self.returned.entry(tag.queue).or_default().push(tag.slot());
    }

    /// The records of all.
    pub(crate) fn into_records(self, namespace: NamespaceId) -> Vec<Record> {
        let mut records = Vec::new();
        for ((queue, _), (end, entries, bytes)) in self.ended {
            records.push(Record::MessagesEnded { namespace, queue, entries, bytes, end });
        }
        for (queue, slots) in self.returned {
            for entries in slots.chunks(PER_RECORD) {
                let entries = entries.to_vec();
                records.push(Record::MessagesReturned { namespace, queue, entries });
            }
        }
        records
    }
}

impl<M: OrderedMap> State<M> {
    /// What becomes of a message that its consumer does not keep and wants back in its queue:
    /// where it came back too often it ends.
    pub(crate) fn decide_return(
        &self,
        ns: NamespaceId,
        tag: MessageTag,
        bytes: u64,
        ends: &mut Ends,
    ) {
        let settings = self.queues.get(tag.queue).and_then(|it| it.settings.messages.as_deref());
        let limit = settings.and_then(|settings| settings.delivery_limit);
        if limit.is_some_and(|limit| self.returns(ns, tag) >= limit) {
            ends.end(tag, bytes, MessageEnd::DeliveryLimit);
        } else {
            ends.give_back(tag);
        }
    }
}
