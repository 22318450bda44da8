//! A client of AMQP that does as it is told, also what no good client does. Blocking.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use longshore_amqp::codec::methods::{
    BasicConsume, BasicPublish, ChannelOpen, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk,
    QueueDeclare,
};
use longshore_amqp::codec::{
    Frame, FrameKind, Method, PROTOCOL_HEADER, Short, read_frame, write_body, write_header,
    write_method,
};

use crate::wait;

/// Bytes of a frame.
const FRAME_MAX: u32 = 131_072;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    bytes: BytesMut,
}

impl Connection {
    /// A socket on which nothing was said.
    pub fn silent(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        Ok(Self { stream, bytes: BytesMut::new() })
    }

    /// An open connection, without heartbeats.
    pub fn open(address: &str) -> Result<Self> {
        let mut connection = Self::silent(address)?;
        connection.send(PROTOCOL_HEADER)?;
        connection.wait_for(|method| matches!(method, Method::ConnectionStart(_)))?;
        let start = ConnectionStartOk {
            mechanism: Short::cut("PLAIN"),
            response: Bytes::from_static(b"\0guest\0guest"),
            ..ConnectionStartOk::default()
        };
        connection.say(0, start)?;
        connection.wait_for(|method| matches!(method, Method::ConnectionTune(_)))?;
        let tune = ConnectionTuneOk { channel_max: 2047, frame_max: FRAME_MAX, heartbeat: 0 };
        connection.say(0, tune)?;
        let virtual_host = Short::cut("/");
        connection.say(0, ConnectionOpen { virtual_host, ..ConnectionOpen::default() })?;
        connection.wait_for(|method| matches!(method, Method::ConnectionOpenOk(_)))?;
        Ok(connection)
    }

    /// One with channel 1.
    pub fn with_channel(address: &str) -> Result<Self> {
        let mut connection = Self::open(address)?;
        connection.open_channel(1)?;
        Ok(connection)
    }

    /// Opens a channel.
    pub fn open_channel(&mut self, number: u16) -> Result<()> {
        self.say(number, ChannelOpen::default())?;
        self.wait_for(|method| matches!(method, Method::ChannelOpenOk(_))).map(drop)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
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

/// Adds a message to a queue.
pub fn publish(out: &mut Vec<u8>, channel: u16, queue: &str, body: &[u8]) {
    let to = BasicPublish { routing_key: Short::cut(queue), ..BasicPublish::default() };
    write_method(out, channel, &to.into());
    write_header(out, channel, body.len() as u64, &[0, 0]);
    write_body(out, channel, FRAME_MAX as usize, body);
}
