//! The status resource of a job, in the application's own API.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use uuid::Uuid;

use super::answer::{JobResponses, UNKNOWN, json_response, problem, refused, see_other};
use super::wants::Wants;
use crate::client::JobState;

impl JobResponses {
    /// Routes for the status resources: `GET BASE/{id}`. `Prefer: wait=20` waits for the end.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        Router::new()
            .route(&format!("{}/{{id}}", self.base()), get(status))
            .with_state(self.clone())
    }
}

/// One address for each job: other ways to write an id are none.
fn is_id(text: &str) -> bool {
    text.len() == 36 && Uuid::parse_str(text).is_ok()
}

fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "job_unknown", UNKNOWN, None)
}

async fn status(
    State(jobs): State<JobResponses>,
    Path(id): Path<String>,
    wants: Wants,
) -> Response {
    if !is_id(&id) {
        return unknown();
    }
    let mut wait = Duration::ZERO;
    let job = loop {
        let asked = jobs.client().wait_patiently(&id, wait, jobs.longest_patience()).await;
        let job = match asked {
            Ok(job) if jobs.is_visible(&job) => job,
            Ok(_) => return unknown(),
            Err(error) => return refused(&error, None),
        };
        // Nobody waits for what is not shown.
        let more = wants.waits(jobs.longest_wait());
        if job.state.has_ended() || more.is_zero() || !wait.is_zero() {
            break job;
        }
        wait = more;
    };
    if let (JobState::Succeeded, Some(location)) = (&job.state, &job.location) {
        return see_other(location);
    }
    let mut response = json_response(StatusCode::OK, &jobs.told(&job));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !job.state.has_ended() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
