//! What is published, gathered into few commands; its confirms, and what comes back.

use std::collections::VecDeque;

use bytes::Bytes;
use longshore_engine::{HeaderValue, MessageCommand, PublishMessage, Published, Rejection};

use super::Session;
use super::asking::Pending;
use super::channel::Operation;
use super::methods::plain_text_of;
use crate::codec::methods::{BasicAck, BasicNack, BasicPublish, BasicReturn};
use crate::codec::{Items, Properties, Short, Table, Value};
use crate::failure::{Code, Failure, of_rejection};

/// Messages and bytes of one command.
const BATCH_MESSAGES_MAX: usize = 256;
const BATCH_BYTES_MAX: u64 = 1 << 20;
/// Messages and bytes that may be with the engine; one message of any size may, where nothing is.
const UNDER_WAY_MESSAGES_MAX: usize = 4096;
const UNDER_WAY_BYTES_MAX: u64 = 8 << 20;
/// What a message takes beside its body, about.
const MESSAGE_BYTES: u64 = 256;
/// Where requests ask for answers to this channel.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// A message on its way to the engine.
#[derive(Debug)]
pub(super) struct Outgoing {
    message: PublishMessage,
    confirm: Option<u64>,
    bytes: u64,
}

/// Whose a message is.
#[derive(Debug)]
struct Origin {
    channel: u16,
    instance: u64,
    confirm: Option<u64>,
    /// What goes back where no queue takes it.
    mandatory: Option<Box<Returned>>,
    bytes: u64,
}

/// What goes back where no queue takes a message.
#[derive(Debug)]
pub(super) struct Returned {
    exchange: String,
    routing_key: String,
    properties: Bytes,
    body: Bytes,
}

impl Returned {
    /// What goes back of a message, if its publisher wants that.
    pub(super) fn of(message: &PublishMessage) -> Option<Box<Self>> {
        message.mandatory.then(|| {
            Box::new(Self {
                exchange: message.exchange.clone(),
                routing_key: message.routing_key.clone(),
                properties: message.properties.clone(),
                body: message.body.clone(),
            })
        })
    }
}

impl Outgoing {
    /// The message, and the bytes that it takes.
    pub(super) fn into_message(self) -> (PublishMessage, u64) {
        (self.message, self.bytes)
    }
}

/// Messages of a connection that are with the engine, or about to go there.
#[derive(Debug)]
pub(super) struct Publishing {
    /// Messages of one command, and those that may be with the engine of one that only publishes.
    batch_max: usize,
    under_way_max: usize,
    /// The client has gone.
    is_last: bool,
    batch: Vec<PublishMessage>,
    origins: Vec<Origin>,
    batch_bytes: u64,
    /// Commands without an answer, by their numbers, the oldest first.
    sent: VecDeque<(u64, Vec<Origin>)>,
    messages: usize,
    bytes: u64,
}

impl Default for Publishing {
    fn default() -> Self {
        Self {
            batch_max: BATCH_MESSAGES_MAX,
            under_way_max: UNDER_WAY_MESSAGES_MAX,
            is_last: false,
            batch: Vec::new(),
            origins: Vec::new(),
            batch_bytes: 0,
            sent: VecDeque::new(),
            messages: 0,
            bytes: 0,
        }
    }
}

