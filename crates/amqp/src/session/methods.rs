//! Methods of open channels, each in its turn.

use longshore_engine::MessageCommand;

use super::asking::Then;
use super::channel::Operation;
use super::{Ask, Credentials, Logins, Phase, Session};
use crate::codec::methods::{
    AccessRequestOk, BasicGetEmpty, BasicRecoverOk, ChannelFlowOk, ConfirmSelectOk,
    ConnectionUpdateSecretOk,
};
use crate::codec::{Method, Short};
use crate::failure::{Code, Failure};

impl Session {
    /// A method of channel 0 of an open connection.
    pub(super) fn connection_method(&mut self, method: &Method) -> Result<(), Failure> {
        match method {
            Method::ConnectionClose(_) => {
                self.leave();
                Ok(())
            }
            Method::ConnectionUpdateSecret(told) => {
                // Where there is one user, its secret does not change.
                if self.settings.logins == Logins::Guest {
                    self.out.method(0, &ConnectionUpdateSecretOk {}.into());
                    return Ok(());
                }
                let secret = std::str::from_utf8(&told.new_secret).ok();
                // One at a time: each costs the server as much as a login.
                let Some(secret) = secret.filter(|_| !self.secret_is_asked) else {
                    let text = "New secret was refused by one of the backends";
                    return Err(Failure::new(Code::NotAllowed, text).of((10, 70)));
                };
                self.secret_is_asked = true;
                let (user, password) = (self.user.clone(), secret.to_owned());
                let credentials = Credentials::Password { user, password };
                self.asks.push_back(Ask::LogIn { credentials });
                Ok(())
            }
            _ => {
                let text = "unexpected method in connection state running";
                Err(Failure::new(Code::ChannelError, text).of(method.id()))
            }
        }
    }

    /// A method of an open channel: done at once, or once its turn comes.
    pub(super) fn channel_method(&mut self, number: u16, method: Method) -> Result<(), Failure> {
        match method {
            Method::BasicPublish(publish) => {
                if publish.immediate {
                    return Err(Failure::new(Code::NotImplemented, "immediate=true"));
                }
                self.expect_content(number, publish);
                Ok(())
            }
            Method::BasicAck(ack) if !self.settles_in_turn(number) => self.ack(number, &ack),
            Method::BasicNack(nack) if !self.settles_in_turn(number) => self.nack(number, &nack),
            Method::BasicReject(reject) if !self.settles_in_turn(number) => {
                self.reject(number, &reject)
            }
            Method::ChannelOpen(_) => {
                Err(Failure::new(Code::ChannelError, "second 'channel.open' seen"))
            }
            method => {
                let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
                channel.settles_in_turn |= matches!(method, Method::TxSelect(_));
                channel.operations.push_back(Operation::Method(method));
                self.waiting_methods += 1;
                self.advance(number);
                Ok(())
            }
        }
    }

    /// Whether settlements of a channel belong to transactions.
    fn settles_in_turn(&self, number: u16) -> bool {
        self.channels.get(&number).is_some_and(|channel| channel.settles_in_turn)
    }

    /// Does what waits in a channel, as far as its turn has come.
    pub(super) fn advance(&mut self, number: u16) {
        while let Some(channel) = self.channels.get_mut(&number) {
            if channel.is_busy || channel.is_closing {
                return;
            }
            let is_method = matches!(channel.operations.front(), Some(Operation::Method(_)));
            if is_method && self.phase != Phase::Running {
                // Nobody hears it, and what it takes would belong to a connection that has ended.
                channel.operations.pop_front();
                self.waiting_methods -= 1;
                continue;
            }
            if is_method && channel.publishes > 0 {
                // Its answer comes back here.
                return self.flush_publishes();
            }
            match channel.operations.pop_front() {
                None => return,
                Some(Operation::Publish(outgoing)) => self.send(number, *outgoing),
                Some(Operation::Method(method)) => {
                    self.waiting_methods -= 1;
                    let id = method.id();
                    if let Err(failure) = self.perform(number, method) {
                        self.fail(number, &failure.of(id));
                    }
                }
            }
        }
    }

