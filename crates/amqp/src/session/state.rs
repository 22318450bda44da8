//! The session itself: what it holds, and what the server asks it whatever is spoken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use longshore_engine::{ConnectionId, ConsumerId, MessageCommand, Rejection};

use crate::codec::{Short, Table};
use crate::failure::{Code, Failure};
use crate::output::Output;

use super::asking::Pending;
use super::channel::Channel;
use super::handshake;
use super::names::Names;
use super::publishing::Publishing;
use super::rights::Rights;
use super::sasl::Credentials;
use super::settling::Settling;

/// The name of its namespace that clients know from `RabbitMQ`.
pub(super) const VHOST_DEFAULT: &str = "/";
/// What that is here.
pub(super) const NAMESPACE_DEFAULT: &str = "default";

/// What holds for a connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the engine knows it by.
    pub connection: ConnectionId,
    /// Chance, for names that nobody shall guess.
    pub seed: [u64; 2],
    /// The peer is on this machine.
    pub is_loopback: bool,
    /// Who is let in.
    pub logins: Logins,
    /// The server's own version.
    pub version: &'static str,
    /// Channels that may be open.
    pub channel_max: u16,
    /// Bytes of a frame.
    pub frame_max: u32,
    /// Seconds between signs of life; 0 for none.
    pub heartbeat_s: u16,
    /// Bytes of a message's body.
    pub message_bytes_max: u64,
}

/// Who is let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Logins {
    /// `guest` of this machine, who may do everything.
    Guest,
    /// Accounts, which the server knows.
    Accounts {
        /// The peer has shown a certificate that may stand for one.
        certificate: bool,
    },
}

/// What a session wants of the server.
#[derive(Debug)]
pub enum Ask {
    /// Whose these are. See [`Session::logged_in`].
    LogIn {
        /// What the client has shown.
        credentials: Credentials,
    },
    /// Whether there is this namespace; everything else is asked of it. See
    /// [`Session::namespace_found`].
    Open {
        /// Its name.
        namespace: String,
    },
    /// Have a command carried out. See [`Session::answer`].
    Call {
        /// What the answer is to be told with.
        number: u64,
        /// What to do.
        command: MessageCommand,
    },
    /// A consumer gets nothing more.
    Gone {
        /// Which.
        consumer: ConsumerId,
    },
}

/// Why a command has no answer.
#[derive(Clone, Debug)]
pub enum Unanswered {
    /// It was refused.
    Refused(Rejection),
    /// There is no room for what was published, and nothing became of it.
    Blocked(String),
    /// Nobody knows what became of it, for this reason.
    Unknown(String),
}

/// Why there is nothing more to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The socket is to be closed once all is written.
    Closed,
    /// The peer asked for the end and its answer is the last that is written. Then the peer closes
    /// the socket: it may take an end that it sees before it has handled the answer for a failure.
    Answered,
    /// The peer is silent, so nothing more is to be written.
    Silent,
}

/// How far the connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// The protocol header is awaited.
    Header,
    /// `start` was sent.
    Starting,
    /// The server looks who it is.
    LoggingIn,
    /// `tune` was sent.
    Tuning,
    /// `open` is awaited.
    Opening,
    /// The namespace is being looked for.
    Looking,
    /// Channels can be opened.
    Running,
    /// The client said that it closes, and waits for the end of what is its.
    Leaving,
    /// `close` was sent, and its answer is awaited.
    Closing,
    /// Over.
    Closed(End),
}

/// What the client said that it can do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capabilities {
    pub(super) consumer_cancel_notify: bool,
    pub(super) connection_blocked: bool,
    pub(super) authentication_failure_close: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    pub(super) settings: Settings,
    pub(super) phase: Phase,
    pub(super) capabilities: Capabilities,
    /// What the client calls itself.
    pub(super) client_name: Option<String>,
    /// What else it says of itself.
    pub(super) client_properties: Table,
    pub(super) user: String,
    pub(super) vhost: String,
    pub(super) namespace: String,
    /// What the account may do; `None` for everything.
    pub(super) rights: Option<Arc<dyn Rights>>,
    /// Where it was let publish last: exchange, and the key where that names a queue.
    pub(super) publishes_to: (String, String),
    /// It is looked whether a new secret is that of its account.
    pub(super) secret_is_asked: bool,
    /// How it says who it is.
    pub(super) mechanism: String,
    pub(super) frame_max: usize,
    pub(super) channel_max: u16,
    pub(super) heartbeat_ms: u64,
    pub(super) received_ms: u64,
    pub(super) sent_ms: u64,
    /// The client was told that it is blocked.
    pub(super) told_blocked: bool,
    pub(super) out: Output,
    pub(super) asks: VecDeque<Ask>,
    pub(super) number: u64,
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) channels: BTreeMap<u16, Channel>,
    /// Channels that were open once: what still arrives for them is late.
    pub(super) closed: BTreeSet<u16>,
    pub(super) instances: u64,
    /// Where consumers are: channel and tag.
    pub(super) consumers: BTreeMap<ConsumerId, (u16, Short)>,
    pub(super) consumers_ever: u64,
    /// Consumers whose credit was not renewed, since too much waits to be written.
    pub(super) starving: BTreeSet<ConsumerId>,
    /// Bytes of bodies that have begun to arrive.
    pub(super) arriving_bytes: u64,
    /// Bytes of what waits for a commit, or is being committed.
    pub(super) transaction_bytes: u64,
    /// Methods that wait in their channels.
    pub(super) waiting_methods: usize,
    /// The shortest of the times that consumers may have messages for, in milliseconds.
    pub(super) timeout_ms_min: Option<u64>,
    /// When it was last looked for messages that consumers have for too long.
    pub(super) looked_ms: u64,
    pub(super) publishing: Publishing,
    pub(super) settling: Settling,
    pub(super) names: Names,
}

