//! Publishes and settlements in one commit.

use std::collections::BTreeSet;

use super::settle::entered;
use crate::ids::NamespaceId;
use crate::message::{
    BodyRef, MessageAnswer, MessageSettlement, MessageTag, MessageTransaction, Published, Refused,
    Settling, TakenBy,
};
use crate::moment::Moment;
use crate::rejection::Rejection;
use crate::turn::Turn;

impl Turn {
    /// Carries out a transaction, or refuses it whole.
    pub(super) fn transact(
        &mut self,
        ns: NamespaceId,
        transaction: &MessageTransaction,
        moment: Moment,
    ) -> Result<MessageAnswer, Rejection> {
        let settling = self.settling(ns, transaction)?;
        let publishes = &transaction.publishes;
        let new = (&publishes[..], &transaction.enqueues[..]);
        let decided = match self.state.decide_transaction(ns, new, &settling, moment) {
            Ok(decided) => decided,
            Err(Refused { at, rejection }) => {
                // Nothing of it happens, except that a message which a full queue refused may
                // leave its letter. A queue that is full only by the rest of the transaction has
                // refused nothing.
                if matches!(rejection, Rejection::QueueFull { .. })
                    && let Some(message) = at.and_then(|at| publishes.get(at))
                    && let Err(Rejection::QueueFull { queue, .. }) =
                        &self.state.decide_publication(ns, message, moment)
                {
                    self.leave_refused_letters(ns, message, queue, moment);
                    self.enforce_lengths(moment);
                }
                return Err(rejection);
            }
        };
        // There is nobody to bring back to what no queue takes.
        let alone = transaction.connection.is_none();
        let taken = publishes.iter().zip(&decided.published);
        for (message, came) in taken.filter(|(message, _)| alone && message.mandatory) {
            if *came == Published::Unroutable {
                return Err(Rejection::QueueUnknown { queue: message.routing_key.clone() });
            }
        }
        let queues = entered(&decided.records);
        self.try_record(decided.records)?;
        self.lost.jobs_dropped += decided.jobs_dropped;
        self.lost.events_dropped += decided.events_dropped;
        // Those of queues that were deleted since as well: the connection names them no more.
        if let Some(connection) = transaction.connection {
            for (tag, _) in &transaction.settlements {
                self.takers.release(connection, *tag);
            }
        }
        for tag in decided.uncounted {
            self.state.messages.give_back(tag);
            self.state.messages.note_fresh([tag.queue]);
        }
        self.note_lengths(&queues);
        self.enforce_lengths(moment);
        Ok(MessageAnswer::Transacted(decided.published, decided.enqueued))
    }

    /// The settled messages that the connection has. Those of a deleted queue count as settled. If
    /// it has lost one for another reason, the transaction is not what it was meant to be, and is
    /// refused.
    fn settling(
        &self,
        ns: NamespaceId,
        transaction: &MessageTransaction,
    ) -> Result<Vec<Settling>, Rejection> {
        let mut seen = BTreeSet::new();
        let MessageTransaction { settlements, leased, .. } = transaction;
        let mut settling = Vec::with_capacity(settlements.len() + leased.len());
        for MessageSettlement { message, token, verdict } in leased {
            let (tag, body) = self.leased_tag(ns, message, *token)?;
            if !seen.insert(tag) {
                return Err(self.message_unknown(tag));
            }
            settling.push(Settling { tag, body, verdict: *verdict, leased: true });
        }
        for (tag, verdict) in &transaction.settlements {
            if self.state.queues.get(tag.queue).is_none() {
                continue;
            }
            let body = self.unsettled_body(transaction, *tag).filter(|_| seen.insert(*tag));
            let body = body.ok_or_else(|| self.message_unknown(*tag))?;
            settling.push(Settling { tag: *tag, body, verdict: *verdict, leased: false });
        }
        Ok(settling)
    }

    /// The body of a message that the connection has.
    fn unsettled_body(&self, transaction: &MessageTransaction, tag: MessageTag) -> Option<BodyRef> {
        let unsettled = self.state.messages.find_unsettled(tag)?;
        match unsettled.by {
            TakenBy::Connection(by, _) if Some(by) == transaction.connection => {
                Some(unsettled.body)
            }
            _ => None,
        }
    }
}
