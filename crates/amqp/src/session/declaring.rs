//! Exchanges, queues and bindings.

use longshore_engine::{
    BindingSpec, DeclareExchange, DeclareQueue, ExchangeKind, JobBinding, Matching, MessageCommand,
};

use super::Session;
use super::asking::Then;
use super::methods::{plain_text_of, text_of};
use super::publishing::{REPLY_TO, header_of};
use super::settings::{queue_settings, text_argument};
use crate::codec::methods::{
    ExchangeBind, ExchangeDeclare, ExchangeDelete, ExchangeUnbind, QueueBind, QueueDeclare,
    QueueDelete, QueuePurge, QueueUnbind,
};
use crate::codec::{Short, Table, Value};
use crate::failure::{Code, Failure, exchange_in, queue_in};

const RESERVED: &str = "amq.";

/// The kind of exchange of that name, as `RabbitMQ` and its plugins call it.
pub fn exchange_kind(name: &str, arguments: &Table, of: &str) -> Result<ExchangeKind, Failure> {
    let kind = match name {
        // Any exchange takes messages with a delay: this one only says how it routes.
        "x-delayed-message" => {
            let routes = text_argument(arguments, "x-delayed-type", of)?.unwrap_or_default();
            return if routes == name {
                Err(unknown_kind(name))
            } else {
                exchange_kind(&routes, arguments, of)
            };
        }
        "x-consistent-hash" => {
            for argument in ["hash-header", "hash-property"] {
                if arguments.get(argument).is_some() {
                    let text =
                        format!("invalid arg '{argument}' for {of}: routing keys are hashed");
                    return Err(Failure::new(Code::PreconditionFailed, text));
                }
            }
            Some(ExchangeKind::ConsistentHash)
        }
        name => ExchangeKind::named(name),
    };
    kind.ok_or_else(|| unknown_kind(name))
}

fn unknown_kind(name: &str) -> Failure {
    Failure::new(Code::PreconditionFailed, format!("unknown exchange type '{name}'"))
}

impl Session {
    pub(super) fn declare_exchange(
        &mut self,
        number: u16,
        told: &ExchangeDeclare,
    ) -> Result<(), Failure> {
        let id = (40, 10);
        let exchange = text_of(&told.exchange)?;
        let then = if told.nowait { Then::Silence } else { Then::ExchangeDeclared };
        if told.passive {
            self.call_for(number, id, MessageCommand::GetExchange { exchange }, then);
            return Ok(());
        }
        let kind_name = text_of(&told.kind)?;
        not_default(&exchange)?;
        let named = exchange_in(&self.vhost, &exchange);
        let kind = exchange_kind(&kind_name, &told.arguments, &named)?;
        let declare = DeclareExchange {
            exchange,
            kind,
            durable: told.durable,
            auto_delete: told.auto_delete,
            internal: told.internal,
            alternate: text_argument(&told.arguments, "alternate-exchange", &named)?,
            arguments: told.arguments.as_bytes().clone(),
        };
        self.call_for(number, id, MessageCommand::DeclareExchange(Box::new(declare)), then);
        Ok(())
    }

    pub(super) fn delete_exchange(
        &mut self,
        number: u16,
        told: &ExchangeDelete,
    ) -> Result<(), Failure> {
        let exchange = text_of(&told.exchange)?;
        not_default(&exchange)?;
        if exchange.starts_with(RESERVED) {
            let named = exchange_in(&self.vhost, &exchange);
            let text = format!("deletion of system {named} not allowed");
            return Err(Failure::new(Code::AccessRefused, text));
        }
        let then = if told.nowait { Then::Silence } else { Then::ExchangeDeleted };
        let command = MessageCommand::DeleteExchange { exchange, if_unused: told.if_unused };
        self.call_for(number, (40, 20), command, then);
        Ok(())
    }

    pub(super) fn bind_exchange(
        &mut self,
        number: u16,
        told: &ExchangeBind,
    ) -> Result<(), Failure> {
        let ends = (&told.source, &told.destination, &told.routing_key);
        let binding = self.exchange_binding(ends, &told.arguments)?;
        let then = if told.nowait { Then::Silence } else { Then::ExchangeBound };
        self.call_for(number, (40, 30), MessageCommand::Bind(Box::new(binding)), then);
        Ok(())
    }

