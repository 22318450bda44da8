//! Consumers, what they may have, and what they get.

use longshore_engine::{
    CloseReason, ConsumeMessages, ConsumerId, DeclareQueue, MessageCommand, MessageCredit,
    MessageDelivery, MessageSettings,
};

use super::asking::{Pending, Then};
use super::channel::{Consumer, Unsettled};
use super::methods::text_of;
use super::overdue::consumer_timeout;
use super::publishing::REPLY_TO;
use super::{Ask, Phase, Session};
use crate::codec::Short;
use crate::codec::methods::{
    BasicCancel, BasicCancelOk, BasicConsume, BasicDeliver, BasicGetOk, BasicQos, BasicQosOk,
};
use crate::deliver::properties_of;
use crate::failure::{Code, Failure, queue_in};

/// Bytes of messages that the engine may deliver to a consumer ahead of what is written.
const WINDOW_BYTES: i64 = 1 << 20;
/// The same in messages.
const WINDOW_MESSAGES_MAX: u64 = 512;
/// Nobody is given more while so much waits to be written.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Consumers of connections have numbers from here on, so that they are nobody else's.
const CONSUMERS_FROM: u64 = 1 << 63;
/// So many a connection can have, one after the other.
const CONSUMERS_EVER_MAX: u64 = 1 << 24;

