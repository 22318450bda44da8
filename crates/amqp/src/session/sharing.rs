//! What all consumers of a channel may have together (`basic.qos` with `global`): a credit that
//! they share with the engine.

use longshore_engine::{ConsumerId, MessageCommand, MessageCredit, ShareCredit};

use super::asking::{Pending, Then};
use super::channel::Channel;
use super::{Phase, Session};
use crate::codec::methods::BasicQosOk;
use crate::failure::Failure;

/// What stands for no limit.
const UNLIMITED: u64 = 1 << 40;

/// The credit that a channel's consumers share.
#[derive(Debug)]
pub(super) struct Share {
    id: ConsumerId,
    /// Messages that consumers may have and have not settled.
    prefetch: u64,
    /// Messages that the engine may deliver.
    credit: u64,
    /// Messages that consumers of the channel have not settled.
    unsettled: u64,
    /// A change of it is not answered: what it may have more is told then.
    is_asked: bool,
}

impl Share {
    /// What it lacks, or has too much.
    fn difference(&self) -> (u64, u64) {
        let wanted = self.prefetch.saturating_sub(self.unsettled);
        (wanted.saturating_sub(self.credit), self.credit.saturating_sub(wanted))
    }

    /// Messages that consumers may have together; 0 for any number.
    pub(super) fn prefetch(&self) -> u64 {
        if self.prefetch == UNLIMITED { 0 } else { self.prefetch }
    }

    /// A message came to one of its consumers.
    pub(super) fn deliver(&mut self) {
        self.credit = self.credit.saturating_sub(1);
        self.unsettled += 1;
    }

    /// A message is with its consumer no longer.
    pub(super) fn let_go(&mut self) {
        self.unsettled = self.unsettled.saturating_sub(1);
    }
}

/// Consumers that are there and settle what they get.
fn members(channel: &Channel) -> Vec<ConsumerId> {
    let there = channel.consumers.values().filter(|it| it.is_there && !it.auto_ack);
    there.map(|consumer| consumer.id).collect()
}

impl Session {
    /// All consumers of a channel together may have so many messages from now on; 0 for any number.
    pub(super) fn set_shared_prefetch(&mut self, number: u16, count: u16) -> Result<(), Failure> {
        let prefetch = if count == 0 { UNLIMITED } else { u64::from(count) };
        let has_share = self.channels.get(&number).is_some_and(|channel| channel.share.is_some());
        if count == 0 && !has_share {
            self.out.method(number, &BasicQosOk {}.into());
            return Ok(());
        }
        let id = if has_share { ConsumerId(0) } else { self.next_consumer()? };
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let consumers = members(channel);
        let with_consumers = channel.unsettled.values().filter(|one| one.consumer.is_some());
        let unsettled = with_consumers.count() as u64;
        let share = channel.share.get_or_insert(Share {
            id,
            prefetch,
            credit: 0,
            unsettled,
            is_asked: false,
        });
        share.prefetch = prefetch;
        self.ask_share(number, consumers, Then::Shared { is_qos: true });
        Ok(())
    }

    /// A consumer takes from what its channel's consumers share.
    pub(super) fn join_share(&mut self, number: u16, consumer: ConsumerId) {
        if self.phase == Phase::Running
            && self.channels.get(&number).is_some_and(|channel| channel.share.is_some())
        {
            self.ask_share(number, vec![consumer], Then::Shared { is_qos: false });
        }
    }

    fn ask_share(&mut self, number: u16, consumers: Vec<ConsumerId>, then: Then) {
        let connection = self.settings.connection;
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let Some(share) = &mut channel.share else { return };
        let (more, less) = share.difference();
        share.credit = share.credit + more - less;
        share.is_asked = true;
        let share = share.id;
        let command = ShareCredit { share, connection, consumers, more, less, ends: false };
        let command = MessageCommand::ShareCredit(Box::new(command));
        self.call_for(number, (60, 10), command, then);
    }

    /// The engine knows of the share.
    pub(super) fn shared(&mut self, number: u16, is_qos: bool) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        if let Some(share) = &mut channel.share {
            share.is_asked = false;
        }
        let consumers = members(channel);
        if is_qos {
            self.out.method(number, &BasicQosOk {}.into());
        }
        self.replenish_share(number);
        for consumer in consumers {
            self.replenish(consumer);
        }
    }

    /// Gives the share of a channel what it may have more.
    pub(super) fn replenish_share(&mut self, number: u16) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let Some(share) = channel.share.as_mut().filter(|share| !share.is_asked) else { return };
        let (more, _) = share.difference();
        if more > 0 {
            share.credit += more;
            let id = share.id;
            self.give_credit(id, MessageCredit::of(more));
        }
    }

    /// The channel ends.
    pub(super) fn end_share(&mut self, number: u16) {
        let connection = self.settings.connection;
        let share = self.channels.get_mut(&number).and_then(|channel| channel.share.take());
        if let Some(Share { id: share, .. }) = share {
            let (consumers, more, less) = (Vec::new(), 0, 0);
            let command = ShareCredit { share, connection, consumers, more, less, ends: true };
            self.call(MessageCommand::ShareCredit(Box::new(command)), Pending::Nothing);
        }
    }
}
