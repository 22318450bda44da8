//! Answers to requests that enqueue a job.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::wants::{Expected, Wants, WantsError};
use crate::client::JobState;
use crate::{Client, ClientError, Enqueue, Job, JobRecord};

type Visible = Arc<dyn Fn(&JobRecord) -> bool + Send + Sync>;

/// Answers requests with jobs, and tells how these are doing. Clones share one client.
#[derive(Clone)]
pub struct JobResponses {
    client: Client,
    base: Arc<str>,
    wait_max: Duration,
    patience: Duration,
    visible: Option<Visible>,
    shows_errors: bool,
}

impl std::fmt::Debug for JobResponses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobResponses").field("base", &self.base).finish_non_exhaustive()
    }
}

impl JobResponses {
    /// With status resources below `base`, such as `/jobs`: a path from the root, under which
    /// clients find [`JobResponses::router`]. Merge that into the outermost router; below a `nest`
    /// its routes would lie elsewhere than the answers say.
    pub fn new(client: &Client, base: &str) -> Self {
        Self {
            client: client.clone(),
            base: base.trim_end_matches('/').into(),
            wait_max: Duration::from_secs(30),
            patience: Duration::from_secs(2),
            visible: None,
            shows_errors: false,
        }
    }

    /// The longest that a request is held for an outcome; zero for not at all. Default: 30 s.
    #[must_use]
    pub fn wait_max(mut self, wait: Duration) -> Self {
        self.wait_max = wait;
        self
    }

    /// How long a request is held up by a job server that does not answer, or says to come later;
    /// then it is answered with `503`. Default: 2 s. A [deadline](Enqueue::deadline) of its own
    /// that an enqueue has stands over it.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Which jobs have a status resource here. Default: all of the client's namespace.
    #[must_use]
    pub fn visible(mut self, is_it: impl Fn(&JobRecord) -> bool + Send + Sync + 'static) -> Self {
        self.visible = Some(Arc::new(is_it));
        self
    }

    /// Tells the client the error of a job that failed. Default: only that it failed.
    #[must_use]
    pub fn show_errors(mut self) -> Self {
        self.shows_errors = true;
        self
    }

    /// The client that it uses.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.wait_max
    }

    pub(super) fn longest_patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn is_visible(&self, job: &JobRecord) -> bool {
        self.visible.as_ref().is_none_or(|visible| visible(job))
    }

    /// The address of a job's status.
    pub fn status_url(&self, id: &str) -> String {
        format!("{}/{id}", self.base)
    }

    /// Enqueues the job and answers as the client wants it.
    ///
    /// Where the job server does not answer, that is a `503`, and the job may have been enqueued
    /// or not. The `job` of its problem document is the address that the job's status has then: a
    /// client looks there, and repeats its request where that is a `404`.
    pub async fn answer<J: Job>(&self, wants: &Wants, mut enqueue: Enqueue<J>) -> Response {
        let wait = wants.waits(self.wait_max);
        if wants.wants_outcome() && wait.is_zero() {
            let error = WantsError("an outcome without waiting".to_owned());
            return error.into_response();
        }
        let began = Instant::now();
        let status = self.status_url(&enqueue.choose_id().to_string());
        enqueue.default_deadline(self.patience);
        let job = match enqueue.into_future().await {
            Ok(job) => job,
            Err(error) => {
                let is_open = error.may_take_effect();
                return refused(&error, is_open.then_some(&status));
            }
        };
        let mut response = if wait.is_zero() {
            accepted(&status, job.id(), None)
        } else {
            let left = wait.saturating_sub(began.elapsed());
            match self.client.wait_patiently(job.id(), left, self.patience).await {
                Ok(record) if record.state.has_ended() => self.outcome(wants, &record, &status),
                Ok(record) => accepted(&status, job.id(), Some(&record)),
                // It was enqueued: whatever happens to the answer, it will be done.
                Err(_) => accepted(&status, job.id(), None),
            }
        };
        let is_accepted = response.status() == StatusCode::ACCEPTED;
        let applied = wants.applied(wait, is_accepted);
        if let Some(applied) = applied.and_then(|it| HeaderValue::from_str(&it).ok()) {
            let name = HeaderName::from_static("preference-applied");
            response.headers_mut().insert(name, applied);
        }
        response
    }

    /// A job that has ended while the client waited.
    fn outcome(&self, wants: &Wants, job: &JobRecord, status: &str) -> Response {
        let Some(expected) = wants.expected else {
            // As the job server itself answers, however the job ended: a redirection would cost a
            // second request, for what the client has waited for already.
            return with_location(StatusCode::OK, status, self.told(job));
        };
        if job.state != JobState::Succeeded {
            let detail = format!("the job is {}", self.told_error(job));
            return problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "job_not_succeeded",
                &detail,
                Some(status),
            );
        }
        match (expected, job.location.as_deref()) {
            (Expected::Created, Some(location)) => {
                with_location(StatusCode::CREATED, location, result(job))
            }
            (Expected::Ok, _) => json_response(StatusCode::OK, &result(job)),
            (Expected::NoContent, _) => StatusCode::NO_CONTENT.into_response(),
            // Nothing was made, though that was expected; what was done stays done.
            (Expected::Created | Expected::Accepted, _) => see_other(status),
        }
    }

    /// A job as its status tells it.
    pub(super) fn told(&self, job: &JobRecord) -> Value {
        let mut told = json!({"id": job.id, "state": job.state.as_str()});
        if let Some(progress) = job.progress {
            told["progress"] = json!(progress);
        }
        if !job.progress_text.is_empty() {
            told["progress_text"] = json!(job.progress_text);
        }
        if job.state == JobState::Succeeded {
            told["result"] = result(job);
            if let Some(location) = &job.location {
                told["location"] = json!(location);
            }
        } else if job.state.has_ended() {
            told["error"] = json!(self.told_error(job));
        }
        told
    }

    fn told_error(&self, job: &JobRecord) -> String {
        match &job.error {
            Some(error) if self.shows_errors => format!("{}: {error}", job.state),
            _ => job.state.to_string(),
        }
    }
}

