//! Events that become messages: one enters its queue as if it had been published there, in the
//! order of the events, with what their headers say of a message.

use super::{Trigger, TriggerEvent};
use crate::bounds::{check_name, check_size};
use crate::ids::NamespaceId;
use crate::message::{
    EventOrigin, Message, PROPERTY_BYTES_MAX, Routed, check_routing_key, hops_of, of_event,
};
use crate::moment::Moment;
use crate::overlay::Overlay;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;
use crate::stream::Stream;

impl State {
    /// The records of the messages that events become.
    pub(super) fn messages_of_events(
        &self,
        (ns, moment): (NamespaceId, Moment),
        (stream, partition): (&Stream, u32),
        trigger: &Trigger,
        events: &[TriggerEvent],
    ) -> Result<Vec<Record>, Rejection> {
        let queue = self.message_queue(ns, &trigger.queue)?.0.id;
        let mut overlay = Overlay::new(self, ns, moment);
        for event in events {
            self.check_room_for_messages(queue, overlay.messages_entered(queue))?;
            let message = self.message_of_event((stream, partition), trigger, event, moment)?;
            // What enters is no event once more, be it of this stream or of another.
            let (record, _) = self.enter(ns, Routed::to_queue(queue), (message, &[]), moment);
            if let Some(record) = record {
                overlay.record_message(record);
            }
        }
        overlay.into_records()
    }

    fn message_of_event(
        &self,
        (stream, partition): (&Stream, u32),
        trigger: &Trigger,
        event: &TriggerEvent,
        moment: Moment,
    ) -> Result<Message, Rejection> {
        let origin =
            EventOrigin { stream: &stream.name, partition, offset: event.offset, time: event.time };
        let of = of_event(&event.headers, origin, event.value.is_none());
        let body = event.value.clone().unwrap_or_default();
        check_size("body", body.len(), self.limits.message_bytes_max)?;
        check_size("properties", of.properties.len(), PROPERTY_BYTES_MAX)?;
        let is_name = |name: &String| check_name(&self.limits, "exchange", name).is_ok();
        let key = event.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let key = of.routing_key.or_else(|| key.map(str::to_owned));
        let key = key.filter(|key| check_routing_key(key).is_ok());
        Ok(Message {
            exchange: of.exchange.filter(is_name).unwrap_or_default(),
            routing_key: key.unwrap_or_else(|| trigger.queue.clone()),
            further_keys: Vec::new(),
            priority: trigger.priority.or(of.priority).unwrap_or(0),
            persistent: true,
            ttl_ms: None,
            published_at: moment.at,
            properties: of.properties,
            body,
            deaths: Vec::new(),
            hops: hops_of(&event.headers),
        })
    }
}
