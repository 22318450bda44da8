//! A connection to a server that speaks AMQP 0-9-1, with one channel. It knows nothing of what is
//! moved over it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use longshore_amqp::codec::methods::{
    ChannelCloseOk, ChannelOpen, ConnectionClose, ConnectionOpen, ConnectionStartOk,
    ConnectionTuneOk, QueueDeclare,
};
use longshore_amqp::codec::{
    Frame, FrameKind, Method, PROTOCOL_HEADER, Short, Table, Value, read_frame, write_heartbeat,
    write_method,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout};

use super::address::Address;
use super::{broken, refused};
use crate::failure::Failure;

/// The channel.
pub(super) const CHANNEL: u16 = 1;

/// Bytes of a frame, where the other end has no lower bound.
const FRAME_MAX: u32 = 131_072;

/// Between two signs of life; twice that without any is the end.
const HEARTBEAT_S: u16 = 30;

/// Bytes of a body that is sent, where the other end does not say what it takes: the most that
/// `RabbitMQ` takes unless it is told otherwise.
const BODY_BYTES_MAX: u64 = 128 << 20;

/// Where a Longshore says it.
const BODY_BYTES_PROPERTY: &str = "message_bytes_max";

/// The reply code of what is not there.
const NOT_FOUND: u16 = 404;

/// For an answer while a connection is opened or closed.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What comes.
#[derive(Debug)]
pub(super) struct Incoming {
    address: Address,
    read: OwnedReadHalf,
    bytes: BytesMut,
    pub(super) frame_max: usize,
    heard: Instant,
}

/// What goes.
#[derive(Debug)]
pub(super) struct Outgoing {
    address: Address,
    write: OwnedWriteHalf,
    pub(super) out: Vec<u8>,
}

/// A connection with its channel open.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// Bytes of a body that it takes.
    pub(super) body_bytes_max: u64,
}

/// What there is of a queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Found {
    There,
    NotThere,
    /// Nobody knows, for it may not be asked: what was said to that.
    Refused(String),
}

impl Incoming {
    /// Waits for more bytes. Nothing is lost where the wait is given up.
    pub(super) async fn fill(&mut self) -> Result<(), Failure> {
        match self.read.read_buf(&mut self.bytes).await {
            Ok(0) => Err(broken(&self.address, "it has closed the connection")),
            Ok(_) => {
                self.heard = Instant::now();
                Ok(())
            }
            Err(error) => Err(broken(&self.address, error)),
        }
    }

    /// The next frame of those that came.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Failure> {
        let frame = read_frame(&mut self.bytes, self.frame_max);
        frame.map_err(|error| broken(&self.address, format!("it does not speak AMQP: {error:?}")))
    }

    /// The method of a frame; what ends the channel or the connection is an error.
    pub(super) fn method(&self, frame: Frame) -> Result<Option<Method>, Failure> {
        if frame.kind != FrameKind::Method {
            return Ok(None);
        }
        let method = Method::read(frame.payload);
        match method.map_err(|error| broken(&self.address, error))? {
            Method::ConnectionClose(close) => Err(refused(&self.address, text(&close.reply_text))),
            Method::ChannelClose(close) => Err(refused(&self.address, text(&close.reply_text))),
            method => Ok(Some(method)),
        }
    }

    /// Nothing came for so long that nobody is there.
    pub(super) fn check_alive(&self) -> Result<(), Failure> {
        if self.heard.elapsed() > Duration::from_secs(2 * u64::from(HEARTBEAT_S)) {
            return Err(broken(&self.address, "it has not been heard of for a minute"));
        }
        Ok(())
    }
}

fn text(short: &Short) -> &str {
    short.as_text().unwrap_or("refused")
}

impl Outgoing {
    pub(super) fn say(&mut self, channel: u16, method: impl Into<Method>) {
        write_method(&mut self.out, channel, &method.into());
    }

    pub(super) fn beat(&mut self) {
        if self.out.is_empty() {
            write_heartbeat(&mut self.out);
        }
    }

    /// Sends some of what goes. Nothing is lost where the wait is given up.
    pub(super) async fn send_some(&mut self) -> Result<(), Failure> {
        let sent = self.write.write(&self.out).await;
        let sent = sent.map_err(|error| broken(&self.address, error))?;
        self.out.drain(..sent);
        Ok(())
    }
}

impl Peer {
    /// Connects, logs in and opens the channel.
    pub(super) async fn open(address: &Address) -> Result<Self, Failure> {
        let opened = timeout(PATIENCE, Self::open_whole(address)).await;
        opened.map_err(|_| broken(address, "it does not answer"))?
    }