fn result(job: &JobRecord) -> Value {
    job.result_json().and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default()
}

/// The state is told where the job was looked at: one with an id of the application's own may have
/// been enqueued before, and have ended.
fn accepted(status: &str, id: &str, job: Option<&JobRecord>) -> Response {
    let mut body = json!({"id": id, "status": status});
    if let Some(job) = job {
        body["state"] = json!(job.state.as_str());
    }
    with_location(StatusCode::ACCEPTED, status, body)
}

#[expect(clippy::needless_pass_by_value, reason = "the document is made for this answer")]
fn with_location(status: StatusCode, location: &str, body: Value) -> Response {
    let mut response = json_response(status, &body);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

pub(super) fn see_other(location: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

pub(super) fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// What the job server or the way to it refuses; `job` is where to look what became of it.
pub(super) fn refused(error: &ClientError, job: Option<&String>) -> Response {
    let mut again = None;
    let (status, code, detail) = match error {
        ClientError::Unreachable { .. } => {
            let detail = match job {
                Some(_) => "the job may have been enqueued: its status tells",
                None => "the job server does not answer",
            };
            again = Some(Duration::ZERO);
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
        }
        ClientError::Refused(refusal) => match refusal.code.as_str() {
            "job_unknown" => (StatusCode::NOT_FOUND, "job_unknown", UNKNOWN),
            "job_gone" => (StatusCode::GONE, "job_gone", "the job's outcome is kept no longer"),
            code if refusal.retry_after.is_some() || refusal.is_fault => {
                again = refusal.retry_after;
                (StatusCode::SERVICE_UNAVAILABLE, code, &*refusal.detail)
            }
            _ => internal(),
        },
        _ => internal(),
    };
    tracing::warn!(%error, "a request that needs a job is answered with {status}");
    let mut response = problem(status, code, detail, job.map(String::as_str));
    if let Some(again) = again {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after(again));
    }
    response
}

/// Said of jobs that are not there and of those that are not shown: nobody can tell them apart.
pub(super) const UNKNOWN: &str = "there is no such job";

fn internal() -> (StatusCode, &'static str, &'static str) {
    (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the job server refused the application")
}

/// In whole seconds, at least one.
fn retry_after(wait: Duration) -> HeaderValue {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX))
}

pub(super) fn problem(status: StatusCode, code: &str, detail: &str, job: Option<&str>) -> Response {
    let mut body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or(code),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    });
    if let Some(job) = job {
        body["job"] = json!(job);
    }
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, kind, body.to_string()).into_response()
}
