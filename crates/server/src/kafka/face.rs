//! What all connections of one thread share, and which handler a request goes to.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use longshore_engine::ask::Ask;
use longshore_engine::{Answer, AuditedCommand, Command, Role, StreamCommand, TransactionAsk};
use longshore_kafka::fetch_session::Sessions;
use longshore_kafka::message::groups::put_find;
use longshore_kafka::message::metadata::{Broker, put_versions};
use longshore_kafka::{Body, Request, codes};
use longshore_streams::{Partition, StreamEntry, StreamLog};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::KafkaConfig;
use super::codes_of::{Refused, of_rejection, of_unavailable};
use crate::access::{Principal, Wanted, needs_of};
use crate::groups::Groups;
use crate::http::look::told;
use crate::http::refusal::Refusal;
use longshore_node::Node;

/// The frame of an answer in pieces, and the room that it takes until it is written; `None` where
/// nobody waits for one.
pub(super) type Answered = Option<(Vec<Bytes>, Option<OwnedSemaphorePermit>)>;

/// A request under way.
pub(super) type Pending = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// The Kafka face on one thread, as those see it who came in the same way.
#[derive(Clone, Debug)]
pub(super) struct Face {
    pub(super) node: Node,
    pub(super) config: Arc<KafkaConfig>,
    pub(super) broker: Broker,
    pub(super) cluster_id: String,
    pub(super) groups: Arc<Groups>,
    /// Bytes that answers with events may take, in KiB.
    pub(super) answer_room: Arc<Semaphore>,
    pub(super) fetch_sessions: Arc<Mutex<Sessions>>,
    /// Who asks.
    pub(super) who: Principal,
}

impl Face {
    /// The streams of this face's namespace.
    pub(super) fn log(&self) -> Result<Arc<StreamLog>, Refused> {
        let log = self.node.stream_log(&self.config.namespace);
        log.map_err(|why| of_unavailable(&why))
    }

