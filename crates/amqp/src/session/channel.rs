//! What a channel holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use longshore_engine::{ConsumerId, MessageCredit, MessageTag};

use super::content::Arriving;
use super::publishing::Outgoing;
use super::sharing::Share;
use super::transacting::Transaction;
use crate::codec::{Method, Short};

/// A channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Which of those that had its number.
    pub(super) instance: u64,
    /// `close` was sent, and its answer is awaited.
    pub(super) is_closing: bool,
    /// A message that is arriving.
    pub(super) arriving: Option<Arriving>,
    /// What waits for its turn.
    pub(super) operations: VecDeque<Operation>,
    /// A method is with the engine.
    pub(super) is_busy: bool,
    /// Messages that are with the engine, or about to go there.
    pub(super) publishes: usize,
    /// The number of the last publish, where these are confirmed.
    pub(super) confirms: Option<u64>,
    /// What waits for the commit, where the channel has transactions.
    pub(super) transaction: Option<Transaction>,
    /// It has them, or will: settlements wait for their turn as everything else does.
    pub(super) settles_in_turn: bool,
    /// The queue that was declared last.
    pub(super) last_queue: String,
    /// Messages that consumers started from now on may have unsettled; 0 for any number.
    pub(super) prefetch: u16,
    /// What all of them together may have, where that is bounded.
    pub(super) share: Option<Share>,
    pub(super) consumers: BTreeMap<Short, Consumer>,
    /// Consumers that have ended, of which the client hears after the answer that it waits for.
    pub(super) ended: Vec<Short>,
    /// The last delivery tag.
    pub(super) delivered: u64,
    pub(super) unsettled: BTreeMap<u64, Unsettled>,
    /// Delivery tags of messages that were given back, since their consumer had them for too long.
    pub(super) late: BTreeSet<u64>,
    /// The queue that answers to this channel's requests come to, and its consumer's tag.
    pub(super) replies: Option<(String, Short)>,
}

/// What waits for its turn in a channel.
#[derive(Debug)]
pub(super) enum Operation {
    Method(Method),
    Publish(Box<Outgoing>),
}

/// A consumer as its client sees it.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) id: ConsumerId,
    /// The queue that it consumes.
    pub(super) queue: String,
    /// Nobody else may consume the queue.
    pub(super) exclusive: bool,
    /// The engine has said so.
    pub(super) is_there: bool,
    pub(super) auto_ack: bool,
    /// Messages that it may have unsettled; 0 for any number.
    pub(super) prefetch: u16,
    /// For how long it may have one, in milliseconds; 0 for ever.
    pub(super) timeout_ms: u64,
    /// Messages that it has not settled.
    pub(super) unsettled: u64,
    /// Messages that the engine may deliver.
    pub(super) credit: u64,
    /// Bytes of them; below zero where the last one was larger than what was left.
    pub(super) bytes: i64,
}

impl Consumer {
    /// The engine may deliver so much more.
    pub(super) fn count_given(&mut self, more: MessageCredit) {
        self.credit += more.messages;
        self.bytes = self.bytes.saturating_add_unsigned(more.bytes);
    }
}

/// A message that its client has not settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsettled {
    pub(super) tag: MessageTag,
    /// Who got it, unless it was asked for by itself.
    pub(super) consumer: Option<ConsumerId>,
    /// For how long it may have it, in milliseconds; 0 for ever.
    pub(super) timeout_ms: u64,
    /// Since when, where it was looked at since.
    pub(super) since_ms: Option<u64>,
}
