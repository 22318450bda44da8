//! Sessions of AMQP: what a client may send, from its first byte on or on an open connection, in
//! pieces. An input is a byte of flags, and what arrives. The engine is played: it says that all
//! is well, refuses everything, or is silent.

use bytes::{Bytes, BytesMut};
use longshore_amqp::codec::methods::{
    ChannelOpen, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk,
};
use longshore_amqp::codec::{
    ContentHeader, FrameKind, Method, PROTOCOL_HEADER, Short, read_frame, write_method,
};
use longshore_amqp::{Ask, Identity, Logins, Session, Settings, Unanswered};
use longshore_engine::{
    ConnectionId, ConsumerId, Message, MessageAnswer, MessageCommand, MessageDelivery, MessageTag,
    Place, Published, QueueId, Rejection, TimeMs,
};

use crate::novelty::{saw, sound};

/// The connection is open already, with channel 1.
const FLAG_OPEN: u8 = 1;
/// The engine refuses everything.
const FLAG_REFUSED: u8 = 2;
/// The engine does not answer before the end.
const FLAG_LATE: u8 = 4;
/// It arrives in small pieces.
const FLAG_PIECES: u8 = 8;
/// There are accounts.
const FLAG_ACCOUNTS: u8 = 16;

const MESSAGE_BYTES_MAX: u64 = 4096;
const FRAME_MAX: u32 = 4096;
/// More is not asked for by so short an input, unless a session goes in circles.
const ASKS_MAX: usize = 100_000;

/// Drives a session through an input.
pub fn target(input: &[u8]) {
    let Some((flags, bytes)) = input.split_first() else { return };
    let mut session = Session::new(settings(*flags), 0);
    let mut heard = BytesMut::new();
    if flags & FLAG_OPEN > 0 {
        open(&mut session, &mut heard);
    }
    let step = if flags & FLAG_PIECES > 0 { 7 } else { bytes.len().max(1) };
    let mut arrived = BytesMut::new();
    let mut asks = 0;
    for piece in bytes.chunks(step) {
        arrived.extend_from_slice(piece);
        session.receive(&mut arrived, 1);
        if flags & FLAG_LATE == 0 {
            asks += serve(&mut session, *flags);
            // What did not fit before.
            session.receive(&mut arrived, 1);
        }
        hear(&mut session, &mut heard);
    }
    asks += serve(&mut session, *flags);
    session.tick(2, true);
    hear(&mut session, &mut heard);
    if asks > 0 {
        sound();
    }
    session.lost();
    serve(&mut session, *flags);
    assert!(session.end().is_some(), "a lost connection has ended");
}

fn settings(flags: u8) -> Settings {
    // Who has not opened it yet may be an account of which nothing is known.
    let certificate = flags & FLAG_REFUSED > 0;
    let accounts = flags & (FLAG_OPEN | FLAG_ACCOUNTS) == FLAG_ACCOUNTS;
    Settings {
        connection: ConnectionId(1),
        seed: [1, 2],
        is_loopback: true,
        logins: if accounts { Logins::Accounts { certificate } } else { Logins::Guest },
        version: "0.0.0",
        channel_max: 16,
        frame_max: FRAME_MAX,
        heartbeat_s: 0,
        message_bytes_max: MESSAGE_BYTES_MAX,
    }
}

fn open(session: &mut Session, heard: &mut BytesMut) {
    let mut out = PROTOCOL_HEADER.to_vec();
    let start = ConnectionStartOk {
        mechanism: Short::cut("PLAIN"),
        response: Bytes::from_static(b"\0guest\0guest"),
        ..ConnectionStartOk::default()
    };
    let tune = ConnectionTuneOk { channel_max: 16, frame_max: FRAME_MAX, heartbeat: 0 };
    let virtual_host = Short::cut("/");
    let open = ConnectionOpen { virtual_host, ..ConnectionOpen::default() };
    let methods: [Method; 3] = [start.into(), tune.into(), open.into()];
    for method in &methods {
        write_method(&mut out, 0, method);
    }
    session.receive(&mut BytesMut::from(&out[..]), 0);
    serve(session, 0);
    out.clear();
    write_method(&mut out, 1, &ChannelOpen::default().into());
    session.receive(&mut BytesMut::from(&out[..]), 0);
    assert!(session.is_open());
    hear(session, heard);
}