    /// The stream of that name.
    pub(super) fn stream(&self, name: &str) -> Result<Arc<StreamEntry>, i16> {
        let log = self.log().map_err(|(code, _)| code)?;
        let stream = log.stream(&self.config.namespace, name);
        stream.ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// The stream of that name, where whoever asks has one of these roles for it.
    pub(super) fn stream_as(
        &self,
        roles: &'static [Role],
        name: &str,
    ) -> Result<Arc<StreamEntry>, i16> {
        if !self.has(roles, name) {
            return Err(codes::TOPIC_AUTHORIZATION_FAILED);
        }
        self.stream(name)
    }

    /// Whether whoever asks has one of these roles for the stream or the group of that name.
    pub(super) fn has(&self, roles: &'static [Role], name: &str) -> bool {
        self.who.may(&self.config.namespace, roles, &Wanted::Name(name))
    }

    /// The command as whoever asks may have it carried out.
    fn allowed(&self, command: Command) -> Result<Command, Refused> {
        for need in needs_of(&command) {
            let denied = self.who.demand(&self.config.namespace, &need).err();
            if let Some(denied) = denied {
                return Err((denial_of(&command), Refusal::from(denied).problem().detail));
            }
        }
        if self.who.is_local() || !command.is_audited() {
            return Ok(command);
        }
        let by = self.who.name().to_owned();
        Ok(Command::Audited(Box::new(AuditedCommand { by, command })))
    }

    /// Has the engine carry out a command, where whoever asks may have it carried out.
    pub(super) async fn ask<C: Ask>(&self, command: C) -> Result<C::Answer, Refused> {
        let command = self.allowed(command.into())?;
        let answer = self.node.call(&self.config.namespace, command).await;
        match answer {
            Ok(Answer::Rejected(rejection)) => Err(of_rejection(&rejection)),
            Ok(answer) => {
                told::<C>(answer).map_err(|bug| (codes::UNKNOWN_SERVER_ERROR, bug.problem().detail))
            }
            Err(why) => Err(of_unavailable(&why)),
        }
    }

    /// Begins to carry out a request of a client at `host`.
    pub(super) fn handle(self: &Arc<Self>, request: Request, host: &str) -> Pending {
        let face = Arc::clone(self);
        let Request { header, body } = request;
        let version = header.version;
        if let Body::Produce(request) = body {
            return face.produce(header, request);
        }
        let host = host.to_owned();
        Box::pin(async move {
            let mut reply = header.reply();
            let out = &mut reply;
            match body {
                Body::ApiVersions { known } => {
                    // Whoever asked at a version that is not known reads the lowest one.
                    reply = longshore_kafka::Reply::new(
                        header.correlation_id,
                        known && version >= 3,
                        false,
                    );
                    put_versions(&mut reply, version, known);
                }
                Body::Produce(_) => return None,
                Body::Fetch(request) => return face.fetch(&header, request).await,
                Body::ListOffsets(request) => face.list_offsets(out, version, request).await,
                Body::Metadata(request) => face.metadata(out, version, &request).await,
                Body::OffsetCommit(request) => face.commit_offsets(out, version, request).await,
                Body::OffsetFetch(request) => face.fetch_offsets(out, version, request).await,
                Body::FindCoordinator(request) => {
                    put_find(out, version, &request, &face.broker);
                }
                Body::JoinGroup(request) => face.join(out, &header, request, host).await,
                Body::Heartbeat(request) => face.heartbeat(out, version, &request),
                Body::LeaveGroup(request) => face.leave(out, version, &request),
                Body::SyncGroup(request) => face.sync(out, version, request).await,
                Body::DescribeGroups(request) => face.describe_groups(out, version, request).await,
                Body::ListGroups(request) => face.list_groups(out, version, &request),
                Body::DeleteGroups(request) => face.delete_groups(out, request).await,
                Body::CreateTopics(request) => face.create_topics(out, version, request).await,
                Body::DeleteTopics(request) => face.delete_topics(out, version, request).await,
                Body::DeleteRecords(request) => face.trim(out, request).await,
                Body::InitProducerId(request) => face.init_producer(out, version, request).await,
                Body::AddPartitionsToTxn(request) => {
                    face.add_partitions_to_transaction(out, version, request).await;
                }
                Body::AddOffsetsToTxn(request) => {
                    face.add_offsets_to_transaction(out, version, request).await;
                }
                Body::EndTxn(request) => face.end_transaction(out, version, request).await,
                Body::TxnOffsetCommit(request) => {
                    face.commit_offsets_of_transaction(out, request).await;
                }
                Body::OffsetForLeaderEpoch(request) => face.epochs(out, request),
                Body::DescribeConfigs(request) => face.describe_configs(out, version, request),
                Body::CreatePartitions(request) => face.add_partitions(out, request).await,
                Body::IncrementalAlterConfigs(request) => face.alter_configs(out, request).await,
                Body::SaslHandshake(_) => super::sasl::no_handshake(out),
                Body::SaslAuthenticate(_) => super::sasl::no_login(out, version),
                Body::DescribeProducers(request) => face.describe_producers(out, request).await,
                Body::DescribeTransactions(asked) => face.describe_transactions(out, asked).await,
                Body::ListTransactions(request) => face.list_transactions(out, request).await,
                Body::ConsumerGroupHeartbeat(asked) => face.hear_member(out, &header, asked, host),
                Body::ConsumerGroupDescribe(asked) => {
                    face.describe_consumer_groups(out, version, asked.groups);
                }
                Body::DescribeCluster(request) => {
                    let broker = (face.cluster_id.as_str(), &face.broker);
                    longshore_kafka::message::metadata::put_cluster(out, version, broker, &request);
                }
            }
            Some((reply.finish(), None))
        })
    }
}

/// How it is told that somebody may not ask for this.
fn denial_of(command: &Command) -> i16 {
    match command {
        Command::Stream(
            StreamCommand::CommitOffsets { .. }
            | StreamCommand::GetOffsets { .. }
            | StreamCommand::ForgetGroup { .. }
            | StreamCommand::GroupsUsed { .. },
        ) => codes::GROUP_AUTHORIZATION_FAILED,
        Command::Stream(StreamCommand::TakeProducerId) => codes::CLUSTER_AUTHORIZATION_FAILED,
        Command::Stream(StreamCommand::Transact(command)) => match &command.ask {
            TransactionAsk::CommitOffsets { .. } => codes::GROUP_AUTHORIZATION_FAILED,
            _ => codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        },
        _ => codes::TOPIC_AUTHORIZATION_FAILED,
    }
}

/// The partition of that index.
pub(super) fn partition(stream: &StreamEntry, index: i32) -> Result<&Arc<Partition>, i16> {
    let partition = usize::try_from(index).ok().and_then(|index| stream.partitions.get(index));
    partition.ok_or(codes::UNKNOWN_TOPIC_OR_PARTITION)
}

/// Whether a client that says which epoch of the leader it knows knows the only one.
pub(super) fn check_epoch(epoch: i32) -> Result<(), i16> {
    if epoch > 0 { Err(codes::UNKNOWN_LEADER_EPOCH) } else { Ok(()) }
}
