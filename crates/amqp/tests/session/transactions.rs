//! Transactions of channels.

use longshore_amqp::codec::methods::{
    BasicAck, BasicNack, BasicPublish, ChannelClose, ConfirmSelect, TxCommit, TxRollback, TxSelect,
};
use longshore_amqp::codec::{Method, Properties, write_method};
use longshore_engine::{
    MessageAnswer, MessageCommand, MessageTag, MessageTransaction, MessageVerdict, Published,
    Rejection,
};

use super::client::{Client, consume, delivery, publish, short};

fn to(key: &str, mandatory: bool) -> BasicPublish {
    BasicPublish { routing_key: short(key), mandatory, ..BasicPublish::default() }
}

fn transacting() -> Client {
    let mut client = Client::open(2);
    client.say(1, TxSelect {});
    assert!(matches!(client.method(1), Method::TxSelectOk(_)));
    client
}

/// With three messages that a consumer got, and their tags.
fn holding(client: &mut Client) -> Vec<MessageTag> {
    let (consumer, _) = consume(client, 1, "c", false);
    let messages: Vec<_> = (1..=3).map(|place| delivery(place, b"m")).collect();
    let tags = messages.iter().map(|it| it.tag).collect();
    client.session.deliver(consumer, messages);
    for _ in 0..3 {
        assert!(matches!(client.method(1), Method::BasicDeliver(_)));
        client.content();
    }
    while client.session.next_ask().is_some() {}
    tags
}

fn transaction(client: &mut Client) -> (u64, MessageTransaction) {
    let (number, command) = client.command();
    let MessageCommand::Transact(transaction) = command else { panic!("{command:?}") };
    (number, *transaction)
}

fn settled(client: &mut Client) -> Vec<(MessageTag, MessageVerdict)> {
    while let Some(ask) = client.session.next_ask() {
        if let longshore_amqp::Ask::Call {
            command: MessageCommand::Settle { settlements, .. },
            ..
        } = ask
        {
            return settlements;
        }
    }
    panic!("nothing is settled");
}

