//! Bodies that many messages have.

use super::*;
use crate::state::keys;

/// A fan-out to a hundred queues kept a hundred bodies.
#[test]
fn a_large_body_stands_once_however_many_queues_have_it() {
    let mut shard = Shard::new();
    shard.exchange("all", ExchangeKind::Fanout);
    let queues: Vec<_> = (0..100).map(|number| format!("q{number}")).collect();
    for queue in &queues {
        shard.declare(queue, durable()).unwrap();
        shard.bind("all", "", queue);
    }
    let count = |shard: &Shard, first: u8| {
        shard.turn.state.map().entries().keys().filter(|key| key.first() == Some(&first)).count()
    };
    let before = shard.turn.state.map().entries().values().map(Bytes::len).sum::<usize>();
    let body = "x".repeat(1000);
    assert_eq!(shard.publish("all", "", &body), Ok(routed(100)));
    let after = shard.turn.state.map().entries().values().map(Bytes::len).sum::<usize>();
    assert!(after - before < 10_000, "{} bytes for a body of 1000", after - before);
    assert_eq!((count(&shard, keys::BODY), count(&shard, keys::BODY_HOLDERS)), (1, 1));
    // A small one stands in each message, where a key and a count would cost more.
    shard.publish("all", "", "small").unwrap();
    assert_eq!(count(&shard, keys::BODY), 1);
    for (index, queue) in queues.iter().enumerate() {
        assert_eq!(count(&shard, keys::BODY), 1, "{index} of 100 have ended");
        match index % 3 {
            0 => {
                let taken = shard.take(queue, 2);
                assert_eq!(texts(&taken), [body.as_str(), "small"]);
                shard.settle_taken(&taken, MessageVerdict::Ack);
            }
            1 => {
                let (queue, connection) = (queue.clone(), None);
                shard.carry_out(MessageCommand::PurgeQueue { queue, connection }).unwrap();
            }
            _ => {
                let (if_unused, if_empty) = (false, false);
                let (queue, connection) = (queue.clone(), None);
                let delete = MessageCommand::DeleteQueue { queue, connection, if_unused, if_empty };
                shard.carry_out(delete).unwrap();
            }
        }
    }
    // What was deleted goes bit by bit.
    shard.advance(1);
    assert_eq!((count(&shard, keys::BODY), count(&shard, keys::BODY_HOLDERS)), (0, 0));
}
