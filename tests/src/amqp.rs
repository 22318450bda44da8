//! A client of AMQP that does as it is told, also what no good client does. Blocking.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use longshore_amqp::codec::methods::{
    BasicConsume, BasicDeliver, BasicPublish, ChannelOpen, ConnectionOpen, ConnectionStartOk,
    ConnectionTuneOk, QueueDeclare,
};
use longshore_amqp::codec::{
    ContentHeader, Frame, FrameKind, Method, PROTOCOL_HEADER, Short, read_frame, write_body,
    write_header, write_method,
};

use crate::wait;

/// Bytes of a frame.
const FRAME_MAX: u32 = 131_072;

/// A connection.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    bytes: BytesMut,
    /// What was delivered while something else was waited for.
    deliveries: VecDeque<Delivered>,
    /// A delivery whose content has not all arrived.
    arriving: Option<Arriving>,
}

/// A message that a consumer got.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// What it is settled with.
    pub delivery_tag: u64,
    /// Somebody may have got it before.
    pub redelivered: bool,
    /// What it says.
    pub body: Vec<u8>,
}

#[derive(Debug)]
struct Arriving {
    delivered: Delivered,
    /// Bytes of its body, once they are known.
    bytes: Option<u64>,
}

impl Connection {
    /// A socket on which nothing was said.
    pub fn silent(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        Ok(Self::over(stream))
    }

    /// An open connection, without heartbeats.
    pub fn open(address: &str) -> Result<Self> {
        Self::silent(address)?.logged_in("guest", "guest")
    }

    /// One with channel 1.
    pub fn with_channel(address: &str) -> Result<Self> {
        let mut connection = Self::open(address)?;
        connection.open_channel(1)?;
        Ok(connection)
    }

    /// Closes this end: the server reads the end, and may still answer.
    pub fn say_no_more(&mut self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Ends it while something of what the server said is not read: that resets it.
    pub fn reset(self) -> Result<()> {
        self.stream.peek(&mut [0])?;
        Ok(())
    }

    /// The next message of this connection's consumers; none where none comes within that time.
    pub fn delivered(&mut self, patience: Duration) -> Result<Option<Delivered>> {
        let end = Instant::now() + patience;
        while self.deliveries.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let frame = match self.frame() {
                Err(error) if is_timeout(&error) && Instant::now() >= end => Ok(None),
                Err(error) if is_timeout(&error) => continue,
                Ok(None) => bail!("the server has closed the connection"),
                other => other,
            };
            self.stream.set_read_timeout(Some(wait::PATIENCE))?;
            let Some(frame) = frame? else { return Ok(None) };
            self.take(frame)?;
        }
        Ok(self.deliveries.pop_front())
    }
}

impl<S: Read + Write> Connection<S> {
    /// One over which nothing was said.
    pub fn over(stream: S) -> Self {
        let (bytes, deliveries) = (BytesMut::new(), VecDeque::new());
        Self { stream, bytes, deliveries, arriving: None }
    }

    /// Opens it, without heartbeats.
    pub fn logged_in(mut self, user: &str, password: &str) -> Result<Self> {
        self.send(PROTOCOL_HEADER)?;
        self.wait_for(|method| matches!(method, Method::ConnectionStart(_)))?;
        let start = ConnectionStartOk {
            mechanism: Short::cut("PLAIN"),
            response: format!("\0{user}\0{password}").into(),
            ..ConnectionStartOk::default()
        };
        self.say(0, start)?;
        self.wait_for(|method| matches!(method, Method::ConnectionTune(_)))?;
        let tune = ConnectionTuneOk { channel_max: 2047, frame_max: FRAME_MAX, heartbeat: 0 };
        self.say(0, tune)?;
        let virtual_host = Short::cut("/");
        self.say(0, ConnectionOpen { virtual_host, ..ConnectionOpen::default() })?;
        self.wait_for(|method| matches!(method, Method::ConnectionOpenOk(_)))?;
        Ok(self)
    }

    /// Opens a channel.
    pub fn open_channel(&mut self, number: u16) -> Result<()> {
        self.say(number, ChannelOpen::default())?;
        self.wait_for(|method| matches!(method, Method::ChannelOpenOk(_))).map(drop)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        Ok(self.stream.flush()?)
    }

    /// Sends a method.
    pub fn say(&mut self, channel: u16, method: impl Into<Method>) -> Result<()> {
        let mut out = Vec::new();
        write_method(&mut out, channel, &method.into());
        self.send(&out)
    }

