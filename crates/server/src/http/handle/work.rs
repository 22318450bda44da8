//! Workers: lease, settle, heartbeat, checkpoint.

use bytes::Bytes;
use hyper::StatusCode;
use longshore_engine::ask::{CheckpointJobs, ExtendLeases, SettleJobs};
use longshore_engine::{Delivery, EndKind, Instruction, JobId, Rejection, Settlement, Verdict};

use super::{ask, job_id};
use crate::api::{DurationText, HeartbeatAnswer, InstructionText, JobIdText};
use crate::http::app::Call;
use crate::http::body::Held;
use crate::http::look::{self, only, slow_down_ms};
use crate::http::parse::{
    Settlements, parse_ack, parse_checkpoint, parse_discard, parse_fail, parse_heartbeat,
    parse_interrupt, parse_lease, parse_release, parse_settle, parse_snooze,
};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::route::Op;
use crate::http::write;

/// What became of all settlements, in order: of those at fault, and of those that were made.
fn outcomes(
    told: Vec<(Option<JobId>, Option<Refusal>)>,
    settled: Vec<Result<EndKind, Rejection>>,
) -> Vec<write::Outcome> {
    let mut settled = settled.into_iter();
    let outcome = |(id, fault)| match fault {
        Some(refusal) => Some((id, Err(refusal))),
        None => Some((id, settled.next()?.map_err(Refusal::of_settlement))),
    };
    told.into_iter().filter_map(outcome).collect()
}

pub(super) async fn lease(call: Call<'_>, held: Option<Held>) -> Result<Reply, Refusal> {
    let (mut request, told) = parse_lease(&call.body, &call.app.bounds)?;
    call.app.only_settle_without_room(&mut request)?;
    if request.wait_ms > 0 && told.is_empty() {
        // A request may wait for a minute; what it waits with is small.
        drop(held);
    }
    let is_numbered = request.ask.is_some();
    let (mut jobs, settled) = look::ask_waiting(call.app, call.namespace, request).await?;
    let settled = outcomes(told, settled);
    if !jobs.is_empty()
        && let Err(refusal) = call.app.check_room_for(answer_bytes(&jobs))
    {
        // Whoever numbers its requests sends it again and gets the same jobs.
        if is_numbered {
            return Err(refusal);
        }
        give_back(&call, std::mem::take(&mut jobs)).await;
        if settled.is_empty() {
            return Err(refusal);
        }
    }
    Ok(Reply::json(StatusCode::OK, write::leased(&jobs, settled)))
}

/// Bytes of an answer with these jobs, about.
fn answer_bytes(jobs: &[Delivery]) -> usize {
    let of = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    jobs.iter().map(|job| job.args.len() + of(&job.cursor) + of(&job.metadata) + 320).sum()
}

/// Frees jobs that were granted and cannot be handed over.
async fn give_back(call: &Call<'_>, jobs: Vec<Delivery>) {
    let release =
        |job: Delivery| Settlement { id: job.id, token: job.token, verdict: Verdict::Release };
    let settlements = jobs.into_iter().map(release).collect();
    let (app, namespace) = (call.app.for_itself(), call.namespace.to_owned());
    // It goes on where the caller goes meanwhile.
    let given_back = tokio::spawn(async move {
        look::ask(&app, &namespace, SettleJobs(settlements)).await.map(drop)
    });
    if let Ok(Err(refusal)) = given_back.await {
        // The shard has ended, or its disk is full: the leases end by their time.
        tracing::debug!(why = refusal.problem().detail, "jobs could not be given back");
    }
}

pub(super) async fn settle(call: Call<'_>, held: Option<Held>) -> Result<Reply, Refusal> {
    let Settlements { told, sound } = parse_settle(&call.body, &call.app.bounds)?;
    let settled = if sound.is_empty() && !told.is_empty() {
        Vec::new()
    } else {
        ask(&call, SettleJobs(sound)).await?
    };
    drop(held);
    Ok(Reply::json(StatusCode::OK, write::settled(outcomes(told, settled))))
}

pub(super) async fn settle_one(op: Op, call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let (body, bounds) = (&call.body, &call.app.bounds);
    let settlement = match op {
        Op::Fail => parse_fail(id, body, bounds)?,
        Op::Snooze => parse_snooze(id, body, bounds)?,
        Op::Release => parse_release(id, body)?,
        Op::Discard => parse_discard(id, body)?,
        Op::Interrupt => parse_interrupt(id, body, bounds)?,
        _ => parse_ack(id, body, bounds)?,
    };
    let settled = ask(&call, SettleJobs(vec![settlement])).await?;
    let kind = only(settled)?.map_err(Refusal::of_settlement)?;
    Ok(Reply::json(StatusCode::OK, write::settled_one(id, &kind)))
}

pub(super) async fn heartbeat(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let extension = parse_heartbeat(id, &call.body, &call.app.bounds)?;
    let told = only(ask(&call, ExtendLeases(vec![extension])).await?)??;
    Ok(instructed(id, told, None))
}

pub(super) async fn checkpoint(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let told = parse_checkpoint(id, &call.body, &call.app.bounds)?;
    let told = only(ask(&call, CheckpointJobs(vec![told])).await?)??;
    Ok(instructed(id, told, slow_down_ms(call.app)))
}

/// Tells a worker what it shall do.
fn instructed(id: JobId, told: Instruction, slow_down: Option<u64>) -> Reply {
    let (instruction, reason, slow_down) = match told {
        Instruction::Continue if slow_down.is_some() => {
            (InstructionText::SlowDown, None, slow_down)
        }
        Instruction::Continue => (InstructionText::Continue, None, None),
        Instruction::Cancel => (InstructionText::Cancel, None, None),
        Instruction::Interrupt { reason } => (InstructionText::Interrupt, Some(reason), None),
    };
    super::ok(&HeartbeatAnswer {
        id: JobIdText(id.0),
        instruction,
        reason: reason.map(str::to_owned),
        slow_down: slow_down.map(DurationText),
        slow_down_ms: slow_down,
    })
}
