//! Bytes of the peer to frames, and frames to where they belong.

use bytes::BytesMut;

use super::channel::Channel;
use super::content::Arriving;
use super::{End, Phase, Session};
use crate::codec::methods::{ChannelCloseOk, ChannelOpenOk, ConnectionCloseOk};
use crate::codec::{
    ContentHeader, Frame, FrameError, FrameKind, Method, PROTOCOL_HEADER, read_frame,
};
use crate::failure::{Code, Failure};

/// Methods that may wait for their turn in the channels of a connection until it is not read any
/// more.
const WAITING_METHODS_MAX: usize = 256;

impl Session {
    /// Takes as much of `bytes` as can be taken now.
    pub fn receive(&mut self, bytes: &mut BytesMut, now_ms: u64) {
        self.received_ms = now_ms;
        if self.phase == Phase::Header && !self.greet(bytes) {
            return;
        }
        while !self.is_stuffed() && self.end().is_none() {
            match read_frame(bytes, self.frame_max) {
                Ok(Some(frame)) => self.frame(frame),
                Ok(None) => break,
                Err(error) => {
                    self.refuse_bytes(error);
                    bytes.clear();
                }
            }
        }
        self.flush();
    }

    /// Whether as much is under way as may be: nothing is taken until some of it is answered.
    pub fn is_stuffed(&self) -> bool {
        self.publishing.is_full(self.consumes()) || self.waiting_methods > WAITING_METHODS_MAX
    }

    /// Bytes of bodies that it holds.
    pub fn held_bytes(&self) -> u64 {
        self.arriving_bytes + self.publishing.bytes()
    }

    /// Takes the protocol header. Whether all of it was there.
    fn greet(&mut self, bytes: &mut BytesMut) -> bool {
        let is_ours = |(byte, ours): (&u8, &u8)| byte == ours;
        if !bytes.iter().zip(PROTOCOL_HEADER).all(is_ours) {
            // As the specification asks for: what is spoken here, and the end.
            self.out.protocol_header();
            self.phase = Phase::Closed(End::Closed);
            return false;
        }
        if bytes.len() < PROTOCOL_HEADER.len() {
            return false;
        }
        let _ = bytes.split_to(PROTOCOL_HEADER.len());
        self.start();
        true
    }

    fn refuse_bytes(&mut self, error: FrameError) {
        let text = match error {
            FrameError::KindUnknown(kind) => format!("type {kind}: unknown frame type"),
            FrameError::TooLarge { payload_bytes, allowed } => {
                format!("frame_too_large: {payload_bytes} octets, of at most {allowed}")
            }
            FrameError::EndMissing(end) => format!("invalid frame end marker {end}"),
        };
        self.fail_connection(&Failure::new(Code::FrameError, text));
    }

    fn frame(&mut self, frame: Frame) {
        let Frame { kind, channel, payload } = frame;
        let done = match (kind, channel) {
            // Whatever the channel: some clients send them on others than 0.
            (FrameKind::Heartbeat, _) => Ok(()),
            (FrameKind::Method, _) => match Method::read(payload) {
                Ok(method) => self.method(channel, method),
                Err(malformed) => {
                    Err(Failure::new(Code::SyntaxError, format!("no method: {malformed}")))
                }
            },
            (_, 0) => {
                let text = format!("type {}, on channel 0", kind as u8);
                Err(Failure::new(Code::UnexpectedFrame, text))
            }
            (FrameKind::Header, _) => match ContentHeader::read(payload) {
                Ok(header) => self.header(channel, header),
                Err(malformed) => {
                    Err(Failure::new(Code::SyntaxError, format!("no content header: {malformed}")))
                }
            },
            (FrameKind::Body, _) => self.body(channel, payload),
        };
        if let Err(failure) = done {
            self.fail(channel, &failure);
        }
    }

    fn method(&mut self, number: u16, method: Method) -> Result<(), Failure> {
        match self.phase {
            Phase::Running => {}
            Phase::Closing | Phase::Leaving => {
                self.method_at_the_end(number, &method);
                return Ok(());
            }
            _ if number == 0 => return self.shake_hands(method),
            _ => {
                let text = "a channel before the connection is open";
                return Err(Failure::new(Code::ChannelError, text).of(method.id()));
            }
        }
        if number == 0 {
            return self.connection_method(&method);
        }
        let Some(channel) = self.channels.get_mut(&number) else {
            return self.method_of_no_channel(number, &method);
        };
        if channel.is_closing {
            match method {
                Method::ChannelCloseOk(_) => self.forget_channel(number),
                Method::ChannelClose(_) => self.out.method(number, &ChannelCloseOk {}.into()),
                // It was sent before the client knew.
                _ => {}
            }
            return Ok(());
        }
        if channel.arriving.is_some() {
            let text = "expected content header for class 60, got non content header frame instead";
            return Err(Failure::new(Code::UnexpectedFrame, text).of((60, 40)));
        }
        let id = method.id();
        self.channel_method(number, method).map_err(|failure| failure.of(id))
    }

