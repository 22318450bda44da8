//! What is measured, one file per scenario.

mod backlog;
mod bulk;
mod crowd;
mod drain;
mod idle;
mod latency;
mod one_by_one;
mod select;

pub(crate) use select::run;
