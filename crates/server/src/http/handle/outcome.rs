//! `Expect: 200-ok`, `201-created`, `204-no-content`: the outcome of a job in the answer that
//! enqueues it, or the job is withdrawn before it has started. Whatever cannot be told so is `504`:
//! the job goes on, and its status tells what becomes of it.

use hyper::StatusCode;
use longshore_engine::ask::{AwaitJob, WithdrawJob};
use longshore_engine::{Enqueued, JobId, JobView, NewJob, Phase, Start};
use longshore_node::wall_now;

use super::jobs::{result_of, result_path};
use super::{ask, ok};
use crate::api::JobIdText;
use crate::http::app::Call;
use crate::http::code::Code;
use crate::http::expect::cannot;
use crate::http::keyed;
use crate::http::parse::is_followed;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::view;

/// Refuses before anything is done what cannot end while somebody waits.
pub(super) fn check(call: &Call<'_>, jobs: &[NewJob], is_bulk: bool) -> Result<(), Refusal> {
    keyed::check_takes_none(call.app, "a job whose outcome is expected may be withdrawn")?;
    let (true, [job]) = (!is_bulk, jobs) else {
        return Err(cannot("of an outcome, for a bulk,", "a single job, or 202-accepted"));
    };
    let wait_ms = wait_ms(call);
    let starts_in_ms = match job.start {
        None => 0,
        Some(Start::After(ms)) => ms,
        Some(Start::At(at)) => at.0.saturating_sub(wall_now().0),
    };
    if starts_in_ms > 0 && starts_in_ms >= wait_ms {
        let allowed = format!("a job that starts within the {} s that are waited", wait_ms / 1000);
        return Err(cannot("of an outcome, for a job that starts later,", &allowed));
    }
    Ok(())
}

/// How long the request waits: as it says, or as long as the server lets it.
fn wait_ms(call: &Call<'_>) -> u64 {
    let max = call.app.limits.wait_ms_max;
    call.preferences.wait_s.map_or(max, |seconds| seconds.saturating_mul(1000).min(max))
}

/// Waits for the outcome of a job. Only one that is this request's alone is withdrawn: whoever met
/// it otherwise was told that it is there. `place`: whether there was one to wait at.
pub(super) async fn expected(
    call: &Call<'_>,
    (one, is_unique): (Enqueued, bool),
    place: Result<(), Refusal>,
) -> Result<Reply, Refusal> {
    let (id, wait_ms) = (one.id, wait_ms(call));
    let applied = call.preferences.wait_s.map(|_| format!("wait={}", wait_ms / 1000));
    let waited = match place {
        Ok(()) => ask(call, AwaitJob { id, wait_ms }).await,
        Err(refusal) => Err(refusal),
    };
    let reply = match waited {
        Ok(view) if !view.job.phase.is_unfinished() => told(call, &view).await,
        Err(refusal) if is_gone(&refusal) => return Err(Refusal::job_gone(id)),
        // Nothing is changed any more.
        Err(refusal) if is_stopping(&refusal) => pending(call, id),
        _ if one.replayed || one.met.is_some() || is_unique => pending(call, id),
        waited => match ask(call, WithdrawJob { id }).await {
            // Nobody could wait for it: that is what keeps the outcome from being told.
            Ok(None) => return Err(waited.err().unwrap_or_else(|| withdrawn(wait_ms))),
            Ok(Some(view)) if !view.job.phase.is_unfinished() => told(call, &view).await,
            Err(refusal) if is_gone(&refusal) => return Err(Refusal::job_gone(id)),
            // It has started, or others were told of it; or nobody knows, as the shard has stopped.
            _ => pending(call, id),
        },
    };
    Ok(match applied {
        Some(applied) => reply.preference_applied(&applied),
        None => reply,
    })
}

/// The job is not there any more: somebody purged it, or its outcome was kept no longer.
fn is_gone(refusal: &Refusal) -> bool {
    matches!(refusal.code(), Code::JobGone | Code::JobUnknown)
}

fn is_stopping(refusal: &Refusal) -> bool {
    matches!(refusal.code(), Code::Stopping | Code::ShardStopped)
}

fn withdrawn(wait_ms: u64) -> Refusal {
    let what = format!("of an outcome within {} s", wait_ms / 1000);
    let allowed = "202-accepted, a longer wait, or more workers";
    cannot(&format!("{what}, of a job that no worker took,"), allowed)
}

fn status_path(call: &Call<'_>, id: JobId) -> String {
    call.path("status", &JobIdText(id.0).to_string())
}

fn of_job(call: &Call<'_>, id: JobId, code: Code, detail: String) -> Reply {
    let refusal = Refusal::new(code, detail).field("id");
    let value = JobIdText(id.0).to_string();
    let refusal = refusal.about("id", value, "a job that succeeds in time".to_owned());
    Reply::from(refusal).location(&status_path(call, id)).not_cached()
}

/// The job goes on: its status tells what becomes of it.
fn pending(call: &Call<'_>, id: JobId) -> Reply {
    let path = status_path(call, id);
    let detail = format!("the job has not ended in time and goes on; {path} tells how it ends");
    of_job(call, id, Code::OutcomePending, detail)
}

/// How the job ended.
async fn told(call: &Call<'_>, view: &JobView) -> Reply {
    let (id, job) = (view.job.id, &view.job);
    let name = JobIdText(id.0).to_string();
    let said = job.last_error.iter().flat_map(|error| [&*error.kind, &*error.message]);
    let said: Vec<&str> = said.filter(|part| !part.is_empty()).collect();
    let error = if said.is_empty() { String::new() } else { format!(": {}", said.join(": ")) };
    let location = match &job.phase {
        Phase::Succeeded { location, .. } => location,
        Phase::Dead { .. } => {
            return of_job(call, id, Code::JobDead, format!("job {name} failed for good{error}"));
        }
        Phase::Cancelled { .. } => {
            return of_job(call, id, Code::JobCancelled, format!("job {name} was cancelled"));
        }
        Phase::Expired { .. } => {
            let detail = format!("job {name} was not started in time and has expired");
            return of_job(call, id, Code::JobExpired, detail);
        }
        Phase::Waiting | Phase::Retrying => return pending(call, id),
    };
    let result = match result_of(call, view).await {
        // It is kept no longer than this took: what it was is told all the same.
        Err(refusal) if is_gone(&refusal) => None,
        Err(_) => return pending(call, id),
        Ok(result) => result,
    };
    // Many may have waited for large results that come at the same instant.
    if result.as_ref().is_some_and(|result| call.app.check_read_of(result.len()).is_err()) {
        return pending(call, id);
    }
    let status = view::status(view, &result_path(call, &name));
    let origins = &call.app.config.location_origins;
    if let Some(made) = location {
        let followed = is_followed(made, origins);
        let at = if followed { made.clone() } else { status_path(call, id) };
        let body = view::with_result(status, result.as_ref());
        return Reply::of(StatusCode::CREATED, &body).location(&at).not_cached();
    }
    if result.is_none() {
        return Reply::empty(StatusCode::NO_CONTENT).location(&status_path(call, id)).not_cached();
    }
    let reply = ok(&view::with_result(status, result.as_ref())).not_cached();
    reply.location(&status_path(call, id))
}
