//! For web applications (feature `axum`): a request that takes long is answered with
//! `202 Accepted` and a status resource of your own API, or with the outcome where the client
//! wants to wait.
//!
//! ```no_run
//! use axum::extract::State;
//! use axum::response::Response;
//! use axum::routing::post;
//! use axum::{Json, Router};
//! use longshore::web::{JobResponses, Wants};
//! use longshore::{Client, Job};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Job, Serialize, Deserialize)]
//! struct PlaceOrder {
//!     article: u64,
//! }
//!
//! async fn place_order(
//!     State(jobs): State<JobResponses>,
//!     wants: Wants,
//!     Json(order): Json<PlaceOrder>,
//! ) -> Response {
//!     jobs.answer(&wants, jobs.client().enqueue(order)).await
//! }
//!
//! fn app(client: &Client) -> Router {
//!     let jobs = JobResponses::new(client, "/jobs");
//!     let orders = Router::new().route("/orders", post(place_order));
//!     orders.with_state(jobs.clone()).merge(jobs.router())
//! }
//! ```
//!
//! | the request says | the answer |
//! | --- | --- |
//! | nothing, `Prefer: respond-async`, `Expect: 202-accepted` | `202`, `Location` is the status |
//! | `Prefer: wait=20` | `200`, the status with the outcome, if it ends so soon, else `202` |
//! | `Expect: 200-ok` | the result, else `202` |
//! | `Expect: 201-created` | `201` and the location of what was made, else `202` |
//! | `Expect: 204-no-content` | `204` when it is done, else `202` |
//! | an expectation that cannot be met | `417`, and nothing was or will be done |
//!
//! An expectation stands over a preference: with `Expect: 201-created` the request is held although
//! it says `Prefer: respond-async`, and `Preference-Applied` tells what was done. Where another
//! outcome is expected of a job that ended dead, cancelled or expired while the client waited, that
//! is a `500`; without an expectation the status tells how it ended. A `202` tells the job's
//! `state` where the job was waited for.
//!
//! Where the job server does not answer within [patience](JobResponses::patience), says to come
//! later (a full queue, a low disk), or cannot serve (a shard that has stopped), that is a `503`,
//! in the last two cases with the code and the words of the server. It has `Retry-After` but for
//! what does not pass by itself. Where the server did not answer, the job may have been enqueued
//! all the same: the member `job` of the problem document is its status then, where the client may
//! look before it asks again. A `404` there means that it was not.
//!
//! The status resource answers `200` while the job goes on, `303` to what it made, `200` with the
//! result where it made nothing that has an address.

mod answer;
mod status;
mod wants;

pub use answer::JobResponses;
pub use wants::{Wants, WantsError};
