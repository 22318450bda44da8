//! Producers and whoever asks for a job: enqueue, status, record, result, lists, cancel, retry,
//! pause.

use bytes::Bytes;
use hyper::StatusCode;
use longshore_engine::ask::{
    Ask, AwaitJob, CancelJob, PauseJob, RemoveJob, RescheduleJob, ResumeJob, RetryJob,
};
use longshore_engine::{Answer, Body, EnqueueJobs, Enqueued, JobFilter, JobId, JobView, Phase};
use longshore_node::wall_now;

use super::{ask, job_id, ok, outcome, removed};
use crate::api::{
    DurationText, INSTANT_EXPECTED, InstantText, JobFilterBody, JobIdText, JobList, StateText,
};
use crate::http::app::Call;
use crate::http::body::Held;
use crate::http::code::Code;
use crate::http::cursor;
use crate::http::events;
use crate::http::expect::Expected;
use crate::http::keyed;
use crate::http::look::{self, PAGE_DEFAULT, PAGE_MAX};
use crate::http::parse::{
    is_followed, job_filter, parse_enqueue, parse_reschedule, parse_retry, state_word,
};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::{check_path_name, quoted};
use crate::http::{view, write};

/// When to ask again for an unfinished job.
const STATUS_RETRY_AFTER_S: u64 = 1;

pub(super) async fn enqueue(mut call: Call<'_>, held: Option<Held>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let parsed = parse_enqueue(call.name, &call.body, &call.app.bounds)?;
    let answer_bytes = write::enqueued_bulk_bytes(parsed.jobs.len());
    call.app.check_batch(answer_bytes)?;
    keyed::check_answer(call.app, answer_bytes)?;
    let wants_outcome = call.preferences.expected == Some(Expected::Outcome);
    if wants_outcome {
        outcome::check(&call, &parsed.jobs, parsed.is_bulk)?;
    }
    let is_unique = parsed.jobs.iter().any(|job| job.unique.is_some());
    let command = EnqueueJobs { queue: call.name.to_owned(), jobs: parsed.jobs };
    let jobs = match look::answer_to(call.app, call.namespace, command.into()).await? {
        Answer::Rejected(rejection) if parsed.is_bulk => return Err(Refusal::of_bulk(rejection)),
        answer => look::told::<EnqueueJobs>(answer)?,
    };
    // A wait may be long: the bytes are given back when nobody has them any more.
    drop((std::mem::take(&mut call.body), held));
    if parsed.is_bulk {
        return Ok(Reply::json(StatusCode::ACCEPTED, write::enqueued_bulk(&jobs)));
    }
    let one = look::only(jobs)?;
    if wants_outcome {
        let place = call.wait_from_here();
        return Box::pin(outcome::expected(&call, (one, is_unique), place)).await;
    }
    let waits = call.preferences.expected.is_none() && call.preferences.wait_s > Some(0);
    // The job is accepted whether or not there is a place to wait at.
    if waits && call.wait_from_here().is_ok() {
        return Box::pin(enqueued_and_waited(&call, one)).await;
    }
    let reply = accepted(&call, one);
    if call.preferences.respond_async {
        return Ok(reply.preference_applied("respond-async"));
    }
    Ok(reply)
}

fn accepted(call: &Call<'_>, one: Enqueued) -> Reply {
    let path = call.path("status", &JobIdText(one.id.0).to_string());
    Reply::json(StatusCode::ACCEPTED, write::enqueued(one, &path)).location(&path)
}

/// `Prefer: wait=N`: the outcome if it comes in time, else as without.
async fn enqueued_and_waited(call: &Call<'_>, one: Enqueued) -> Result<Reply, Refusal> {
    let wait_s = call.preferences.wait_s.unwrap_or(0).min(call.app.limits.wait_ms_max / 1000);
    let command = AwaitJob { id: one.id, wait_ms: wait_s * 1000 };
    // The job is accepted whatever became of the wait.
    let not_yet = || {
        let applied = if call.preferences.respond_async { "respond-async, " } else { "" };
        Ok(accepted(call, one).preference_applied(&format!("{applied}wait={wait_s}")))
    };
    let view = match ask(call, command).await {
        Ok(view) if !view.job.phase.is_unfinished() => view,
        _ => return not_yet(),
    };
    let id = JobIdText(one.id.0).to_string();
    let result = match result_of(call, &view).await {
        // It is kept no longer than this took: what it was is told all the same.
        Err(refusal) if matches!(refusal.code(), Code::JobGone | Code::JobUnknown) => None,
        result => result?,
    };
    // Many may have waited for large results that come at the same instant.
    if result.as_ref().is_some_and(|result| call.app.check_read_of(result.len()).is_err()) {
        return not_yet();
    }
    let status = view::status(&view, &result_path(call, &id));
    let reply = ok(&view::with_result(status, result.as_ref())).not_cached();
    Ok(reply.location(&call.path("status", &id)).preference_applied(&format!("wait={wait_s}")))
}

pub(super) fn result_path(call: &Call<'_>, id: &str) -> String {
    call.path("jobs", id) + "/result"
}

/// The result of a job that has ended, or where it was forgotten since, that it is gone.
pub(super) async fn result_of(call: &Call<'_>, view: &JobView) -> Result<Option<Bytes>, Refusal> {
    match &view.job.phase {
        Phase::Succeeded { result: Some(Body::Inline { bytes }), .. } => Ok(Some(bytes.clone())),
        Phase::Succeeded { result: Some(Body::Stored { .. }), .. } => {
            Ok(look::whole(call.app, call.namespace, view.job.id).await?.result)
        }
        _ => Ok(None),
    }
}

