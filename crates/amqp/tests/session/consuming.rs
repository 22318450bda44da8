//! Consumers: what they are given, and what becomes of it.

use longshore_amqp::Ask;
use longshore_amqp::codec::methods::{
    BasicAck, BasicCancel, BasicConsume, BasicGet, BasicNack, BasicQos, BasicRecover, ChannelClose,
    ConnectionClose,
};
use longshore_amqp::codec::{Method, Table, Value};
use longshore_engine::{CloseReason, ConsumerId, MessageAnswer, MessageCommand, MessageVerdict};

use super::client::{Client, consume, delivery, short};

fn qos(client: &mut Client, prefetch_count: u16, global: bool) {
    client.say(1, BasicQos { prefetch_size: 0, prefetch_count, global });
    assert!(matches!(client.method(1), Method::BasicQosOk(_)));
}

/// What the next command settles, and the credit that it gives.
fn settled(client: &mut Client) -> (Vec<(u64, MessageVerdict)>, u64) {
    match client.command().1 {
        MessageCommand::Settle { settlements, credit, .. } => {
            let settled =
                settlements.iter().map(|(tag, verdict)| (tag.place.0, *verdict)).collect();
            (settled, credit.iter().map(|(_, more)| more.messages).sum())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_consumer_has_as_much_as_it_asked_for_and_more_for_each_ack() {
    let mut client = Client::open(1);
    qos(&mut client, 3, false);
    let (consumer, credit) = consume(&mut client, 1, "c", false);
    assert_eq!(credit, 3);
    let messages = (0..3).map(|place| delivery(place, b"m")).collect();
    client.session.deliver(consumer, messages);
    for tag in 1..=3 {
        let Method::BasicDeliver(deliver) = client.method(1) else { panic!("deliver") };
        assert_eq!((deliver.delivery_tag, deliver.consumer_tag), (tag, short("c")));
        assert_eq!(client.content().1, "m");
    }
    assert!(client.asks_nothing(), "it has what it may have");
    client.say(1, BasicAck { delivery_tag: 2, multiple: true });
    let ack = MessageVerdict::Ack;
    assert_eq!(settled(&mut client), (vec![(0, ack), (1, ack)], 2));
    client.say(1, BasicNack { delivery_tag: 3, multiple: false, requeue: true });
    assert_eq!(settled(&mut client), (vec![(2, MessageVerdict::Requeue)], 1));
}

#[test]
fn a_tag_that_is_nobodys_closes_the_channel() {
    for (delivery_tag, multiple) in [(1, false), (0, false), (5, true)] {
        let mut client = Client::open(1);
        client.say(1, BasicAck { delivery_tag, multiple });
        let Method::ChannelClose(close) = client.method(1) else { panic!("close") };
        let text = format!("PRECONDITION_FAILED - unknown delivery tag {delivery_tag}");
        assert_eq!((close.reply_code, close.reply_text.as_text()), (406, Some(&*text)));
    }
    // All of nothing is nothing.
    let mut client = Client::open(1);
    client.say(1, BasicAck { delivery_tag: 0, multiple: true });
    client.assert_silent();
}

/// The next command is one about what consumers share, and is carried out: who joins, and how much
/// more and less there is.
fn shares(client: &mut Client) -> (ConsumerId, Vec<ConsumerId>, u64, u64) {
    let (number, command) = client.command();
    let MessageCommand::ShareCredit(it) = command else { panic!("{command:?}") };
    client.answer(number, MessageAnswer::Settled(Vec::new()));
    (it.share, it.consumers, it.more, it.less)
}

fn credit(client: &mut Client) -> Vec<(ConsumerId, u64)> {
    match client.command().1 {
        MessageCommand::AddCredit(credit) | MessageCommand::Settle { credit, .. } => {
            credit.into_iter().map(|(consumer, more)| (consumer, more.messages)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn consumers_of_a_channel_share_what_is_set_for_all() {
    let mut client = Client::open(1);
    client.say(1, BasicQos { prefetch_size: 0, prefetch_count: 10, global: true });
    client.assert_silent();
    let (share, joined, more, less) = shares(&mut client);
    assert_eq!((joined, more, less), (vec![], 10, 0));
    assert!(matches!(client.method(1), Method::BasicQosOk(_)));
    let (first, own) = consume(&mut client, 1, "a", false);
    assert_eq!(own, 0, "nothing before it shares");
    let (_, joined, more, less) = shares(&mut client);
    assert_eq!((joined, more, less), (vec![first], 0, 0));
    let given = credit(&mut client);
    assert!(given.len() == 1 && given[0].0 == first && given[0].1 >= 10, "{given:?}");
    // What is settled makes room for whoever is next.
    client.session.deliver(first, vec![delivery(0, b"m"), delivery(1, b"m")]);
    while client.session.next_ask().is_some() {}
    client.say(1, BasicAck { delivery_tag: 1, multiple: false });
    assert!(credit(&mut client).contains(&(share, 1)));
    // It changes for those that are there, too: one of ten is with the consumer.
    client.say(1, BasicQos { prefetch_size: 0, prefetch_count: 4, global: true });
    let (again, joined, more, less) = shares(&mut client);
    assert_eq!((again, joined, more, less), (share, vec![first], 0, 6));
    client.say(1, ChannelClose::default());
    let mut ended = false;
    while let Some(Ask::Call { command, .. }) = client.session.next_ask() {
        ended |= matches!(command, MessageCommand::ShareCredit(it) if it.ends && it.share == share);
    }
    assert!(ended);
}

#[test]
fn who_takes_without_acks_is_given_more_as_it_takes() {
    let mut client = Client::open(1);
    let (consumer, credit) = consume(&mut client, 1, "c", true);
    assert!(credit >= 16, "{credit}");
    let mut more = 0;
    for place in 0..credit {
        client.session.deliver(consumer, vec![delivery(place, b"m")]);
        while let Some(Ask::Call { command, .. }) = client.session.next_ask() {
            let MessageCommand::AddCredit(credit) = command else { panic!("{command:?}") };
            more += credit.iter().map(|(_, given)| given.messages).sum::<u64>();
        }
    }
    assert!(more >= credit / 2, "{more} of {credit}");
    assert!(matches!(client.method(1), Method::BasicDeliver(deliver) if deliver.delivery_tag == 1));
    // Nothing is there to be settled.
    client.say(1, BasicAck { delivery_tag: 1, multiple: false });
    client.content();
}

#[test]
fn who_does_not_read_is_given_nothing_more() {
    let mut client = Client::open(1);
    let (consumer, credit) = consume(&mut client, 1, "c", true);
    let body = vec![0; 100_000];
    let (mut left, mut place, mut bytes) = (credit, 0, 1 << 20);
    // As the engine does it: while there is something left of both.
    while left > 0 && bytes > 0 {
        let one = delivery(place, &body);
        bytes -= one.message.credit_bytes().cast_signed();
        client.session.deliver(consumer, vec![one]);
        (left, place) = (left - 1, place + 1);
        while let Some(Ask::Call { command, .. }) = client.session.next_ask() {
            let MessageCommand::AddCredit(credit) = command else { panic!("{command:?}") };
            left += credit.iter().map(|(_, more)| more.messages).sum::<u64>();
            bytes += credit.iter().map(|(_, more)| more.bytes.cast_signed()).sum::<i64>();
        }
        assert!(place < 64, "it is given more and more");
    }
    while client.session.output().take().is_some() {}
    client.session.written(1);
    assert!(matches!(client.command().1, MessageCommand::AddCredit(_)));
}

#[test]
fn what_comes_for_a_consumer_that_has_gone_goes_back() {
    let mut client = Client::open(1);
    let (consumer, _) = consume(&mut client, 1, "c", false);
    client.session.deliver(consumer, vec![delivery(1, b"m")]);
    client.method(1);
    client.content();
    client.say(1, ChannelClose::default());
    let (number, command) = client.command();
    assert!(matches!(command, MessageCommand::Cancel { .. }), "first, or it would come again");
    assert_eq!(settled(&mut client).0, [(1, MessageVerdict::Requeue)]);
    assert!(matches!(client.method(1), Method::ChannelCloseOk(_)));
    client.session.deliver(consumer, vec![delivery(2, b"late")]);
    client.assert_silent();
    assert_eq!(settled(&mut client).0, [(2, MessageVerdict::Requeue)]);
    assert!(client.asks_nothing(), "the way to it stays until it has ended");
    client.answer(number, MessageAnswer::Cancelled(true));
    assert!(matches!(client.ask(), Ask::Gone { .. }));
}

#[test]
fn a_cancelled_consumer_gets_what_was_on_its_way() {
    let mut client = Client::open(1);
    let (consumer, _) = consume(&mut client, 1, "c", false);
    client.say(1, BasicCancel { consumer_tag: short("c"), nowait: false });
    let (number, _) = client.command();
    client.session.deliver(consumer, vec![delivery(1, b"m")]);
    assert!(matches!(client.method(1), Method::BasicDeliver(_)));
    client.content();
    client.answer(number, MessageAnswer::Cancelled(true));
    assert!(matches!(client.method(1), Method::BasicCancelOk(_)));
    client.say(1, BasicAck { delivery_tag: 1, multiple: false });
    assert!(matches!(client.ask(), Ask::Gone { .. }));
    assert_eq!(settled(&mut client).0, [(1, MessageVerdict::Ack)]);
}

#[test]
fn a_consumer_whose_queue_is_deleted_is_told() {
    let mut client = Client::open(1);
    let (consumer, _) = consume(&mut client, 1, "c", false);
    client.session.consumer_closed(consumer, CloseReason::QueueDeleted);
    let Method::BasicCancel(cancel) = client.method(1) else { panic!("cancel") };
    assert_eq!((cancel.consumer_tag, cancel.nowait), (short("c"), true));
}

#[test]
fn a_message_can_be_asked_for_by_itself() {
    let mut client = Client::open(1);
    client.say(1, BasicGet { queue: short("q"), ..BasicGet::default() });
    let (number, command) = client.command();
    assert!(matches!(command, MessageCommand::GetOne { auto_ack: false, .. }));
    client.answer(number, MessageAnswer::Got(Some(Box::new(delivery(4, b"m"))), 9));
    let Method::BasicGetOk(got) = client.method(1) else { panic!("got") };
    assert_eq!((got.delivery_tag, got.message_count), (1, 9));
    client.content();
    client.say(1, BasicRecover { requeue: true });
    assert!(matches!(client.method(1), Method::BasicRecoverOk(_)));
    assert_eq!(settled(&mut client).0, [(4, MessageVerdict::Requeue)]);
    client.say(1, BasicGet { queue: short("q"), ..BasicGet::default() });
    let (number, _) = client.command();
    client.answer(number, MessageAnswer::Got(None, 0));
    assert!(matches!(client.method(1), Method::BasicGetEmpty(_)));
}

/// The channel's end would overtake the beginning of its consumer, which nobody ended then.
#[test]
fn what_a_channel_asked_for_and_does_not_live_to_see_goes_back() {
    use longshore_amqp::codec::methods::BasicConsume;
    let mut client = Client::open(2);
    client.say(1, BasicConsume { queue: short("q"), ..BasicConsume::default() });
    client.say(2, BasicGet { queue: short("q"), ..BasicGet::default() });
    let (consuming, _) = client.command();
    let (getting, _) = client.command();
    for number in [1, 2] {
        client.say(number, BasicAck { delivery_tag: 9, multiple: false });
        assert!(matches!(client.method(number), Method::ChannelClose(_)));
    }
    assert!(client.asks_nothing());
    client.answer(consuming, MessageAnswer::Consuming);
    let (cancelling, command) = client.command();
    assert!(matches!(command, MessageCommand::Cancel { .. }));
    client.answer(cancelling, MessageAnswer::Cancelled(true));
    assert!(matches!(client.ask(), Ask::Gone { .. }));
    client.answer(getting, MessageAnswer::Got(Some(Box::new(delivery(5, b"m"))), 0));
    assert_eq!(settled(&mut client).0, [(5, MessageVerdict::Requeue)]);
}

#[test]
fn what_is_not_there_is_as_good_as_removed() {
    use longshore_amqp::codec::methods::{QueueDelete, QueueUnbind};
    use longshore_engine::Rejection;
    let mut client = Client::open(1);
    client.say(1, QueueUnbind { queue: short("q"), exchange: short("x"), ..Default::default() });
    let (number, _) = client.command();
    client.refuse(number, Rejection::ExchangeUnknown { exchange: "x".into() });
    assert!(matches!(client.method(1), Method::QueueUnbindOk(_)));
    client.say(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    let (number, _) = client.command();
    client.refuse(number, Rejection::QueueUnknown { queue: "q".into() });
    assert!(matches!(client.method(1), Method::QueueDeleteOk(told) if told.message_count == 0));
}

/// Kombu's client took the end of its consumer, which came first, for the failure of the deletion.
#[test]
fn who_deletes_a_queue_hears_of_that_before_its_consumers_end() {
    use longshore_amqp::codec::methods::QueueDelete;
    let mut client = Client::open(1);
    let (consumer, _) = consume(&mut client, 1, "c", false);
    client.say(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    let (number, _) = client.command();
    client.session.consumer_closed(consumer, CloseReason::QueueDeleted);
    client.assert_silent();
    client.answer(number, MessageAnswer::QueueDeleted { messages: 3 });
    assert!(matches!(client.method(1), Method::QueueDeleteOk(told) if told.message_count == 3));
    assert!(matches!(client.method(1), Method::BasicCancel(_)));
}

#[test]
fn what_a_consumer_has_for_too_long_goes_back_and_it_goes_on() {
    let mut client = Client::open(1);
    let arguments = Table::of([("x-consumer-timeout", Value::I32(60_000))]);
    let queue = short("q");
    client.say(1, BasicConsume { queue, arguments, ..BasicConsume::default() });
    let (number, command) = client.command();
    let MessageCommand::Consume(it) = command else { panic!("{command:?}") };
    client.answer(number, MessageAnswer::Consuming);
    client.session.deliver(it.consumer, vec![delivery(0, b"m"), delivery(1, b"m")]);
    while client.session.next_ask().is_some() {}
    client.now_ms = client.session.next_tick_ms().unwrap();
    let first_look = client.now_ms;
    client.session.tick(client.now_ms, true);
    client.say(1, BasicAck { delivery_tag: 1, multiple: false });
    assert_eq!(settled(&mut client).0, [(0, MessageVerdict::Ack)]);
    while client.now_ms < first_look + 60_000 {
        assert!(client.asks_nothing(), "not before its time");
        client.now_ms = client.session.next_tick_ms().unwrap();
        client.session.tick(client.now_ms, false);
    }
    assert_eq!(settled(&mut client).0, [(1, MessageVerdict::Requeue)]);
    // It is late, and hears nothing of that.
    client.say(1, BasicAck { delivery_tag: 2, multiple: false });
    assert!(client.asks_nothing() && !client.session.is_closing());
}

/// A look that was due, and that nobody makes any more, woke it without end.
#[test]
fn a_connection_that_waits_for_its_end_is_not_woken_for_what_consumers_have() {
    for server_closes in [true, false] {
        let mut client = Client::open(1);
        let arguments = Table::of([("x-consumer-timeout", Value::I32(60_000))]);
        let queue = short("q");
        client.say(1, BasicConsume { queue, arguments, ..BasicConsume::default() });
        let (number, command) = client.command();
        let MessageCommand::Consume(it) = command else { panic!("{command:?}") };
        client.answer(number, MessageAnswer::Consuming);
        client.session.deliver(it.consumer, vec![delivery(0, b"m")]);
        let look = client.session.next_tick_ms().unwrap();
        if server_closes {
            client.session.close("enough");
        } else {
            client.say(0, ConnectionClose::default());
        }
        assert!(client.session.is_closing());
        let mut now_ms = look;
        for _ in 0..3 {
            client.session.tick(now_ms, true);
            let next = client.session.next_tick_ms().unwrap();
            assert!(next >= now_ms + 10_000, "at {now_ms} it is woken again at {next}");
            now_ms = next;
        }
    }
}

#[test]
fn one_ack_of_much_is_many_commands() {
    let mut client = Client::open(1);
    let (consumer, _) = consume(&mut client, 1, "c", false);
    let messages = (0..1000).map(|place| delivery(place, b"m")).collect();
    client.session.deliver(consumer, messages);
    while client.session.next_ask().is_some() {}
    client.say(1, BasicAck { delivery_tag: 0, multiple: true });
    let mut settled = 0;
    while let Some(Ask::Call { command, .. }) = client.session.next_ask() {
        if let MessageCommand::Settle { settlements, .. } = command {
            assert!(settlements.len() <= 256, "{}", settlements.len());
            settled += settlements.len();
        }
    }
    assert_eq!(settled, 1000);
}