    pub(super) fn unbind_exchange(
        &mut self,
        number: u16,
        told: &ExchangeUnbind,
    ) -> Result<(), Failure> {
        let ends = (&told.source, &told.destination, &told.routing_key);
        let binding = self.exchange_binding(ends, &told.arguments)?;
        let then = if told.nowait { Then::Silence } else { Then::ExchangeUnbound };
        self.call_for(number, (40, 40), MessageCommand::Unbind(Box::new(binding)), then);
        Ok(())
    }

    fn exchange_binding(
        &self,
        (source, destination, key): (&Short, &Short, &Short),
        arguments: &Table,
    ) -> Result<BindingSpec, Failure> {
        let (source, destination) = (text_of(source)?, text_of(destination)?);
        not_default(&source)?;
        not_default(&destination)?;
        let binding = BindingSpec { source, destination, to_exchange: true, ..self.binding() };
        binding_with_arguments(
            BindingSpec { routing_key: plain_text_of(key)?, ..binding },
            arguments,
        )
    }

    fn binding(&self) -> BindingSpec {
        BindingSpec { connection: Some(self.settings.connection), ..BindingSpec::default() }
    }

    pub(super) fn declare_queue(
        &mut self,
        number: u16,
        told: &QueueDeclare,
    ) -> Result<(), Failure> {
        let mut queue = text_of(&told.queue)?;
        let is_silent = told.nowait;
        let id = (50, 10);
        let connection = Some(self.settings.connection);
        if told.passive {
            // Who answers a request may look whether its sender is still there.
            let connection = connection.filter(|_| !queue.starts_with(REPLY_TO));
            let then = Then::QueueDeclared { queue: queue.clone(), is_silent };
            self.call_for(number, id, MessageCommand::GetQueue { queue, connection }, then);
            return Ok(());
        }
        if queue.starts_with(RESERVED) {
            let text = format!("queue name '{queue}' contains reserved prefix 'amq.*'");
            return Err(Failure::new(Code::AccessRefused, text));
        }
        if queue.is_empty() {
            queue = self.names.next("amq.gen");
        }
        let settings = queue_settings(told, &queue_in(&self.vhost, &queue))?;
        let then = Then::QueueDeclared { queue: queue.clone(), is_silent };
        let declare = DeclareQueue { queue, settings, connection };
        self.call_for(number, id, MessageCommand::DeclareQueue(Box::new(declare)), then);
        Ok(())
    }

    pub(super) fn bind_queue(&mut self, number: u16, told: &QueueBind) -> Result<(), Failure> {
        let ends = (&told.exchange, &told.queue, &told.routing_key);
        let binding = self.queue_binding(number, ends, &told.arguments)?;
        let then = if told.nowait { Then::Silence } else { Then::QueueBound };
        self.call_for(number, (50, 20), MessageCommand::Bind(Box::new(binding)), then);
        Ok(())
    }

    pub(super) fn unbind_queue(&mut self, number: u16, told: &QueueUnbind) -> Result<(), Failure> {
        let ends = (&told.exchange, &told.queue, &told.routing_key);
        let binding = self.queue_binding(number, ends, &told.arguments)?;
        let command = MessageCommand::Unbind(Box::new(binding));
        self.call_for(number, (50, 50), command, Then::QueueUnbound);
        Ok(())
    }

    fn queue_binding(
        &self,
        number: u16,
        (source, queue, key): (&Short, &Short, &Short),
        arguments: &Table,
    ) -> Result<BindingSpec, Failure> {
        let destination = self.queue_of(number, queue)?;
        // Who names neither means the queue that was declared last, twice.
        let routing_key = if queue.is_empty() && key.is_empty() {
            destination.clone()
        } else {
            plain_text_of(key)?
        };
        let source = text_of(source)?;
        not_default(&source)?;
        if destination.starts_with(REPLY_TO) {
            let text = "cannot bind or unbind to a volatile (direct reply-to) queue";
            return Err(Failure::new(Code::AccessRefused, text));
        }
        let binding = BindingSpec { source, destination, routing_key, ..self.binding() };
        binding_with_arguments(binding, arguments)
    }

