//! Looks now and then which events are kept no longer, and has the shards record it.

use std::time::Duration;

use longshore_engine::{Command, StreamCommand};
use longshore_node::{Node, wall_now};
use longshore_streams::Overdue;

/// Looks as often as `every`, for as long as it is polled.
pub(crate) async fn keep(node: Node, every: Duration) {
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for log in node.stream_logs() {
            let look = tokio::task::spawn_blocking(move || log.overdue(wall_now().0));
            for Overdue { namespace, partition, start } in look.await.unwrap_or_default() {
                let command = StreamCommand::Trim { partition, start: Some(start) };
                let trimmed = node.call(&namespace, Command::Stream(command)).await;
                if let Err(error) = trimmed {
                    tracing::warn!(%namespace, %partition, ?error, "old events are kept");
                    break;
                }
            }
        }
    }
}
