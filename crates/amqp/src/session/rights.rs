//! What the account of a connection may do, in `RabbitMQ`'s words. Who may do what is told by the
//! server; here stands which method needs what.

use std::fmt::Debug;
use std::sync::Arc;

use longshore_engine::{MessageCommand, PublishMessage};

use super::Session;
use super::publishing::REPLY_TO;
use crate::failure::{Code, Failure, exchange_in, queue_in};

/// What somebody may do with a queue or an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// Declare and delete it.
    Declare,
    /// Bind it, at either end, and unbind it.
    Bind,
    /// Throw away what is in it.
    Purge,
    /// Ask whether it is there.
    Look,
    /// Publish to it.
    Publish,
    /// Take messages of it.
    Consume,
}

/// What an account may do.
pub trait Rights: Debug + Send + Sync {
    /// Whether it may open the namespace.
    fn may_open(&self, namespace: &str) -> bool;

    /// Whether it may do that with the queue or exchange of that name in the namespace. A change of
    /// what it may ends its connections, so an answer holds for as long as the connection.
    fn may(&self, namespace: &str, right: Right, name: &str) -> bool;
}

/// Who is logged in.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name, which messages may carry as `user-id`.
    pub user: String,
    /// What it may do; `None` for everything.
    pub rights: Option<Arc<dyn Rights>>,
}

/// What a right is wanted for.
struct Wanted<'a> {
    right: Right,
    /// The permission of `RabbitMQ` that it is told as.
    word: &'static str,
    is_exchange: bool,
    name: &'a str,
}

fn queue<'a>(right: Right, word: &'static str, name: &'a str) -> Wanted<'a> {
    Wanted { right, word, is_exchange: false, name }
}

fn exchange<'a>(right: Right, word: &'static str, name: &'a str) -> Wanted<'a> {
    Wanted { right, word, is_exchange: true, name }
}

/// What a command of a method needs. Messages are looked at one by one, as they come.
fn wanted(command: &MessageCommand) -> Vec<Wanted<'_>> {
    match command {
        MessageCommand::DeclareQueue(declare) => {
            let mut all = vec![queue(Right::Declare, "configure", &declare.queue)];
            let dead = declare.settings.dead_letter_exchange.as_deref();
            // Dead letters go to it for ever, so who sets it has to be let publish there.
            let dead = dead.filter(|name| !name.is_empty());
            all.extend(dead.map(|name| exchange(Right::Publish, "write", name)));
            let key = declare.settings.dead_letter_routing_key.as_deref();
            let to_queue = declare.settings.dead_letter_exchange.as_deref() == Some("");
            // Without a key the messages' own are used, whose queue may be any.
            let key = to_queue.then(|| key.unwrap_or("*"));
            all.extend(key.map(|name| queue(Right::Publish, "write", name)));
            // What is published to it is an event there as well.
            let stream = declare.settings.stream.as_deref();
            all.extend(stream.map(|name| exchange(Right::Publish, "write", name)));
            all
        }
        MessageCommand::DeleteQueue { queue: name, .. } => {
            vec![queue(Right::Declare, "configure", name)]
        }
        MessageCommand::GetQueue { queue: name, .. } => vec![queue(Right::Look, "read", name)],
        MessageCommand::PurgeQueue { queue: name, .. } => vec![queue(Right::Purge, "read", name)],
        MessageCommand::DeclareExchange(declare) => {
            let mut all = vec![exchange(Right::Declare, "configure", &declare.exchange)];
            let alternate = declare.alternate.as_deref();
            all.extend(alternate.map(|name| exchange(Right::Publish, "write", name)));
            all
        }
        MessageCommand::DeleteExchange { exchange: name, .. } => {
            vec![exchange(Right::Declare, "configure", name)]
        }
        MessageCommand::GetExchange { exchange: name } => {
            vec![exchange(Right::Look, "read", name)]
        }
        MessageCommand::Bind(binding) | MessageCommand::Unbind(binding) => {
            let (right, name) = (Right::Bind, binding.destination.as_str());
            let is_exchange = binding.to_exchange;
            let destination = Wanted { right, word: "write", is_exchange, name };
            vec![destination, exchange(Right::Bind, "read", &binding.source)]
        }
        MessageCommand::Consume(consume) => vec![queue(Right::Consume, "read", &consume.queue)],
        MessageCommand::GetOne { queue: name, .. } => vec![queue(Right::Consume, "read", name)],
        // What they are about is this connection's own, or was looked at as it came.
        MessageCommand::Cancel { .. }
        | MessageCommand::Untaken { .. }
        | MessageCommand::AddCredit(_)
        | MessageCommand::ShareCredit(_)
        | MessageCommand::Settle { .. }
        | MessageCommand::CloseConnection { .. }
        | MessageCommand::Publish(_)
        | MessageCommand::Transact(_)
        // No method asks for these.
        | MessageCommand::Blocked { .. }
        | MessageCommand::ListExchanges { .. }
        | MessageCommand::ListBindings { .. }
        | MessageCommand::ListPolicies
        | MessageCommand::Lease(_)
        | MessageCommand::SettleLeased(_)
        | MessageCommand::ReturnLeased(_)
        | MessageCommand::ExtendLeased { .. }
        | MessageCommand::PutPolicy { .. }
        | MessageCommand::DeletePolicy { .. } => Vec::new(),
    }
}

impl Session {
    /// Whether the account may have that done.
    pub(super) fn check(&self, command: &MessageCommand) -> Result<(), Failure> {
        if self.rights.is_none() {
            return Ok(());
        }
        wanted(command).iter().try_for_each(|wanted| self.demand(wanted))
    }

    /// Whether the account may consume from a queue.
    pub(super) fn check_consume(&self, name: &str) -> Result<(), Failure> {
        self.demand(&queue(Right::Consume, "read", name))
    }

    /// Whether the account may publish a message. Who publishes the same way again and again is
    /// looked at once.
    pub(super) fn check_publish(&mut self, message: &PublishMessage) -> Result<(), Failure> {
        if self.rights.is_none() {
            return Ok(());
        }
        let to_queues = message.exchange.is_empty();
        let key = if to_queues { message.routing_key.as_str() } else { "" };
        let is_simple = !to_queues || message.further_keys.is_empty();
        let (exchange_before, key_before) = &self.publishes_to;
        if is_simple && *exchange_before == message.exchange && key_before == key {
            return Ok(());
        }
        if to_queues {
            for key in std::iter::once(&message.routing_key).chain(&message.further_keys) {
                self.demand(&queue(Right::Publish, "write", key))?;
            }
        } else {
            self.demand(&exchange(Right::Publish, "write", &message.exchange))?;
        }
        if is_simple {
            self.publishes_to = (message.exchange.clone(), key.to_owned());
        }
        Ok(())
    }

    fn demand(&self, wanted: &Wanted<'_>) -> Result<(), Failure> {
        let Wanted { right, word, is_exchange, name } = *wanted;
        let Some(rights) = &self.rights else { return Ok(()) };
        // Their names cannot be guessed, so who has one was told it by whom it belongs to.
        let is_reply = !is_exchange
            && match right {
                Right::Publish | Right::Look => name.starts_with(REPLY_TO),
                Right::Consume => name == REPLY_TO,
                Right::Declare | Right::Bind | Right::Purge => false,
            };
        if is_reply || rights.may(&self.namespace, right, name) {
            return Ok(());
        }
        let of =
            if is_exchange { exchange_in(&self.vhost, name) } else { queue_in(&self.vhost, name) };
        let text = format!("{word} access to {of} refused for user '{}'", self.user);
        Err(Failure::new(Code::AccessRefused, text))
    }
}