    fn perform(&mut self, number: u16, method: Method) -> Result<(), Failure> {
        match method {
            Method::ExchangeDeclare(told) => self.declare_exchange(number, &told),
            Method::ExchangeDelete(told) => self.delete_exchange(number, &told),
            Method::ExchangeBind(told) => self.bind_exchange(number, &told),
            Method::ExchangeUnbind(told) => self.unbind_exchange(number, &told),
            Method::QueueDeclare(told) => self.declare_queue(number, &told),
            Method::QueueBind(told) => self.bind_queue(number, &told),
            Method::QueueUnbind(told) => self.unbind_queue(number, &told),
            Method::QueuePurge(told) => self.purge_queue(number, &told),
            Method::QueueDelete(told) => self.delete_queue(number, &told),
            Method::BasicQos(told) => self.set_prefetch(number, &told),
            Method::BasicConsume(told) => self.consume(number, told),
            Method::BasicCancel(told) => {
                self.cancel(number, told);
                Ok(())
            }
            Method::BasicGet(told) => self.get(number, &told),
            Method::BasicRecover(told) => {
                self.recover(number, told.requeue)?;
                self.out.method(number, &BasicRecoverOk {}.into());
                Ok(())
            }
            Method::BasicRecoverAsync(told) => self.recover(number, told.requeue),
            Method::BasicAck(ack) => self.ack(number, &ack),
            Method::BasicNack(nack) => self.nack(number, &nack),
            Method::BasicReject(reject) => self.reject(number, &reject),
            Method::TxSelect(_) => self.begin_transactions(number),
            Method::TxCommit(_) => self.commit(number),
            Method::TxRollback(_) => self.roll_back(number),
            Method::ChannelClose(_) => {
                self.close_channel(number);
                Ok(())
            }
            method => self.perform_setting(number, &method),
        }
    }

    /// Methods that change nothing but the channel.
    fn perform_setting(&mut self, number: u16, method: &Method) -> Result<(), Failure> {
        match method {
            Method::ConfirmSelect(told) => {
                let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
                if channel.transaction.is_some() {
                    let text = "cannot switch from tx to confirm mode";
                    return Err(Failure::new(Code::PreconditionFailed, text));
                }
                channel.confirms.get_or_insert(0);
                if !told.nowait {
                    self.out.method(number, &ConfirmSelectOk {}.into());
                }
                Ok(())
            }
            Method::ChannelFlow(told) if told.active => {
                self.out.method(number, &ChannelFlowOk { active: true }.into());
                Ok(())
            }
            Method::ChannelFlow(_) => Err(Failure::new(Code::NotImplemented, "active=false")),
            Method::AccessRequest(_) => {
                self.out.method(number, &AccessRequestOk { ticket: 1 }.into());
                Ok(())
            }
            // The peer says that it has seen the end of a consumer, or that it does not stop.
            Method::BasicCancelOk(_) | Method::ChannelFlowOk(_) => Ok(()),
            _ => Err(Failure::new(Code::CommandInvalid, "unimplemented method")),
        }
    }

    fn get(&mut self, number: u16, told: &crate::codec::methods::BasicGet) -> Result<(), Failure> {
        let queue = self.queue_of(number, &told.queue)?;
        let (auto_ack, connection) = (told.no_ack, self.settings.connection);
        let command = MessageCommand::GetOne { queue, connection, auto_ack };
        self.call_for(number, (60, 70), command, Then::Got { auto_ack });
        Ok(())
    }

    /// There was nothing to get.
    pub(super) fn got_nothing(&mut self, number: u16) {
        self.out.method(number, &BasicGetEmpty::default().into());
    }

    /// The queue that a method means: an empty name is the one that was declared last.
    pub(super) fn queue_of(&self, number: u16, name: &Short) -> Result<String, Failure> {
        if !name.is_empty() {
            return text_of(name);
        }
        match self.channels.get(&number) {
            Some(channel) if !channel.last_queue.is_empty() => Ok(channel.last_queue.clone()),
            _ => Err(Failure::new(Code::NotFound, "no previously declared queue")),
        }
    }
}

/// A routing key as text, or a name as it is.
pub(super) fn plain_text_of(name: &Short) -> Result<String, Failure> {
    match name.as_text() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::new(Code::SyntaxError, format!("{name:?} is not UTF-8"))),
    }
}

/// A name as text, without the line breaks that some clients let through.
pub(super) fn text_of(name: &Short) -> Result<String, Failure> {
    plain_text_of(name).map(|text| text.replace(['\r', '\n'], ""))
}
