//! The service of producers and operators. Each call does what its sibling over HTTP does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::ask::{
    Ask, AwaitJob, CancelJob, PauseJob, RemoveJob, RescheduleJob, ResumeJob, RetryJob,
};
use longshore_engine::driver::Class;
use longshore_engine::{EnqueueJobs, Enqueued, JobFilter, JobId, JobView, RetryFrom, Start};
use longshore_node::wall_now;
use longshore_proto::v1;
use longshore_proto::v1::enqueue_stream_response::Outcome;
use longshore_proto::v1::jobs_server::Jobs;
use longshore_proto::v1::reschedule_job_request::Start as MovedTo;
use longshore_proto::v1::retry_job_request::From as RetryAt;
use tonic::{Request, Response, Status, Streaming};

use super::job_in::{carried, job_id, new_jobs};
use super::job_out::{id_text, listed_job, whole_job};
use super::outgoing::{self, Gone, Incoming, Outgoing};
use super::refusal::{coded, problem_of, status_of};
use super::{Face, namespace_of};
use crate::access::unauthenticated;
use crate::api::{DurationText, InstantText, JobFilterBody, RescheduleRequest};
use crate::http::code::Code;
use crate::http::cursor;
use crate::http::look::{self, PAGE_DEFAULT, PAGE_MAX, ask};
use crate::http::parse::{Bounds, job_filter, new_start, state_word};
use crate::http::refusal::Refusal;
use crate::http::text::check_path_name;
use crate::http::view;

/// The service on one connection.
pub(super) struct JobsFace(pub(super) Arc<Face>);

type Answered<T> = Result<Response<T>, Status>;

impl JobsFace {
    async fn ask<C: Ask>(
        &self,
        ns: &str,
        id: &str,
        class: Class,
        command: impl FnOnce(JobId) -> C,
    ) -> Result<C::Answer, Refusal> {
        let namespace = namespace_of(ns)?;
        let id = job_id("id", id)?;
        let _admitted = self.0.app.enter(class, self.0.earlier)?;
        ask(&self.0.app, namespace, command(id)).await
    }

    async fn change<C: Ask<Answer = Box<JobView>>>(
        &self,
        ns: &str,
        id: &str,
        command: impl FnOnce(JobId) -> C,
        effect: impl FnOnce(&JobView) -> &'static str,
    ) -> Answered<v1::JobChange> {
        let job = self.ask(ns, id, Class::Settle, command).await?;
        let state = view::state(job.state()).as_str().to_owned();
        let effect = effect(&job).to_owned();
        Ok(Response::new(v1::JobChange { id: id_text(job.job.id), state, effect }))
    }
}

async fn enqueue(face: &Face, request: v1::EnqueueRequest) -> Result<v1::EnqueueResponse, Refusal> {
    let namespace = namespace_of(&request.namespace)?;
    check_path_name("queue", &request.queue)?;
    let _admitted = face.app.enter(Class::Publish, face.earlier)?;
    let jobs = new_jobs(&request.queue, request.jobs, &face.app.bounds)?;
    let jobs = ask(&face.app, namespace, EnqueueJobs { queue: request.queue, jobs }).await?;
    Ok(v1::EnqueueResponse {
        ids: jobs.iter().map(|one| id_text(one.id)).collect(),
        replayed: jobs.iter().filter(|one| one.replayed).count() as u32,
        unique: jobs.iter().enumerate().filter_map(unique_met).collect(),
    })
}

fn unique_met((index, one): (usize, &Enqueued)) -> Option<v1::UniqueMet> {
    let outcome = view::unique_outcome(one.met?).as_str().to_owned();
    Some(v1::UniqueMet { index: index as u32, outcome })
}

