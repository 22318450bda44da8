//! How connections begin, stay and end.

use bytes::Bytes;
use longshore_amqp::codec::methods::{
    ChannelClose, ConnectionClose, ConnectionStartOk, ConnectionTuneOk,
};
use longshore_amqp::codec::{FrameKind, Method, PROTOCOL_HEADER, Table, Value};
use longshore_amqp::{Ask, End, Unanswered};
use longshore_engine::{MessageAnswer, MessageCommand, Rejection};

use super::client::{Client, short};

#[test]
fn a_client_is_greeted_and_told_what_the_server_can() {
    let mut client = Client::new();
    // In two pieces, as a network may bring it.
    client.bytes(&PROTOCOL_HEADER[..3]);
    client.assert_silent();
    client.bytes(&PROTOCOL_HEADER[3..]);
    let Method::ConnectionStart(start) = client.method(0) else { panic!("start") };
    assert_eq!((start.version_major, start.version_minor), (0, 9));
    assert_eq!(start.mechanisms, "PLAIN AMQPLAIN ANONYMOUS");
    for name in ["capabilities", "product", "version", "longshore_version", "platform"] {
        assert!(start.server_properties.get(name).is_some(), "{name}");
    }
    // `longshore shovel` goes by it.
    let bytes = start.server_properties.get("message_bytes_max");
    assert_eq!(bytes, Some(Value::I64(1 << 20)));
}

#[test]
fn another_protocol_is_answered_with_the_header_of_this_one() {
    for header in [&b"AMQP\x00\x01\x00\x00"[..], b"GET / HTTP/1.1\r\n", b"AMQP\x03"] {
        let mut client = Client::new();
        client.bytes(header);
        assert_eq!(client.session.output().take().unwrap(), PROTOCOL_HEADER.as_slice());
        assert_eq!(client.session.end(), Some(End::Closed));
    }
}

fn start(response: &'static [u8], can_hear: bool) -> Client {
    let mut client = Client::new();
    client.bytes(PROTOCOL_HEADER);
    client.method(0);
    let can =
        Table::of([("authentication_failure_close", longshore_amqp::codec::Value::Bool(can_hear))]);
    let properties = Table::of([("capabilities", longshore_amqp::codec::Value::Table(can))]);
    client.say(
        0,
        ConnectionStartOk {
            client_properties: properties,
            mechanism: short("PLAIN"),
            response: Bytes::from_static(response),
            locale: short("en_US"),
        },
    );
    client
}

#[test]
fn who_is_not_let_in_hears_it_if_it_can() {
    let mut client = start(b"\0guest\0wrong", true);
    let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
    assert_eq!(close.reply_code, 403);
    let text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For \
                details see the broker logfile.";
    assert_eq!(close.reply_text.as_text(), Some(text));
    let mut client = start(b"\0guest\0wrong", false);
    client.assert_silent();
    assert_eq!(client.session.end(), Some(End::Closed));
}

#[test]
fn more_than_was_offered_cannot_be_agreed_on() {
    for (channel_max, frame_max, text) in [
        (0, 131_072, "channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"),
        (3000, 131_072, "channel_max = 3000 is higher than the maximum allowed value (2047)"),
        (10, 0, "frame_max = 0 (no limit) is higher than the maximum allowed value (131072)"),
        (10, 4095, "frame_max = 4095 is lower than the minimum allowed value (4096)"),
    ] {
        let mut client = start(b"\0guest\0guest", true);
        client.method(0);
        client.say(0, ConnectionTuneOk { channel_max, frame_max, heartbeat: 0 });
        let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
        assert_eq!(close.reply_code, 530);
        assert_eq!(close.reply_text.as_text(), Some(&*format!("NOT_ALLOWED - negotiated {text}")));
    }
}

