//! Messages, a file for each family. Requests are read, answers are written; fields that nobody
//! here needs are passed over. The layouts are those of Kafka's schemas, version by version.
#![expect(missing_docs, reason = "fields bear the names that Kafka gives them")]

pub mod admin;
pub mod commit;
pub mod consumer_groups;
pub mod fetch;
pub mod groups;
pub mod inspect;
pub mod metadata;
pub mod offsets;
pub mod produce;
pub mod sasl;
pub mod transactions;

/// What is asked or told of a topic: its name, and the partitions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topic<T> {
    pub name: String,
    pub partitions: Vec<T>,
}