/// Enqueues a batch of a call of many, unless an earlier one was `refused` for now: its producer
/// will send that one again, and what came behind it would be ahead of it.
async fn enqueue_in_order(
    face: &Face,
    batch: v1::EnqueueRequest,
    refused: &mut Option<v1::Problem>,
) -> Outcome {
    if let Some(problem) = refused {
        return Outcome::Refused(problem.clone());
    }
    match enqueue(face, batch).await {
        Ok(accepted) => Outcome::Accepted(accepted),
        Err(refusal) => {
            let problem = problem_of(&refusal);
            if refusal.retry_after().is_some() || refusal.code().status().is_server_error() {
                *refused = Some(problem.clone());
            }
            Outcome::Refused(problem)
        }
    }
}

/// Bytes of the answer to a batch of jobs, or a few more: each has an id of 36 characters with the
/// field's number and the length before it; a unique one also what became of it.
fn answer_bytes(jobs: &[v1::NewJob]) -> usize {
    let unique = jobs.iter().filter(|job| job.unique.is_some()).count();
    64 + 38 * jobs.len() + 22 * unique
}

/// Enqueues a batch of a call of many and tells the outcome. Whoever does not take the outcomes of
/// the earlier ones is refused before anything is enqueued.
async fn enqueue_next(
    face: &Face,
    batch: v1::EnqueueRequest,
    refused: &mut Option<v1::Problem>,
    answers: &Outgoing<v1::EnqueueStreamResponse>,
) -> Result<(), Gone> {
    let (part, outcome) = match answers.hold_ahead(answer_bytes(&batch.jobs)) {
        Ok(part) => (Some(part), enqueue_in_order(face, batch, refused).await),
        Err(refusal) => {
            let problem = refused.get_or_insert_with(|| problem_of(&refusal));
            (None, Outcome::Refused(problem.clone()))
        }
    };
    let answer = v1::EnqueueStreamResponse { outcome: Some(outcome) };
    match part {
        Some(part) => answers.tell_held(answer, part).await,
        None => answers.tell(answer).await,
    }
}

fn list_filter(request: &v1::ListJobsRequest) -> Result<JobFilter, Refusal> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let body = JobFilterBody {
        queue: some(&request.queue),
        state: some(&request.state).as_deref().map(state_word).transpose()?,
        kind: some(&request.kind),
        tag: some(&request.tag),
        ordering_key: some(&request.ordering_key),
        tenant: some(&request.tenant),
        error: some(&request.error),
        text: some(&request.text),
        older_than: None,
        newer_than: None,
        before: request.before_unix_ms.map(InstantText),
        since: request.since_unix_ms.map(InstantText),
    };
    job_filter("", body, wall_now())
}

/// When a job that is moved in time may start.
fn start_of(of: Option<MovedTo>, bounds: &Bounds) -> Result<Start, Refusal> {
    let (run_at, delay) = match of {
        None => (None, None),
        Some(MovedTo::RunAtUnixMs(at)) => (Some(InstantText(at)), None),
        Some(MovedTo::DelayMs(delay)) => (None, Some(DurationText(delay))),
    };
    new_start(&RescheduleRequest { run_at, delay }, bounds)
}

#[tonic::async_trait]
impl Jobs for JobsFace {
    async fn enqueue(&self, request: Request<v1::EnqueueRequest>) -> Answered<v1::EnqueueResponse> {
        let request = request.into_inner();
        let (app, bytes) = (&self.0.app, answer_bytes(&request.jobs));
        let part = app.hold_whole_ahead(&self.0.account, bytes)?;
        let answer = enqueue(&self.0, request).await?;
        Ok(match part {
            Some(part) => app.with_part(part, answer),
            None => Response::new(answer),
        })
    }