/// Reads what the session says: it has to be frames of what was agreed on.
fn hear(session: &mut Session, heard: &mut BytesMut) {
    while let Some(bytes) = session.output().take() {
        heard.extend_from_slice(&bytes);
    }
    if heard.starts_with(b"AMQP") {
        return heard.clear();
    }
    while let Some(frame) = read_frame(heard, 64 << 10).expect("a session writes frames") {
        match frame.kind {
            FrameKind::Method => {
                let method = Method::read(frame.payload).expect("a session writes methods");
                let code = match &method {
                    Method::ChannelClose(close) => close.reply_code,
                    Method::ConnectionClose(close) => close.reply_code,
                    _ => 0,
                };
                saw((method.id(), code));
            }
            FrameKind::Header => {
                ContentHeader::read(frame.payload).expect("a session writes headers");
            }
            FrameKind::Body | FrameKind::Heartbeat => {}
        }
    }
    assert!(heard.is_empty(), "a session writes whole frames");
    session.written(1);
}

/// Does what the session asks for. How much that was.
fn serve(session: &mut Session, flags: u8) -> usize {
    let mut count = 0;
    while let Some(ask) = session.next_ask() {
        count += 1;
        assert!(count < ASKS_MAX, "it asks for ever");
        let refused = Rejection::QueueUnknown { queue: "q".into() };
        match ask {
            Ask::Open { .. } => session.namespace_found(Ok(())),
            Ask::Call { number, .. } if flags & FLAG_REFUSED > 0 => {
                session.answer(number, Err(Unanswered::Refused(refused)));
            }
            Ask::Call { number, command } => {
                saw(std::mem::discriminant(&command));
                let consumer = match &command {
                    MessageCommand::Consume(consume) => Some(consume.consumer),
                    _ => None,
                };
                session.answer(number, Ok(answer(command, refused)));
                if let Some(consumer) = consumer {
                    deliver(session, consumer);
                }
            }
            Ask::LogIn { .. } => {
                let identity = Identity { user: "app".into(), rights: None };
                session.logged_in((flags & FLAG_REFUSED == 0).then_some(identity));
            }
            Ask::Gone { .. } => {}
        }
    }
    count
}

fn deliver(session: &mut Session, consumer: ConsumerId) {
    let messages = (0..3).map(delivery).collect();
    session.deliver(consumer, messages);
}

fn delivery(place: u64) -> MessageDelivery {
    let message = Message {
        exchange: String::new(),
        routing_key: "q".into(),
        further_keys: Vec::new(),
        priority: 0,
        persistent: false,
        ttl_ms: None,
        published_at: TimeMs(0),
        properties: Bytes::from_static(&[0, 0]),
        body: Bytes::from_static(b"body"),
        deaths: Vec::new(),
        hops: 0,
    };
    MessageDelivery {
        tag: MessageTag { queue: QueueId(1), urgency: 255, place: Place(place) },
        queue: "q".into(),
        redelivered: false,
        returns: 1,
        message: message.into(),
        lease: None,
    }
}

fn answer(command: MessageCommand, refused: Rejection) -> MessageAnswer {
    match command {
        MessageCommand::Publish(messages) => {
            for message in &messages {
                assert!(message.body.len() as u64 <= MESSAGE_BYTES_MAX);
            }
            let unroutable = Ok(Published::Unroutable);
            MessageAnswer::Published(vec![unroutable; messages.len()])
        }
        MessageCommand::Transact(transaction) => {
            let count = transaction.publishes.len();
            MessageAnswer::Transacted(vec![Published::Unroutable; count], Vec::new())
        }
        MessageCommand::Consume(_) => MessageAnswer::Consuming,
        MessageCommand::Cancel { .. } => MessageAnswer::Cancelled(true),
        MessageCommand::GetOne { .. } => MessageAnswer::Got(Some(Box::new(delivery(9))), 1),
        MessageCommand::PurgeQueue { .. } => MessageAnswer::Purged { messages: 1 },
        MessageCommand::DeleteQueue { .. } => MessageAnswer::QueueDeleted { messages: 1 },
        MessageCommand::CloseConnection { .. } => MessageAnswer::ConnectionClosed,
        MessageCommand::Settle { settlements, .. } => {
            MessageAnswer::Settled(vec![Err(refused); settlements.len()])
        }
        _ => MessageAnswer::Changed(true),
    }
}
