//! Accounts: who is let in, and what is refused to whom.

use std::sync::Arc;

use bytes::Bytes;
use longshore_amqp::codec::methods::{
    BasicConsume, BasicPublish, ChannelOpen, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk,
    ConnectionUpdateSecret, ExchangeDeclare, QueueBind, QueueDeclare, QueuePurge,
};
use longshore_amqp::codec::{Method, PROTOCOL_HEADER, Properties, Table, Value};
use longshore_amqp::{Ask, Credentials, Identity, Logins, Right, Rights};
use longshore_engine::MessageCommand;

use crate::client::{Client, FRAME_MAX, publish, short};

/// Publishes to `out`, consumes `in`, declares what begins with `own`, in the namespace `shop`.
#[derive(Debug)]
struct OfApp;

impl Rights for OfApp {
    fn may_open(&self, namespace: &str) -> bool {
        namespace == "shop"
    }

    fn may(&self, namespace: &str, right: Right, name: &str) -> bool {
        let may = match right {
            Right::Publish => name == "out" || name.starts_with("own"),
            Right::Consume | Right::Look => name == "in" || name.starts_with("own"),
            Right::Declare | Right::Bind | Right::Purge => name.starts_with("own"),
        };
        namespace == "shop" && may
    }
}

fn start(client: &mut Client, mechanism: &str, response: &'static [u8]) -> String {
    client.bytes(PROTOCOL_HEADER);
    let Method::ConnectionStart(start) = client.method(0) else { panic!("start") };
    let can = Table::of([("authentication_failure_close", Value::Bool(true))]);
    client.say(
        0,
        ConnectionStartOk {
            client_properties: Table::of([("capabilities", Value::Table(can))]),
            mechanism: short(mechanism),
            response: Bytes::from_static(response),
            locale: short("en_US"),
        },
    );
    String::from_utf8(start.mechanisms.to_vec()).unwrap()
}

fn closed(client: &mut Client, code: u16, said: &str) {
    let Method::ConnectionClose(close) = client.method(0) else { panic!("close") };
    let text = close.reply_text.as_text().unwrap().to_owned();
    assert!(close.reply_code == code && text.contains(said), "{} {text}", close.reply_code);
}

/// An account that is logged in and has asked for that vhost.
fn logged_in(vhost: &str) -> Client {
    let mut client = Client::of(Logins::Accounts { certificate: false });
    assert_eq!(start(&mut client, "PLAIN", b"\0app\0secret"), "PLAIN AMQPLAIN");
    client.assert_silent();
    let Ask::LogIn { credentials } = client.ask() else { panic!("log in") };
    let (user, password) = ("app".to_owned(), "secret".to_owned());
    assert_eq!(credentials, Credentials::Password { user, password });
    client.session.logged_in(Some(app()));
    let Method::ConnectionTune(tune) = client.method(0) else { panic!("tune") };
    let (channel_max, heartbeat) = (tune.channel_max, tune.heartbeat);
    client.say(0, ConnectionTuneOk { channel_max, frame_max: FRAME_MAX as u32, heartbeat });
    client.say(0, ConnectionOpen { virtual_host: short(vhost), ..ConnectionOpen::default() });
    client
}

fn app() -> Identity {
    Identity { user: "app".into(), rights: Some(Arc::new(OfApp)) }
}

/// One with an open channel.
fn open() -> Client {
    let mut client = logged_in("shop");
    assert!(matches!(client.ask(), Ask::Open { namespace } if namespace == "shop"));
    client.session.namespace_found(Ok(()));
    assert!(matches!(client.method(0), Method::ConnectionOpenOk(_)));
    reopen(&mut client);
    client
}

fn reopen(client: &mut Client) {
    client.say(1, ChannelOpen::default());
    assert!(matches!(client.method(1), Method::ChannelOpenOk(_)));
}

/// Publishes a message.
fn tell(client: &mut Client, exchange: &str, key: &str) {
    let (exchange, routing_key) = (short(exchange), short(key));
    let told = BasicPublish { exchange, routing_key, ..BasicPublish::default() };
    client.say_all(|out| publish(out, 1, told, &Properties::default(), b"body"));
}

#[test]
fn nobody_is_let_in_before_the_server_knows_who_it_is() {
    let accounts = Logins::Accounts { certificate: true };
    let mut client = Client::of(accounts);
    assert_eq!(start(&mut client, "EXTERNAL", b""), "EXTERNAL PLAIN AMQPLAIN");
    let Ask::LogIn { credentials } = client.ask() else { panic!("log in") };
    assert_eq!(credentials, Credentials::Certificate);
    client.session.logged_in(None);
    closed(&mut client, 403, "Login was refused using authentication mechanism EXTERNAL");
    let mut hasty = Client::of(accounts);
    start(&mut hasty, "PLAIN", b"\0app\0secret");
    hasty.say(0, ConnectionTuneOk::default());
    closed(&mut hasty, 504, "unexpected method in connection state starting");
    let mut nobody = Client::of(accounts);
    start(&mut nobody, "ANONYMOUS", b"");
    assert!(nobody.asks_nothing());
    closed(&mut nobody, 403, "Login was refused");
}