    /// The next frame; none once the server has closed the connection.
    pub fn frame(&mut self) -> Result<Option<Frame>> {
        loop {
            let frame = read_frame(&mut self.bytes, FRAME_MAX as usize);
            let frame = frame.map_err(|error| anyhow::anyhow!("{error:?}"))?;
            if frame.is_some() {
                return Ok(frame);
            }
            let mut more = [0; 16_384];
            match self.stream.read(&mut more)? {
                0 => return Ok(None),
                count => self.bytes.extend_from_slice(more.get(..count).unwrap_or_default()),
            }
        }
    }

    /// Reads up to a method.
    pub fn wait_for(&mut self, is_meant: impl Fn(&Method) -> bool) -> Result<Method> {
        while let Some(frame) = self.frame()? {
            if frame.kind != FrameKind::Method {
                continue;
            }
            match Method::read(frame.payload).map_err(|why| anyhow::anyhow!("{why}"))? {
                method if is_meant(&method) => return Ok(method),
                Method::ChannelClose(close) => bail!("{close:?}"),
                Method::ConnectionClose(close) => bail!("{close:?}"),
                _ => {}
            }
        }
        bail!("the server has closed the connection")
    }

    /// Takes what a frame brings: deliveries are put aside, other methods are returned.
    fn take(&mut self, frame: Frame) -> Result<Option<Method>> {
        match frame.kind {
            FrameKind::Method => {
                let method = Method::read(frame.payload).map_err(|why| anyhow::anyhow!("{why}"))?;
                match method {
                    Method::BasicDeliver(told) => {
                        let BasicDeliver { delivery_tag, redelivered, .. } = told;
                        let delivered = Delivered { delivery_tag, redelivered, body: Vec::new() };
                        self.arriving = Some(Arriving { delivered, bytes: None });
                        return Ok(None);
                    }
                    Method::ChannelClose(close) => bail!("{close:?}"),
                    Method::ConnectionClose(close) => bail!("{close:?}"),
                    method => return Ok(Some(method)),
                }
            }
            FrameKind::Header => {
                let header = ContentHeader::read(frame.payload);
                let header = header.map_err(|why| anyhow::anyhow!("{why}"))?;
                let arriving = self.arriving.as_mut().context("a header of nothing")?;
                arriving.bytes = Some(header.body_bytes);
            }
            FrameKind::Body => {
                let arriving = self.arriving.as_mut().context("a body of nothing")?;
                arriving.delivered.body.extend_from_slice(&frame.payload);
            }
            FrameKind::Heartbeat => {}
        }
        let is_whole = |it: &Arriving| it.bytes == Some(it.delivered.body.len() as u64);
        if self.arriving.as_ref().is_some_and(is_whole) {
            self.deliveries.extend(self.arriving.take().map(|it| it.delivered));
        }
        Ok(None)
    }

    /// As [`Connection::wait_for`], where messages may come meanwhile, which are kept.
    pub fn wait_beside(&mut self, is_meant: impl Fn(&Method) -> bool) -> Result<Method> {
        while let Some(frame) = self.frame()? {
            if let Some(method) = self.take(frame)?
                && is_meant(&method)
            {
                return Ok(method);
            }
        }
        bail!("the server has closed the connection")
    }

    /// As [`Connection::declare`], where messages may come meanwhile.
    pub fn declare_beside(&mut self, declare: QueueDeclare) -> Result<()> {
        self.say(1, declare)?;
        self.wait_beside(|method| matches!(method, Method::QueueDeclareOk(_))).map(drop)
    }

    /// Declares a queue and returns its name and how many messages wait in it.
    pub fn declare(&mut self, declare: QueueDeclare) -> Result<(String, u32)> {
        self.say(1, declare)?;
        let told = self.wait_for(|method| matches!(method, Method::QueueDeclareOk(_)))?;
        let Method::QueueDeclareOk(declared) = told else { bail!("{told:?}") };
        let name = declared.queue.as_text().context("a name is text")?.to_owned();
        Ok((name, declared.message_count))
    }

    /// Consumes from a queue.
    pub fn consume(&mut self, queue: &str, no_ack: bool) -> Result<()> {
        let queue = Short::cut(queue);
        self.say(1, BasicConsume { queue, no_ack, ..BasicConsume::default() })?;
        self.wait_for(|method| matches!(method, Method::BasicConsumeOk(_))).map(drop)
    }
}

fn is_timeout(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// Adds a message to a queue.
pub fn publish(out: &mut Vec<u8>, channel: u16, queue: &str, body: &[u8]) {
    let to = BasicPublish { routing_key: Short::cut(queue), ..BasicPublish::default() };
    write_method(out, channel, &to.into());
    write_header(out, channel, body.len() as u64, &[0, 0]);
    write_body(out, channel, FRAME_MAX as usize, body);
}
