//! Figures for metrics.

use super::*;
use crate::queue::GoneTotals;

fn gone(shard: &Shard) -> GoneTotals {
    shard.turn.stats(shard.clock, None, 100).gone
}

/// What a queue had counted went with it, so that sums fell.
#[test]
fn what_removed_queues_counted_stays_over_a_restart() {
    let mut shard = Shard::new();
    let mut expected = GoneTotals::default();
    for n in 1..=3 {
        shard.enqueue(job(n));
    }
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(gone(&shard), expected, "the queue tells it itself");
    let delete = OperationKind::DeleteQueue { queue: "q".into() };
    shard.call(Command::StartOperation(delete));
    shard.advance(1000);
    expected.enqueued_total = 3;
    expected.succeeded_total = 1;
    expected.cancelled_total = gone(&shard).cancelled_total;
    assert_eq!(gone(&shard), expected);
    shard = shard.restart();
    assert_eq!(gone(&shard), expected);
    shard.enqueue(job(4));
    shard.call(Command::CancelJob { id: id(4), force: false });
    shard.call(Command::DeleteQueue { queue: "q".into() });
    expected.enqueued_total = 4;
    expected.cancelled_total += 1;
    assert_eq!(gone(&shard), expected);
}
