//! Acks and their like, gathered into few commands.

use std::collections::BTreeMap;

use longshore_engine::{ConsumerId, MessageCommand, MessageCredit, MessageTag, MessageVerdict};

use super::Session;
use super::asking::Pending;
use super::channel::Unsettled;
use crate::codec::methods::{BasicAck, BasicNack, BasicReject};
use crate::failure::{Code, Failure};

/// Settlements of one command.
const BATCH_MAX: usize = 256;

/// Settlements and credit that were not handed over yet.
#[derive(Debug, Default)]
pub(super) struct Settling {
    settlements: Vec<(MessageTag, MessageVerdict)>,
    credit: BTreeMap<ConsumerId, MessageCredit>,
}

impl Session {
    pub(super) fn ack(&mut self, number: u16, told: &BasicAck) -> Result<(), Failure> {
        self.settle(number, (told.delivery_tag, told.multiple), MessageVerdict::Ack)
    }

    pub(super) fn nack(&mut self, number: u16, told: &BasicNack) -> Result<(), Failure> {
        let verdict = if told.requeue { MessageVerdict::Requeue } else { MessageVerdict::Reject };
        self.settle(number, (told.delivery_tag, told.multiple), verdict)
    }

    pub(super) fn reject(&mut self, number: u16, told: &BasicReject) -> Result<(), Failure> {
        let verdict = if told.requeue { MessageVerdict::Requeue } else { MessageVerdict::Reject };
        self.settle(number, (told.delivery_tag, false), verdict)
    }

    /// Everything that the channel got and did not settle goes back.
    pub(super) fn recover(&mut self, number: u16, requeue: bool) -> Result<(), Failure> {
        if !requeue {
            return Err(Failure::new(Code::NotImplemented, "requeue=false"));
        }
        if let Some(channel) = self.channels.get_mut(&number) {
            let all = std::mem::take(&mut channel.unsettled);
            self.settle_all(number, all.into_values(), MessageVerdict::Requeue);
        }
        Ok(())
    }

    fn settle(
        &mut self,
        number: u16,
        (tag, multiple): (u64, bool),
        verdict: MessageVerdict,
    ) -> Result<(), Failure> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let (unsettled, is_later) = (&mut channel.unsettled, channel.transaction.is_some());
        if !multiple {
            let Some(one) = unsettled.remove(&tag) else {
                // Who had it for too long may say so.
                return if channel.late.remove(&tag) { Ok(()) } else { Err(unknown(tag)) };
            };
            if is_later {
                return self.settle_later(number, BTreeMap::from([(tag, one)]), verdict);
            }
            self.settle_all(number, [one], verdict);
            return Ok(());
        }
        let settled = if tag == 0 {
            std::mem::take(unsettled)
        } else {
            if !unsettled.contains_key(&tag) && !channel.late.remove(&tag) {
                return Err(unknown(tag));
            }
            let rest = unsettled.split_off(&(tag + 1));
            std::mem::replace(unsettled, rest)
        };
        if is_later {
            return self.settle_later(number, settled, verdict);
        }
        self.settle_all(number, settled.into_values(), verdict);
        Ok(())
    }

    /// Settles messages, after which their consumers may have more.
    pub(super) fn settle_all(
        &mut self,
        number: u16,
        settled: impl IntoIterator<Item = Unsettled>,
        verdict: MessageVerdict,
    ) {
        let mut consumers = Vec::new();
        for one in settled {
            self.settling.settlements.push((one.tag, verdict));
            self.let_go(number, one, &mut consumers);
            // There is no bound on what one ack settles.
            if self.settling.settlements.len() >= BATCH_MAX {
                self.flush_settlements();
            }
        }
        self.replenish_share(number);
        for id in consumers {
            self.replenish(id);
        }
    }

    /// Messages were settled some other way, after which their consumers may have more.
    pub(super) fn make_room(&mut self, number: u16, settled: impl IntoIterator<Item = Unsettled>) {
        let mut consumers = Vec::new();
        settled.into_iter().for_each(|one| self.let_go(number, one, &mut consumers));
        self.replenish_share(number);
        for id in consumers {
            self.replenish(id);
        }
    }

    /// A message is with its consumer no longer, which is added to `consumers`.
    fn let_go(&mut self, number: u16, one: Unsettled, consumers: &mut Vec<ConsumerId>) {
        let Some(id) = one.consumer else { return };
        if let Some(channel) = self.channels.get_mut(&number)
            && let Some(share) = &mut channel.share
        {
            share.let_go();
        }
        if let Some(consumer) = self.consumer(number, id) {
            consumer.unsettled = consumer.unsettled.saturating_sub(1);
        }
        if !consumers.contains(&id) {
            consumers.push(id);
        }
    }

    /// A message that was delivered to nobody goes back.
    pub(super) fn requeue(&mut self, tag: MessageTag) {
        self.settling.settlements.push((tag, MessageVerdict::Requeue));
    }

    /// A consumer may have more.
    pub(super) fn give_credit(&mut self, consumer: ConsumerId, more: MessageCredit) {
        let credit = self.settling.credit.entry(consumer).or_default();
        credit.messages += more.messages;
        credit.bytes = credit.bytes.saturating_add(more.bytes);
    }

    /// Hands over what was settled.
    pub(super) fn flush_settlements(&mut self) {
        let Settling { settlements, credit } = std::mem::take(&mut self.settling);
        let credit: Vec<_> = credit.into_iter().collect();
        let command = match (settlements.is_empty(), credit.is_empty()) {
            (true, true) => return,
            (true, false) => MessageCommand::AddCredit(credit),
            (false, _) => {
                let connection = self.settings.connection;
                MessageCommand::Settle { connection, settlements, credit }
            }
        };
        self.call(command, Pending::Nothing);
    }
}

fn unknown(tag: u64) -> Failure {
    Failure::new(Code::PreconditionFailed, format!("unknown delivery tag {tag}"))
}
