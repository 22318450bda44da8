//! How channels and the connection end.

use longshore_engine::{MessageCommand, MessageVerdict};

use super::asking::Pending;
use super::channel::Operation;
use super::{End, Phase, Session};
use crate::codec::Short;
use crate::codec::methods::{ChannelClose, ChannelCloseOk, ConnectionClose, ConnectionCloseOk};
use crate::failure::Failure;

impl Session {
    /// Something went wrong in a channel.
    pub(super) fn fail(&mut self, number: u16, failure: &Failure) {
        if number == 0 || failure.code.is_hard() {
            return self.fail_connection(failure);
        }
        let Some(channel) = self.channels.get_mut(&number) else { return };
        if channel.is_closing {
            return;
        }
        channel.is_closing = true;
        let (class_id, method_id) = failure.method;
        let close = ChannelClose {
            reply_code: failure.code as u16,
            reply_text: Short::cut(&failure.text()),
            class_id,
            method_id,
        };
        if self.phase == Phase::Running {
            self.out.method(number, &close.into());
        }
        self.empty_channel(number);
    }

    /// The client closes a channel: all before that is done.
    pub(super) fn close_channel(&mut self, number: u16) {
        self.empty_channel(number);
        self.forget_channel(number);
        self.out.method(number, &ChannelCloseOk {}.into());
    }

    /// Ends what a channel holds: its consumers first, so that what goes back does not come again.
    fn empty_channel(&mut self, number: u16) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let arriving = channel.arriving.take();
        let operations = std::mem::take(&mut channel.operations);
        let mut unsettled = std::mem::take(&mut channel.unsettled);
        let (bytes, settled) = channel.transaction.take().unwrap_or_default().forget();
        unsettled.extend(settled);
        let tags: Vec<_> = channel.consumers.keys().cloned().collect();
        self.transaction_bytes -= bytes;
        self.arriving_bytes -= arriving.map_or(0, |arriving| arriving.arrived() as u64);
        for operation in &operations {
            match operation {
                Operation::Method(_) => self.waiting_methods -= 1,
                Operation::Publish(outgoing) => self.forget_outgoing(outgoing),
            }
        }
        self.flush();
        for tag in tags {
            let is_there = self
                .channels
                .get(&number)
                .and_then(|channel| channel.consumers.get(&tag))
                .is_some_and(|consumer| consumer.is_there);
            // One that is not there yet is ended once it is.
            if let Some(consumer) = self.forget_consumer(number, &tag)
                && is_there
            {
                self.call(MessageCommand::Cancel { consumer }, Pending::Forgotten { consumer });
            }
        }
        self.end_share(number);
        self.settle_all(number, unsettled.into_values(), MessageVerdict::Requeue);
        self.flush();
    }

    /// The number is free for another channel.
    pub(super) fn forget_channel(&mut self, number: u16) {
        self.channels.remove(&number);
        self.closed.insert(number);
    }

    /// Something went wrong with the connection, and it ends.
    pub(super) fn fail_connection(&mut self, failure: &Failure) {
        match self.phase {
            Phase::Header | Phase::Closed(_) => {
                self.phase = Phase::Closed(End::Closed);
                return;
            }
            Phase::Closing | Phase::Leaving => return,
            Phase::Starting
            | Phase::LoggingIn
            | Phase::Tuning
            | Phase::Opening
            | Phase::Looking
            | Phase::Running => {}
        }
        let (class_id, method_id) = failure.method;
        let close = ConnectionClose {
            reply_code: failure.code as u16,
            reply_text: Short::cut(&failure.text()),
            class_id,
            method_id,
        };
        let was_open = self.is_open();
        self.out.method(0, &close.into());
        self.phase = Phase::Closing;
        if was_open {
            self.end_connection(Pending::Nothing);
        }
    }

    /// The client closes the connection. It hears of the end once what is its has ended.
    pub(super) fn leave(&mut self) {
        self.phase = Phase::Leaving;
        self.end_connection(Pending::Close);
    }

    /// What was the connection's has ended.
    pub(super) fn left(&mut self) {
        if self.phase == Phase::Leaving {
            self.out.method(0, &ConnectionCloseOk {}.into());
            self.phase = Phase::Closed(End::Answered);
        }
    }

    /// The socket has ended, or nothing more is expected of the peer.
    pub fn lost(&mut self) {
        let was_open = self.phase == Phase::Running;
        self.phase = Phase::Closed(End::Silent);
        if was_open {
            self.end_connection(Pending::Nothing);
        }
    }

    /// Tells the engine of the end. What was published and settled before that counts.
    fn end_connection(&mut self, pending: Pending) {
        self.flush();
        for (consumer, _) in std::mem::take(&mut self.consumers) {
            self.asks.push_back(super::Ask::Gone { consumer });
        }
        self.starving.clear();
        let connection = self.settings.connection;
        self.call(MessageCommand::CloseConnection { connection }, pending);
    }
}
