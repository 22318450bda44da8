//! Sessions of AMQP: a login, every method a client can send, messages, and nasty ones.

use bytes::Bytes;
use longshore_amqp::codec::methods::{
    BasicAck, BasicCancel, BasicConsume, BasicGet, BasicNack, BasicPublish, BasicQos, BasicRecover,
    BasicReject, ChannelClose, ChannelOpen, ConfirmSelect, ConnectionClose, ConnectionOpen,
    ConnectionStartOk, ConnectionTuneOk, ExchangeBind, ExchangeDeclare, ExchangeDelete, QueueBind,
    QueueDeclare, QueueDelete, QueuePurge, QueueUnbind, TxSelect,
};
use longshore_amqp::codec::{
    Method, PROTOCOL_HEADER, Properties, Short, Table, Value, write_body, write_header,
    write_heartbeat, write_method,
};

use crate::corpus::Named;

fn short(text: &str) -> Short {
    Short::cut(text)
}

/// The sessions.
pub(super) fn sessions() -> Vec<Named> {
    let mut sessions: Vec<Named> = vec![("login".to_owned(), login())];
    for (name, method) in methods() {
        let mut out = vec![1];
        write_method(&mut out, 1, &method);
        sessions.push((name.to_owned(), out));
    }
    for flags in [1, 3, 5, 9] {
        sessions.push((format!("whole-{flags}"), whole(flags)));
    }
    let mut flood = vec![1];
    for _ in 0..100 {
        publish(&mut flood, b"", &Properties::default());
    }
    sessions.push(("flood".to_owned(), flood));
    sessions.push(("nasty-length".to_owned(), vec![1, 1, 0, 1, 0xff, 0xff, 0xff, 0xff]));
    sessions.push(("nasty-header".to_owned(), b"\0AMQP\x01\x01\0\x09".to_vec()));
    sessions.push(("nasty-halves".to_owned(), halves()));
    sessions
}

fn login() -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(PROTOCOL_HEADER);
    let start = ConnectionStartOk {
        client_properties: Table::of([(
            "capabilities",
            Value::Table(Table::of([("consumer_cancel_notify", Value::Bool(true))])),
        )]),
        mechanism: short("PLAIN"),
        response: Bytes::from_static(b"\0guest\0guest"),
        locale: short("en_US"),
    };
    write_method(&mut out, 0, &start.into());
    let tune = ConnectionTuneOk { channel_max: 16, frame_max: 4096, heartbeat: 1 };
    write_method(&mut out, 0, &tune.into());
    let open = ConnectionOpen { virtual_host: short("/"), ..ConnectionOpen::default() };
    write_method(&mut out, 0, &open.into());
    write_method(&mut out, 1, &ChannelOpen::default().into());
    write_heartbeat(&mut out);
    write_method(&mut out, 0, &ConnectionClose::default().into());
    out
}

fn arguments() -> Table {
    Table::of([
        ("x-message-ttl", Value::I32(1000)),
        ("x-max-priority", Value::U8(9)),
        ("x-overflow", Value::text("reject-publish")),
        ("x-match", Value::text("any")),
        ("l", Value::list(&[Value::F64(0.5), Value::Nothing])),
    ])
}

fn methods() -> Vec<(&'static str, Method)> {
    let (queue, exchange, routing_key) = (short("q"), short("x"), short("k"));
    let declare = ExchangeDeclare {
        exchange: exchange.clone(),
        kind: short("topic"),
        durable: true,
        arguments: arguments(),
        ..ExchangeDeclare::default()
    };
    let bind = QueueBind {
        queue: queue.clone(),
        exchange,
        routing_key,
        arguments: arguments(),
        ..QueueBind::default()
    };
    let queue_declare =
        QueueDeclare { queue: queue.clone(), arguments: arguments(), ..QueueDeclare::default() };
    let consume = BasicConsume {
        queue,
        consumer_tag: short("c"),
        arguments: Table::of([("x-priority", Value::I32(3))]),
        ..BasicConsume::default()
    };
    let replies = BasicConsume {
        queue: short("amq.rabbitmq.reply-to"),
        no_ack: true,
        ..BasicConsume::default()
    };
    vec![
        ("exchange-declare", declare.into()),
        ("exchange-delete", ExchangeDelete::default().into()),
        ("exchange-bind", ExchangeBind::default().into()),
        ("queue-declare", queue_declare.into()),
        ("queue-bind", bind.into()),
        ("queue-unbind", QueueUnbind::default().into()),
        ("queue-purge", QueuePurge::default().into()),
        ("queue-delete", QueueDelete::default().into()),
        ("qos", BasicQos { prefetch_count: 2, ..BasicQos::default() }.into()),
        ("consume", consume.into()),
        ("consume-replies", replies.into()),
        ("cancel", BasicCancel { consumer_tag: short("c"), nowait: false }.into()),
        ("get", BasicGet { queue: short("q"), ..BasicGet::default() }.into()),
        ("ack", BasicAck { delivery_tag: 1, multiple: true }.into()),
        ("nack", BasicNack { delivery_tag: 2, multiple: false, requeue: true }.into()),
        ("reject", BasicReject { delivery_tag: 3, requeue: false }.into()),
        ("recover", BasicRecover { requeue: true }.into()),
        ("confirm", ConfirmSelect { nowait: false }.into()),
        ("tx", TxSelect {}.into()),
        ("channel-close", ChannelClose::default().into()),
    ]
}

fn publish(out: &mut Vec<u8>, body: &[u8], properties: &Properties) {
    let publish =
        BasicPublish { routing_key: short("q"), mandatory: true, ..BasicPublish::default() };
    write_method(out, 1, &publish.into());
    write_header(out, 1, body.len() as u64, &properties.to_bytes());
    write_body(out, 1, 1000, body);
}

/// Everything, one after the other.
fn whole(flags: u8) -> Vec<u8> {
    let mut out = vec![flags];
    let properties = Properties {
        content_type: Some(short("text/plain")),
        headers: Some(Table::of([("CC", Value::list(&[Value::text("k2")]))])),
        delivery_mode: Some(2),
        expiration: Some(short("1000")),
        ..Properties::default()
    };
    let methods = methods();
    for (name, method) in &methods {
        // They would end it.
        if !["channel-close", "tx", "exchange-delete", "exchange-bind", "reject"].contains(name) {
            write_method(&mut out, 1, method);
            publish(&mut out, &[7; 2500], &properties);
        }
    }
    out
}

/// Messages on several channels that are never finished.
fn halves() -> Vec<u8> {
    let mut out = vec![1];
    for channel in 2..8 {
        write_method(&mut out, channel, &ChannelOpen::default().into());
        write_method(&mut out, channel, &BasicPublish::default().into());
        write_header(&mut out, channel, 4096, &[0, 0]);
        write_body(&mut out, channel, 2000, &[1; 1900]);
    }
    out
}
