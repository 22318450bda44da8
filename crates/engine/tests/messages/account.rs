//! What the clients of a shard know: what they published, got and settled, and what they were
//! promised.

use std::collections::BTreeMap;

use longshore_engine::{ConnectionId, MessageDelivery, Token};

/// Who has a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Has {
    Connection(ConnectionId),
    Lease(Token),
}

/// One message in one queue. Its body names it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Its publisher heard that it is there.
    pub(crate) confirmed: bool,
    /// Somebody asked to settle it for good.
    pub(crate) ending: bool,
    /// And heard that it is.
    pub(crate) ended: bool,
    /// Somebody got it.
    pub(crate) delivered: bool,
    pub(crate) has: Option<Has>,
    pub(crate) priority: u8,
    /// It is routed later than it was published: in no order with others.
    pub(crate) delayed: bool,
    /// It came back, or may have, since it was delivered: its order is not that of a new one.
    pub(crate) returned: bool,
    /// How often it went back as far as the account knows: it may end by that.
    pub(crate) returns: u32,
}

/// A queue as its clients know it.
#[derive(Debug, Default)]
pub(crate) struct RefQueue {
    pub(crate) messages: BTreeMap<u64, Known>,
    pub(crate) limit: Option<u32>,
    /// The last one that was delivered for the first time, of each priority.
    pub(crate) last: BTreeMap<u8, u64>,
}

impl RefQueue {
    /// A message arrives at whoever has it from now on.
    pub(crate) fn arrives(&mut self, got: &MessageDelivery, has: Has) -> Result<(), String> {
        let number = number(got);
        let Some(known) = self.messages.get_mut(&number) else {
            return Err(format!("{number} was never published to {}", got.queue));
        };
        if known.ended {
            let (queue, returns) = (&got.queue, known.returns);
            return Err(format!("{number} comes again to {queue} after its ack ({returns})"));
        }
        if let Some(other) = known.has {
            return Err(format!("{number} of {} is with {other:?} and with {has:?}", got.queue));
        }
        if known.delivered && !got.redelivered {
            return Err(format!("{number} of {} is not told to come again", got.queue));
        }
        if !known.delivered && !got.redelivered && !known.delayed {
            let last = self.last.entry(known.priority).or_default();
            if *last > number {
                return Err(format!("{number} of {} comes after {last}", got.queue));
            }
            *last = number;
        }
        known.delivered = true;
        known.has = Some(has);
        Ok(())
    }

    /// A message was acked before it was delivered, and arrived at nobody.
    pub(crate) fn gone(&mut self, got: &MessageDelivery) {
        if let Some(known) = self.messages.get_mut(&number(got)) {
            known.ending = true;
        }
    }

    /// All who had something have it no longer.
    pub(crate) fn crash(&mut self) {
        self.last.clear();
        for known in self.messages.values_mut() {
            known.returned = true;
            if matches!(known.has, Some(Has::Connection(_))) {
                known.has = None;
            }
        }
    }

    /// What has to be there still.
    pub(crate) fn owed(&self) -> Vec<u64> {
        // Leases that run out and deliveries that nobody heard count towards a limit, unseen: what
        // such a queue drops is not known.
        let owed = self
            .messages
            .iter()
            .filter(|(_, known)| self.limit.is_none() && known.confirmed && !known.ending);
        owed.map(|(number, _)| *number).collect()
    }
}

/// The number that a message has from its publisher.
pub(crate) fn number(got: &MessageDelivery) -> u64 {
    let body = std::str::from_utf8(&got.message.body).unwrap();
    body.trim_end_matches('.').parse().unwrap()
}
