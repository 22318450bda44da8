//! `InitProducerId`, `AddPartitionsToTxn`, `AddOffsetsToTxn`, `EndTxn`, `TxnOffsetCommit`. All of a
//! transaction is in the shard of this face's namespace, so its coordinator is the engine.

use longshore_engine::ask::TakeProducerId;
use longshore_engine::{
    TransactionAnswer, TransactionAsk, TransactionCommand, TransactionRefusal, TransactionStamp,
};
use longshore_kafka::message::Topic;
use longshore_kafka::message::produce::{InitRequest, put_init};
use longshore_kafka::message::transactions::{
    AddOffsetsRequest, AddPartitionsRequest, Asker, EndRequest, OffsetsRequest, put_error,
    put_results,
};
use longshore_kafka::{Reply, codes};

use super::codes_of::{of_coordinator, of_offset, of_transaction};
use super::face::{Face, partition};
use super::offsets::to_commit;

/// From these versions on a client knows that it is fenced; before, only that its epoch is old.
const INIT_KNOWS_FENCED: i16 = 4;
const OTHERS_KNOW_FENCED: i16 = 2;

/// The code as a client of that version knows it.
fn known(code: i16, version: i16, from: i16) -> i16 {
    let fenced = code == codes::PRODUCER_FENCED && version < from;
    if fenced { codes::INVALID_PRODUCER_EPOCH } else { code }
}

fn stamp_of(producer: i64, epoch: i16) -> Option<TransactionStamp> {
    let (producer, epoch) = (u64::try_from(producer).ok()?, u32::try_from(epoch).ok()?);
    Some(TransactionStamp { producer, epoch })
}

/// Id and stamp of who asks.
fn who(asker: Asker) -> Result<(String, TransactionStamp), i16> {
    let stamp = stamp_of(asker.producer_id, asker.producer_epoch);
    stamp.map(|stamp| (asker.transactional_id, stamp)).ok_or(codes::INVALID_PRODUCER_ID_MAPPING)
}

impl Face {
    async fn transact(&self, id: String, ask: TransactionAsk) -> Result<TransactionAnswer, i16> {
        let answer = self.ask(TransactionCommand { id, ask }).await.map_err(of_coordinator)?;
        answer.map_err(|refusal| {
            if let TransactionRefusal::TooMany { .. } = refusal {
                tracing::warn!(%refusal, "a transaction is refused");
            }
            of_transaction(refusal)
        })
    }

    pub(super) async fn init_producer(
        &self,
        reply: &mut Reply,
        version: i16,
        request: InitRequest,
    ) {
        let result = match request.transactional_id {
            Some(id) if id.is_empty() => Err(codes::INVALID_REQUEST),
            Some(id) => {
                let timeout = u64::try_from(request.timeout_ms);
                let timeout_ms = timeout.unwrap_or_default();
                let current = stamp_of(request.producer_id, request.producer_epoch);
                let taken = self.transact(id, TransactionAsk::Take { timeout_ms, current }).await;
                taken.and_then(|answer| match answer {
                    TransactionAnswer::Taken(TransactionStamp { producer, epoch }) => {
                        Ok((producer, epoch))
                    }
                    _ => Err(codes::UNKNOWN_SERVER_ERROR),
                })
            }
            None => self.ask(TakeProducerId {}).await.map(|id| (id, 0)).map_err(of_coordinator),
        };
        let result = result.map_err(|code| known(code, version, INIT_KNOWS_FENCED));
        put_init(
            reply,
            result.and_then(|(id, epoch)| match (i64::try_from(id), i16::try_from(epoch)) {
                (Ok(id), Ok(epoch)) => Ok((id, epoch)),
                _ => Err(codes::UNKNOWN_SERVER_ERROR),
            }),
        );
    }