pub(super) async fn status(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let wait_ms = call.query.duration_ms("wait", call.app.limits.wait_ms_max)?.unwrap_or(0);
    let mut view = look::find(call.app, call.namespace, id).await?;
    if wait_ms > 0 && view.job.phase.is_unfinished() {
        view = ask(&call, AwaitJob { id, wait_ms }).await?;
    }
    let result_url = result_path(&call, call.name);
    let status = view::status(&view, &result_url);
    if status.state != StateText::Succeeded {
        let reply = ok(&status).not_cached();
        let unfinished = view.job.phase.is_unfinished();
        return Ok(if unfinished { reply.retry_after_s(STATUS_RETRY_AFTER_S) } else { reply });
    }
    let origins = &call.app.config.location_origins;
    let target = match &status.location {
        Some(location) if is_followed(location, origins) => location,
        _ => &result_url,
    };
    Ok(Reply::of(StatusCode::SEE_OTHER, &status).location(target).not_cached())
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let whole = look::whole(call.app, call.namespace, id).await?;
    Ok(ok(&whole.record(call.app, call.namespace)).not_cached())
}

/// Tells the job whenever it changes, as server-sent events, until it has ended.
pub(super) async fn watch(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let view = look::find(call.app, call.namespace, id).await?;
    let place = call.app.streams.take(call.namespace).map_err(|max| {
        let detail = format!("{max} jobs are watched already, as many as may; ask for its status");
        Refusal::new(Code::TooManyRequests, detail).retry_after_s(5)
    })?;
    let (app, namespace) = (call.app.clone(), call.namespace.to_owned());
    Ok(Reply::events(events::of_job(app, namespace, view, place)))
}

pub(super) async fn result(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let view = look::find(call.app, call.namespace, id).await?;
    let state = view::state(view.state());
    if state != StateText::Succeeded {
        let detail =
            format!("job {} is {state}; only one that has succeeded has a result", call.name);
        let refusal = Refusal::new(Code::JobStateRefused, detail);
        return Err(refusal.about("id", call.name.to_owned(), "a job that has succeeded".into()));
    }
    let Some(result) = result_of(&call, &view).await? else {
        let detail = format!("job {} succeeded without a result", call.name);
        let refusal = Refusal::new(Code::ResultUnknown, detail);
        return Err(refusal.about("id", call.name.to_owned(), "a job with a result".into()));
    };
    Ok(Reply::json(StatusCode::OK, result))
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let filter = list_filter(&call)?;
    let held = call.query.text("held").map(|_| call.query.flag("held")).transpose()?;
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let of = [
        "queue",
        "state",
        "kind",
        "tag",
        "ordering_key",
        "tenant",
        "error",
        "text",
        "older_than",
        "newer_than",
        "before",
        "since",
        "held",
    ];
    let of = of.map(|name| call.query.text(name));
    let scope = cursor::scope("jobs", call.namespace, &of);
    let cursor = match call.query.text("cursor") {
        Some(text) => Some(cursor::decode(text, scope)?),
        None => None,
    };
    let page = look::page(call.app, call.namespace, (filter, held), cursor, limit).await?;
    let list = JobList {
        jobs: page.jobs.iter().map(|view| look::record(call.app, call.namespace, view)).collect(),
        next: page.next.map(|next| cursor::encode(&next, scope)),
        examined: page.examined as u64,
    };
    Ok(ok(&list).not_cached())
}

fn list_filter(call: &Call<'_>) -> Result<JobFilter, Refusal> {
    let text = |name: &str| call.query.text(name).map(str::to_owned);
    let age = |name| Ok::<_, Refusal>(call.query.duration_ms(name, u64::MAX)?.map(DurationText));
    let instant = |name: &str| match call.query.text(name) {
        None => Ok(None),
        Some(at) => at
            .parse::<InstantText>()
            .map(Some)
            .map_err(|_| Refusal::value(name, quoted(at), INSTANT_EXPECTED)),
    };
    let body = JobFilterBody {
        queue: text("queue"),
        state: call.query.text("state").map(state_word).transpose()?,
        kind: text("kind"),
        tag: text("tag"),
        ordering_key: text("ordering_key"),
        tenant: text("tenant"),
        error: text("error"),
        text: text("text"),
        older_than: age("older_than")?,
        newer_than: age("newer_than")?,
        before: instant("before")?,
        since: instant("since")?,
    };
    job_filter("", body, wall_now())
}

pub(super) async fn cancel(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let force = call.query.flag("force")?;
    if call.query.flag("remove")? {
        return remove(&call, id, force).await;
    }
    job_reply(&call, CancelJob { id, force }).await
}

/// Removes a dead job, and nothing else: what was retried meanwhile stays.
async fn remove(call: &Call<'_>, id: JobId, force: bool) -> Result<Reply, Refusal> {
    if force {
        let allowed = "one of `force` and `remove`".to_owned();
        return Err(Refusal::value("force", "true", allowed));
    }
    removed(call, RemoveJob { id }).await
}

pub(super) async fn retry(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let from = parse_retry(&call.body, &call.app.bounds)?;
    job_reply(&call, RetryJob { id, from }).await
}

pub(super) async fn reschedule(call: Call<'_>) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    let start = parse_reschedule(&call.body, &call.app.bounds)?;
    job_reply(&call, RescheduleJob { id, start }).await
}

pub(super) async fn pause(call: Call<'_>, pause: bool) -> Result<Reply, Refusal> {
    let id = job_id(&call)?;
    if pause {
        job_reply(&call, PauseJob { id }).await
    } else {
        job_reply(&call, ResumeJob { id }).await
    }
}

async fn job_reply(
    call: &Call<'_>,
    command: impl Ask<Answer = Box<JobView>>,
) -> Result<Reply, Refusal> {
    let view = ask(call, command).await?;
    Ok(ok(&look::record(call.app, call.namespace, &view)).not_cached())
}
