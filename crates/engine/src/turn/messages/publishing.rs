//! Publishing, a bounded part in each turn: one message may enter ten thousand queues. What was
//! published first enters first.

use super::takers::Publishing;
use crate::answer::Answer;
use crate::command::ReplyTo;
use crate::ids::NamespaceId;
use crate::keyed::{CommandKey, Render};
use crate::message::{MessageAnswer, PublishMessage};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::turn::Turn;

/// Bindings that are compared at the cost of an entry, where an exchange compares all.
const BINDINGS_PER_ENTRY: usize = 64;

impl Turn {
    pub(super) fn start_publishing(
        &mut self,
        (ns, reply_to): (NamespaceId, ReplyTo),
        messages: Vec<PublishMessage>,
        moment: Moment,
    ) {
        self.publish_all((ns, reply_to), messages, None, moment);
    }

    /// Publishes one message once for its key.
    pub(in crate::turn) fn publish_keyed(
        &mut self,
        to: (NamespaceId, ReplyTo),
        message: PublishMessage,
        key: (CommandKey, Render),
        moment: Moment,
    ) {
        self.publish_all(to, vec![message], Some(key), moment);
    }

    fn publish_all(
        &mut self,
        (ns, reply_to): (NamespaceId, ReplyTo),
        messages: Vec<PublishMessage>,
        key: Option<(CommandKey, Render)>,
        moment: Moment,
    ) {
        let published = Vec::with_capacity(messages.len());
        let waits = self.is_publishing();
        let messages = messages.into_iter();
        let publishing = Publishing { ns, reply_to, messages, published, key };
        self.takers.publishing.push_back(publishing);
        if !waits {
            self.go_on_publishing(moment);
        }
    }

    /// Whether something that was taken in is not published yet.
    pub(crate) fn is_publishing(&self) -> bool {
        !self.takers.publishing.is_empty()
    }

    pub(super) fn go_on_publishing(&mut self, moment: Moment) {
        while let Some(mut publishing) = self.takers.publishing.pop_front() {
            if let Some((key, _)) = &publishing.key
                && !self.begins_keyed(key, publishing.reply_to)
            {
                continue;
            }
            while let Some(message) = publishing.messages.next() {
                self.publish(&mut publishing, &message, moment);
                if self.takers.is_used_up() {
                    break;
                }
            }
            if publishing.messages.len() > 0 {
                return self.takers.publishing.push_front(publishing);
            }
            let answer = MessageAnswer::Published(publishing.published);
            let answer = Answer::Messages(answer);
            if let Some(key) = publishing.key {
                self.keep(key, &answer, moment);
            }
            self.reply(publishing.reply_to, answer);
            if self.takers.is_used_up() {
                return;
            }
        }
    }

    /// Records facts by which messages may enter queues; those that are too long by then drop what
    /// they drop.
    pub(in crate::turn) fn record_entering(
        &mut self,
        records: Vec<Record>,
        moment: Moment,
    ) -> Result<(), Rejection> {
        let queues = super::settle::entered(&records);
        self.try_record(records)?;
        self.note_lengths(&queues);
        self.enforce_lengths(moment);
        Ok(())
    }

    /// Publishes a message. What that costs counts as entries.
    fn publish(&mut self, publishing: &mut Publishing, message: &PublishMessage, moment: Moment) {
        let ns = publishing.ns;
        let compared = self.state.bindings_compared(ns, &message.exchange) / BINDINGS_PER_ENTRY;
        self.takers.entered += 1 + compared;
        let decided = self.state.decide_publication(ns, message, moment);
        let came = decided.and_then(|(records, came)| {
            let queues = super::settle::entered(&records);
            self.try_record(records)?;
            self.note_lengths(&queues);
            Ok(came)
        });
        if let Err(Rejection::QueueFull { queue, .. }) = &came {
            self.leave_refused_letters(ns, message, queue, moment);
        }
        self.enforce_lengths(moment);
        publishing.published.push(came);
    }
}