impl Session {
    /// A connection whose client has said nothing yet.
    pub fn new(settings: Settings, now_ms: u64) -> Self {
        let names = Names::new(settings.seed);
        Self {
            phase: Phase::Header,
            capabilities: Capabilities::default(),
            client_name: None,
            client_properties: Table::default(),
            user: String::new(),
            vhost: String::new(),
            namespace: String::new(),
            rights: None,
            publishes_to: <(String, String)>::default(),
            secret_is_asked: false,
            mechanism: String::new(),
            // Before that is agreed on: enough for long tokens, and little for who is not let in.
            frame_max: handshake::FRAME_BYTES_BEFORE_LOGIN,
            channel_max: settings.channel_max,
            heartbeat_ms: 0,
            received_ms: now_ms,
            sent_ms: now_ms,
            told_blocked: false,
            out: Output::default(),
            asks: VecDeque::new(),
            number: 0,
            pending: BTreeMap::new(),
            channels: BTreeMap::new(),
            closed: BTreeSet::new(),
            instances: 0,
            consumers: BTreeMap::new(),
            consumers_ever: 0,
            starving: BTreeSet::new(),
            arriving_bytes: 0,
            transaction_bytes: 0,
            waiting_methods: 0,
            timeout_ms_min: None,
            looked_ms: now_ms,
            publishing: Publishing::default(),
            settling: Settling::default(),
            names,
            settings,
        }
    }

    /// What is to be written.
    pub fn output(&mut self) -> &mut Output {
        &mut self.out
    }

    /// The next thing that the server is to do.
    pub fn next_ask(&mut self) -> Option<Ask> {
        self.asks.pop_front()
    }

    /// Whether there is nothing more to do, and why.
    pub fn end(&self) -> Option<End> {
        match self.phase {
            Phase::Closed(end) => Some(end),
            _ => None,
        }
    }

    /// Whether the client is logged in and its namespace found.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Leaving)
    }

    /// Whether it only waits for the end of the connection.
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Leaving | Phase::Closed(_))
    }

    /// Whether the client has closed it, and waits for the end of what is its.
    pub fn is_leaving(&self) -> bool {
        self.phase == Phase::Leaving
    }

    /// Whether it has consumers: such a connection is read whatever becomes of what it publishes.
    pub fn consumes(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// What the client calls itself, if it does.
    pub fn client_name(&self) -> Option<&str> {
        self.client_name.as_deref()
    }

    /// All that was taken from [`Session::output`] is written.
    pub fn written(&mut self, now_ms: u64) {
        self.sent_ms = now_ms;
        for consumer in std::mem::take(&mut self.starving) {
            self.replenish(consumer);
        }
        self.flush();
    }

    /// When [`Session::tick`] is due.
    pub fn next_tick_ms(&self) -> Option<u64> {
        let silent = self.received_ms + 2 * self.heartbeat_ms + 1;
        let life = silent.min(self.sent_ms + self.heartbeat_ms / 2);
        let life = (self.heartbeat_ms > 0).then_some(life);
        // Only a connection that goes on looks: see `tick`.
        let look = self.next_look_ms().filter(|_| self.phase == Phase::Running);
        life.into_iter().chain(look).min()
    }

    /// Time has passed. `was_read`: all that the peer sent has been taken.
    pub fn tick(&mut self, now_ms: u64, was_read: bool) {
        if self.phase == Phase::Running {
            self.look(now_ms);
        }
        if self.heartbeat_ms == 0 || self.end().is_some() {
            return;
        }
        if !was_read {
            // Whatever it says meanwhile waits in the socket.
            self.received_ms = now_ms;
        }
        if now_ms > self.received_ms + 2 * self.heartbeat_ms {
            self.lost();
        } else if now_ms >= self.sent_ms + self.heartbeat_ms / 2 {
            if self.out.is_empty() {
                self.out.heartbeat();
            }
            self.sent_ms = now_ms;
        }
    }

    /// Nothing that is published is taken for a while, and why; or it is again.
    pub fn block(&mut self, reason: Option<&str>) {
        use crate::codec::methods::{ConnectionBlocked, ConnectionUnblocked};
        if self.told_blocked == reason.is_some() || self.phase != Phase::Running {
            return;
        }
        self.told_blocked = reason.is_some();
        if !self.capabilities.connection_blocked {
            return;
        }
        let method = match reason {
            Some(reason) => ConnectionBlocked { reason: Short::cut(reason) }.into(),
            None => ConnectionUnblocked {}.into(),
        };
        self.out.method(0, &method);
    }

    /// The server stops: the client is told.
    pub fn stop(&mut self) {
        self.fail_connection(&Failure::new(Code::ConnectionForced, crate::failure::STOPPING));
    }
}