    /// A method while the connection ends: all that counts is whether the peer has ended it too.
    fn method_at_the_end(&mut self, number: u16, method: &Method) {
        match method {
            Method::ConnectionCloseOk(_) if number == 0 && self.phase == Phase::Closing => {
                self.phase = Phase::Closed(End::Closed);
            }
            Method::ConnectionClose(_) if number == 0 => {
                self.out.method(0, &ConnectionCloseOk {}.into());
            }
            _ => {}
        }
    }

    fn method_of_no_channel(&mut self, number: u16, method: &Method) -> Result<(), Failure> {
        match method {
            Method::ChannelOpen(_) => {}
            // They were sent before the client knew that the channel is closed.
            Method::BasicAck(_)
            | Method::BasicNack(_)
            | Method::BasicReject(_)
            | Method::ChannelCloseOk(_)
                if self.closed.contains(&number) =>
            {
                return Ok(());
            }
            _ => {
                let text = "expected 'channel.open'";
                return Err(Failure::new(Code::ChannelError, text).of(method.id()));
            }
        }
        let count = self.channels.len();
        if count >= usize::from(self.channel_max) || number > self.channel_max {
            let max = self.channel_max;
            let text = format!(
                "number of channels opened ({count}) has reached the negotiated channel_max ({max})"
            );
            return Err(Failure::new(Code::NotAllowed, text).of(method.id()));
        }
        self.instances += 1;
        let channel = Channel { instance: self.instances, ..Channel::default() };
        self.channels.insert(number, channel);
        self.out.method(number, &ChannelOpenOk::default().into());
        Ok(())
    }

    /// The channel whose message is arriving; `None` where what arrives for it is late.
    fn arriving(&mut self, number: u16) -> Result<Option<&mut Channel>, Failure> {
        if self.phase != Phase::Running {
            let is_late = matches!(self.phase, Phase::Closing | Phase::Leaving);
            let text = "content before the connection is open";
            return if is_late { Ok(None) } else { Err(Failure::new(Code::UnexpectedFrame, text)) };
        }
        let is_closed = self.closed.contains(&number);
        match self.channels.get_mut(&number) {
            Some(channel) if channel.is_closing => Ok(None),
            Some(channel) if channel.arriving.is_some() => Ok(Some(channel)),
            Some(_) => {
                let text = "expected method frame, got non method frame instead";
                Err(Failure::new(Code::UnexpectedFrame, text))
            }
            None if is_closed => Ok(None),
            None => Err(Failure::new(Code::ChannelError, "expected 'channel.open'")),
        }
    }

    fn header(&mut self, number: u16, header: ContentHeader) -> Result<(), Failure> {
        let max = self.settings.message_bytes_max;
        let Some(channel) = self.arriving(number)? else { return Ok(()) };
        let Some(arriving) = &mut channel.arriving else { return Ok(()) };
        if arriving.has_header() {
            let text = "expected content body, got non content body frame instead";
            return Err(Failure::new(Code::UnexpectedFrame, text).of((60, 40)));
        }
        let bytes = header.body_bytes;
        if bytes > max {
            let text = format!("message size {bytes} is larger than configured max size {max}");
            return Err(Failure::new(Code::PreconditionFailed, text).of((60, 40)));
        }
        arriving.set_header(header);
        if bytes == 0 { self.arrived(number) } else { Ok(()) }
    }

    fn body(&mut self, number: u16, part: bytes::Bytes) -> Result<(), Failure> {
        // One message of each channel can be half there, and their sum has to have an end, too.
        let bytes_max = 2 * self.settings.message_bytes_max;
        let bytes = self.arriving_bytes + part.len() as u64;
        let Some(channel) = self.arriving(number)? else { return Ok(()) };
        let Some(arriving) = &mut channel.arriving else { return Ok(()) };
        if !arriving.has_header() {
            let text = "expected content header for class 60, got non content header frame instead";
            return Err(Failure::new(Code::UnexpectedFrame, text).of((60, 40)));
        }
        if part.len() as u64 > arriving.missing() {
            let text = "content body is longer than its header says";
            return Err(Failure::new(Code::UnexpectedFrame, text).of((60, 40)));
        }
        if bytes > bytes_max {
            let text = format!("{bytes} octets of unfinished messages, of at most {bytes_max}");
            return Err(Failure::new(Code::ResourceError, text).of((60, 40)));
        }
        arriving.add(part);
        let is_whole = arriving.missing() == 0;
        self.arriving_bytes = bytes;
        if is_whole { self.arrived(number) } else { Ok(()) }
    }

    /// All of a message is there.
    fn arrived(&mut self, number: u16) -> Result<(), Failure> {
        let Some(channel) = self.channels.get_mut(&number) else { return Ok(()) };
        let Some(arriving) = channel.arriving.take() else { return Ok(()) };
        self.arriving_bytes -= arriving.arrived() as u64;
        let (publish, properties, body) = arriving.into_parts();
        self.publish(number, &publish, properties, body).map_err(|failure| failure.of((60, 40)))
    }

    /// A message begins to arrive.
    pub(super) fn expect_content(
        &mut self,
        number: u16,
        publish: crate::codec::methods::BasicPublish,
    ) {
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.arriving = Some(Arriving::new(publish));
        }
    }
}
