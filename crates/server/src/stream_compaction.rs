//! Has older events of a key go, now and then, from streams that keep only the newest of each.

use std::sync::Arc;
use std::time::Duration;

use longshore_engine::{Command, StreamCommand};
use longshore_node::{Node, wall_now};
use longshore_streams::{CompactError, Compaction, Round, Spent};

use crate::config::ServerConfig;

/// Rounds of one shard before another shard has its turn.
const ROUNDS: usize = 64;
/// Bytes of the disk that are left to settlements where nobody says how many.
const SPARE_BYTES_DEFAULT: u64 = 512 << 20;

/// Looks as often as the configuration says, for as long as it is polled.
pub(crate) fn keep(node: Node, config: &ServerConfig) -> impl Future<Output = ()> + use<> {
    let kafka = &config.kafka;
    let memory_bytes = usize::try_from(kafka.compaction_memory_bytes).unwrap_or(usize::MAX);
    let spare_bytes = config.node.disk.settle_only_bytes.unwrap_or(SPARE_BYTES_DEFAULT);
    run(node, kafka.compaction_look, Compaction { now_ms: 0, memory_bytes, spare_bytes })
}

async fn run(node: Node, every: Duration, with: Compaction) {
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for log in node.stream_logs() {
            for _ in 0..ROUNDS {
                let spent = log.spent();
                if spent.is_empty() || !forget(&node, spent).await {
                    break;
                }
            }
            for _ in 0..ROUNDS {
                let log = Arc::clone(&log);
                let round = move || log.compact(Compaction { now_ms: wall_now().0, ..with });
                let done = tokio::task::spawn_blocking(round).await;
                let done = match done {
                    Ok(done) => done,
                    Err(error) => {
                        tracing::error!(%error, "a round failed: its partition is left alone");
                        continue;
                    }
                };
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
                tracing::warn!(%partition, unopened, "batches are kept, they cannot be opened or would grow");
            }
            true
        }
        Err(error) if error.is_no_space() => {
            tracing::warn!(%error, "older events of keys wait for space on the disk");
            // Its partition waits, others may fit.
            true
        }
        Err(error) => {
            tracing::error!(%error, "older events of keys are kept");
            true
        }
    }
}

/// Has the shards forget aborted transactions of which nothing is left; `false` where they do not.
async fn forget(node: &Node, spent: Vec<Spent>) -> bool {
    for Spent { namespace, partition, markers } in spent {
        let command = StreamCommand::ForgetAborted { partition, markers };
        if let Err(error) = node.call(&namespace, Command::Stream(command)).await {
            tracing::warn!(%namespace, %partition, ?error, "aborted transactions are remembered");
            return false;
        }
    }
    true
}
