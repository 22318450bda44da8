//! Answers of a web application to requests that need a job.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use axum::routing::post;
use longshore::web::{JobResponses, Wants};
use longshore::{Client, Job};
use longshore_proto::v1;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tonic::Code;
use tower::ServiceExt;

use crate::fake::{Fake, refusal};

const ID: &str = "01983f2e-7a10-7cc0-8000-000000000001";

/// A request is held up for 2 s where nobody says otherwise, and hangs if it is for so long.
const HANGS: Duration = Duration::from_secs(5);

#[derive(Job, Serialize, Deserialize)]
#[job(output = u64)]
struct PlaceOrder;

async fn place(State(jobs): State<JobResponses>, wants: Wants) -> axum::response::Response {
    jobs.answer(&wants, jobs.client().enqueue(PlaceOrder)).await
}

/// An application in front of a job server that tells `jobs` to whoever waits.
async fn app(jobs: &[v1::Job]) -> (Fake, Router) {
    let fake = Fake::start().await;
    fake.script.jobs.lock().unwrap().extend(jobs.iter().cloned());
    let jobs = JobResponses::new(&fake.client(), "/jobs/");
    let routes = Router::new().route("/orders", post(place)).with_state(jobs.clone());
    (fake, routes.merge(jobs.router()))
}

fn job(state: &str, location: &str) -> v1::Job {
    let result = (state == "succeeded").then(|| "7".into());
    v1::Job { state: state.into(), location: location.into(), result, ..v1::Job::default() }
}