    type EnqueueStreamStream = Incoming<v1::EnqueueStreamResponse>;

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<v1::EnqueueRequest>>,
    ) -> Answered<Self::EnqueueStreamStream> {
        let (face, mut batches) = (Arc::clone(&self.0), request.into_inner());
        let (answers, told) = outgoing::begin(&face, face.app.config.write_timeout);
        tokio::spawn(async move {
            let mut refused = None;
            loop {
                let batch = tokio::select! {
                    biased;
                    () = face.stopped() => {
                        return answers.end(status_of(&stopping())).await;
                    }
                    () = face.app.who.ended() => {
                        return answers.end(status_of(&unauthenticated())).await;
                    }
                    () = answers.closed() => return,
                    batch = batches.message() => batch,
                };
                let told = match batch {
                    Ok(Some(batch)) => enqueue_next(&face, batch, &mut refused, &answers).await,
                    Ok(None) => return,
                    Err(status) => return answers.end(coded(status)).await,
                };
                if told.is_err() {
                    return;
                }
            }
        });
        Ok(told)
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Answered<v1::Job> {
        let request = request.into_inner();
        let namespace = namespace_of(&request.namespace)?;
        let id = job_id("id", &request.id)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        self.0.check_reads()?;
        let whole = look::whole(&self.0.app, namespace, id).await?;
        self.0.read(whole_job(&self.0.app, namespace, &whole))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Answered<v1::ListJobsResponse> {
        let request = request.into_inner();
        let namespace = namespace_of(&request.namespace)?;
        let filter = list_filter(&request)?;
        let limit = match request.limit as usize {
            0 => PAGE_DEFAULT,
            limit if limit <= PAGE_MAX => limit,
            limit => return Err(Refusal::value("limit", limit, format!("0 to {PAGE_MAX}")).into()),
        };
        let v1::ListJobsRequest { queue, state, kind, tag, ordering_key, tenant, .. } = &request;
        let v1::ListJobsRequest { error, text, .. } = &request;
        let instant = |at: Option<u64>| at.map(|at| at.to_string()).unwrap_or_default();
        let (before, since) = (instant(request.before_unix_ms), instant(request.since_unix_ms));
        let held = request.held.map(|held| held.to_string()).unwrap_or_default();
        let of =
            [queue, state, kind, tag, ordering_key, tenant, error, text, &before, &since, &held];
        let of = of.map(|named| (!named.is_empty()).then_some(named.as_str()));
        let scope = cursor::scope("jobs", namespace, &of);
        let from = match request.cursor.as_str() {
            "" => None,
            text => Some(cursor::decode(text, scope)?),
        };
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        self.0.check_reads()?;
        let page = look::page(&self.0.app, namespace, (filter, request.held), from, limit).await?;
        self.0.read(v1::ListJobsResponse {
            jobs: page
                .jobs
                .iter()
                .map(|listed| listed_job(&self.0.app, namespace, listed))
                .collect(),
            next: page.next.map(|next| cursor::encode(&next, scope)).unwrap_or_default(),
        })
    }

    async fn await_job(&self, request: Request<v1::AwaitJobRequest>) -> Answered<v1::Job> {
        let v1::AwaitJobRequest { namespace, id, wait_ms } = request.into_inner();
        let max = self.0.app.limits.wait_ms_max;
        if wait_ms > max {
            return Err(Refusal::value("wait_ms", wait_ms, format!("0 to {max}")).into());
        }
        let wait = |id| AwaitJob { id, wait_ms };
        self.ask(&namespace, &id, Class::Lease, wait).await?;
        let namespace = namespace_of(&namespace)?;
        let whole = look::whole(&self.0.app, namespace, job_id("id", &id)?).await?;
        self.0.read(whole_job(&self.0.app, namespace, &whole))
    }

    type WatchJobStream = Incoming<v1::Job>;

    async fn watch_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Answered<Self::WatchJobStream> {
        let request = request.into_inner();
        let namespace = namespace_of(&request.namespace)?.to_owned();
        let id = job_id("id", &request.id)?;
        let face = Arc::clone(&self.0);
        let admitted = face.app.enter(Class::Lease, face.earlier)?;
        face.check_reads()?;
        let first = look::whole(&face.app, &namespace, id).await?;
        let (answers, told) = outgoing::begin(&face, face.app.config.write_timeout);
        tokio::spawn(async move {
            let _admitted = admitted;
            let first = whole_job(&face.app, &namespace, &first);
            let end = tokio::select! {
                () = face.ended() => Err(stopping()),
                () = answers.closed() => Ok(()),
                watched = watch(&face, &namespace, id, first, &answers) => watched,
            };
            if let Err(refusal) = end {
                answers.end(status_of(&refusal)).await;
            }
        });
        Ok(told)
    }

    async fn cancel_job(&self, request: Request<v1::CancelJobRequest>) -> Answered<v1::JobChange> {
        let v1::CancelJobRequest { namespace, id, force, remove } = request.into_inner();
        if force && remove {
            let allowed = "one of `force` and `remove`".to_owned();
            return Err(Refusal::value("force", "true", allowed).into());
        }
        if remove {
            self.ask(&namespace, &id, Class::Settle, |id| RemoveJob { id }).await?;
            let (state, effect) = (String::new(), "removed".to_owned());
            return Ok(Response::new(v1::JobChange { id, state, effect }));
        }
        let effect = |job: &JobView| if job.lease.is_some() { "requested" } else { "cancelled" };
        self.change(&namespace, &id, |id| CancelJob { id, force }, effect).await
    }

    async fn reschedule_job(
        &self,
        request: Request<v1::RescheduleJobRequest>,
    ) -> Answered<v1::JobChange> {
        let v1::RescheduleJobRequest { namespace, id, start } = request.into_inner();
        let start = start_of(start, &self.0.app.bounds)?;
        let reschedule = |id| RescheduleJob { id, start };
        self.change(&namespace, &id, reschedule, |_| "rescheduled").await
    }

    async fn retry_job(&self, request: Request<v1::RetryJobRequest>) -> Answered<v1::JobChange> {
        let v1::RetryJobRequest { namespace, id, from } = request.into_inner();
        let max = self.0.app.bounds.cursor_bytes_max;
        let from = match from {
            None | Some(RetryAt::Beginning(false)) => RetryFrom::Kept,
            Some(RetryAt::Beginning(true)) => RetryFrom::Beginning,
            Some(RetryAt::Cursor(cursor)) => RetryFrom::Cursor(carried("cursor", &cursor, max)?),
        };
        self.change(&namespace, &id, |id| RetryJob { id, from }, |_| "retried").await
    }

    async fn pause_job(&self, request: Request<v1::JobRequest>) -> Answered<v1::JobChange> {
        let v1::JobRequest { namespace, id } = request.into_inner();
        let effect = |job: &JobView| if job.lease.is_some() { "requested" } else { "paused" };
        self.change(&namespace, &id, |id| PauseJob { id }, effect).await
    }

    async fn resume_job(&self, request: Request<v1::JobRequest>) -> Answered<v1::JobChange> {
        let v1::JobRequest { namespace, id } = request.into_inner();
        self.change(&namespace, &id, |id| ResumeJob { id }, |_| "resumed").await
    }
}

/// What a call that lasts hears when the server stops.
pub(super) fn stopping() -> Refusal {
    Refusal::new(Code::Stopping, "the server is stopping; connect again").retry_after_s(1)
}

/// Tells a job whenever it has changed, until it has ended or nobody listens.
async fn watch(
    face: &Face,
    namespace: &str,
    id: JobId,
    first: v1::Job,
    answers: &Outgoing<v1::Job>,
) -> Result<(), Refusal> {
    let mut job = first;
    loop {
        let (before, ended) = (outline(&job), job.ended_at_unix_ms.is_some());
        if let Err(Gone) = answers.answer(job).await? {
            return Ok(());
        }
        if ended {
            return Ok(());
        }
        job = loop {
            look::later(&face.app, namespace, id).await?;
            face.app.check_reads()?;
            let whole = look::whole(&face.app, namespace, id).await?;
            let now = whole_job(&face.app, namespace, &whole);
            if outline(&now) != before {
                break now;
            }
        };
    }
}

/// What tells a job from how it was before. The bodies in its record may be large, and are not kept
/// for as long as somebody watches.
fn outline(job: &v1::Job) -> (v1::Job, u64) {
    let mut hasher = DefaultHasher::new();
    job.record.hash(&mut hasher);
    (v1::Job { record: Bytes::new(), result: None, ..job.clone() }, hasher.finish())
}