fn code(method: &Method) -> (u16, &str) {
    match method {
        Method::ChannelClose(close) => (close.reply_code, close.reply_text.as_text().unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_commit_is_one_command_and_tells_of_what_came_back_first() {
    let mut client = transacting();
    let tags = holding(&mut client);
    client.say_all(|out| {
        publish(out, 1, to("a", false), &Properties::default(), b"first");
        publish(out, 1, to("b", true), &Properties::default(), b"second");
        write_method(out, 1, &BasicAck { delivery_tag: 2, multiple: true }.into());
        let nack = BasicNack { delivery_tag: 3, multiple: false, requeue: false };
        write_method(out, 1, &nack.into());
    });
    assert!(client.asks_nothing(), "nothing happens before the commit");
    client.say_all(|out| {
        write_method(out, 1, &TxCommit {}.into());
        // Belongs to the next one.
        publish(out, 1, to("c", false), &Properties::default(), b"third");
    });
    let (number, told) = transaction(&mut client);
    let bodies: Vec<_> = told.publishes.iter().map(|it| it.body.clone()).collect();
    assert_eq!(bodies, ["first", "second"]);
    let verdicts = [MessageVerdict::Ack, MessageVerdict::Ack, MessageVerdict::Reject];
    assert_eq!(told.settlements, tags.into_iter().zip(verdicts).collect::<Vec<_>>());
    client.assert_silent();
    let routed = Published::Routed { queues: 1 };
    client
        .answer(number, MessageAnswer::Transacted(vec![routed, Published::Unroutable], Vec::new()));
    let Method::BasicReturn(returned) = client.method(1) else { panic!("return") };
    assert_eq!(returned.reply_code, 312);
    assert_eq!(client.content().1, "second");
    assert!(matches!(client.method(1), Method::TxCommitOk(_)));
    client.say(1, TxCommit {});
    assert_eq!(transaction_of_next(&mut client), ["third"]);
}

fn transaction_of_next(client: &mut Client) -> Vec<bytes::Bytes> {
    loop {
        let (_, command) = client.command();
        if let MessageCommand::Transact(told) = command {
            return told.publishes.into_iter().map(|it| it.body).collect();
        }
    }
}

#[test]
fn what_is_rolled_back_can_be_settled_again() {
    let mut client = transacting();
    let tags = holding(&mut client);
    client.say_all(|out| {
        publish(out, 1, to("a", false), &Properties::default(), b"never");
        write_method(out, 1, &BasicAck { delivery_tag: 1, multiple: false }.into());
        write_method(out, 1, &TxRollback {}.into());
    });
    assert!(matches!(client.method(1), Method::TxRollbackOk(_)));
    client.say_all(|out| {
        write_method(out, 1, &BasicAck { delivery_tag: 1, multiple: false }.into());
        write_method(out, 1, &TxCommit {}.into());
    });
    let (_, told) = transaction(&mut client);
    assert_eq!((told.publishes.len(), told.settlements[0].0), (0, tags[0]));
}

#[test]
fn what_was_not_committed_goes_back_with_its_channel() {
    let mut client = transacting();
    let tags = holding(&mut client);
    client.say_all(|out| {
        publish(out, 1, to("a", false), &Properties::default(), b"never");
        write_method(out, 1, &BasicAck { delivery_tag: 2, multiple: true }.into());
        write_method(out, 1, &ChannelClose::default().into());
    });
    let all: Vec<_> = tags.into_iter().map(|tag| (tag, MessageVerdict::Requeue)).collect();
    assert_eq!(settled(&mut client), all);
    assert!(matches!(client.method(1), Method::ChannelCloseOk(_)));
}

#[test]
fn a_commit_that_is_refused_ends_its_channel_and_settles_nothing() {
    for (rejection, expected) in [
        (
            Rejection::QueueFull { queue: "q".into(), length: 1, max_length: 1 },
            (406, "PRECONDITION_FAILED - partial tx completion"),
        ),
        (
            Rejection::ExchangeUnknown { exchange: "x".into() },
            (404, "NOT_FOUND - no exchange 'x' in vhost '/'"),
        ),
    ] {
        let mut client = transacting();
        let tags = holding(&mut client);
        client.say(1, BasicAck { delivery_tag: 3, multiple: true });
        client.say(1, TxCommit {});
        let (number, _) = transaction(&mut client);
        client.refuse(number, rejection);
        assert_eq!(code(&client.method(1)), expected);
        let all: Vec<_> = tags.into_iter().map(|tag| (tag, MessageVerdict::Requeue)).collect();
        assert_eq!(settled(&mut client), all);
    }
}

#[test]
fn transactions_and_confirms_exclude_each_other() {
    let mut client = transacting();
    client.say(1, ConfirmSelect { nowait: false });
    let text = "PRECONDITION_FAILED - cannot switch from tx to confirm mode";
    assert_eq!(code(&client.method(1)), (406, text));
    client.say(2, ConfirmSelect { nowait: false });
    client.method(2);
    client.say(2, TxSelect {});
    let text = "PRECONDITION_FAILED - cannot switch from confirm to tx mode";
    assert_eq!(code(&client.method(2)), (406, text));
    let mut client = Client::open(1);
    client.say(1, TxCommit {});
    let text = "PRECONDITION_FAILED - channel is not transactional";
    assert_eq!(code(&client.method(1)), (406, text));
}

#[test]
fn a_transaction_has_bounds() {
    let mut client = transacting();
    let body = vec![0; 500_000];
    for _ in 0..5 {
        client.say_all(|out| publish(out, 1, to("a", false), &Properties::default(), &body));
    }
    let text = "PRECONDITION_FAILED - transactions of more than 2097152 octets in a connection";
    assert_eq!(code(&client.method(1)), (406, text));
    assert!(client.asks_nothing());
    // All of it is forgotten.
    client.say(2, TxSelect {});
    client.method(2);
    client.say_all(|out| publish(out, 2, to("a", false), &Properties::default(), &body));
    client.say(2, TxCommit {});
    assert_eq!(transaction(&mut client).1.publishes.len(), 1);
}
