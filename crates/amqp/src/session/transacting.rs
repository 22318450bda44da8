//! Transactions of channels: what is published and settled waits here for the commit, and goes to
//! the engine as one command.

use std::collections::BTreeMap;

use longshore_engine::{
    MessageCommand, MessageTransaction, MessageVerdict, PublishMessage, Published, Rejection,
};

use super::asking::Then;
use super::channel::Unsettled;
use super::publishing::{Outgoing, Returned};
use super::{Session, Unanswered};
use crate::codec::methods::{TxCommitOk, TxRollbackOk, TxSelectOk};
use crate::failure::{Code, Failure, of_rejection};

/// Messages that one transaction publishes and settles at most: it is one step of its shard.
const PARTS_MAX: usize = 10_000;
/// What a settlement takes, about.
const SETTLEMENT_BYTES: u64 = 64;
/// The classes and methods that are told where a transaction is refused.
const PUBLISH: (u16, u16) = (60, 40);
const COMMIT: (u16, u16) = (90, 20);

/// Messages that are settled, by their delivery tags.
type Settled = BTreeMap<u64, (Unsettled, MessageVerdict)>;

/// What a channel has done since its last commit.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    publishes: Vec<PublishMessage>,
    settled: Settled,
    bytes: u64,
}

/// A transaction that is with the engine.
#[derive(Debug)]
pub(super) struct Committing {
    /// What goes back where no queue takes it.
    mandatory: Vec<Option<Box<Returned>>>,
    settled: Settled,
    bytes: u64,
}

impl Transaction {
    /// Ends it: bytes that it held, and what it would have settled.
    pub(super) fn forget(self) -> (u64, impl Iterator<Item = (u64, Unsettled)>) {
        (self.bytes, self.settled.into_iter().map(|(tag, (one, _))| (tag, one)))
    }
}

impl Session {
    pub(super) fn begin_transactions(&mut self, number: u16) -> Result<(), Failure> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        if channel.confirms.is_some() {
            let text = "cannot switch from confirm to tx mode";
            return Err(Failure::new(Code::PreconditionFailed, text));
        }
        channel.transaction.get_or_insert_default();
        self.out.method(number, &TxSelectOk {}.into());
        Ok(())
    }

    /// A message waits for the commit.
    pub(super) fn publish_later(&mut self, number: u16, outgoing: Outgoing) {
        self.forget_outgoing(&outgoing);
        let (message, bytes) = outgoing.into_message();
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let Some(transaction) = &mut channel.transaction else { return };
        transaction.publishes.push(message);
        transaction.bytes += bytes;
        self.transaction_bytes += bytes;
        if let Err(failure) = self.check_transaction(number) {
            self.fail(number, &failure.of(PUBLISH));
        }
    }

    /// Messages are settled with the commit.
    pub(super) fn settle_later(
        &mut self,
        number: u16,
        settled: BTreeMap<u64, Unsettled>,
        verdict: MessageVerdict,
    ) -> Result<(), Failure> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let Some(transaction) = &mut channel.transaction else { return Ok(()) };
        let bytes = SETTLEMENT_BYTES * settled.len() as u64;
        transaction.settled.extend(settled.into_iter().map(|(tag, one)| (tag, (one, verdict))));
        transaction.bytes += bytes;
        self.transaction_bytes += bytes;
        self.check_transaction(number)
    }

    /// A transaction ends sooner or later: memory waits for it meanwhile.
    fn check_transaction(&self, number: u16) -> Result<(), Failure> {
        let bytes_max = 2 * self.settings.message_bytes_max;
        let transaction =
            self.channels.get(&number).and_then(|channel| channel.transaction.as_ref());
        let parts = transaction.map_or(0, |it| it.publishes.len() + it.settled.len());
        if parts > PARTS_MAX {
            let text = format!("a transaction of more than {PARTS_MAX} messages");
            return Err(Failure::new(Code::PreconditionFailed, text));
        }
        if self.transaction_bytes > bytes_max {
            let text = format!("transactions of more than {bytes_max} octets in a connection");
            return Err(Failure::new(Code::PreconditionFailed, text));
        }
        Ok(())
    }

    pub(super) fn commit(&mut self, number: u16) -> Result<(), Failure> {
        let connection = self.settings.connection;
        let transaction = self.transaction(number)?;
        let Transaction { publishes, settled, bytes } = std::mem::take(transaction);
        if publishes.is_empty() && settled.is_empty() {
            self.out.method(number, &TxCommitOk {}.into());
            return Ok(());
        }
        let mandatory = publishes.iter().map(Returned::of).collect();
        let settlements = settled.values().map(|(one, verdict)| (one.tag, *verdict)).collect();
        let (leased, enqueues) = (Vec::new(), Vec::new());
        let connection = Some(connection);
        let transaction =
            MessageTransaction { connection, publishes, settlements, leased, enqueues };
        let then = Then::Committed(Box::new(Committing { mandatory, settled, bytes }));
        self.call_for(number, COMMIT, MessageCommand::Transact(Box::new(transaction)), then);
        Ok(())
    }

    pub(super) fn roll_back(&mut self, number: u16) -> Result<(), Failure> {
        let transaction = std::mem::take(self.transaction(number)?);
        let (bytes, settled) = transaction.forget();
        self.transaction_bytes -= bytes;
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.unsettled.extend(settled);
        }
        self.out.method(number, &TxRollbackOk {}.into());
        Ok(())
    }

    fn transaction(&mut self, number: u16) -> Result<&mut Transaction, Failure> {
        let channel = self.channels.get_mut(&number);
        channel
            .and_then(|channel| channel.transaction.as_mut())
            .ok_or_else(|| Failure::new(Code::PreconditionFailed, "channel is not transactional"))
    }

    /// All of a transaction came to be.
    pub(super) fn committed(
        &mut self,
        number: u16,
        committing: Committing,
        published: &[Published],
    ) {
        self.transaction_bytes -= committing.bytes;
        for (returned, published) in committing.mandatory.iter().zip(published) {
            if let Some(returned) = returned
                && *published == Published::Unroutable
            {
                self.give_back(number, returned);
            }
        }
        self.make_room(number, committing.settled.into_values().map(|(one, _)| one));
        self.out.method(number, &TxCommitOk {}.into());
    }

    /// Nothing of a transaction came to be: what it would have settled goes back with its channel.
    pub(super) fn not_committed(
        &mut self,
        number: u16,
        committing: Committing,
        why: Unanswered,
    ) -> Failure {
        self.transaction_bytes -= committing.bytes;
        if let Some(channel) = self.channels.get_mut(&number) {
            let settled = committing.settled.into_iter().map(|(tag, (one, _))| (tag, one));
            channel.unsettled.extend(settled);
        }
        match why {
            Unanswered::Refused(Rejection::QueueFull { .. }) => {
                Failure::new(Code::PreconditionFailed, "partial tx completion")
            }
            Unanswered::Refused(rejection) => of_rejection(&rejection, &self.vhost),
            Unanswered::Blocked(why) => Failure::new(Code::PreconditionFailed, why),
            Unanswered::Unknown(why) => Failure::new(Code::InternalError, why),
        }
    }

    /// A transaction is answered when its channel is no more.
    pub(super) fn committed_late(&mut self, committing: Committing, came_to_be: bool) {
        self.transaction_bytes -= committing.bytes;
        if !came_to_be {
            committing.settled.into_values().for_each(|(one, _)| self.requeue(one.tag));
        }
    }
}