    async fn open_whole(address: &Address) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address.host()).await;
        let stream = stream.map_err(|error| broken(address, error))?;
        stream.set_nodelay(true).map_err(|error| broken(address, error))?;
        let (read, write) = stream.into_split();
        let (bytes, heard) = (BytesMut::new(), Instant::now());
        let frame_max = FRAME_MAX as usize;
        let incoming = Incoming { address: address.clone(), read, bytes, frame_max, heard };
        let outgoing = Outgoing { address: address.clone(), write, out: PROTOCOL_HEADER.to_vec() };
        let mut peer = Self { incoming, outgoing, body_bytes_max: BODY_BYTES_MAX };
        let start = peer.until(|method| matches!(method, Method::ConnectionStart(_))).await?;
        if let Method::ConnectionStart(start) = start
            && let Some(bytes) = start.server_properties.get(BODY_BYTES_PROPERTY)
            && let Some(bytes) = bytes.as_int().and_then(|it| u64::try_from(it).ok())
        {
            peer.body_bytes_max = bytes.min(BODY_BYTES_MAX);
        }
        let able = ["publisher_confirms", "consumer_cancel_notify", "basic.nack"];
        let able = Table::of(able.map(|name| (name, Value::Bool(true))));
        let properties =
            [("product", Value::text("longshore shovel")), ("capabilities", Value::Table(able))];
        let response = format!("\0{}\0{}", address.user, address.password);
        let start = ConnectionStartOk {
            client_properties: Table::of(properties),
            mechanism: Short::cut("PLAIN"),
            response: Bytes::from(response),
            locale: Short::cut("en_US"),
        };
        peer.outgoing.say(0, start);
        let tune = peer.until(|method| matches!(method, Method::ConnectionTune(_))).await?;
        let Method::ConnectionTune(tune) = tune else { unreachable!("it is what was waited for") };
        let frame_max = if tune.frame_max == 0 { FRAME_MAX } else { tune.frame_max.min(FRAME_MAX) };
        peer.incoming.frame_max = frame_max as usize;
        let heartbeat = HEARTBEAT_S;
        peer.outgoing
            .say(0, ConnectionTuneOk { channel_max: tune.channel_max, frame_max, heartbeat });
        let virtual_host = Short::cut(&address.vhost);
        peer.outgoing.say(0, ConnectionOpen { virtual_host, ..ConnectionOpen::default() });
        peer.until(|method| matches!(method, Method::ConnectionOpenOk(_))).await?;
        peer.open_channel().await?;
        Ok(peer)
    }

    async fn open_channel(&mut self) -> Result<(), Failure> {
        self.outgoing.say(CHANNEL, ChannelOpen::default());
        self.until(|method| matches!(method, Method::ChannelOpenOk(_))).await.map(drop)
    }

    /// Sends all that goes and reads up to a method; nothing else is expected before it.
    pub(super) async fn until(
        &mut self,
        is_meant: impl Fn(&Method) -> bool,
    ) -> Result<Method, Failure> {
        while !self.outgoing.out.is_empty() {
            self.outgoing.send_some().await?;
        }
        loop {
            while let Some(frame) = self.incoming.next()? {
                if let Some(method) = self.incoming.method(frame)?
                    && is_meant(&method)
                {
                    return Ok(method);
                }
            }
            self.incoming.fill().await?;
        }
    }

    /// Ends the connection once the other end has heard all, which may take so long.
    pub(super) async fn close(mut self, patience: Duration) -> Result<(), Failure> {
        self.outgoing.say(0, ConnectionClose { reply_code: 200, ..ConnectionClose::default() });
        let address = self.incoming.address.clone();
        let ended = self.until(|method| matches!(method, Method::ConnectionCloseOk(_)));
        let ended = timeout(patience, ended).await;
        ended.map_err(|_| broken(&address, "it does not answer"))?.map(drop)
    }

    /// Looks for a queue. The channel is open afterwards.
    pub(super) async fn find(&mut self, queue: &str) -> Result<Found, Failure> {
        let address = self.incoming.address.clone();
        let found = timeout(PATIENCE, self.find_whole(queue)).await;
        found.map_err(|_| broken(&address, "it does not answer"))?
    }

    async fn find_whole(&mut self, queue: &str) -> Result<Found, Failure> {
        self.outgoing.say(CHANNEL, passive(queue));
        while !self.outgoing.out.is_empty() {
            self.outgoing.send_some().await?;
        }
        loop {
            while let Some(frame) = self.incoming.next()? {
                // A method of the connection that ends it is an error.
                if frame.channel != CHANNEL {
                    self.incoming.method(frame)?;
                    continue;
                }
                if frame.kind != FrameKind::Method {
                    continue;
                }
                match Method::read(frame.payload) {
                    Ok(Method::QueueDeclareOk(_)) => return Ok(Found::There),
                    Ok(Method::ChannelClose(close)) => {
                        self.outgoing.say(CHANNEL, ChannelCloseOk {});
                        self.open_channel().await?;
                        return Ok(match close.reply_code {
                            NOT_FOUND => Found::NotThere,
                            _ => Found::Refused(text(&close.reply_text).to_owned()),
                        });
                    }
                    _ => {}
                }
            }
            self.incoming.fill().await?;
        }
    }
}

/// Asks for a queue that has to be there.
pub(super) fn passive(queue: &str) -> QueueDeclare {
    QueueDeclare { queue: Short::cut(queue), passive: true, ..QueueDeclare::default() }
}
