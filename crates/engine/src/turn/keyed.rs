//! Commands that are carried out once for a key. The answer is kept in the same entry as its
//! effect.

use bytes::Bytes;

use super::Turn;
use crate::answer::Answer;
use crate::command::{Command, ReplyTo, Request};
use crate::effect::Effect;
use crate::keyed::{ANSWER_BYTES_MAX, BESIDE_BYTES, CommandKey, KeyedCommand, Render};
use crate::message::{MessageAnswer, MessageCommand, PublishMessage, Published};
use crate::moment::Moment;
use crate::rejection::Rejection;
use crate::stream::StreamAnswer;

impl Turn {
    pub(super) fn handle_keyed(
        &mut self,
        (namespace, reply_to): (String, ReplyTo),
        keyed: KeyedCommand,
        moment: Moment,
    ) {
        let KeyedCommand { key, command, render } = keyed;
        if let Command::Messages(MessageCommand::Publish(messages)) = command {
            // It may have to wait for what was published before it.
            let to = (&*namespace, reply_to);
            if let Err(rejection) = self.start_keyed(to, messages, (key, render), moment) {
                self.reply(reply_to, Answer::Rejected(rejection));
            }
            return;
        }
        if !self.begins_keyed(&key, reply_to) {
            return;
        }
        let before = self.new_effects.len();
        self.handle(Request { namespace, reply_to, command }, moment);
        let told = self.new_effects.get(before..).unwrap_or_default();
        let answer = told.iter().find_map(|effect| match effect {
            Effect::Reply { reply_to: to, answer } if *to == reply_to => Some(answer.clone()),
            _ => None,
        });
        match answer {
            Some(answer) => self.keep((key, render), &answer, moment),
            None => self.reserved_bytes = 0,
        }
    }
    fn start_keyed(
        &mut self,
        (namespace, reply_to): (&str, ReplyTo),
        messages: Vec<PublishMessage>,
        key: (CommandKey, Render),
        moment: Moment,
    ) -> Result<(), Rejection> {
        let [message]: [PublishMessage; 1] =
            messages.try_into().map_err(|all: Vec<_>| Rejection::ValueRefused {
                field: "messages",
                value: format!("{} messages", all.len()),
                allowed: "one message with a key".to_owned(),
            })?;
        let unknown = || Rejection::NamespaceUnknown { name: namespace.to_owned() };
        let ns = self.state.namespaces.named(namespace).ok_or_else(unknown)?;
        self.publish_keyed((ns, reply_to), message, key, moment);
        Ok(())
    }

    /// Begins a command with a key: false where it is answered already, since it came before or is
    /// refused. Otherwise it has an entry of its own, with room for the answer: what it records and
    /// the answer are there after a crash, or neither is.
    pub(super) fn begins_keyed(&mut self, key: &CommandKey, reply_to: ReplyTo) -> bool {
        let answer = match self.state.answer_kept(key) {
            Ok(None) => {
                self.end_entry();
                self.reserved_bytes = self.answer_bytes_max() + BESIDE_BYTES;
                return true;
            }
            Ok(Some(answer)) => Answer::Kept(answer),
            Err(rejection) => Answer::Rejected(rejection),
        };
        self.reply(reply_to, answer);
        false
    }

    /// Keeps the answer of what was done for a key.
    pub(super) fn keep(
        &mut self,
        (key, render): (CommandKey, Render),
        answer: &Answer,
        moment: Moment,
    ) {
        self.reserved_bytes = 0;
        if !did_something(answer) {
            return;
        }
        let mut written = render.write(answer);
        if written.len() > self.answer_bytes_max() {
            // The face is to bound it: empty is what it reads as one that was too large.
            written = Bytes::new();
        }
        let record = self.state.decide_kept(key, written, moment);
        self.record(record);
    }

    /// Bytes of an answer that this shard keeps.
    fn answer_bytes_max(&self) -> usize {
        ANSWER_BYTES_MAX.min(self.state.limits.entry_bytes_max / 4)
    }
}

/// Whether any of what was asked was done: a command that was refused may be sent again, with its
/// key, and is carried out then.
fn did_something(answer: &Answer) -> bool {
    match answer {
        Answer::Rejected(_) => false,
        Answer::Settled(all) => all.iter().any(Result::is_ok),
        Answer::Extended(all) => all.iter().any(Result::is_ok),
        Answer::Messages(MessageAnswer::Settled(all)) => all.iter().any(Result::is_ok),
        Answer::Messages(MessageAnswer::Published(all)) => {
            all.iter().any(|it| matches!(it, Ok(published) if *published != Published::Unroutable))
        }
        Answer::Stream(StreamAnswer::Appended(all)) => all.iter().any(Result::is_ok),
        _ => true,
    }
}
