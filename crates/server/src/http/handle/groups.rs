//! Groups of consumers of streams: how far each has read, and how far it has yet to go.

use std::collections::BTreeMap;

use hyper::StatusCode;
use longshore_engine::ask::{CommitOffsets, ForgetGroup};
use longshore_engine::query;
use longshore_engine::{
    CommittedOffset, OffsetRefusal, OffsetToCommit, ReadOffset, Reader, Rejection,
};
use longshore_kafka::message::consumer_groups::MemberView;
use longshore_kafka::message::groups::MemberView as ClassicMember;
use longshore_streams::StreamLog;

use super::{ask, ok};
use crate::api::{
    GroupList, GroupMember, GroupOffsetRecord, GroupRecord, GroupSummary, InstantText,
    MemberPartitions, OffsetsBody,
};
use crate::groups::{Known, has_members};
use crate::http::app::Call;
use crate::http::code::Code;
use crate::http::cursor;
use crate::http::json::{read, text_of};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::{check_name, quoted};

/// Groups on one page: each may have read thousands of partitions.
const GROUPS_DEFAULT: usize = 50;
const GROUPS_MAX: usize = 200;
/// Partitions of a group that are told.
const PARTITIONS_MAX: usize = 10_000;

/// What a group has read, beside what there is. A partition that is not there any more has ended
/// where the group left off.
fn told(log: &StreamLog, namespace: &str, offsets: Vec<ReadOffset>) -> Vec<GroupOffsetRecord> {
    let mut last = None;
    let tell = |of: ReadOffset| {
        let known = last.as_ref().filter(|(name, _)| *name == of.stream);
        if known.is_none() {
            last = Some((of.stream.clone(), log.stream(namespace, &of.stream)));
        }
        let stream = last.as_ref().and_then(|(_, stream)| stream.as_ref());
        let partition = stream.and_then(|stream| stream.partitions.get(of.partition as usize));
        let offset = of.committed.offset;
        let (start, end) = partition.map_or((offset, offset), |partition| partition.ends());
        GroupOffsetRecord {
            stream: of.stream,
            partition: of.partition,
            offset,
            end,
            // What is kept no longer is not to be read any more.
            lag: end.saturating_sub(offset.max(start)),
            at: InstantText(of.at.0),
            metadata: of.committed.metadata,
        }
    };
    offsets.into_iter().map(tell).collect()
}

pub(super) async fn list(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", GROUPS_DEFAULT, GROUPS_MAX)?;
    let scope = cursor::scope("groups", call.namespace, &[]);
    let after = call.query.text("cursor").map(|text| cursor::decode(text, scope)).transpose()?;
    let after = after.map(|name| String::from_utf8_lossy(&name).into_owned());
    let namespace = call.namespace.to_owned();
    let begin = after.clone();
    let look = move |reader: &dyn Reader, _| {
        let (names, more) = query::group_names(reader, &namespace, begin.as_deref(), limit)?;
        let of = |name: String| {
            let offsets = query::group_offsets(reader, &namespace, &name, PARTITIONS_MAX);
            (name, offsets)
        };
        Some((names.into_iter().map(of).collect::<Vec<_>>(), more))
    };
    let Some((groups, more)) = call.app.node.read(call.namespace, look).await? else {
        return Err(Rejection::NamespaceUnknown { name: call.namespace.to_owned() }.into());
    };
    let log = call.app.node.stream_log(call.namespace)?;
    let groups = with_members(&call, after.as_deref(), (groups, more));
    let more = more || groups.len() > limit;
    let known = call.app.groups.of(call.namespace);
    let summary = |(name, offsets): (String, Vec<ReadOffset>)| {
        let told = told(&log, call.namespace, offsets);
        let lag = told.iter().map(|it| it.lag).sum();
        let members = known.members(&name) as u64;
        GroupSummary { name, partitions: told.len() as u64, lag, members }
    };
    let groups: Vec<_> = groups.into_iter().take(limit).map(summary).collect();
    let last = groups.last().filter(|_| more);
    let next = last.map(|last| cursor::encode(last.name.as_bytes(), scope));
    Ok(ok(&GroupList { groups, next }).not_cached())
}

/// A page with those groups that have members and have committed nothing yet among the others.
fn with_members(
    call: &Call<'_>,
    after: Option<&str>,
    (page, more): (Vec<(String, Vec<ReadOffset>)>, bool),
) -> BTreeMap<String, Vec<ReadOffset>> {
    let mut page: BTreeMap<_, _> = page.into_iter().collect();
    // What is behind the page is on one that follows.
    let last = page.keys().next_back().cloned().filter(|_| more);
    let here = |name: &String| {
        after.is_none_or(|after| name.as_str() > after)
            && last.as_ref().is_none_or(|last| name <= last)
    };
    for name in call.app.groups.of(call.namespace).used().into_iter().filter(here) {
        page.entry(name).or_default();
    }
    page
}