    pub(super) async fn add_partitions_to_transaction(
        &self,
        reply: &mut Reply,
        version: i16,
        request: AddPartitionsRequest,
    ) {
        let mut ids = Vec::new();
        // Where one partition is refused, none is added, and each of the others is told so.
        let mut topics: Vec<Topic<(i32, i16)>> = Vec::new();
        let mut refused = false;
        for topic in request.topics {
            let stream = self.stream_as(crate::access::PUBLISH, &topic.name);
            let result = |index: i32| {
                let found = stream.as_ref().map_err(|code| *code);
                let found = found.and_then(|stream| partition(stream, index));
                refused |= found.is_err();
                ids.extend(found.as_ref().map(|partition| partition.id()));
                (index, found.err().unwrap_or(codes::OPERATION_NOT_ATTEMPTED))
            };
            let partitions = topic.partitions.into_iter().map(result).collect();
            topics.push(Topic { name: topic.name, partitions });
        }
        if !refused {
            let done = match who(request.asker) {
                Ok((id, stamp)) => {
                    let ask = TransactionAsk::AddPartitions { stamp, partitions: ids };
                    self.transact(id, ask).await.err().unwrap_or_default()
                }
                Err(code) => code,
            };
            let code = known(done, version, OTHERS_KNOW_FENCED);
            for (_, result) in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                *result = code;
            }
        }
        put_results(reply, &topics);
    }

    pub(super) async fn add_offsets_to_transaction(
        &self,
        reply: &mut Reply,
        version: i16,
        request: AddOffsetsRequest,
    ) {
        let code = match who(request.asker) {
            _ if request.group.is_empty() => codes::INVALID_GROUP_ID,
            Ok((id, stamp)) => {
                let added = self.transact(id, TransactionAsk::AddOffsets { stamp }).await;
                added.err().unwrap_or_default()
            }
            Err(code) => code,
        };
        put_error(reply, known(code, version, OTHERS_KNOW_FENCED));
    }

    pub(super) async fn end_transaction(
        &self,
        reply: &mut Reply,
        version: i16,
        request: EndRequest,
    ) {
        let commit = request.committed;
        let code = match who(request.asker) {
            Ok((id, stamp)) => {
                let ended = self.transact(id, TransactionAsk::End { stamp, commit }).await;
                ended.err().unwrap_or_default()
            }
            Err(code) => code,
        };
        put_error(reply, known(code, version, OTHERS_KNOW_FENCED));
    }

    pub(super) async fn commit_offsets_of_transaction(
        &self,
        reply: &mut Reply,
        request: OffsetsRequest,
    ) {
        let member = (request.member.as_str(), request.instance.as_deref());
        // Whoever says of what generation it is has to be in it; others are not asked.
        let allowed = if request.generation >= 0 || !request.member.is_empty() {
            match self.groups.may_commit(&request.group, request.generation, member) {
                // Unlike OffsetCommit, as Kafka has it: producers do not know that answer.
                codes::REBALANCE_IN_PROGRESS => codes::NONE,
                codes::STALE_MEMBER_EPOCH => codes::ILLEGAL_GENERATION,
                code => code,
            }
        } else {
            codes::NONE
        };
        let offsets =
            if allowed == codes::NONE { to_commit(&request.topics) } else { Err(allowed) };
        let group = request.group;
        let results = match (offsets, who(request.asker)) {
            (Ok(offsets), Ok((id, stamp))) => {
                let ask = TransactionAsk::CommitOffsets { stamp, group, offsets };
                match self.transact(id, ask).await {
                    Ok(TransactionAnswer::Offsets(results)) => Ok(results),
                    Ok(_) => Err(codes::UNKNOWN_SERVER_ERROR),
                    // It asks the coordinator of a group, who does not know of fencing.
                    Err(codes::PRODUCER_FENCED) => Err(codes::INVALID_PRODUCER_EPOCH),
                    Err(code) => Err(code),
                }
            }
            (Err(code), _) | (_, Err(code)) => Err(code),
        };
        let mut results = results.map(Vec::into_iter);
        let topics = request.topics.into_iter().map(|topic| {
            let result = |index| match &mut results {
                Ok(results) => {
                    let result = results.next().map(|it| it.map_or_else(of_offset, |()| 0));
                    (index, result.unwrap_or(codes::UNKNOWN_SERVER_ERROR))
                }
                Err(code) => (index, *code),
            };
            let indexes = topic.partitions.iter().map(|partition| partition.index);
            Topic { partitions: indexes.map(result).collect(), name: topic.name }
        });
        put_results(reply, &topics.collect::<Vec<_>>());
    }
}