    pub(super) fn purge_queue(&mut self, number: u16, told: &QueuePurge) -> Result<(), Failure> {
        let queue = self.queue_of(number, &told.queue)?;
        let connection = Some(self.settings.connection);
        let then = if told.nowait { Then::Silence } else { Then::QueuePurged };
        let command = MessageCommand::PurgeQueue { queue, connection };
        self.call_for(number, (50, 30), command, then);
        Ok(())
    }

    pub(super) fn delete_queue(&mut self, number: u16, told: &QueueDelete) -> Result<(), Failure> {
        let queue = self.queue_of(number, &told.queue)?;
        let command = MessageCommand::DeleteQueue {
            queue,
            connection: Some(self.settings.connection),
            if_unused: told.if_unused,
            if_empty: told.if_empty,
        };
        let then = if told.nowait { Then::Silence } else { Then::QueueDeleted };
        self.call_for(number, (50, 40), command, then);
        Ok(())
    }
}

fn not_default(exchange: &str) -> Result<(), Failure> {
    if exchange.is_empty() {
        let text = "operation not permitted on the default exchange";
        return Err(Failure::new(Code::AccessRefused, text));
    }
    Ok(())
}

/// The binding with how its headers are compared.
pub fn binding_with_arguments(
    binding: BindingSpec,
    arguments: &Table,
) -> Result<BindingSpec, Failure> {
    let (matching, with_x) = match arguments.get("x-match") {
        None => (Matching::All, false),
        Some(value) => match value.as_text() {
            Some("all") => (Matching::All, false),
            Some("any") => (Matching::Any, false),
            Some("all-with-x") => (Matching::All, true),
            Some("any-with-x") => (Matching::Any, true),
            _ => {
                let text = format!("Invalid x-match field value {value:?}; expected all or any");
                return Err(Failure::new(Code::PreconditionFailed, text));
            }
        },
    };
    let counts = |name: &Short| {
        let name = name.as_bytes();
        let of_job = name.starts_with(b"x-job-");
        name.as_ref() != b"x-match" && !of_job && (with_x || !name.starts_with(b"x-"))
    };
    let headers =
        arguments.fields().filter(|(name, _)| counts(name)).filter_map(header_of).collect();
    let (job, arguments) = (job_of(arguments)?, arguments.as_bytes().clone());
    Ok(BindingSpec { matching, headers, arguments, job, ..binding })
}

/// What a message becomes at the end of a binding to a queue of jobs: where `x-job-kind` says so.
fn job_of(arguments: &Table) -> Result<Option<JobBinding>, Failure> {
    let invalid = |name: &str, value: &Value, expected: &str| {
        let text = format!("invalid arg '{name}' of the binding: {value:?}; expected {expected}");
        Failure::new(Code::PreconditionFailed, text)
    };
    let number = |name: &str| match arguments.get(name) {
        None => Ok(None),
        Some(value) => match value.as_int().and_then(|number| u64::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(name, &value, "a whole number from 0 on")),
        },
    };
    let Some(value) = arguments.get("x-job-kind") else { return Ok(None) };
    let expected = "the name of a kind of jobs";
    let kind = value.as_text().ok_or_else(|| invalid("x-job-kind", &value, expected))?.to_owned();
    let priority = number("x-job-priority")?.map(|it| u8::try_from(it).unwrap_or(u8::MAX));
    let delay_ms = number("x-job-delay")?;
    let version = match arguments.get("x-job-version") {
        None => 0,
        Some(value) => {
            let number = value.as_int().and_then(|it| u32::try_from(it).ok());
            let number = number.filter(|number| *number > 0);
            number.ok_or_else(|| invalid("x-job-version", &value, "a whole number from 1 on"))?
        }
    };
    let ordered = match arguments.get("x-job-ordered") {
        None => false,
        Some(Value::Bool(ordered)) => ordered,
        Some(value) => return Err(invalid("x-job-ordered", &value, "true or false")),
    };
    Ok(Some(JobBinding { kind, priority, delay_ms, ordered, version }))
}