pub(super) async fn get(call: Call<'_>) -> Result<Reply, Refusal> {
    check_name("group", call.name)?;
    let (namespace, group) = (call.namespace.to_owned(), call.name.to_owned());
    let look = move |reader: &dyn Reader, _| {
        query::group_offsets(reader, &namespace, &group, PARTITIONS_MAX)
    };
    let offsets = call.app.node.read(call.namespace, look).await?;
    let known = call.app.groups.of(call.namespace).known(call.name);
    if offsets.is_empty() && known.is_none() {
        return Err(unknown(call.name));
    }
    let log = call.app.node.stream_log(call.namespace)?;
    let offsets = told(&log, call.namespace, offsets);
    let lag = offsets.iter().map(|it| it.lag).sum();
    let name = call.name.to_owned();
    let (state, members) = known.map(members).unwrap_or_default();
    Ok(ok(&GroupRecord { name, lag, state, members, offsets }).not_cached())
}

/// The state of a group with members, and these.
fn members(known: Known) -> (Option<String>, Vec<GroupMember>) {
    match known {
        Known::Classic(view) => {
            let member = |it: ClassicMember| GroupMember {
                id: it.member,
                instance: it.instance,
                client: it.client_id,
                host: it.client_host,
                partitions: None,
            };
            (Some(view.state.to_owned()), view.members.into_iter().map(member).collect())
        }
        Known::Consumer(view) => {
            let of = |(_, stream, partitions)| MemberPartitions { stream, partitions };
            let member = |it: MemberView| GroupMember {
                id: it.member,
                instance: it.instance,
                client: it.client_id,
                host: it.client_host,
                partitions: Some(it.assignment.into_iter().map(of).collect()),
            };
            (Some(view.state.to_owned()), view.members.into_iter().map(member).collect())
        }
    }
}

fn unknown(group: &str) -> Refusal {
    let detail = format!("group {} has read nothing that is remembered", quoted(group));
    let allowed = "a group that has committed something".to_owned();
    Refusal::new(Code::GroupUnknown, detail).about("group", quoted(group), allowed)
}

/// Remembers how far a group has read; what is refused is so before anything is asked.
pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_name("group", call.name)?;
    let body: OffsetsBody = read(text_of(&call.body)?)?;
    if call.app.groups.of(call.namespace).has_members(call.name) {
        return Err(has_members(call.name));
    }
    let log = call.app.node.stream_log(call.namespace)?;
    let mut offsets = Vec::with_capacity(body.offsets.len());
    for of in body.offsets {
        let Some(stream) = log.stream(call.namespace, &of.stream) else {
            return Err(Rejection::StreamUnknown { stream: of.stream }.into());
        };
        if of.partition as usize >= stream.partitions.len() {
            let allowed = format!("0 to {}", stream.partitions.len().saturating_sub(1));
            return Err(Refusal::value("partition", of.partition, allowed));
        }
        let most = call.app.limits.offset_metadata_bytes_max;
        if of.metadata.len() > most {
            let (value, allowed) = (of.metadata.len(), format!("at most {most} bytes"));
            return Err(Refusal::value("metadata", value, allowed));
        }
        let (offset, metadata) = (of.offset, of.metadata);
        let committed = CommittedOffset { offset, leader_epoch: None, metadata };
        let (stream, partition) = (of.stream.into(), of.partition);
        offsets.push(OffsetToCommit { stream, partition, committed });
    }
    let group = call.name.to_owned();
    let results = ask(&call, CommitOffsets { group, offsets }).await?;
    match results.into_iter().find_map(Result::err) {
        None => get(call).await,
        // It was there a moment ago.
        Some(OffsetRefusal::PartitionUnknown | OffsetRefusal::MetadataTooLarge) => {
            Err(Refusal::value("partition", "one that is gone", "a partition that is there"))
        }
    }
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_name("group", call.name)?;
    if call.app.groups.of(call.namespace).has_members(call.name) {
        return Err(has_members(call.name));
    }
    let mut any = false;
    loop {
        let (offsets, more) = ask(&call, ForgetGroup { group: call.name.to_owned() }).await?;
        any |= offsets > 0;
        if !more {
            break;
        }
    }
    if any { Ok(Reply::empty(StatusCode::NO_CONTENT)) } else { Err(unknown(call.name)) }
}