impl Session {
    pub(super) fn set_prefetch(&mut self, number: u16, told: &BasicQos) -> Result<(), Failure> {
        if told.prefetch_size != 0 {
            let text = format!("prefetch_size!=0 ({})", told.prefetch_size);
            return Err(Failure::new(Code::NotImplemented, text));
        }
        if told.global {
            return self.set_shared_prefetch(number, told.prefetch_count);
        }
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.prefetch = told.prefetch_count;
        }
        self.out.method(number, &BasicQosOk {}.into());
        Ok(())
    }

    /// The number of the next consumer, or of what consumers share.
    pub(super) fn next_consumer(&mut self) -> Result<ConsumerId, Failure> {
        self.consumers_ever += 1;
        if self.consumers_ever >= CONSUMERS_EVER_MAX {
            let text = "no more consumers on this connection";
            return Err(Failure::new(Code::ResourceError, text));
        }
        let connection = self.settings.connection.0;
        Ok(ConsumerId(CONSUMERS_FROM | connection << 24 | self.consumers_ever))
    }

    pub(super) fn consume(&mut self, number: u16, told: BasicConsume) -> Result<(), Failure> {
        let Some(channel) = self.channels.get(&number) else { return Ok(()) };
        if channel.consumers.contains_key(&told.consumer_tag) {
            let tag = text_of(&told.consumer_tag)?;
            let text = format!("attempt to reuse consumer tag '{tag}'");
            return Err(Failure::new(Code::NotAllowed, text));
        }
        let has_replies = channel.replies.is_some();
        let is_silent = told.nowait;
        let tag = if told.consumer_tag.is_empty() {
            Short::cut(&self.names.next("amq.ctag"))
        } else {
            told.consumer_tag
        };
        if told.queue.as_bytes() == REPLY_TO.as_bytes() {
            let refused = |text| Err(Failure::new(Code::PreconditionFailed, text));
            return match (told.no_ack, has_replies) {
                (false, _) => refused("reply consumer cannot acknowledge"),
                (true, true) => refused("reply consumer already set"),
                (true, false) => {
                    self.consume_replies(number, tag, is_silent);
                    Ok(())
                }
            };
        }
        let priority = match told.arguments.get("x-priority") {
            None => 0,
            Some(value) => {
                if let Some(priority) = value.as_int().and_then(|value| i32::try_from(value).ok()) {
                    priority
                } else {
                    let text = format!("invalid arg 'x-priority': {value:?}");
                    return Err(Failure::new(Code::PreconditionFailed, text));
                }
            }
        };
        let queue = self.queue_of(number, &told.queue)?;
        let (auto_ack, exclusive) = (told.no_ack, told.exclusive);
        let named = queue_in(&self.vhost, &queue);
        let timeout_ms = consumer_timeout(&told.arguments, &named)?;
        self.check_consume(&queue)?;
        if timeout_ms > 0 {
            let least = self.timeout_ms_min.map_or(timeout_ms, |least| least.min(timeout_ms));
            self.timeout_ms_min = Some(least);
        }
        let wish = Wish { queue, auto_ack, exclusive, priority, is_silent, timeout_ms };
        self.begin_consumer(number, tag, wish)
    }

    /// Answers to the channel's requests come to a queue of its own that ends with it.
    fn consume_replies(&mut self, number: u16, tag: Short, is_silent: bool) {
        let queue = self.names.next(REPLY_TO).replacen("to-", "to.", 1);
        let settings = MessageSettings { exclusive: true, ..MessageSettings::default() };
        let connection = Some(self.settings.connection);
        let declare = DeclareQueue { queue: queue.clone(), settings, connection };
        let command = MessageCommand::DeclareQueue(Box::new(declare));
        self.call_for(number, (60, 20), command, Then::Replies { queue, tag, is_silent });
    }

    /// The queue for answers is there.
    pub(super) fn replies_declared(
        &mut self,
        number: u16,
        queue: String,
        tag: Short,
        is_silent: bool,
    ) -> Result<(), Failure> {
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.replies = Some((queue.clone(), tag.clone()));
        }
        let (auto_ack, exclusive, priority, timeout_ms) = (true, true, 0, 0);
        let wish = Wish { queue, auto_ack, exclusive, priority, is_silent, timeout_ms };
        self.begin_consumer(number, tag, wish)
    }

    fn begin_consumer(&mut self, number: u16, tag: Short, wish: Wish) -> Result<(), Failure> {
        let id = self.next_consumer()?;
        let connection = self.settings.connection;
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let consumer = Consumer {
            id,
            queue: wish.queue.clone(),
            exclusive: wish.exclusive,
            is_there: false,
            auto_ack: wish.auto_ack,
            prefetch: channel.prefetch,
            timeout_ms: wish.timeout_ms,
            unsettled: 0,
            credit: 0,
            bytes: 0,
        };
        channel.consumers.insert(tag.clone(), consumer);
        self.consumers.insert(id, (number, tag.clone()));
        // Where it shares a credit, it has none before it does.
        let shares = self.channels.get(&number).is_some_and(|channel| channel.share.is_some());
        let waits = shares && !wish.auto_ack;
        let credit = if waits { MessageCredit::default() } else { self.room_of(number, id) };
        if let Some(consumer) = self.consumer(number, id) {
            consumer.count_given(credit);
        }
        let consume = ConsumeMessages {
            consumer: id,
            connection,
            queue: wish.queue,
            auto_ack: wish.auto_ack,
            exclusive: wish.exclusive,
            priority: wish.priority,
            credit,
        };
        let then = Then::Consuming { tag, consumer: id, is_silent: wish.is_silent };
        self.call_for(number, (60, 20), MessageCommand::Consume(Box::new(consume)), then);
        Ok(())
    }

    pub(super) fn cancel(&mut self, number: u16, told: BasicCancel) {
        let (tag, is_silent) = (told.consumer_tag, told.nowait);
        let consumer = self.channels.get(&number).and_then(|channel| channel.consumers.get(&tag));
        let Some(consumer) = consumer.map(|consumer| consumer.id) else {
            // There is none, as was wished.
            if !is_silent {
                self.out.method(number, &BasicCancelOk { consumer_tag: tag }.into());
            }
            return;
        };
        let then = Then::Cancelled { tag, is_silent };
        self.call_for(number, (60, 30), MessageCommand::Cancel { consumer }, then);
    }

    /// A consumer is one no longer, for the engine and for its client.
    pub(super) fn end_consumer(&mut self, number: u16, tag: &Short) {
        if let Some(consumer) = self.forget_consumer(number, tag) {
            self.asks.push_back(Ask::Gone { consumer });
        }
    }

    /// A consumer is one no longer for its client.
    pub(super) fn forget_consumer(&mut self, number: u16, tag: &Short) -> Option<ConsumerId> {
        let channel = self.channels.get_mut(&number)?;
        let consumer = channel.consumers.remove(tag)?;
        let ends_replies = channel.replies.as_ref().is_some_and(|(_, of)| of == tag);
        let replies = if ends_replies { channel.replies.take() } else { None };
        self.consumers.remove(&consumer.id);
        self.starving.remove(&consumer.id);
        if let Some((queue, _)) = replies {
            let command = MessageCommand::DeleteQueue {
                queue,
                connection: Some(self.settings.connection),
                if_unused: false,
                if_empty: false,
            };
            self.call(command, Pending::Nothing);
        }
        Some(consumer.id)
    }

    /// The engine has ended a consumer.
    pub fn consumer_closed(&mut self, consumer: ConsumerId, reason: CloseReason) {
        let Some((number, tag)) = self.consumers.get(&consumer).cloned() else { return };
        self.end_consumer(number, &tag);
        if reason != CloseReason::Stopping
            && self.capabilities.consumer_cancel_notify
            && let Some(channel) = self.channels.get_mut(&number)
        {
            channel.ended.push(tag);
            // Who deletes a queue hears that it is deleted, and then of the consumers.
            if !channel.is_busy {
                self.tell_ended(number);
            }
        }
        self.flush();
    }

    /// Tells the client of consumers that have ended.
    pub(super) fn tell_ended(&mut self, number: u16) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let is_told = self.phase == Phase::Running && !channel.is_closing;
        for consumer_tag in std::mem::take(&mut channel.ended) {
            if is_told {
                self.out.method(number, &BasicCancel { consumer_tag, nowait: true }.into());
            }
        }
    }

    pub(super) fn consumer(&mut self, number: u16, id: ConsumerId) -> Option<&mut Consumer> {
        let (_, tag) = self.consumers.get(&id)?;
        self.channels.get_mut(&number)?.consumers.get_mut(tag)
    }

    /// How much more a consumer may be given now.
    fn room_of(&self, number: u16, id: ConsumerId) -> MessageCredit {
        let consumer = self.consumers.get(&id).zip(self.channels.get(&number));
        let consumer = consumer.and_then(|((_, tag), channel)| channel.consumers.get(tag));
        let Some(consumer) = consumer else { return MessageCredit::default() };
        let mut messages = WINDOW_MESSAGES_MAX.saturating_sub(consumer.credit);
        if !consumer.auto_ack && consumer.prefetch > 0 {
            let has = consumer.unsettled + consumer.credit;
            messages = messages.min(u64::from(consumer.prefetch).saturating_sub(has));
        }
        let bytes = WINDOW_BYTES.saturating_sub(consumer.bytes);
        MessageCredit { messages, bytes: u64::try_from(bytes).unwrap_or(0) }
    }

    /// Gives a consumer what it may have more.
    pub(super) fn replenish(&mut self, id: ConsumerId) {
        let Some(&(number, _)) = self.consumers.get(&id) else { return };
        let mut room = self.room_of(number, id);
        let Some(consumer) = self.consumer(number, id) else { return };
        // Without a bound, it is given much now and then.
        let is_bounded = !consumer.auto_ack && consumer.prefetch > 0;
        if !is_bounded && consumer.credit > room.messages {
            room.messages = 0;
        }
        let lacks_bytes = consumer.credit > 0 && consumer.bytes <= WINDOW_BYTES / 2;
        if room.messages == 0 && !lacks_bytes {
            return;
        }
        if self.out.len() > OUTPUT_BYTES_MAX {
            self.starving.insert(id);
            return;
        }
        if let Some(consumer) = self.consumer(number, id) {
            consumer.count_given(room);
        }
        self.give_credit(id, room);
    }

    /// Messages for a consumer.
    pub fn deliver(&mut self, consumer: ConsumerId, messages: Vec<MessageDelivery>) {
        let place = self.consumers.get(&consumer).cloned();
        let place = place.filter(|_| self.phase == Phase::Running);
        for message in messages {
            match &place {
                Some((number, tag)) => self.deliver_one(*number, tag, &message),
                // Whoever it was for has gone.
                None => self.requeue(message.tag),
            }
        }
        self.replenish(consumer);
        self.flush();
    }

    fn deliver_one(&mut self, number: u16, tag: &Short, delivery: &MessageDelivery) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let Some(consumer) = channel.consumers.get_mut(tag) else { return };
        consumer.credit = consumer.credit.saturating_sub(1);
        consumer.bytes = consumer.bytes.saturating_sub_unsigned(delivery.message.credit_bytes());
        channel.delivered += 1;
        if !consumer.auto_ack {
            consumer.unsettled += 1;
            if let Some(share) = &mut channel.share {
                share.deliver();
            }
            let (timeout_ms, since_ms) = (consumer.timeout_ms, None);
            let consumer = Some(consumer.id);
            let one = Unsettled { tag: delivery.tag, consumer, timeout_ms, since_ms };
            channel.unsettled.insert(channel.delivered, one);
        }
        let method = BasicDeliver {
            consumer_tag: tag.clone(),
            delivery_tag: channel.delivered,
            redelivered: delivery.redelivered,
            exchange: Short::cut(&delivery.message.exchange),
            routing_key: Short::cut(&delivery.message.routing_key),
        };
        self.out.method(number, &method.into());
        let properties = properties_of(delivery);
        self.out.content(number, self.frame_max, &properties, &delivery.message.body);
    }

    /// A message that was asked for by itself.
    pub(super) fn got(&mut self, number: u16, delivery: &MessageDelivery, ready: u64, ack: bool) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        channel.delivered += 1;
        if !ack {
            let one =
                Unsettled { tag: delivery.tag, consumer: None, timeout_ms: 0, since_ms: None };
            channel.unsettled.insert(channel.delivered, one);
        }
        let method = BasicGetOk {
            delivery_tag: channel.delivered,
            redelivered: delivery.redelivered,
            exchange: Short::cut(&delivery.message.exchange),
            routing_key: Short::cut(&delivery.message.routing_key),
            message_count: u32::try_from(ready).unwrap_or(u32::MAX),
        };
        self.out.method(number, &method.into());
        let properties = properties_of(delivery);
        self.out.content(number, self.frame_max, &properties, &delivery.message.body);
    }
}

/// What a consumer is to be.
struct Wish {
    queue: String,
    auto_ack: bool,
    exclusive: bool,
    priority: i32,
    is_silent: bool,
    /// For how long it may have a message, in milliseconds; 0 for ever.
    timeout_ms: u64,
}
