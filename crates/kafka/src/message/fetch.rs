//! Fetch.

use bytes::Bytes;

use crate::input::{Input, Malformed};
use crate::output::Reply;

/// A topic by its name, or by its id where there is no name.
pub type TopicKey = (String, [u8; 16]);

#[derive(Clone, Debug)]
pub struct Request {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// Whether nothing of open transactions is wanted, and aborted ones are to be told.
    pub committed: bool,
    pub session_id: i32,
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    /// Topics, each with indexes of partitions, that the session is to leave out from now on.
    pub forgotten: Vec<(TopicKey, Vec<i32>)>,
}

/// A topic by its name, from version 13 on by its id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchTopic {
    pub name: String,
    pub id: [u8; 16],
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchPartition {
    pub index: i32,
    pub leader_epoch: i32,
    pub offset: i64,
    pub max_bytes: i32,
}

fn topic(input: &mut Input, version: i16) -> Result<TopicKey, Malformed> {
    if version >= 13 { Ok((String::new(), input.uuid()?)) } else { Ok((input.string()?, [0; 16])) }
}

impl Request {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        if version < 15 {
            input.i32()?;
        }
        let (max_wait_ms, min_bytes) = (input.i32()?, input.i32()?);
        let max_bytes = input.i32()?;
        let committed = input.bool()?;
        let (mut session_id, mut session_epoch) = (0, -1);
        if version >= 7 {
            (session_id, session_epoch) = (input.i32()?, input.i32()?);
        }
        let topics = input.array(|input| {
            let (name, id) = topic(input, version)?;
            let partitions = input.array(|input| partition(input, version))?;
            input.tags().map(|()| FetchTopic { name, id, partitions })
        })?;
        let mut forgotten = Vec::new();
        if version >= 7 {
            forgotten = input.array(|input| {
                let of = (topic(input, version)?, input.array(Input::i32)?);
                input.tags().map(|()| of)
            })?;
        }
        if version >= 11 {
            input.string()?;
        }
        input.tags()?;
        Ok(Self {
            max_wait_ms,
            min_bytes,
            max_bytes,
            committed,
            session_id,
            session_epoch,
            topics,
            forgotten,
        })
    }
}

fn partition(input: &mut Input, version: i16) -> Result<FetchPartition, Malformed> {
    let index = input.i32()?;
    let leader_epoch = if version >= 9 { input.i32()? } else { -1 };
    let offset = input.i64()?;
    if version >= 12 {
        input.i32()?;
    }
    if version >= 5 {
        input.i64()?;
    }
    let max_bytes = input.i32()?;
    input.tags()?;
    Ok(FetchPartition { index, leader_epoch, offset, max_bytes })
}

#[derive(Clone, Debug)]
pub struct TopicResult {
    pub name: String,
    pub id: [u8; 16],
    pub partitions: Vec<PartitionResult>,
}

#[derive(Clone, Debug)]
pub struct PartitionResult {
    pub index: i32,
    pub error: i16,
    pub high_watermark: i64,
    /// The offset up to which no transaction is open.
    pub stable: i64,
    /// Producer and first offset of aborted transactions, where that was asked for.
    pub aborted: Option<Vec<(i64, i64)>>,
    pub log_start: i64,
    pub records: Bytes,
}

/// `session` is the number of the fetch session that it is in; 0 for none.
pub fn put(reply: &mut Reply, version: i16, (error, session): (i16, i32), topics: &[TopicResult]) {
    reply.i32(0);
    if version >= 7 {
        reply.i16(error);
        reply.i32(session);
    }
    reply.array(topics, |reply, topic| {
        if version >= 13 {
            reply.uuid(topic.id);
        } else {
            reply.string(&topic.name);
        }
        reply.array(&topic.partitions, |reply, result| {
            reply.i32(result.index);
            reply.i16(result.error);
            reply.i64(result.high_watermark);
            reply.i64(result.stable);
            if version >= 5 {
                reply.i64(result.log_start);
            }
            match &result.aborted {
                None => reply.no_array(),
                Some(aborted) => reply.array(aborted, |reply, (producer, first)| {
                    reply.i64(*producer);
                    reply.i64(*first);
                    reply.tags();
                }),
            }
            if version >= 11 {
                reply.i32(-1);
            }
            reply.bytes(&result.records);
            reply.tags();
        });
        reply.tags();
    });
    reply.tags();
}