async fn order(app: &Router, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::post("/orders");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn body(response: Response<Body>) -> Value {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[tokio::test]
async fn a_request_is_accepted_at_once() {
    let (fake, app) = app(&[]).await;
    for headers in [&[][..], &[("prefer", "respond-async")], &[("expect", "202-accepted")]] {
        let response = order(&app, headers).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{headers:?}");
        let location = header(&response, "location").to_owned();
        assert!(location.starts_with("/jobs/"), "{location}");
        assert_eq!(body(response).await["status"], location);
    }
    assert_eq!(fake.script.enqueued.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn who_waits_gets_the_outcome() {
    let done = job("succeeded", "/orders/7");
    for (headers, status, location) in [
        (("prefer", "wait=5"), StatusCode::OK, "/jobs/"),
        (("expect", "200-ok"), StatusCode::OK, ""),
        (("expect", "201-created"), StatusCode::CREATED, "/orders/7"),
        (("expect", "204-no-content"), StatusCode::NO_CONTENT, ""),
    ] {
        let (_fake, app) = app(std::slice::from_ref(&done)).await;
        let response = order(&app, &[headers]).await;
        assert_eq!(response.status(), status, "{headers:?}");
        let to = header(&response, "location").to_owned();
        if headers.0 == "prefer" {
            assert!(to.starts_with(location), "{to}");
            assert_eq!(header(&response, "preference-applied"), "wait=5");
            let told = body(response).await;
            assert_eq!((&told["result"], &told["location"]), (&7.into(), &"/orders/7".into()));
            continue;
        }
        assert_eq!(to, location, "{headers:?}");
        if status == StatusCode::OK {
            assert_eq!(body(response).await, 7);
        }
    }
}

#[tokio::test]
async fn what_was_expected_and_cannot_be_is_told_by_the_status() {
    // Done, and nothing was made.
    let (_fake, without) = app(&[job("succeeded", "")]).await;
    let response = order(&without, &[("expect", "201-created")]).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert!(header(&response, "location").starts_with("/jobs/"));
    // Not done in time.
    let (_fake, slow) = app(&[job("running", "")]).await;
    let waits = [("expect", "200-ok"), ("prefer", "wait=0")];
    assert_eq!(order(&slow, &waits).await.status(), StatusCode::EXPECTATION_FAILED);
    // Done badly.
    let (_fake, dead) = app(&[job("dead", "")]).await;
    let response = order(&dead, &[("expect", "200-ok")]).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(body(response).await["job"].as_str().unwrap().starts_with("/jobs/"));
}

/// The job server answered `200` with the status, the application `500`.
#[tokio::test]
async fn who_waits_without_an_expectation_is_told_any_end_as_by_the_job_server() {
    for state in ["dead", "cancelled", "expired"] {
        let (_fake, app) = app(&[job(state, "")]).await;
        let response = order(&app, &[("prefer", "wait=5")]).await;
        let told = (response.status(), header(&response, "preference-applied"));
        assert_eq!(told, (StatusCode::OK, "wait=5"), "{state}");
        assert!(header(&response, "location").starts_with("/jobs/"), "{state}");
        let told = body(response).await;
        assert_eq!((&told["state"], &told["error"]), (&state.into(), &state.into()));
        for expected in ["200-ok", "201-created", "204-no-content"] {
            let response = order(&app, &[("expect", expected), ("prefer", "wait=5")]).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{expected} {state}");
            assert_eq!(body(response).await["code"], "job_not_succeeded");
        }
    }
}

#[tokio::test]
async fn an_expectation_that_nobody_meets_leaves_nothing_behind() {
    let (fake, app) = app(&[]).await;
    for expectation in ["206-partial-content", "200-ok, 202-accepted"] {
        let response = order(&app, &[("expect", expectation)]).await;
        assert_eq!(response.status(), StatusCode::EXPECTATION_FAILED, "{expectation}");
    }
    assert!(fake.script.enqueued.lock().unwrap().is_empty());
    fake.script.failures.lock().unwrap().push_back(Code::InvalidArgument);
    assert_eq!(order(&app, &[]).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn who_hears_that_the_server_is_not_there_is_told_where_to_look() {
    let bound = Duration::from_millis(100);
    let client = Client::builder("127.0.0.1:1").deadline(bound).attempt_timeout(bound);
    let jobs = JobResponses::new(&client.build().unwrap(), "/jobs");
    let app = Router::new().route("/orders", post(place)).with_state(jobs);
    let response = order(&app, &[]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let job = body(response).await["job"].as_str().unwrap().to_owned();
    assert!(uuid::Uuid::parse_str(job.strip_prefix("/jobs/").unwrap()).is_ok(), "{job}");
}

/// A request to a web application hung for 29 s where its job server was down or a queue was full:
/// it was held for the deadline of the client, which is made for programs that have time.
#[tokio::test]
async fn a_request_does_not_hang_where_the_queue_is_full() {
    let fake = Fake::start().await;
    let mut full = refusal(Code::ResourceExhausted, "queue_full");
    full.metadata_mut().insert("retry-after-ms", "1500".parse().unwrap());
    *fake.script.refusal.lock().unwrap() = Some(full);
    let jobs = JobResponses::new(&fake.client(), "/jobs");
    let app = Router::new().route("/orders", post(place)).with_state(jobs);
    for headers in [&[][..], &[("prefer", "wait=2")], &[("expect", "201-created")]] {
        let answered = tokio::time::timeout(HANGS, order(&app, headers));
        let response = answered.await.expect("the request hangs");
        let status = (response.status(), header(&response, "retry-after").to_owned());
        assert_eq!(status, (StatusCode::SERVICE_UNAVAILABLE, "2".to_owned()), "{headers:?}");
        let told = body(response).await;
        let words = (&told["code"], &told["detail"], told.get("job"));
        assert_eq!(words, (&"queue_full".into(), &"the test says so".into(), None));
    }
}

/// A shard that had stopped was a `500`, as if the application were at fault, and said nothing.
#[tokio::test]
async fn a_fault_of_the_job_server_is_told_in_its_words() {
    let stopped = || refusal(Code::Unavailable, "shard_stopped");
    let mut internal = refusal(Code::Internal, "internal");
    let document = br#"{"status":500}"#;
    internal
        .metadata_mut()
        .insert_bin("longshore-problem-bin", tonic::metadata::MetadataValue::from_bytes(document));
    for (fault, status, code) in [
        (stopped(), StatusCode::SERVICE_UNAVAILABLE, "shard_stopped"),
        (internal, StatusCode::SERVICE_UNAVAILABLE, "internal"),
        (refusal(Code::InvalidArgument, "value_refused"), StatusCode::INTERNAL_SERVER_ERROR, ""),
    ] {
        let fake = Fake::start().await;
        *fake.script.refusal.lock().unwrap() = Some(fault);
        let jobs = JobResponses::new(&fake.client(), "/jobs").patience(Duration::from_millis(300));
        let app = Router::new().route("/orders", post(place)).with_state(jobs);
        let response = order(&app, &[]).await;
        assert_eq!((response.status(), header(&response, "retry-after")), (status, ""), "{code}");
        let told = body(response).await;
        if !code.is_empty() {
            assert_eq!(
                (&told["code"], &told["detail"]),
                (&code.into(), &"the test says so".into())
            );
        }
    }
}

#[tokio::test]
async fn a_request_does_not_hang_where_the_server_is_not_there() {
    let jobs = JobResponses::new(&Client::new("127.0.0.1:1").unwrap(), "/jobs");
    let app = Router::new().route("/orders", post(place)).with_state(jobs.clone());
    let app = app.merge(jobs.router());
    for headers in [&[][..], &[("prefer", "wait=2")]] {
        let answered = tokio::time::timeout(HANGS, order(&app, headers));
        let response = answered.await.expect("the request hangs");
        let status = (response.status(), header(&response, "retry-after"));
        assert_eq!(status, (StatusCode::SERVICE_UNAVAILABLE, "1"), "{headers:?}");
    }
    let request = Request::get(format!("/jobs/{ID}")).body(Body::empty()).unwrap();
    let answered = tokio::time::timeout(HANGS, app.oneshot(request));
    let response = answered.await.expect("the request hangs").unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn who_does_not_wait_is_told_no_state() {
    let (_fake, app) = app(&[job("dead", "")]).await;
    assert_eq!(body(order(&app, &[]).await).await.get("state"), None);
    let (_fake, app) = self::app(&[job("running", "")]).await;
    assert_eq!(body(order(&app, &[("prefer", "wait=1")]).await).await["state"], "running");
}

#[tokio::test]
async fn what_was_not_applied_is_not_said_to_be() {
    let (_fake, done) = app(&[job("succeeded", "/orders/7")]).await;
    let wants = [("expect", "201-created"), ("prefer", "respond-async")];
    let response = order(&done, &wants).await;
    let told = (response.status(), header(&response, "preference-applied"));
    assert_eq!(told, (StatusCode::CREATED, ""));
    let (_fake, slow) = app(&[job("running", "")]).await;
    let response = order(&slow, &[("prefer", "respond-async, wait=1")]).await;
    let told = (response.status(), header(&response, "preference-applied"));
    assert_eq!(told, (StatusCode::ACCEPTED, "respond-async, wait=1"));
}

#[tokio::test]
async fn what_is_unknown_and_what_is_not_shown_are_told_alike() {
    let (_fake, unknown) = app(&[]).await;
    let fake = Fake::start().await;
    fake.script.jobs.lock().unwrap().push_back(job("running", ""));
    let hidden: Router = JobResponses::new(&fake.client(), "/jobs").visible(|_| false).router();
    let mut told = Vec::new();
    for app in [unknown, hidden] {
        let request = Request::get(format!("/jobs/{ID}")).body(Body::empty()).unwrap();
        told.push(body(app.oneshot(request).await.unwrap()).await);
    }
    assert_eq!(told[0]["detail"], "there is no such job");
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn nobody_waits_for_what_is_not_shown() {
    let fake = Fake::start().await;
    fake.script.jobs.lock().unwrap().push_back(job("running", ""));
    let app: Router = JobResponses::new(&fake.client(), "/jobs").visible(|_| false).router();
    let request = Request::get(format!("/jobs/{ID}")).header("prefer", "wait=30");
    let asked = app.oneshot(request.body(Body::empty()).unwrap());
    let response = tokio::time::timeout(Duration::from_secs(10), asked).await.unwrap();
    assert_eq!(response.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_job_has_one_address() {
    let (_fake, app) = app(&[job("running", "")]).await;
    for id in [format!("urn:uuid:{ID}"), format!("%7B{ID}%7D"), ID.replace('-', "")] {
        let request = Request::get(format!("/jobs/{id}")).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{id}");
    }
}

#[tokio::test]
async fn the_status_tells_how_a_job_is_doing() {
    let status = |app: Router| async move {
        let request = Request::get(format!("/jobs/{ID}")).body(Body::empty()).unwrap();
        app.oneshot(request).await.unwrap()
    };
    let running = v1::Job { progress: Some(0.5), ..job("running", "") };
    let response = status(app(&[running]).await.1).await;
    assert_eq!((response.status(), header(&response, "retry-after")), (StatusCode::OK, "1"));
    let told = body(response).await;
    assert_eq!(
        (&told["id"], &told["state"], &told["progress"]),
        (&ID.into(), &"running".into(), &0.5.into())
    );
    let response = status(app(&[job("succeeded", "/orders/7")]).await.1).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&response, "location"), "/orders/7");
    let response = status(app(&[job("succeeded", "")]).await.1).await;
    assert_eq!(body(response).await["result"], 7);
    assert_eq!(status(app(&[]).await.1).await.status(), StatusCode::NOT_FOUND);
}
