//! The frame of a request: its header, and which message follows.

use bytes::Bytes;
use thiserror::Error;

use crate::api::{self, Api};
use crate::input::{Input, Malformed};
use crate::message::{
    admin, commit, consumer_groups, fetch, groups, inspect, metadata, offsets, produce, sasl,
    transactions,
};
use crate::output::Reply;

/// What every request begins with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// The number of the request.
    pub key: i16,
    /// Its version.
    pub version: i16,
    /// What the answer repeats.
    pub correlation_id: i32,
    /// How the client calls itself.
    pub client_id: String,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its header.
    pub header: Header,
    /// What it asks.
    pub body: Body,
}

/// Why a frame is no request. The connection cannot go on.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ParseError {
    /// It does not decode.
    #[error("request {key} version {version}: {error}")]
    Malformed {
        /// The number of the request.
        key: i16,
        /// Its version.
        version: i16,
        /// What is wrong.
        error: Malformed,
    },
    /// Nobody speaks that here.
    #[error("request {key} version {version} is not spoken here")]
    Unsupported {
        /// The number of the request.
        key: i16,
        /// Its version.
        version: i16,
    },
}

macro_rules! bodies {
    ($($(#[$meta:meta])* $name:ident($type:ty) = $key:path,)*) => {
        /// What a request asks.
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "they bear the names that Kafka gives them")]
        pub enum Body {
            /// Which versions are spoken; at a version that is not, it has no other content.
            ApiVersions { known: bool },
            $($name($type),)*
        }

        fn parse_body(key: i16, input: &mut Input, version: i16) -> Result<Body, Malformed> {
            Ok(match key {
                $($key => Body::$name(<$type>::parse(input, version)?),)*
                _ => return Err(Malformed("a known request")),
            })
        }
    };
}

bodies! {
    Produce(produce::Request) = api::PRODUCE,
    Fetch(fetch::Request) = api::FETCH,
    ListOffsets(offsets::ListRequest) = api::LIST_OFFSETS,
    Metadata(metadata::Request) = api::METADATA,
    OffsetCommit(commit::CommitRequest) = api::OFFSET_COMMIT,
    OffsetFetch(commit::FetchRequest) = api::OFFSET_FETCH,
    FindCoordinator(groups::FindRequest) = api::FIND_COORDINATOR,
    JoinGroup(groups::JoinRequest) = api::JOIN_GROUP,
    Heartbeat(groups::HeartbeatRequest) = api::HEARTBEAT,
    LeaveGroup(groups::LeaveRequest) = api::LEAVE_GROUP,
    SyncGroup(groups::SyncRequest) = api::SYNC_GROUP,
    DescribeGroups(groups::DescribeRequest) = api::DESCRIBE_GROUPS,
    ListGroups(groups::ListRequest) = api::LIST_GROUPS,
    CreateTopics(admin::CreateRequest) = api::CREATE_TOPICS,
    DeleteTopics(admin::DeleteRequest) = api::DELETE_TOPICS,
    DeleteRecords(admin::TrimRequest) = api::DELETE_RECORDS,
    InitProducerId(produce::InitRequest) = api::INIT_PRODUCER_ID,
    OffsetForLeaderEpoch(offsets::EpochRequest) = api::OFFSET_FOR_LEADER_EPOCH,
    AddPartitionsToTxn(transactions::AddPartitionsRequest) = api::ADD_PARTITIONS_TO_TXN,
    AddOffsetsToTxn(transactions::AddOffsetsRequest) = api::ADD_OFFSETS_TO_TXN,
    EndTxn(transactions::EndRequest) = api::END_TXN,
    TxnOffsetCommit(transactions::OffsetsRequest) = api::TXN_OFFSET_COMMIT,
    DescribeConfigs(admin::DescribeRequest) = api::DESCRIBE_CONFIGS,
    CreatePartitions(admin::PartitionsRequest) = api::CREATE_PARTITIONS,
    DeleteGroups(groups::DeleteRequest) = api::DELETE_GROUPS,
    IncrementalAlterConfigs(admin::AlterRequest) = api::INCREMENTAL_ALTER_CONFIGS,
    DescribeCluster(metadata::ClusterRequest) = api::DESCRIBE_CLUSTER,
    DescribeProducers(inspect::ProducersRequest) = api::DESCRIBE_PRODUCERS,
    DescribeTransactions(inspect::TransactionsRequest) = api::DESCRIBE_TRANSACTIONS,
    ListTransactions(inspect::ListTransactionsRequest) = api::LIST_TRANSACTIONS,
    ConsumerGroupHeartbeat(consumer_groups::HeartbeatRequest) = api::CONSUMER_GROUP_HEARTBEAT,
    ConsumerGroupDescribe(consumer_groups::DescribeRequest) = api::CONSUMER_GROUP_DESCRIBE,
    SaslHandshake(sasl::HandshakeRequest) = api::SASL_HANDSHAKE,
    SaslAuthenticate(sasl::AuthenticateRequest) = api::SASL_AUTHENTICATE,
}

impl Request {
    /// Reads a frame without its length.
    pub fn parse(frame: Bytes) -> Result<Self, ParseError> {
        let mut input = Input::new(frame, false);
        let unknown = |error| ParseError::Malformed { key: -1, version: -1, error };
        let (key, version) = (input.i16().map_err(unknown)?, input.i16().map_err(unknown)?);
        let malformed = |error| ParseError::Malformed { key, version, error };
        let Some(api) = api::find(key) else {
            return Err(ParseError::Unsupported { key, version });
        };
        let spoken = (api.min..=api.max).contains(&version)
            && (key != api::PRODUCE || version >= produce::VERSION_MIN);
        if !spoken && key != api::API_VERSIONS {
            return Err(ParseError::Unsupported { key, version });
        }
        let correlation_id = input.i32().map_err(malformed)?;
        let client_id = input.nullable_string().map_err(malformed)?.unwrap_or_default();
        let header = Header { key, version, correlation_id, client_id };
        if key == api::API_VERSIONS {
            // What a client says of itself here is of no use, and of later versions not known.
            return Ok(Self { header, body: Body::ApiVersions { known: spoken } });
        }
        input.set_flexible(version >= api.flexible);
        input.tags().map_err(malformed)?;
        let body = parse_body(key, &mut input, version).map_err(malformed)?;
        Ok(Self { header, body })
    }
}

/// Whether nobody awaits the answer to a request to produce, of which this is the beginning. Where
/// that does not come so far, somebody does.
pub fn is_unanswered(beginning: Bytes) -> bool {
    acks_of(beginning) == Ok(0)
}

fn acks_of(beginning: Bytes) -> Result<i16, Malformed> {
    let mut input = Input::new(beginning, false);
    let (key, version, _number) = (input.i16()?, input.i16()?, input.i32()?);
    let _client_id = input.nullable_string()?;
    let api = api::find(key).filter(|api| api.key == api::PRODUCE);
    input.set_flexible(version >= api.ok_or(Malformed("a request to produce"))?.flexible);
    input.tags()?;
    let _transactional_id = input.nullable_string()?;
    input.i16()
}

impl Header {
    fn api(&self) -> Option<&'static Api> {
        api::find(self.key)
    }

    /// Begins the answer.
    pub fn reply(&self) -> Reply {
        let flexible = self.api().is_some_and(|api| self.version >= api.flexible);
        let flexible_header = flexible && self.key != api::API_VERSIONS;
        Reply::new(self.correlation_id, flexible, flexible_header)
    }
}
