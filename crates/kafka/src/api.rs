//! Which requests are spoken, at which versions. What is not here is refused.
#![expect(missing_docs, reason = "the numbers of requests bear the names that Kafka gives them")]

/// A request that is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Api {
    /// Its number.
    pub key: i16,
    /// The lowest version that is told.
    pub min: i16,
    /// The highest version.
    pub max: i16,
    /// From this version on its strings are compact and it has tagged fields.
    pub flexible: i16,
}

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const METADATA: i16 = 3;
pub const OFFSET_COMMIT: i16 = 8;
pub const OFFSET_FETCH: i16 = 9;
pub const FIND_COORDINATOR: i16 = 10;
pub const JOIN_GROUP: i16 = 11;
pub const HEARTBEAT: i16 = 12;
pub const LEAVE_GROUP: i16 = 13;
pub const SYNC_GROUP: i16 = 14;
pub const DESCRIBE_GROUPS: i16 = 15;
pub const LIST_GROUPS: i16 = 16;
pub const SASL_HANDSHAKE: i16 = 17;
pub const API_VERSIONS: i16 = 18;
pub const CREATE_TOPICS: i16 = 19;
pub const DELETE_TOPICS: i16 = 20;
pub const DELETE_RECORDS: i16 = 21;
pub const INIT_PRODUCER_ID: i16 = 22;
pub const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
pub const ADD_OFFSETS_TO_TXN: i16 = 25;
pub const END_TXN: i16 = 26;
pub const TXN_OFFSET_COMMIT: i16 = 28;
pub const DESCRIBE_CONFIGS: i16 = 32;
pub const SASL_AUTHENTICATE: i16 = 36;
pub const CREATE_PARTITIONS: i16 = 37;
pub const DELETE_GROUPS: i16 = 42;
pub const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
pub const DESCRIBE_CLUSTER: i16 = 60;
pub const DESCRIBE_PRODUCERS: i16 = 61;
pub const DESCRIBE_TRANSACTIONS: i16 = 65;
pub const LIST_TRANSACTIONS: i16 = 66;
pub const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
pub const CONSUMER_GROUP_DESCRIBE: i16 = 69;

/// What has no flexible version.
const NEVER: i16 = i16::MAX;

const fn api(key: i16, min: i16, max: i16, flexible: i16) -> Api {
    Api { key, min, max, flexible }
}

/// All of them, by their numbers. Produce is told from 0 on though nothing below 3 is taken, as
/// Kafka 4 does: librdkafka sends nothing compressed to whoever does not tell 0.
pub const APIS: &[Api] = &[
    api(PRODUCE, 0, 11, 9),
    api(FETCH, 4, 16, 12),
    api(LIST_OFFSETS, 1, 7, 6),
    api(METADATA, 0, 12, 9),
    api(OFFSET_COMMIT, 2, 9, 8),
    api(OFFSET_FETCH, 1, 9, 6),
    api(FIND_COORDINATOR, 0, 5, 3),
    api(JOIN_GROUP, 0, 9, 6),
    api(HEARTBEAT, 0, 4, 4),
    api(LEAVE_GROUP, 0, 5, 4),
    api(SYNC_GROUP, 0, 5, 4),
    api(DESCRIBE_GROUPS, 0, 5, 5),
    api(LIST_GROUPS, 0, 5, 3),
    // Version 0 would be followed by messages without a frame of their own.
    api(SASL_HANDSHAKE, 1, 1, NEVER),
    api(API_VERSIONS, 0, 4, 3),
    api(CREATE_TOPICS, 2, 7, 5),
    api(DELETE_TOPICS, 1, 6, 4),
    api(DELETE_RECORDS, 0, 2, 2),
    api(INIT_PRODUCER_ID, 0, 4, 2),
    api(OFFSET_FOR_LEADER_EPOCH, 2, 4, 4),
    api(ADD_PARTITIONS_TO_TXN, 0, 3, 3),
    api(ADD_OFFSETS_TO_TXN, 0, 3, 3),
    api(END_TXN, 0, 3, 3),
    api(TXN_OFFSET_COMMIT, 0, 3, 3),
    api(DESCRIBE_CONFIGS, 1, 4, 4),
    api(SASL_AUTHENTICATE, 0, 2, 2),
    api(CREATE_PARTITIONS, 0, 3, 2),
    api(DELETE_GROUPS, 0, 2, 2),
    api(INCREMENTAL_ALTER_CONFIGS, 0, 1, 1),
    api(DESCRIBE_CLUSTER, 0, 1, 0),
    api(DESCRIBE_PRODUCERS, 0, 0, 0),
    api(DESCRIBE_TRANSACTIONS, 0, 0, 0),
    // Version 2 has a regular expression in the syntax of a Java library.
    api(LIST_TRANSACTIONS, 0, 1, 0),
    api(CONSUMER_GROUP_HEARTBEAT, 0, 1, 0),
    api(CONSUMER_GROUP_DESCRIBE, 0, 1, 0),
];

/// The request of that number.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key == key)
}
