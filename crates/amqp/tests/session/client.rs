//! A client of a session, and the engine behind it as the tests play it.

use bytes::{Bytes, BytesMut};
use longshore_amqp::codec::methods::{
    ChannelOpen, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk,
};
use longshore_amqp::codec::{
    ContentHeader, Frame, FrameKind, Method, PROTOCOL_HEADER, Properties, Short, Table, Value,
    read_frame, write_body, write_header, write_method,
};
use longshore_amqp::{Ask, Logins, Session, Settings, Unanswered};
use longshore_engine::{
    ConnectionId, ConsumerId, Message, MessageAnswer, MessageCommand, MessageDelivery, MessageTag,
    Place, QueueId, TimeMs,
};

pub(crate) const FRAME_MAX: usize = 4096;

pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) now_ms: u64,
    sent: BytesMut,
    heard: BytesMut,
}

pub(crate) fn short(text: &str) -> Short {
    Short::cut(text)
}

impl Client {
    /// A client that has said nothing.
    pub(crate) fn new() -> Self {
        Self::of(Logins::Guest)
    }

    /// The same, where others are let in.
    pub(crate) fn of(logins: Logins) -> Self {
        let settings = Settings {
            connection: ConnectionId(7),
            seed: [1, 2],
            is_loopback: true,
            logins,
            version: "0.0.0",
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat_s: 60,
            message_bytes_max: 1 << 20,
        };
        let session = Session::new(settings, 0);
        Self { session, now_ms: 0, sent: BytesMut::new(), heard: BytesMut::new() }
    }

    /// One with an open connection, and channels up to this one.
    pub(crate) fn open(channels: u16) -> Self {
        let mut client = Self::new();
        client.bytes(PROTOCOL_HEADER);
        assert!(matches!(client.method(0), Method::ConnectionStart(_)));
        let can = ["consumer_cancel_notify", "connection.blocked", "authentication_failure_close"];
        let can = Table::of(can.map(|name| (name, Value::Bool(true))));
        client.say(
            0,
            ConnectionStartOk {
                client_properties: Table::of([("capabilities", Value::Table(can))]),
                mechanism: short("PLAIN"),
                response: Bytes::from_static(b"\0guest\0guest"),
                locale: short("en_US"),
            },
        );
        let Method::ConnectionTune(tune) = client.method(0) else { panic!("tune") };
        let (channel_max, heartbeat) = (tune.channel_max, tune.heartbeat);
        client.say(0, ConnectionTuneOk { channel_max, frame_max: FRAME_MAX as u32, heartbeat });
        client.say(0, ConnectionOpen { virtual_host: short("/"), ..ConnectionOpen::default() });
        assert!(matches!(client.ask(), Ask::Open { namespace } if namespace == "default"));
        client.session.namespace_found(Ok(()));
        assert!(matches!(client.method(0), Method::ConnectionOpenOk(_)));
        for number in 1..=channels {
            client.say(number, ChannelOpen::default());
            assert!(matches!(client.method(number), Method::ChannelOpenOk(_)));
        }
        client
    }

    /// Sends bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        self.session.receive(&mut self.sent, self.now_ms);
    }

    pub(crate) fn say(&mut self, channel: u16, method: impl Into<Method>) {
        let mut out = Vec::new();
        write_method(&mut out, channel, &method.into());
        self.bytes(&out);
    }

    /// Sends methods and messages at once.
    pub(crate) fn say_all(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.bytes(&out);
    }

    /// The next frame, if one was sent.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        while let Some(bytes) = self.session.output().take() {
            self.heard.extend_from_slice(&bytes);
        }
        read_frame(&mut self.heard, 1 << 20).unwrap()
    }

    /// The next method, which is for that channel.
    pub(crate) fn method(&mut self, channel: u16) -> Method {
        let frame = self.frame().expect("something was sent");
        assert_eq!((frame.kind, frame.channel), (FrameKind::Method, channel));
        Method::read(frame.payload).unwrap()
    }

    /// The next message's header and body.
    pub(crate) fn content(&mut self) -> (Properties, Bytes) {
        let header = ContentHeader::read(self.frame().unwrap().payload).unwrap();
        let mut body = BytesMut::new();
        while (body.len() as u64) < header.body_bytes {
            body.extend_from_slice(&self.frame().unwrap().payload);
        }
        (header.properties, body.freeze())
    }

    pub(crate) fn assert_silent(&mut self) {
        assert_eq!(self.frame(), None);
    }

    pub(crate) fn ask(&mut self) -> Ask {
        self.session.next_ask().expect("something is asked")
    }

    pub(crate) fn asks_nothing(&mut self) -> bool {
        self.session.next_ask().is_none()
    }

    /// The next command.
    pub(crate) fn command(&mut self) -> (u64, MessageCommand) {
        match self.ask() {
            Ask::Call { number, command } => (number, command),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn answer(&mut self, number: u64, answer: MessageAnswer) {
        self.session.answer(number, Ok(answer));
    }

    pub(crate) fn refuse(&mut self, number: u64, rejection: longshore_engine::Rejection) {
        self.session.answer(number, Err(Unanswered::Refused(rejection)));
    }
}

/// Writes a message that is published.
pub(crate) fn publish(
    out: &mut Vec<u8>,
    channel: u16,
    publish: longshore_amqp::codec::methods::BasicPublish,
    properties: &Properties,
    body: &[u8],
) {
    write_method(out, channel, &publish.into());
    write_header(out, channel, body.len() as u64, &properties.to_bytes());
    write_body(out, channel, FRAME_MAX, body);
}

/// A message as the engine delivers it.
pub(crate) fn delivery(place: u64, body: &[u8]) -> MessageDelivery {
    let message = Message {
        exchange: "x".into(),
        routing_key: "k".into(),
        further_keys: Vec::new(),
        priority: 0,
        persistent: true,
        ttl_ms: None,
        published_at: TimeMs(0),
        properties: Properties::default().to_bytes(),
        body: Bytes::copy_from_slice(body),
        deaths: Vec::new(),
        hops: 0,
    };
    MessageDelivery {
        tag: MessageTag { queue: QueueId(1), urgency: 255, place: Place(place) },
        queue: "q".into(),
        redelivered: false,
        returns: 0,
        message: message.into(),
        lease: None,
    }
}

/// Starts a consumer and returns its number and the credit that it has.
pub(crate) fn consume(
    client: &mut Client,
    channel: u16,
    tag: &str,
    no_ack: bool,
) -> (ConsumerId, u64) {
    use longshore_amqp::codec::methods::BasicConsume;
    let (queue, consumer_tag) = (short("q"), short(tag));
    client.say(channel, BasicConsume { queue, consumer_tag, no_ack, ..BasicConsume::default() });
    let (number, command) = client.command();
    let MessageCommand::Consume(consume) = command else { panic!("{command:?}") };
    client.answer(number, MessageAnswer::Consuming);
    assert!(matches!(client.method(channel), Method::BasicConsumeOk(_)));
    (consume.consumer, consume.credit.messages)
}
