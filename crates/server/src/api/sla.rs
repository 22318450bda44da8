//! Service levels as they are set and told.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DurationText, InstantText, NewJob};

/// What a level is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlaTargetText {
    /// The jobs of a queue.
    Queue(String),
    /// The jobs of a kind.
    Kind(String),
    /// The jobs of a schedule.
    Schedule(String),
}

/// A level as its owner sets it: one of `started_within`, `done_within` and `at_least_every`.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SlaBody<'a> {
    /// What it is about.
    #[serde(deserialize_with = "super::object::required")]
    pub on: SlaTargetText,
    /// A job is handed out so soon after it may start.
    pub started_within: Option<DurationText>,
    /// A job has succeeded so soon after it may first start.
    pub done_within: Option<DurationText>,
    /// Of a schedule: so much time passes at most between two successes.
    pub at_least_every: Option<DurationText>,
    /// For which share of them; 0.99 where left out.
    #[schema(exclusive_minimum = 0, exclusive_maximum = 1)]
    pub share: Option<f64>,
    /// What is enqueued when the level is breached, with its `queue`.
    #[serde(borrow, default, deserialize_with = "super::object::optional")]
    pub breach: Option<NewJob<'a>>,
}

/// What was measured lately, to the minute.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SlaWindowRecord {
    /// How far it goes back.
    pub over: DurationText,
    /// Jobs, or gaps between successes, of which it is known.
    pub measured: u64,
    /// Of these, those that missed the goal.
    pub missed: u64,
    /// The share that was kept; left out where nothing was measured.
    pub attained: Option<f64>,
    /// How many times as many missed as may: above 1 the level is not kept.
    pub burn_rate: Option<f64>,
    /// The longest of them.
    pub worst: DurationText,
}

/// A level at one moment.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SlaRecord<'a> {
    /// Its name.
    pub name: String,
    /// What its owner set.
    #[serde(borrow)]
    pub settings: SlaBody<'a>,
    /// Since when that is measured.
    pub since: InstantText,
    /// Since when it is breached.
    pub breached_since: Option<InstantText>,
    /// How often it was breached.
    pub breaches_total: u64,
    /// The last five minutes, hour and day.
    pub windows: Vec<SlaWindowRecord>,
    /// Jobs that wait and have missed the goal; counted up to 100.
    pub late: u64,
    /// Jobs that wait and have less than half of the time left, late ones among them; counted up
    /// to 100.
    pub at_risk: u64,
    /// How long the oldest of its jobs waits, or how long ago its schedule succeeded.
    pub oldest: Option<DurationText>,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that come in a second, over about five minutes.
    pub arrivals_per_second: f64,
    /// How long a run takes on average; left out where none has ended.
    pub mean_run: Option<DurationText>,
    /// Workers of one job at a time that it needs now; left out where that is not known yet.
    pub workers_needed: Option<u64>,
}

/// All levels of a namespace.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SlaList<'a> {
    /// In the order of their names.
    #[serde(borrow)]
    pub slas: Vec<SlaRecord<'a>>,
}