#[test]
fn a_vhost_is_open_to_those_who_may_do_something_there() {
    let mut client = logged_in("/");
    assert!(client.asks_nothing());
    closed(&mut client, 530, "access to vhost '/' refused for user 'app'");
}

#[test]
fn what_an_account_may_not_do_ends_the_channel_and_reaches_nobody() {
    let refused = |say: &dyn Fn(&mut Client), said: &str| {
        let mut client = open();
        say(&mut client);
        let Method::ChannelClose(close) = client.method(1) else { panic!("{said}") };
        let text = close.reply_text.as_text().unwrap().to_owned();
        assert_eq!(text, format!("ACCESS_REFUSED - {said} in vhost 'shop' refused for user 'app'"));
        assert_eq!(close.reply_code, 403);
        if let Some(ask) = client.session.next_ask() {
            panic!("{ask:?}");
        }
    };
    let queue = |name: &str| QueueDeclare { queue: short(name), ..QueueDeclare::default() };
    refused(&|client| client.say(1, queue("in")), "configure access to queue 'in'");
    let arguments = Table::of([("x-dead-letter-exchange", Value::text("secret"))]);
    let dead = QueueDeclare { arguments, ..queue("own.q") };
    refused(&|client| client.say(1, dead.clone()), "write access to exchange 'secret'");
    // Into queues by the keys of the messages themselves, whichever they are.
    let arguments = Table::of([("x-dead-letter-exchange", Value::text(""))]);
    let dead = QueueDeclare { arguments, ..queue("own.q") };
    refused(&|client| client.say(1, dead.clone()), "write access to queue '*'");
    let key = ("x-dead-letter-routing-key", Value::text("secret"));
    let arguments = Table::of([("x-dead-letter-exchange", Value::text("")), key]);
    let dead = QueueDeclare { arguments, ..queue("own.q") };
    refused(&|client| client.say(1, dead.clone()), "write access to queue 'secret'");
    let passive = QueueDeclare { passive: true, ..queue("other") };
    refused(&|client| client.say(1, passive.clone()), "read access to queue 'other'");
    let exchange = ExchangeDeclare {
        exchange: short("in"),
        kind: short("fanout"),
        ..ExchangeDeclare::default()
    };
    refused(&|client| client.say(1, exchange.clone()), "configure access to exchange 'in'");
    let (own, key) = (short("own.q"), short("k"));
    let bind = QueueBind {
        queue: own,
        exchange: short("amq.topic"),
        routing_key: key,
        ..QueueBind::default()
    };
    refused(&|client| client.say(1, bind.clone()), "read access to exchange 'amq.topic'");
    let purge = QueuePurge { queue: short("in"), ..QueuePurge::default() };
    refused(&|client| client.say(1, purge.clone()), "read access to queue 'in'");
    let consume = BasicConsume { queue: short("out"), ..BasicConsume::default() };
    refused(&|client| client.say(1, consume.clone()), "read access to queue 'out'");
    for (exchange, key, said) in
        [("in", "k", "write access to exchange 'in'"), ("", "in", "write access to queue 'in'")]
    {
        refused(&|client| tell(client, exchange, key), said);
    }
}

#[test]
fn what_an_account_may_do_is_asked_of_the_engine() {
    let mut client = open();
    tell(&mut client, "out", "k");
    assert!(matches!(client.command().1, MessageCommand::Publish(_)));
    // A reply goes to a name that only its asker has told.
    tell(&mut client, "", "amq.rabbitmq.reply-to.17");
    assert!(matches!(client.command().1, MessageCommand::Publish(_)));
    // What was let through just before says nothing of what is not.
    tell(&mut client, "out", "k");
    assert!(matches!(client.command().1, MessageCommand::Publish(_)));
    tell(&mut client, "", "out2");
    assert!(matches!(client.method(1), Method::ChannelClose(_)));
}

#[test]
fn a_new_secret_is_that_of_the_same_account_or_ends_the_connection() {
    let update = || ConnectionUpdateSecret {
        new_secret: Bytes::from_static(b"newer"),
        reason: short("it ends"),
    };
    let mut client = open();
    client.say(0, update());
    let Ask::LogIn { credentials } = client.ask() else { panic!("log in") };
    let (user, password) = ("app".to_owned(), "newer".to_owned());
    assert_eq!(credentials, Credentials::Password { user, password });
    client.session.logged_in(Some(app()));
    assert!(matches!(client.method(0), Method::ConnectionUpdateSecretOk(_)));
    client.say(0, update());
    client.session.logged_in(None);
    closed(&mut client, 530, "New secret was refused by one of the backends");
    let mut client = open();
    client.say(0, update());
    client.say(0, update());
    closed(&mut client, 530, "New secret was refused");
    let mut client = open();
    client.session.account_changed();
    closed(&mut client, 320, "the account was changed or removed");
}