impl Publishing {
    /// One that consumes is read as long as there is room: what it settles is heard. So is what was
    /// sent before the client went.
    pub(super) fn is_full(&self, consumes: bool) -> bool {
        let messages =
            if consumes || self.is_last { UNDER_WAY_MESSAGES_MAX } else { self.under_way_max };
        self.messages >= messages || self.bytes >= UNDER_WAY_BYTES_MAX
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Confirms of one channel that follow each other.
#[derive(Clone, Copy)]
struct Run {
    channel: u16,
    first: u64,
    last: u64,
    is_ack: bool,
}

impl Session {
    /// A message has arrived.
    pub(super) fn publish(
        &mut self,
        number: u16,
        publish: &BasicPublish,
        properties: Properties,
        body: Bytes,
    ) -> Result<(), Failure> {
        let message = self.message(number, publish, properties, body)?;
        self.check_publish(&message)?;
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let confirm = channel.confirms.as_mut().map(|last| {
            *last += 1;
            *last
        });
        let bytes = MESSAGE_BYTES + (message.body.len() + message.properties.len()) as u64;
        let outgoing = Outgoing { message, confirm, bytes };
        self.publishing.messages += 1;
        self.publishing.bytes += bytes;
        if channel.is_busy || !channel.operations.is_empty() {
            channel.operations.push_back(Operation::Publish(Box::new(outgoing)));
        } else {
            self.send(number, outgoing);
        }
        Ok(())
    }

    /// Adds a message to the next command.
    pub(super) fn send(&mut self, number: u16, outgoing: Outgoing) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        if channel.transaction.is_some() {
            return self.publish_later(number, outgoing);
        }
        let Outgoing { message, confirm, bytes } = outgoing;
        channel.publishes += 1;
        let mandatory = Returned::of(&message);
        let instance = channel.instance;
        let publishing = &mut self.publishing;
        publishing.origins.push(Origin { channel: number, instance, confirm, mandatory, bytes });
        publishing.batch.push(message);
        publishing.batch_bytes += bytes;
        let is_full = publishing.batch.len() >= publishing.batch_max;
        if is_full || publishing.batch_bytes >= BATCH_BYTES_MAX {
            self.flush_publishes();
        }
    }

    /// No more than so many messages of it are published in a second: no more are taken ahead of
    /// their turn, but of one that consumes. `None`: as many as it likes.
    pub fn limit_publishes(&mut self, per_second: Option<u32>) {
        let second = per_second.map_or(usize::MAX, |most| most.max(1) as usize);
        self.publishing.batch_max = second.min(BATCH_MESSAGES_MAX);
        self.publishing.under_way_max = second.min(UNDER_WAY_MESSAGES_MAX);
    }

    /// The client has gone: what it sent is taken ahead of its turn. Nobody gets messages, not even
    /// by a consumer that comes only now.
    pub fn take_rest(&mut self) {
        self.publishing.is_last = true;
        for (consumer, _) in std::mem::take(&mut self.consumers) {
            self.asks.push_back(super::Ask::Gone { consumer });
        }
    }

    /// Whether anything waits in a channel for the answer to what came before it.
    pub fn waits_in_channels(&self) -> bool {
        self.channels.values().any(|channel| !channel.operations.is_empty())
    }

    /// Hands over what was published.
    pub(super) fn flush_publishes(&mut self) {
        let publishing = &mut self.publishing;
        if publishing.batch.is_empty() {
            return;
        }
        publishing.batch_bytes = 0;
        let origins = std::mem::take(&mut publishing.origins);
        let batch = std::mem::take(&mut publishing.batch);
        self.call(MessageCommand::Publish(batch), Pending::Publish);
        self.publishing.sent.push_back((self.number, origins));
    }

    /// How many messages were published and have no answer yet.
    pub fn publishes_under_way(&self) -> usize {
        self.publishing.messages
    }

    /// Whether everything that was published before this command is answered, so that it may be
    /// refused: confirms go in order.
    pub fn is_oldest_publish(&self, number: u64) -> bool {
        self.publishing.sent.front().is_none_or(|(oldest, _)| number <= *oldest)
    }

    /// What waits in a channel that ends is published by nobody.
    pub(super) fn forget_outgoing(&mut self, outgoing: &Outgoing) {
        self.publishing.messages -= 1;
        self.publishing.bytes -= outgoing.bytes;
    }

    /// What became of a command that was handed over; or why nothing did, or `None` where
    /// nobody knows.
    pub(super) fn published(
        &mut self,
        number: u64,
        results: Result<Vec<Result<Published, Rejection>>, Option<String>>,
    ) {
        // It is the oldest, but where the shard has ended and nothing more is taken there.
        let at = self.publishing.sent.iter().position(|(sent, _)| *sent == number);
        let Some((_, origins)) = at.and_then(|at| self.publishing.sent.remove(at)) else { return };
        let (mut results, blocked) = match results {
            Ok(results) => (Some(results.into_iter()), None),
            Err(why) => (None, why),
        };
        let (mut run, mut touched) = (None, Vec::new());
        for origin in origins {
            self.publishing.messages -= 1;
            self.publishing.bytes -= origin.bytes;
            let result = results.as_mut().and_then(Iterator::next);
            let number = origin.channel;
            let Some(channel) = self.channels.get_mut(&number) else { continue };
            if channel.instance != origin.instance {
                continue;
            }
            channel.publishes -= 1;
            if touched.last() != Some(&number) {
                touched.push(number);
            }
            if channel.is_closing {
                continue;
            }
            let is_ack = match result {
                Some(Ok(published)) => {
                    if published == Published::Unroutable
                        && let Some(returned) = &origin.mandatory
                    {
                        self.confirm(run.take());
                        self.give_back(number, returned);
                    }
                    true
                }
                // Refused because it is full, or nobody knows: it is not confirmed.
                Some(Err(Rejection::QueueFull { .. })) => false,
                None if origin.confirm.is_some() => false,
                None => {
                    if let Some(why) = &blocked {
                        let failure = Failure::new(Code::PreconditionFailed, why);
                        self.fail(number, &failure.of((60, 40)));
                    }
                    continue;
                }
                Some(Err(rejection)) => {
                    self.confirm(run.take());
                    let failure = of_rejection(&rejection, &self.vhost);
                    self.fail(number, &failure.of((60, 40)));
                    continue;
                }
            };
            if let Some(confirm) = origin.confirm {
                run = Some(self.joined(run, number, confirm, is_ack));
            }
        }
        self.confirm(run);
        for number in touched {
            self.advance(number);
        }
    }

    /// The run with one more confirm; one that it does not continue is told first.
    fn joined(&mut self, run: Option<Run>, channel: u16, number: u64, is_ack: bool) -> Run {
        match run {
            Some(run) if run.channel == channel && run.is_ack == is_ack => {
                Run { last: number, ..run }
            }
            run => {
                self.confirm(run);
                Run { channel, first: number, last: number, is_ack }
            }
        }
    }

    /// Tells what became of messages. Those before them were told already, so one method is enough.
    fn confirm(&mut self, run: Option<Run>) {
        let Some(Run { channel, first, last, is_ack }) = run else { return };
        let (delivery_tag, multiple) = (last, last > first);
        if is_ack {
            self.out.method(channel, &BasicAck { delivery_tag, multiple }.into());
        } else {
            self.out.method(channel, &BasicNack { delivery_tag, multiple, requeue: false }.into());
        }
    }

    pub(super) fn give_back(&mut self, number: u16, returned: &Returned) {
        let method = BasicReturn {
            reply_code: Code::NoRoute as u16,
            reply_text: Short::cut(Code::NoRoute.name()),
            exchange: Short::cut(&returned.exchange),
            routing_key: Short::cut(&returned.routing_key),
        };
        self.out.method(number, &method.into());
        self.out.content(number, self.frame_max, &returned.properties, &returned.body);
    }

    /// A message as the engine takes it.
    fn message(
        &self,
        number: u16,
        publish: &BasicPublish,
        mut properties: Properties,
        body: Bytes,
    ) -> Result<PublishMessage, Failure> {
        let refused = |text| Failure::new(Code::PreconditionFailed, text);
        if let Some(user) = &properties.user_id
            && user.as_bytes() != self.user.as_bytes()
        {
            let (user, own) = (String::from_utf8_lossy(user.as_bytes()).into_owned(), &self.user);
            return Err(refused(format!(
                "user_id property set to '{user}' but authenticated user was '{own}'"
            )));
        }
        let ttl_ms = match &properties.expiration {
            None => None,
            Some(text) => match text.as_text().and_then(|text| text.parse().ok()) {
                Some(ms) if ms <= TTL_MS_MAX => Some(ms),
                _ => {
                    let shown = String::from_utf8_lossy(text.as_bytes());
                    return Err(refused(format!("invalid expiration '{shown}': no_integer")));
                }
            },
        };
        if properties.reply_to.as_ref().is_some_and(|to| to.as_bytes() == REPLY_TO.as_bytes()) {
            let replies = self.channels.get(&number).and_then(|channel| channel.replies.as_ref());
            let Some((queue, _)) = replies else {
                return Err(refused("fast reply consumer does not exist".to_owned()));
            };
            properties.reply_to = Some(Short::cut(queue));
        }
        let (mut further_keys, mut headers, mut delay_ms) = (Vec::new(), Vec::new(), None);
        if let Some(table) = properties.headers.as_ref().filter(|table| !table.is_empty()) {
            further_keys.extend(further_keys_of(table, "CC")?);
            let delay = table.get("x-delay").and_then(|value| value.as_int());
            delay_ms = delay.and_then(|ms| u64::try_from(ms).ok());
            let hidden = further_keys_of(table, "BCC")?;
            headers = table.fields().filter_map(header_of).collect();
            if table.get("BCC").is_some() {
                properties.headers = Some(table.without("BCC"));
            }
            further_keys.extend(hidden);
        }
        Ok(PublishMessage {
            exchange: plain_text_of(&publish.exchange)?,
            routing_key: plain_text_of(&publish.routing_key)?,
            further_keys,
            headers,
            priority: properties.priority.unwrap_or(0),
            persistent: properties.delivery_mode == Some(2),
            ttl_ms,
            mandatory: publish.mandatory,
            properties: properties.to_bytes(),
            body,
            delay_ms,
        })
    }
}

/// `RabbitMQ`'s timers go no further.
const TTL_MS_MAX: u64 = u32::MAX as u64;

/// Further routing keys: a list of texts.
fn further_keys_of(table: &Table, name: &str) -> Result<Vec<String>, Failure> {
    let malformed = || {
        let text = format!("invalid message: {{unacceptable_type_in_header,{name}}}");
        Failure::new(Code::PreconditionFailed, text)
    };
    match table.get(name) {
        None => Ok(Vec::new()),
        Some(Value::List(list)) => Items::of_list(&list)
            .map(|(_, item)| item.as_text().map(str::to_owned).ok_or_else(malformed))
            .collect(),
        Some(_) => Err(malformed()),
    }
}

/// A header as routing compares it; names that are no text cannot be compared.
pub fn header_of((name, value): (Short, Value)) -> Option<(String, HeaderValue)> {
    let name = name.as_text()?.to_owned();
    let value = match value {
        Value::Nothing => HeaderValue::Void,
        Value::Bool(value) => HeaderValue::Bool { value },
        Value::Text(bytes) | Value::Bytes(bytes) => HeaderValue::Text { bytes },
        Value::F32(value) => HeaderValue::Float { bits: f64::from(value).to_bits() },
        Value::F64(value) => HeaderValue::Float { bits: value.to_bits() },
        other => {
            if let Some(value) = other.as_int() {
                HeaderValue::Int { value }
            } else {
                let bytes = Table::of([("", other)]).as_bytes().clone();
                HeaderValue::Other { bytes }
            }
        }
    };
    Some((name, value))
}
