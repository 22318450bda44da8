//! Credit that consumers of a connection share.

use super::*;
use crate::message::ShareCredit;

const SHARE: ConsumerId = ConsumerId(99);

impl Shard {
    fn share(&mut self, consumers: &[u64], (more, less): (u64, u64), ends: bool) {
        let consumers = consumers.iter().map(|consumer| ConsumerId(*consumer)).collect();
        let share = ShareCredit { share: SHARE, connection: HERE, consumers, more, less, ends };
        self.carry_out(MessageCommand::ShareCredit(Box::new(share))).unwrap();
    }

    fn give(&mut self, credit: &[(ConsumerId, u64)]) {
        let credit = credit.iter().map(|(id, more)| (*id, MessageCredit::of(*more))).collect();
        self.carry_out(MessageCommand::AddCredit(credit)).unwrap();
    }
}

#[test]
fn whoever_is_first_takes_of_what_consumers_share_until_it_is_spent() {
    let mut shard = Shard::new();
    for queue in ["a", "b"] {
        shard.declare(queue, durable()).unwrap();
    }
    for (consumer, queue) in [(1, "a"), (2, "b")] {
        shard.consume(consumer, HERE, queue, 0);
    }
    shard.share(&[1, 2], (3, 0), false);
    shard.give(&[(ConsumerId(1), 100), (ConsumerId(2), 100)]);
    for body in ["1", "2", "3", "4", "5"] {
        shard.publish("", "b", body).unwrap();
    }
    shard.publish("", "a", "6").unwrap();
    assert_eq!(shard.got(), [got(2, "1", false), got(2, "2", false), got(2, "3", false)]);
    // Two more: the queues have one each to give.
    shard.give(&[(SHARE, 2)]);
    let mut came = shard.got();
    came.sort();
    assert_eq!(came.len(), 2, "{came:?}");
    // What was taken back is not there for others.
    shard.share(&[], (5, 5), false);
    assert_eq!(shard.got(), []);
    shard.share(&[], (0, 0), true);
    shard.give(&[(ConsumerId(1), 1), (ConsumerId(2), 1)]);
    assert_eq!(shard.got().len(), 1, "without a share each has its own");
    shard.share(&[1], (0, 0), false);
    shard.carry_out(MessageCommand::CloseConnection { connection: HERE }).unwrap();
}
