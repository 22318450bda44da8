//! Messages that are published later: they stand under the instant at which they are routed, as
//! bindings are by then.

use bytes::Bytes;

use super::shelf::Stored;
use super::{Entering, HeaderValue, Message, PublishMessage};
use crate::bounds::check_duration;
use crate::ids::{BodyId, NamespaceId, Place, TimeMs};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::wire::wire_struct;

wire_struct! {
    /// A message that is published later, as it stands under its key.
    pub(crate) struct Delayed {
        /// Where.
        pub(crate) namespace: NamespaceId,
        /// The message.
        pub(crate) stored: Stored,
        /// What it is routed by beside its keys.
        pub(crate) headers: Vec<(String, HeaderValue)> = 1,
    }
}

impl State {
    /// The record of a message that is to be published later; none where it is not.
    pub(super) fn decide_delayed(
        &self,
        namespace: NamespaceId,
        command: &PublishMessage,
        message: &Message,
        moment: Moment,
    ) -> Result<Option<Record>, Rejection> {
        let Some(delay_ms) = command.delay_ms.filter(|delay_ms| *delay_ms > 0) else {
            return Ok(None);
        };
        check_duration(&self.limits, "delay", Some(delay_ms), 0)?;
        let record = Record::MessageDelayed {
            namespace,
            place: self.meta.next_place,
            at: moment.at.plus(delay_ms),
            message: Box::new(message.clone()),
            headers: command.headers.clone(),
        };
        Ok(Some(record))
    }

    /// The first message whose time to be published has come: what is recorded then. What reaches
    /// no queue any more is gone. And whether it tells of the end of a job.
    pub(crate) fn decide_due_message(&self, moment: Moment) -> Option<(Entering, bool)> {
        if self.messages.delays.first(self)? > moment.at.0 {
            return None;
        }
        let (from, to) = self.messages.delays.range();
        let (key, value) = self.first(&from, &to)?;
        let (at, place) = delayed_at(&key);
        let delayed: Delayed = self.value(&key).unwrap_or_else(|| panic!("{value:02x?} has gone"));
        let stored = delayed.stored.with_body(self);
        let body = stored.body_ref().apart;
        let passed = Record::DelayPassed { at, place, body };
        let message = Message { published_at: moment.at, ..Message::clone(&stored.message) };
        let is_outcome = message.hops > 0;
        let mut entering = self.decide_entry(delayed.namespace, message, &delayed.headers, moment);
        entering.records.insert(0, passed);
        Some((entering, is_outcome))
    }

    pub(super) fn apply_message_delayed(
        &mut self,
        (namespace, place, at): (NamespaceId, Place, TimeMs),
        message: Message,
        headers: Vec<(String, HeaderValue)>,
    ) {
        self.meta_mut().next_place = Place(place.0 + 1);
        let apart = self.keep_apart(&message.body, 1);
        let message = match apart {
            Some(_) => Message { body: Bytes::new(), ..message },
            None => message,
        };
        let stored = Stored { expires_at: None, message: message.into(), apart };
        let key = keys::delayed(at, place);
        self.put(&key, &Delayed { namespace, stored, headers });
        self.messages.delays.put(&key);
    }

    pub(super) fn apply_delay_passed(&mut self, at: TimeMs, place: Place, body: Option<BodyId>) {
        let key = keys::delayed(at, place);
        self.remove(&key);
        self.messages.delays.eaten(&key);
        self.release_bodies(body.as_slice());
    }
}

fn delayed_at(key: &[u8]) -> (TimeMs, Place) {
    let found = || Some((TimeMs(keys::u64_at(key, 1)?), Place(keys::u64_at(key, 9)?)));
    found().unwrap_or_else(|| panic!("key {key:02x?} in the state is of no message that waits"))
}
