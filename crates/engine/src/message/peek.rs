//! Looking at messages of a snapshot without taking them.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::ordering::key_of;
use super::shelf::Stored;
use super::state::{lane_at, place_at, stored_of};
use super::{Message, MessageFilter, MessageTag};
use crate::ids::NamespaceId;
use crate::map::Reader;
use crate::queue::Queue;
use crate::rejection::Rejection;
use crate::state::keys;
use crate::wire::Wire;

/// Messages that one page looks at, and bytes of bodies that it reads to find a text, at most.
const EXAMINED_MAX: u64 = 10_000;
const READ_BYTES_MAX: u64 = 32 << 20;

/// Bytes of bodies that a count reads to find a text, at most.
const COUNTED_BYTES_MAX: u64 = 256 << 20;

/// A message that was looked at.
#[derive(Clone, Debug)]
pub struct PeekedMessage {
    /// Where it stands.
    pub tag: MessageTag,
    /// The message.
    pub message: std::sync::Arc<Message>,
    /// How often it came back.
    pub returns: u32,
    /// Somebody took it for a time.
    pub leased: bool,
    /// Its ordering key, where its queue has those. Whether another message of the key comes first
    /// the shard alone knows: [`MessageCommand::Blocked`](super::MessageCommand::Blocked) asks it.
    pub ordering_key: Option<String>,
}

/// A page of messages, in the order in which they are handed out.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<PeekedMessage>,
    /// How many were looked at.
    pub examined: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<Bytes>,
}

/// Up to `limit` messages of a queue after `cursor`, and about so many bytes of them. Those that
/// are with consumers of connections are among them: a snapshot does not know of these.
pub(crate) fn peek_messages(
    reader: &dyn Reader,
    (ns, queue): (NamespaceId, &Queue),
    filter: &MessageFilter,
    cursor: Option<&Bytes>,
    (limit, bytes_max): (usize, usize),
) -> Result<MessagePage, Rejection> {
    check_messages(queue)?;
    let prefix = keys::of_queue(keys::MESSAGE, ns, queue.id);
    let to = keys::after_prefix(&prefix);
    // A cursor is a key of this very range. Any other counts as the beginning or the end of it.
    let from = cursor.map_or(&prefix[..], |cursor| (&cursor[..]).max(&prefix[..]));
    let (mut found, mut next, mut bytes): (Vec<(MessageTag, Stored)>, _, _) = (Vec::new(), None, 0);
    let (all, mut examined, mut read) = (filter.is_empty(), 0, 0);
    reader.scan(from, &to, &mut |key, value| {
        let looked = !all && examined >= EXAMINED_MAX || read >= READ_BYTES_MAX;
        if found.len() >= limit || bytes >= bytes_max || looked {
            next = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        let stored = stored_of(key, value);
        examined += 1;
        if filter.text.is_some() {
            read += stored.body_ref().bytes;
        }
        if !filter.takes(&stored, reader) {
            return ControlFlow::Continue(());
        }
        bytes += stored.body_ref().bytes as usize + stored.message.properties.len();
        let (queue, urgency) = lane_at(key);
        found.push((MessageTag { queue, urgency, place: place_at(key) }, stored));
        ControlFlow::Continue(())
    });
    let settings = queue.settings.messages.as_deref();
    let header = settings.and_then(|settings| settings.ordering_header.as_deref());
    let told = found.into_iter().map(|(tag, stored)| {
        let returns = reader.get(&keys::returns(ns, tag));
        let stored = stored.with_body(reader);
        PeekedMessage {
            tag,
            ordering_key: header.and_then(|header| key_of(&stored.message, header)),
            message: stored.message,
            returns: returns.and_then(|value| u32::from_bytes(&value).ok()).unwrap_or(0),
            leased: reader.get(&keys::message_lease(ns, tag)).is_some(),
        }
    });
    Ok(MessagePage { messages: told.collect(), examined, next })
}

fn check_messages(queue: &Queue) -> Result<(), Rejection> {
    if queue.settings.messages.is_none() {
        let (queue, holds) = (queue.name.clone(), "jobs");
        return Err(Rejection::QueueTypeRefused { queue, holds });
    }
    Ok(())
}

/// How many messages of a queue are meant, of how many that were looked at: so many of these, and
/// of those, at most.
pub(crate) fn count_messages(
    reader: &dyn Reader,
    (ns, queue): (NamespaceId, &Queue),
    filter: &MessageFilter,
    (examined_max, matched_max): (usize, u64),
) -> Result<(u64, u64), Rejection> {
    check_messages(queue)?;
    let prefix = keys::of_queue(keys::MESSAGE, ns, queue.id);
    let (mut matched, mut examined, mut read) = (0, 0, 0);
    reader.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
        let looked = examined >= examined_max as u64 || read >= COUNTED_BYTES_MAX;
        if looked || matched >= matched_max {
            return ControlFlow::Break(());
        }
        let stored = stored_of(key, value);
        examined += 1;
        if filter.text.is_some() {
            read += stored.body_ref().bytes;
        }
        matched += u64::from(filter.takes(&stored, reader));
        ControlFlow::Continue(())
    });
    Ok((matched, examined))
}
