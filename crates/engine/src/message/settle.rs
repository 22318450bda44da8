//! How messages leave whoever has them: what is recorded when they are done with or go back.

use std::collections::BTreeMap;

use super::{BodyRef, MessageEnd, MessageTag, Slot};
use crate::ids::{NamespaceId, QueueId};
use crate::record::Record;
use crate::state::State;

/// Messages of one record at most.
const PER_RECORD: usize = 256;

/// Messages of one queue that ended in one way.
#[derive(Debug)]
struct Ended {
    end: MessageEnd,
    entries: Vec<(Slot, BodyRef)>,
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
        let ended = entry.or_insert_with(|| Ended { end, entries: Vec::new() });
        ended.entries.push((tag.slot(), body));
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
        for ((queue, _), Ended { end, entries: ended }) in self.ended {
            for some in ended.chunks(PER_RECORD) {
                let entries = some.iter().map(|(slot, _)| *slot).collect();
                let bytes = some.iter().map(|(_, body)| body.bytes).sum();
                let bodies = some.iter().filter_map(|(_, body)| body.apart).collect();
                let ended = Record::MessagesEnded { namespace, queue, entries, bytes, end, bodies };
                records.push(ended);
            }
        }
        for (queue, slots) in self.returned {
            for entries in slots.chunks(PER_RECORD) {
                let entries = entries.to_vec();
                records.push(Record::MessagesReturned { namespace, queue, entries });
            }
        }
        for (queue, slots) in self.untaken {
            for entries in slots.chunks(PER_RECORD) {
                let entries = entries.to_vec();
                records.push(Record::MessagesUntaken { namespace, queue, entries });
            }
        }
        records
    }
}

impl State {
    /// Whether a message that its consumer does not keep may go back once more.
    pub(crate) fn may_return(&self, ns: NamespaceId, tag: MessageTag) -> bool {
        let settings = self.message_settings(tag.queue);
        let limit = settings.and_then(|settings| settings.delivery_limit);
        limit.is_none_or(|limit| self.returns(ns, tag) < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BodyId, Place};

    #[test]
    fn many_ends_are_records_of_bounded_size_with_their_own_bytes_and_bodies() {
        let mut ends = Ends::default();
        for place in 0..600 {
            let tag = MessageTag { queue: QueueId(1), urgency: 255, place: Place(place) };
            let apart = (place % 2 == 0).then_some(BodyId(place));
            ends.end(tag, BodyRef { bytes: 3, apart }, MessageEnd::Acked);
        }
        let records = ends.into_records(NamespaceId(1));
        let sizes: Vec<_> = records
            .iter()
            .map(|record| match record {
                Record::MessagesEnded { entries, bytes, bodies, .. } => {
                    (entries.len(), *bytes, bodies.len())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sizes, [(256, 768, 128), (256, 768, 128), (88, 264, 44)]);
    }
}
