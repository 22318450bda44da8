//! What is published, confirmed, refused and given back.

use bytes::Bytes;
use longshore_amqp::Unanswered;
use longshore_amqp::codec::methods::{
    BasicGet, BasicPublish, ConfirmSelect, ConnectionClose, QueueDeclare,
};
use longshore_amqp::codec::{Method, Properties, Table, Value, write_method};
use longshore_engine::{MessageAnswer, MessageCommand, PublishMessage, Published, Rejection};

use super::client::{Client, consume, publish, short};

fn to(exchange: &str, key: &str) -> BasicPublish {
    BasicPublish { exchange: short(exchange), routing_key: short(key), ..BasicPublish::default() }
}

fn confirming() -> Client {
    let mut client = Client::open(2);
    client.say(1, ConfirmSelect { nowait: false });
    assert!(matches!(client.method(1), Method::ConfirmSelectOk(_)));
    client
}

fn published(client: &mut Client) -> (u64, Vec<PublishMessage>) {
    let (number, command) = client.command();
    let MessageCommand::Publish(messages) = command else { panic!("{command:?}") };
    (number, messages)
}

const ROUTED: Result<Published, Rejection> = Ok(Published::Routed { queues: 1 });

#[test]
fn messages_that_arrive_together_are_one_command_and_one_confirm() {
    let mut client = confirming();
    let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
    client.say_all(|out| {
        for body in 0..10_u8 {
            publish(out, 1, to("", "q"), &properties, &[body]);
        }
    });
    let (number, messages) = published(&mut client);
    let bodies: Vec<_> = messages.iter().map(|message| message.body[0]).collect();
    assert_eq!(bodies, (0..10).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| message.persistent && message.routing_key == "q"));
    client.assert_silent();
    client.answer(number, MessageAnswer::Published(vec![ROUTED; 10]));
    let Method::BasicAck(ack) = client.method(1) else { panic!("ack") };
    assert_eq!((ack.delivery_tag, ack.multiple), (10, true));
    client.assert_silent();
}

#[test]
fn a_large_body_arrives_in_many_frames() {
    let mut client = Client::open(1);
    let body: Vec<u8> = (0..100_000_u32).map(|it| it as u8).collect();
    client.say_all(|out| publish(out, 1, to("", "q"), &Properties::default(), &body));
    assert_eq!(published(&mut client).1[0].body, body);
    client.say_all(|out| publish(out, 1, to("", "q"), &Properties::default(), b""));
    assert_eq!(published(&mut client).1[0].body, Bytes::new(), "a header is enough");
}

#[test]
fn what_no_queue_takes_comes_back_before_its_confirm() {
    let mut client = confirming();
    let mandatory = BasicPublish { mandatory: true, ..to("x", "k") };
    let properties = Properties { message_id: Some(short("id")), ..Properties::default() };
    client.say_all(|out| {
        publish(out, 1, to("x", "k"), &properties, b"first");
        publish(out, 1, mandatory, &properties, b"second");
        publish(out, 1, to("x", "k"), &properties, b"third");
    });
    let (number, _) = published(&mut client);
    let unroutable = Ok(Published::Unroutable);
    client.answer(number, MessageAnswer::Published(vec![unroutable.clone(), unroutable, ROUTED]));
    let Method::BasicAck(ack) = client.method(1) else { panic!("ack") };
    assert_eq!((ack.delivery_tag, ack.multiple), (1, false));
    let Method::BasicReturn(returned) = client.method(1) else { panic!("return") };
    assert_eq!((returned.reply_code, returned.reply_text.as_text()), (312, Some("NO_ROUTE")));
    let (back, body) = client.content();
    assert_eq!((back.message_id, &body[..]), (Some(short("id")), &b"second"[..]));
    let Method::BasicAck(ack) = client.method(1) else { panic!("ack") };
    assert_eq!((ack.delivery_tag, ack.multiple), (3, true));
}

