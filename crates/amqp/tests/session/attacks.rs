//! Frames that do not belong where they come: cut, repeated, on wrong channels, out of order.

use bytes::BytesMut;
use longshore_amqp::codec::methods::{BasicPublish, ChannelOpen};
use longshore_amqp::codec::{Method, PROTOCOL_HEADER, Properties, write_heartbeat, write_method};
use longshore_amqp::{Ask, End};
use longshore_engine::{MessageAnswer, Published};

use super::client::{Client, publish, short};

/// Every frame that a client can send on an open channel, with empty fields.
fn frames(channel: u16) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for class in [10_u16, 20, 30, 40, 50, 60, 85, 90] {
        for number in 0..=130_u16 {
            // Zeros are enough for the fields of any method.
            for length in 0..40 {
                let mut payload = [class.to_be_bytes(), number.to_be_bytes()].concat();
                payload.resize(4 + length, 0);
                if let Ok(method) = Method::read(payload.into()) {
                    let mut out = Vec::new();
                    write_method(&mut out, channel, &method);
                    frames.push(out);
                    break;
                }
            }
        }
    }
    let mut message = Vec::new();
    publish(&mut message, channel, BasicPublish::default(), &Properties::default(), b"body");
    frames.push(message);
    let mut heartbeat = Vec::new();
    write_heartbeat(&mut heartbeat);
    frames.push(heartbeat);
    frames
}

/// Whatever is asked is done, and answered as if all were well.
fn play(client: &mut Client) {
    for _ in 0..100 {
        let Some(ask) = client.session.next_ask() else { return };
        if let Ask::Call { number, command } = ask {
            use longshore_engine::MessageCommand as Asked;
            let answer = match command {
                Asked::Publish(messages) => {
                    MessageAnswer::Published(vec![Ok(Published::Unroutable); messages.len()])
                }
                Asked::Transact(it) => {
                    let came = vec![Published::Unroutable; it.publishes.len()];
                    MessageAnswer::Transacted(came, Vec::new())
                }
                Asked::Consume(_) => MessageAnswer::Consuming,
                Asked::Cancel { .. } => MessageAnswer::Cancelled(true),
                Asked::GetOne { .. } => MessageAnswer::Got(None, 0),
                Asked::CloseConnection { .. } => MessageAnswer::ConnectionClosed,
                Asked::PurgeQueue { .. } => MessageAnswer::Purged { messages: 0 },
                Asked::DeleteQueue { .. } => MessageAnswer::QueueDeleted { messages: 0 },
                _ => MessageAnswer::Changed(true),
            };
            client.answer(number, answer);
        }
        while client.session.output().take().is_some() {}
    }
    panic!("it asks for ever");
}

#[test]
fn every_frame_anywhere_ends_in_order() {
    assert!(frames(1).len() > 60);
    // On channel 0, on one that is open, on one that is not, and beyond the last.
    for channel in [0, 1, 9, 65_535] {
        for frame in frames(channel) {
            // Before anything, in the middle of the handshake, and once it is open.
            for client in [Client::new(), greeted(), Client::open(1)] {
                let mut client = client;
                client.bytes(&frame);
                play(&mut client);
                // Again, and cut in the middle; what is left of it is the next one's beginning.
                client.bytes(&frame);
                client.bytes(&frame[..frame.len() / 2]);
                client.bytes(&frame);
                play(&mut client);
                client.session.lost();
                play(&mut client);
                assert!(client.session.end().is_some());
            }
        }
    }
}

fn greeted() -> Client {
    let mut client = Client::new();
    client.bytes(PROTOCOL_HEADER);
    client
}

#[test]
fn a_channel_that_is_not_open_ends_the_connection() {
    let mut client = Client::open(1);
    client.say(2, longshore_amqp::codec::methods::QueueDeclare::default());
    let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
    let text = "CHANNEL_ERROR - expected 'channel.open'";
    assert_eq!((close.reply_code, close.reply_text.as_text()), (504, Some(text)));
    let mut client = Client::open(1);
    client.say(1, ChannelOpen::default());
    let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
    assert_eq!(close.reply_text.as_text(), Some("CHANNEL_ERROR - second 'channel.open' seen"));
}

#[test]
fn a_body_without_a_header_and_a_header_without_a_method_end_the_connection() {
    for kind in [2_u8, 3] {
        let mut client = Client::open(1);
        client.bytes(&[kind, 0, 1, 0, 0, 0, 14]);
        client.bytes(&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 206]);
        let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
        assert_eq!(close.reply_code, 505, "{kind}");
    }
}

#[test]
fn little_is_taken_of_who_is_not_logged_in() {
    let mut client = greeted();
    let mut head = vec![1, 0, 0];
    head.extend_from_slice(&(64_u32 << 10).to_be_bytes());
    client.bytes(&head);
    let _ = client.method(0);
    let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
    assert_eq!(close.reply_code, 501);
}

#[test]
fn halves_of_messages_on_many_channels_have_an_end() {
    let mut client = Client::open(200);
    let mut sent = 0;
    for channel in 1..=200 {
        let mut out = Vec::new();
        let body = vec![0; 900_000];
        publish(&mut out, channel, BasicPublish::default(), &Properties::default(), &body);
        out.truncate(out.len() - 100_000);
        // Whole frames only, or the next channel's would be part of them.
        let mut whole = BytesMut::from(&out[..]);
        while longshore_amqp::codec::read_frame(&mut whole, 4096).unwrap().is_some() {}
        out.truncate(out.len() - whole.len());
        client.bytes(&out);
        sent += 1;
        if client.session.is_closing() {
            break;
        }
    }
    assert!(sent < 5, "{sent}");
    let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
    assert_eq!(close.reply_code, 506);
}

#[test]
fn a_message_that_is_too_large_is_refused_by_its_header() {
    let mut client = Client::open(1);
    let mut out = Vec::new();
    let to = BasicPublish { routing_key: short("q"), ..BasicPublish::default() };
    publish(&mut out, 1, to, &Properties::default(), &vec![0; (1 << 20) + 1]);
    client.bytes(&out);
    let Method::ChannelClose(close) = client.method(1) else { panic!("close") };
    let text = "PRECONDITION_FAILED - message size 1048577 is larger than configured max size \
                1048576";
    assert_eq!((close.reply_code, close.reply_text.as_text()), (406, Some(text)));
    assert_eq!(client.session.end(), None::<End>, "its body is passed over");
    assert_eq!(client.session.held_bytes(), 0);
}
