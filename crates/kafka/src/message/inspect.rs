//! `DescribeProducers`, `DescribeTransactions`, `ListTransactions`.

use super::Topic;
use crate::codes;
use crate::input::{Input, Malformed};
use crate::output::Reply;

#[derive(Clone, Debug)]
pub struct ProducersRequest {
    pub topics: Vec<Topic<i32>>,
}

impl ProducersRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let topics = input.array(|input| {
            let (name, partitions) = (input.string()?, input.array(Input::i32)?);
            input.tags().map(|()| Topic { name, partitions })
        })?;
        input.tags()?;
        Ok(Self { topics })
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i32,
    /// -1 where it is not known.
    pub last_sequence: i32,
    pub last_timestamp: i64,
    /// -1 where no transaction is open.
    pub transaction_start_offset: i64,
}

/// The producers of a partition, or why they are not told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProducersResult {
    pub index: i32,
    pub producers: Result<Vec<ProducerState>, (i16, String)>,
}

pub fn put_producers(reply: &mut Reply, topics: &[Topic<ProducersResult>]) {
    reply.i32(0);
    reply.array(topics, |reply, topic| {
        reply.string(&topic.name);
        reply.array(&topic.partitions, |reply, partition| {
            reply.i32(partition.index);
            let (producers, error) = match &partition.producers {
                Ok(producers) => (producers.as_slice(), None),
                Err(error) => (&[][..], Some(error)),
            };
            reply.i16(error.map_or(codes::NONE, |(code, _)| *code));
            reply.nullable_string(error.map(|(_, why)| why.as_str()));
            reply.array(producers, |reply, producer| {
                reply.i64(producer.producer_id);
                reply.i32(producer.producer_epoch);
                reply.i32(producer.last_sequence);
                reply.i64(producer.last_timestamp);
                // Whoever coordinates transactions is never another one.
                reply.i32(0);
                reply.i64(producer.transaction_start_offset);
                reply.tags();
            });
            reply.tags();
        });
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct TransactionsRequest {
    pub ids: Vec<String>,
}

impl TransactionsRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let ids = input.array(Input::string)?;
        input.tags()?;
        Ok(Self { ids })
    }
}

/// A transactional id: what is told of it has no meaning where there is an error.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TransactionState {
    pub error: i16,
    pub id: String,
    pub state: &'static str,
    pub timeout_ms: i32,
    /// -1 where no transaction is open.
    pub start_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub topics: Vec<Topic<i32>>,
}

pub fn put_transactions(reply: &mut Reply, transactions: &[TransactionState]) {
    reply.i32(0);
    reply.array(transactions, |reply, it| {
        reply.i16(it.error);
        reply.string(&it.id);
        reply.string(it.state);
        reply.i32(it.timeout_ms);
        reply.i64(it.start_ms);
        reply.i64(it.producer_id);
        reply.i16(it.producer_epoch);
        reply.array(&it.topics, |reply, topic| {
            reply.string(&topic.name);
            reply.array(&topic.partitions, |reply, index| reply.i32(*index));
            reply.tags();
        });
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct ListTransactionsRequest {
    pub states: Vec<String>,
    pub producer_ids: Vec<i64>,
    /// Only what is open for longer than so many milliseconds; all where it is negative.
    pub open_longer_ms: i64,
}

impl ListTransactionsRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let (states, producer_ids) = (input.array(Input::string)?, input.array(Input::i64)?);
        let open_longer_ms = if version >= 1 { input.i64()? } else { -1 };
        input.tags()?;
        Ok(Self { states, producer_ids, open_longer_ms })
    }
}

/// `unknown`: names of states that there are not.
pub fn put_transaction_list(
    reply: &mut Reply,
    error: i16,
    unknown: &[&String],
    transactions: &[TransactionState],
) {
    reply.i32(0);
    reply.i16(error);
    reply.array(unknown, |reply, name| reply.string(name));
    reply.array(transactions, |reply, it| {
        reply.string(&it.id);
        reply.i64(it.producer_id);
        reply.string(it.state);
        reply.tags();
    });
    reply.tags();
}