#[test]
fn a_full_queue_is_a_nack() {
    let mut client = confirming();
    client.say_all(|out| {
        for _ in 0..3 {
            publish(out, 1, to("", "q"), &Properties::default(), b"m");
        }
    });
    let (number, _) = published(&mut client);
    let full = Err(Rejection::QueueFull { queue: "q".into(), length: 1, max_length: 1 });
    client.answer(number, MessageAnswer::Published(vec![ROUTED, full, ROUTED]));
    let told: Vec<_> = (0..3).map(|_| client.method(1)).collect();
    assert!(matches!(&told[0], Method::BasicAck(ack) if ack.delivery_tag == 1 && !ack.multiple));
    assert!(matches!(&told[1], Method::BasicNack(nack) if nack.delivery_tag == 2));
    assert!(matches!(&told[2], Method::BasicAck(ack) if ack.delivery_tag == 3));
}

#[test]
fn an_unknown_exchange_closes_its_channel_alone() {
    let mut client = Client::open(2);
    client.say_all(|out| publish(out, 1, to("gone", "k"), &Properties::default(), b"m"));
    let (number, _) = published(&mut client);
    let unknown = Err(Rejection::ExchangeUnknown { exchange: "gone".into() });
    client.answer(number, MessageAnswer::Published(vec![unknown]));
    let Method::ChannelClose(close) = client.method(1) else { panic!("close") };
    let text = "NOT_FOUND - no exchange 'gone' in vhost '/'";
    assert_eq!((close.reply_code, close.reply_text.as_text()), (404, Some(text)));
    assert_eq!((close.class_id, close.method_id), (60, 40));
    // What the client sends before it knows is nobody's.
    client.say_all(|out| publish(out, 1, to("", "q"), &Properties::default(), b"late"));
    assert!(client.asks_nothing());
    client.say_all(|out| publish(out, 2, to("", "q"), &Properties::default(), b"other"));
    assert_eq!(published(&mut client).1.len(), 1);
}

#[test]
fn a_method_waits_for_what_was_published_before_it() {
    let mut client = Client::open(1);
    client.say_all(|out| {
        publish(out, 1, to("", "q"), &Properties::default(), b"before");
        let declare = QueueDeclare { queue: short("q"), ..QueueDeclare::default() };
        write_method(out, 1, &declare.into());
        publish(out, 1, to("", "q"), &Properties::default(), b"after");
    });
    let (number, messages) = published(&mut client);
    assert_eq!(messages[0].body, "before");
    assert!(client.asks_nothing());
    client.answer(number, MessageAnswer::Published(vec![ROUTED]));
    let (number, command) = client.command();
    assert!(matches!(command, MessageCommand::DeclareQueue(_)));
    assert!(client.asks_nothing());
    client.refuse(number, Rejection::QueueExclusive { queue: "q".into() });
    let Method::ChannelClose(close) = client.method(1) else { panic!("close") };
    assert_eq!((close.reply_code, close.class_id, close.method_id), (405, 50, 10));
}

#[test]
fn what_is_said_of_a_message_is_told_to_the_engine() {
    let mut client = Client::open(1);
    let headers = Table::of([
        ("CC", Value::list(&[Value::text("cc")])),
        ("BCC", Value::list(&[Value::text("bcc")])),
        ("n", Value::I8(3)),
        ("x-delay", Value::I32(2500)),
    ]);
    let properties = Properties {
        headers: Some(headers),
        expiration: Some(short("1500")),
        priority: Some(9),
        ..Properties::default()
    };
    client.say_all(|out| publish(out, 1, to("x", "k"), &properties, b"m"));
    let message = published(&mut client).1.remove(0);
    assert_eq!(message.further_keys, ["cc", "bcc"]);
    assert_eq!((message.ttl_ms, message.priority, message.persistent), (Some(1500), 9, false));
    assert_eq!(message.delay_ms, Some(2500));
    assert!(message.headers.iter().any(|(name, _)| name == "n"));
    let kept = Properties::from_bytes(message.properties).unwrap().headers.unwrap();
    assert!(kept.get("CC").is_some() && kept.get("BCC").is_none(), "nobody sees BCC");
}

