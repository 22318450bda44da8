//! Whether the node lives, has started, is ready; metrics; the API's own description.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use longshore_node::ShardState;

use super::super::openapi;
use crate::api::{HealthAnswer, ShardHealth, ShardState as ShardStateText};
use crate::http::app::Call;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::{figures, metrics, stream_metrics};

/// Every code explained: what the `type` of a problem document points to.
const ERRORS: &str = include_str!("../../../../../docs/errors.md");

pub(super) fn live() -> Reply {
    answer(&HealthAnswer { ok: true, status: "alive".into(), shards: Vec::new() })
}

pub(super) fn ready(call: &Call<'_>) -> Reply {
    let readiness = call.app.node.readiness();
    let ok = readiness.is_ready() && call.app.access.is_read();
    let status = if readiness.draining {
        "stopping"
    } else if ok {
        "ready"
    } else {
        "not ready"
    };
    let shards = shards(&readiness.shards);
    answer(&HealthAnswer { ok, status: status.into(), shards })
}

pub(super) fn started(call: &Call<'_>) -> Reply {
    let readiness = call.app.node.readiness();
    let ok = readiness.is_started();
    let status = if ok { "started" } else { "starting" };
    answer(&HealthAnswer { ok, status: status.into(), shards: shards(&readiness.shards) })
}

fn answer(health: &HealthAnswer) -> Reply {
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reply = Reply::of(status, health).not_cached();
    // What has stopped does not heal by itself.
    let heals = !health.shards.iter().any(|shard| shard.state == ShardStateText::Stopped);
    if !health.ok && heals { reply.retry_after_s(1) } else { reply }
}

fn shards(states: &[ShardState]) -> Vec<ShardHealth> {
    let health = |(shard, state): (usize, &ShardState)| {
        let (word, progress, reason) = match state {
            ShardState::Opening => (ShardStateText::Replaying, Some(0.0), None),
            ShardState::Replaying { done, total } => {
                let progress = *done as f64 / (*total).max(1) as f64;
                (ShardStateText::Replaying, Some(progress.min(1.0)), None)
            }
            ShardState::WaitingForSpace { why } => {
                (ShardStateText::WaitingForSpace, None, Some(why.clone()))
            }
            ShardState::Serving => (ShardStateText::Serving, None, None),
            ShardState::Stopped { why } => (ShardStateText::Stopped, None, Some(why.clone())),
            ShardState::Closed => {
                (ShardStateText::Stopped, None, Some("it was closed with the server".to_owned()))
            }
        };
        ShardHealth { shard: shard as u64, state: word, progress, reason }
    };
    states.iter().enumerate().map(health).collect()
}

pub(super) async fn metrics(call: Call<'_>) -> Result<Reply, Refusal> {
    let mut known = call.app.figures.lock().await;
    let stats = call.app.node.shard_stats().await;
    let streams = stream_metrics::look(call.app).await;
    let text = metrics::text(call.app, &mut known, &stats, &streams);
    if let Some(changed) = known.take_changed() {
        // While the others wait, or an older one might be written last.
        let written = tokio::task::spawn_blocking(move || figures::write(&changed)).await;
        if let Ok(Err(error)) = written {
            tracing::debug!(%error, "the names in metrics are not kept");
        }
    }
    drop(known);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(Reply::new(StatusCode::OK, kind, text))
}

pub(super) fn openapi() -> Reply {
    Reply::json(StatusCode::OK, openapi::text())
}

pub(super) fn error_page() -> Reply {
    let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
    Reply::new(StatusCode::OK, kind, ERRORS.as_bytes())
}
