//! Has older events of a key go, now and then, from streams that keep only the newest of each.

use std::sync::Arc;
use std::time::Duration;

use longshore_engine::{Command, StreamCommand};
use longshore_node::{Node, wall_now};
use longshore_streams::{CompactError, Compaction, Round, Spent};

use crate::kafka::KafkaConfig;

/// Rounds of one shard before another shard has its turn.
const ROUNDS: usize = 64;

/// Looks as often as the configuration says, for as long as it is polled.
pub(crate) fn keep(node: Node, config: &KafkaConfig) -> impl Future<Output = ()> + use<> {
    let memory_bytes = usize::try_from(config.compaction_memory_bytes).unwrap_or(usize::MAX);
    run(node, config.compaction_look, memory_bytes)
}

async fn run(node: Node, every: Duration, memory_bytes: usize) {
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for log in node.stream_logs() {
            forget(&node, log.spent()).await;
            for _ in 0..ROUNDS {
                let log = Arc::clone(&log);
                let round = move || log.compact(Compaction { now_ms: wall_now().0, memory_bytes });
                let done = tokio::task::spawn_blocking(round).await;
                let Ok(done) = done else { break };
                if !tell(done) {
                    break;
                }
            }
        }
    }
}

/// Begins no round any more, and waits for the one that is under way.
pub(crate) async fn end(node: &Node) {
    for log in node.stream_logs() {
        drop(tokio::task::spawn_blocking(move || log.end_compaction()).await);
    }
}

/// Whether there may be more to do.
fn tell(done: Result<Option<Round>, CompactError>) -> bool {
    match done {
        Ok(None) | Err(CompactError::Stopped) => false,
        Ok(Some(Round { partition, before_bytes, after_bytes, unopened })) => {
            tracing::debug!(%partition, before_bytes, after_bytes, "older events have gone");
            if unopened > 0 {
                tracing::warn!(%partition, unopened, "batches cannot be opened and are kept");
            }
            true
        }
        Err(error) if error.is_no_space() => {
            tracing::warn!(%error, "older events of keys wait for space on the disk");
            false
        }
        Err(error) => {
            tracing::error!(%error, "older events of keys are kept");
            false
        }
    }
}

/// Has the shards forget aborted transactions of which nothing is left.
async fn forget(node: &Node, spent: Vec<Spent>) {
    for Spent { namespace, partition, markers } in spent {
        let command = StreamCommand::ForgetAborted { partition, markers };
        if let Err(error) = node.call(&namespace, Command::Stream(command)).await {
            tracing::warn!(%namespace, %partition, ?error, "aborted transactions are remembered");
            break;
        }
    }
}