#[test]
fn a_message_that_cannot_be_is_refused() {
    let text = |text: &str| Some(short(text));
    for (properties, said) in [
        (
            Properties { expiration: text("soon"), ..Properties::default() },
            "PRECONDITION_FAILED - invalid expiration 'soon': no_integer",
        ),
        (
            Properties { user_id: text("root"), ..Properties::default() },
            "PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was \
             'guest'",
        ),
        (
            Properties { reply_to: text("amq.rabbitmq.reply-to"), ..Properties::default() },
            "PRECONDITION_FAILED - fast reply consumer does not exist",
        ),
    ] {
        let mut client = Client::open(1);
        client.say_all(|out| publish(out, 1, to("x", "k"), &properties, b"m"));
        let Method::ChannelClose(close) = client.method(1) else { panic!("close") };
        assert_eq!((close.reply_code, close.reply_text.as_text()), (406, Some(said)));
    }
}

#[test]
fn a_connection_that_publishes_faster_than_the_engine_is_not_read() {
    let mut client = Client::open(1);
    client.say_all(|out| {
        for _ in 0..10_000 {
            publish(out, 1, to("", "q"), &Properties::default(), b"m");
        }
    });
    assert!(client.session.is_stuffed());
    let (mut messages, mut asked) = (0, Vec::new());
    while let Some(longshore_amqp::Ask::Call { number, command }) = client.session.next_ask() {
        let MessageCommand::Publish(batch) = command else { panic!("{command:?}") };
        messages += batch.len();
        asked.push((number, batch.len()));
    }
    assert_eq!(messages, 4096, "the rest waits in the buffer");
    for (number, count) in asked {
        client.answer(number, MessageAnswer::Published(vec![ROUTED; count]));
    }
    assert!(!client.session.is_stuffed());
    client.bytes(b"");
    assert!(!client.asks_nothing());
}

/// Whoever consumes as well is read on, so that what it settles is heard.
#[test]
fn no_more_is_taken_than_may_be_published_in_a_second() {
    for (consumes, taken) in [(false, 20), (true, 4096)] {
        let mut client = Client::open(2);
        if consumes {
            consume(&mut client, 2, "c", false);
        }
        client.session.limit_publishes(Some(20));
        client.say_all(|out| {
            for _ in 0..10_000 {
                publish(out, 1, to("", "q"), &Properties::default(), b"m");
            }
        });
        assert!(client.session.is_stuffed());
        let mut batches = Vec::new();
        while let Some(longshore_amqp::Ask::Call { command, .. }) = client.session.next_ask() {
            let MessageCommand::Publish(batch) = command else { panic!("{command:?}") };
            batches.push(batch.len());
        }
        assert_eq!((batches.iter().sum(), batches.iter().max()), (taken, Some(&20)), "{consumes}");
    }
}

/// It was taken for the answer to what had been published first: that was nacked, and the last
/// message, which nobody had published, was confirmed.
#[test]
fn an_answer_is_that_of_its_own_command() {
    let mut client = confirming();
    let mut say = |body: u8| {
        client.say_all(|out| publish(out, 1, to("", "q"), &Properties::default(), &[body]));
        published(&mut client).0
    };
    let (first, second) = (say(1), say(2));
    assert_eq!(client.session.publishes_under_way(), 2);
    assert!(client.session.is_oldest_publish(first));
    assert!(!client.session.is_oldest_publish(second), "its confirm would come too early");
    client.session.answer(second, Err(Unanswered::Blocked("the disk is full".into())));
    let Method::BasicNack(nack) = client.method(1) else { panic!("nack") };
    assert_eq!((nack.delivery_tag, nack.multiple), (2, false));
    client.answer(first, MessageAnswer::Published(vec![ROUTED]));
    let Method::BasicAck(ack) = client.method(1) else { panic!("ack") };
    assert_eq!((ack.delivery_tag, ack.multiple), (1, false));
}

/// What it took belonged to a connection that nothing ended any more.
#[test]
fn a_method_that_waits_ends_with_its_connection() {
    let mut client = Client::open(1);
    client.say_all(|out| {
        publish(out, 1, to("", "q"), &Properties::default(), b"m");
        write_method(out, 1, &BasicGet { queue: short("q"), ..BasicGet::default() }.into());
        write_method(out, 0, &ConnectionClose::default().into());
    });
    let (number, _) = published(&mut client);
    let (_, command) = client.command();
    assert!(matches!(command, MessageCommand::CloseConnection { .. }), "{command:?}");
    client.answer(number, MessageAnswer::Published(vec![ROUTED]));
    assert!(client.asks_nothing(), "it is not carried out for nobody");
}
