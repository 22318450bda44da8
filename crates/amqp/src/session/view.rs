//! What people are shown of a connection: who it is, its channels and its consumers.

use super::{Phase, Session};
use crate::codec::Table;
use crate::failure::{Code, Failure};

/// A connection as people are shown it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// What the client calls itself.
    pub client_name: Option<String>,
    /// What else it says of itself.
    pub client_properties: Table,
    /// Whose it is.
    pub user: String,
    /// The virtual host that it opened.
    pub vhost: String,
    /// The namespace that this is.
    pub namespace: String,
    /// How it said who it is.
    pub mechanism: String,
    /// Bytes of a frame, as agreed.
    pub frame_max: u32,
    /// Channels that may be open, as agreed.
    pub channel_max: u16,
    /// Seconds between signs of life; 0 for none.
    pub heartbeat_s: u64,
    /// It was told that what it publishes is not taken for a while.
    pub is_blocked: bool,
    /// Its open channels.
    pub channels: Vec<ChannelView>,
}

/// A channel as people are shown it.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// Its number.
    pub number: u16,
    /// Messages that each consumer may have unsettled; 0 for any number.
    pub prefetch: u16,
    /// The same for all of them together; 0 for any number.
    pub shared_prefetch: u64,
    /// What it publishes is confirmed.
    pub confirms: bool,
    /// It has transactions.
    pub transacts: bool,
    /// Messages that it has and did not settle.
    pub unsettled: usize,
    /// Messages that it published and that are not confirmed.
    pub unconfirmed: usize,
    /// Its consumers.
    pub consumers: Vec<ConsumerView>,
}

/// A consumer as people are shown it.
#[derive(Clone, Debug)]
pub struct ConsumerView {
    /// Its tag.
    pub tag: String,
    /// The queue that it consumes.
    pub queue: String,
    /// Messages count as settled once they are sent.
    pub auto_ack: bool,
    /// Nobody else may consume the queue.
    pub exclusive: bool,
    /// Messages that it may have unsettled; 0 for any number.
    pub prefetch: u16,
}

impl Session {
    /// The connection as it is now; `None` before it is open, and where it ends.
    pub fn view(&self) -> Option<SessionView> {
        if self.phase != Phase::Running {
            return None;
        }
        let channels = self.channels.iter().filter(|(_, channel)| !channel.is_closing);
        let channels = channels.map(|(number, channel)| {
            let consumers = channel.consumers.iter().map(|(tag, consumer)| ConsumerView {
                tag: tag.as_text().unwrap_or_default().to_owned(),
                queue: consumer.queue.clone(),
                auto_ack: consumer.auto_ack,
                exclusive: consumer.exclusive,
                prefetch: consumer.prefetch,
            });
            ChannelView {
                number: *number,
                prefetch: channel.prefetch,
                shared_prefetch: channel.share.as_ref().map_or(0, super::sharing::Share::prefetch),
                confirms: channel.confirms.is_some(),
                transacts: channel.transaction.is_some(),
                unsettled: channel.unsettled.len(),
                unconfirmed: if channel.confirms.is_some() { channel.publishes } else { 0 },
                consumers: consumers.collect(),
            }
        });
        Some(SessionView {
            client_name: self.client_name.clone(),
            client_properties: self.client_properties.clone(),
            user: self.user.clone(),
            vhost: self.vhost.clone(),
            namespace: self.namespace.clone(),
            mechanism: self.mechanism.clone(),
            frame_max: u32::try_from(self.frame_max).unwrap_or(u32::MAX),
            channel_max: self.channel_max,
            heartbeat_s: self.heartbeat_ms / 1000,
            is_blocked: self.told_blocked,
            channels: channels.collect(),
        })
    }

    /// An operator closes the connection; the client is told why.
    pub fn close(&mut self, reason: &str) {
        self.fail_connection(&Failure::new(Code::ConnectionForced, reason));
    }
}
