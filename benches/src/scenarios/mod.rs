//! What is measured, one file per scenario.

mod amqp;
mod amqp_many;
mod backlog;
mod bulk;
mod checkpoint;
mod crowd;
mod drain;
mod idle;
mod iterate;
mod kafka;
mod latency;
mod one_by_one;
mod queues;
mod sdk;
mod select;
mod when;
mod workers;

pub(crate) use select::run;
