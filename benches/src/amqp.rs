//! A generator of load over AMQP: one thread, a raw socket, frames that are made once and looked at
//! no further than their heads. The same for every server.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use longshore_amqp::codec::methods::{
    BasicConsume, BasicPublish, BasicQos, ChannelOpen, ConfirmSelect, ConnectionOpen,
    ConnectionStartOk, ConnectionTuneOk, ExchangeDeclare, QueueBind, QueueDeclare,
};
use longshore_amqp::codec::{
    Method, PROTOCOL_HEADER, Short, Table, Value, write_body, write_header, write_method,
};

const FRAME_MAX: u32 = 131_072;
/// Kind, channel and length before the payload, and the end after it.
const HEAD_BYTES: usize = 7;
/// The flags and the value of a delivery mode of 2.
const PERSISTENT: [u8; 3] = [0x10, 0, 2];

/// What a frame says, as far as that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'a> {
    /// A message is confirmed, or all up to that.
    Confirmed { tag: u64, multiple: bool },
    /// A message comes.
    Delivered { tag: u64 },
    /// Its body, or a part of that.
    Body(&'a [u8]),
    /// Any other method.
    Method { class: u16, method: u16 },
    /// Anything else.
    Other,
}

/// An open connection with channel 1.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut connection = Self { stream, bytes: vec![0; 1 << 20], filled: 0 };
        connection.send(PROTOCOL_HEADER)?;
        connection.wait_for(10, 10)?;
        let start = ConnectionStartOk {
            mechanism: Short::cut("PLAIN"),
            response: (&b"\0guest\0guest"[..]).into(),
            locale: Short::cut("en_US"),
            ..ConnectionStartOk::default()
        };
        connection.say(0, start)?;
        connection.wait_for(10, 30)?;
        connection
            .say(0, ConnectionTuneOk { channel_max: 64, frame_max: FRAME_MAX, heartbeat: 0 })?;
        let virtual_host = Short::cut("/");
        connection.say(0, ConnectionOpen { virtual_host, ..ConnectionOpen::default() })?;
        connection.wait_for(10, 41)?;
        connection.call(ChannelOpen::default(), (20, 11))?;
        Ok(connection)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    fn say(&mut self, channel: u16, method: impl Into<Method>) -> Result<()> {
        let mut out = Vec::new();
        write_method(&mut out, channel, &method.into());
        self.send(&out)
    }

    /// Says something on the channel and waits for its answer.
    pub(crate) fn call(&mut self, method: impl Into<Method>, answer: (u16, u16)) -> Result<()> {
        self.say(1, method)?;
        self.wait_for(answer.0, answer.1)
    }

    fn wait_for(&mut self, class: u16, method: u16) -> Result<()> {
        let mut is_there = false;
        while !is_there {
            self.hear(|heard| {
                is_there |= matches!(heard, Heard::Method { class: of, method: it }
                    if (of, it) == (class, method));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Declares a durable queue of the type that is as durable as ours.
    pub(crate) fn declare(&mut self, name: &str) -> Result<()> {
        let arguments = Table::of([("x-queue-type", Value::text("quorum"))]);
        let queue = Short::cut(name);
        let declare = QueueDeclare { queue, durable: true, arguments, ..QueueDeclare::default() };
        self.call(declare, (50, 11))
    }

    /// Declares an exchange, with queues bound to it.
    pub(crate) fn declare_exchange(
        &mut self,
        name: &str,
        kind: &str,
        bound: &[(String, String)],
    ) -> Result<()> {
        let (exchange, kind) = (Short::cut(name), Short::cut(kind));
        let declare =
            ExchangeDeclare { exchange, kind, durable: true, ..ExchangeDeclare::default() };
        self.call(declare, (40, 11))?;
        for (index, (queue, key)) in bound.iter().enumerate() {
            let (queue, routing_key) = (Short::cut(queue), Short::cut(key));
            let exchange = Short::cut(name);
            // The last is answered when all are done.
            let nowait = index + 1 < bound.len();
            let bind = QueueBind { queue, exchange, routing_key, nowait, ..QueueBind::default() };
            self.say(1, bind)?;
        }
        if !bound.is_empty() {
            self.wait_for(50, 21)?;
        }
        Ok(())
    }

    pub(crate) fn confirm(&mut self) -> Result<()> {
        self.call(ConfirmSelect { nowait: false }, (85, 11))
    }

    pub(crate) fn consume(&mut self, queue: &str, prefetch_count: u16) -> Result<()> {
        self.call(BasicQos { prefetch_count, ..BasicQos::default() }, (60, 11))?;
        let consume = BasicConsume { queue: Short::cut(queue), ..BasicConsume::default() };
        self.call(consume, (60, 21))
    }

    /// Acks all messages up to this one.
    pub(crate) fn ack(&mut self, tag: u64) -> Result<()> {
        use longshore_amqp::codec::methods::BasicAck;
        self.say(1, BasicAck { delivery_tag: tag, multiple: true })
    }

    /// Whether reading waits until something is there.
    pub(crate) fn set_waiting(&mut self, waits: bool) -> Result<()> {
        Ok(self.stream.set_nonblocking(!waits)?)
    }

    /// Reads once and tells what is there. Whether anything was.
    pub(crate) fn hear(&mut self, mut tell: impl FnMut(Heard<'_>) -> Result<()>) -> Result<bool> {
        match self.stream.read(self.bytes.get_mut(self.filled..).unwrap_or_default()) {
            Ok(0) => bail!("the server has closed the connection"),
            Ok(count) => self.filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let mut at = 0;
        while let Some(head) = self.bytes.get(at..self.filled.min(at + HEAD_BYTES))
            && let [kind, _, _, l0, l1, l2, l3] = *head
        {
            let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            let end = at + HEAD_BYTES + length;
            if end >= self.filled {
                break;
            }
            tell(read(kind, self.bytes.get(at + HEAD_BYTES..end).unwrap_or_default())?)?;
            at = end + 1;
        }
        self.bytes.copy_within(at..self.filled, 0);
        self.filled -= at;
        ensure!(self.filled < self.bytes.len(), "a frame that is too large");
        Ok(true)
    }
}

fn read(kind: u8, payload: &[u8]) -> Result<Heard<'_>> {
    match kind {
        1 => {}
        3 => return Ok(Heard::Body(payload)),
        _ => return Ok(Heard::Other),
    }
    let short = |at: usize| {
        let bytes = payload.get(at..at + 2).and_then(|it| it.try_into().ok());
        bytes.map(u16::from_be_bytes).context("a method that is cut short")
    };
    let long = |at: usize| {
        let bytes = payload.get(at..at + 8).and_then(|it| it.try_into().ok());
        bytes.map(u64::from_be_bytes).context("a method that is cut short")
    };
    Ok(match (short(0)?, short(2)?) {
        (60, 80) => {
            let multiple = payload.get(12).is_some_and(|bits| bits & 1 > 0);
            Heard::Confirmed { tag: long(4)?, multiple }
        }
        (60, 60) => {
            let name = payload.get(4).copied().context("a method that is cut short")?;
            Heard::Delivered { tag: long(5 + usize::from(name))? }
        }
        (10, 50) | (20, 40) | (60, 120) => bail!("the server refuses: {}", payload.escape_ascii()),
        (class, method) => Heard::Method { class, method },
    })
}

/// The frames of a persistent message.
pub(crate) fn message(exchange: &str, key: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (exchange, routing_key) = (Short::cut(exchange), Short::cut(key));
    let publish = BasicPublish { exchange, routing_key, ..BasicPublish::default() };
    write_method(&mut out, 1, &publish.into());
    write_header(&mut out, 1, body.len() as u64, &PERSISTENT);
    write_body(&mut out, 1, FRAME_MAX as usize, body);
    out
}

/// Which of the messages that were published are confirmed.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    /// From the first that is not.
    waiting: VecDeque<bool>,
    first: u64,
    /// How many are not.
    pub(crate) open: u64,
    pub(crate) confirmed: u64,
}

impl Confirms {
    pub(crate) fn publish(&mut self, count: u64) {
        (0..count).for_each(|_| self.waiting.push_back(true));
        self.open += count;
    }

    pub(crate) fn confirm(&mut self, tag: u64, multiple: bool) {
        let at = (tag - 1 - self.first) as usize;
        let from = if multiple { 0 } else { at };
        for waits in self.waiting.range_mut(from..=at) {
            if std::mem::take(waits) {
                self.open -= 1;
                self.confirmed += 1;
            }
        }
        while self.waiting.front() == Some(&false) {
            self.waiting.pop_front();
            self.first += 1;
        }
    }
}
