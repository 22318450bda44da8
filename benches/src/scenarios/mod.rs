//! What is measured, one file per scenario.

mod amqp;
mod backlog;
mod bulk;
mod checkpoint;
mod crowd;
mod drain;
mod idle;
mod iterate;
mod latency;
mod one_by_one;
mod sdk;
mod select;
mod workers;

pub(crate) use select::run;