#[test]
fn a_vhost_that_is_not_there_is_not_found() {
    let mut client = start(b"\0guest\0guest", true);
    client.method(0);
    client.say(0, ConnectionTuneOk { channel_max: 10, frame_max: 4096, heartbeat: 0 });
    let virtual_host = short("nowhere");
    client.say(
        0,
        longshore_amqp::codec::methods::ConnectionOpen { virtual_host, ..Default::default() },
    );
    assert!(matches!(client.ask(), Ask::Open { namespace } if namespace == "nowhere"));
    let unknown = Rejection::NamespaceUnknown { name: "nowhere".into() };
    client.session.namespace_found(Err(Unanswered::Refused(unknown)));
    let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
    assert_eq!(close.reply_text.as_text(), Some("NOT_ALLOWED - vhost nowhere not found"));
}

#[test]
fn the_end_is_told_once_what_was_the_connections_has_ended() {
    let mut client = Client::open(1);
    client.say(0, ConnectionClose { reply_code: 200, ..ConnectionClose::default() });
    client.assert_silent();
    let (number, command) = client.command();
    assert!(matches!(command, MessageCommand::CloseConnection { .. }));
    assert!(client.session.is_leaving(), "it comes behind what was published");
    client.answer(number, MessageAnswer::ConnectionClosed);
    assert!(matches!(client.method(0), Method::ConnectionCloseOk(_)));
    assert_eq!(client.session.end(), Some(End::Answered));
    client.session.lost();
    assert!(client.asks_nothing(), "it is told once");
}

#[test]
fn a_lost_connection_is_told_to_the_engine() {
    let mut client = Client::open(1);
    client.session.lost();
    assert!(matches!(client.command().1, MessageCommand::CloseConnection { .. }));
    assert_eq!(client.session.end(), Some(End::Silent));
}

#[test]
fn a_server_that_stops_says_so() {
    let mut client = Client::open(1);
    client.session.stop();
    let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
    let text = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";
    assert_eq!((close.reply_code, close.reply_text.as_text()), (320, Some(text)));
    assert!(matches!(client.command().1, MessageCommand::CloseConnection { .. }));
    assert!(!client.session.is_leaving(), "it waits for nothing");
    client.say(0, longshore_amqp::codec::methods::ConnectionCloseOk {});
    assert_eq!(client.session.end(), Some(End::Closed));
}

#[test]
fn a_sign_of_life_is_given_and_asked_for() {
    let mut client = Client::open(0);
    client.session.written(0);
    client.session.tick(29_999, true);
    client.assert_silent();
    assert_eq!(client.session.next_tick_ms(), Some(30_000));
    client.session.tick(30_000, true);
    assert_eq!(client.frame().unwrap().kind, FrameKind::Heartbeat);
    // One that was not read is not silent.
    client.session.tick(100_000, false);
    client.session.tick(220_000, true);
    assert_eq!(client.session.end(), None);
    assert!(client.asks_nothing());
    client.session.tick(220_001, true);
    assert_eq!(client.session.end(), Some(End::Silent));
    // Or what is its would stay with it.
    assert!(matches!(client.command().1, MessageCommand::CloseConnection { .. }));
    client.session.lost();
    assert!(client.asks_nothing(), "it is told once");
}

#[test]
fn the_number_of_a_closed_channel_can_be_used_again() {
    let mut client = Client::open(1);
    client.say(1, ChannelClose::default());
    assert!(matches!(client.method(1), Method::ChannelCloseOk(_)));
    // What was sent before the client knew kills nothing.
    client.say(1, longshore_amqp::codec::methods::BasicAck { delivery_tag: 1, multiple: false });
    client.assert_silent();
    client.say(1, longshore_amqp::codec::methods::ChannelOpen::default());
    assert!(matches!(client.method(1), Method::ChannelOpenOk(_)));
}

#[test]
fn only_who_can_hear_it_is_told_that_it_is_blocked() {
    let mut client = Client::open(0);
    client.session.block(Some("the disk is full"));
    let Method::ConnectionBlocked(blocked) = client.method(0) else { panic!("blocked") };
    assert_eq!(blocked.reason.as_text(), Some("the disk is full"));
    client.session.block(Some("the disk is full"));
    client.assert_silent();
    client.session.block(None);
    assert!(matches!(client.method(0), Method::ConnectionUnblocked(_)));
}
