//! The peers, each started on its own folder with the settings that make it as durable as
//! Longshore is.

mod apalis;
mod beanstalkd;
mod installed;
mod kafka;
mod port;
mod postgres;
mod rabbitmq;
mod sidekiq;

pub(crate) use apalis::Apalis;
pub(crate) use beanstalkd::{Beanstalkd, Binlog, Producer, Taker};
pub(crate) use installed::{Peer, install};
pub(crate) use kafka::{Kafka, tool as kafka_tool};
pub(crate) use postgres::Postgres;
pub(crate) use rabbitmq::RabbitMq;
pub(crate) use sidekiq::{Redis, Workers};
