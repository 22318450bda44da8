//! `longshore streams` and `groups`: streams of events and who reads them, for people and scripts.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{
    DurationText, GroupList, GroupMember, GroupRecord, MemberPartitions, OffsetBody, OffsetsBody,
    StreamBody, StreamList, StreamRecord,
};

use crate::cli::Context;
use crate::client::{Client, read, segment, told};
use crate::name;
use crate::output::{self, Format, Table, bytes, facts, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum StreamsCommand {
    /// List streams
    List,
    /// Show a stream and its partitions
    Show(StreamArgs),
    /// Create a stream, or replace its settings
    Put(PutArgs),
    /// Delete a stream with its events
    Delete(StreamArgs),
}

#[derive(Args, Debug)]
pub(crate) struct StreamArgs {
    /// The stream
    #[arg(value_parser = name::stream)]
    stream: String,
}

#[derive(Args, Debug)]
pub(crate) struct PutArgs {
    /// The stream
    #[arg(value_parser = name::stream)]
    stream: String,
    /// How many partitions; they may only grow [default: 1 for a new one]
    #[arg(long, short, value_name = "N")]
    partitions: Option<u32>,
    /// How long events are kept, 0s for ever [default: 7d]
    #[arg(long, value_name = "DURATION")]
    retention: Option<DurationText>,
    /// Bytes kept of each partition [default: all]
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
    /// Bytes of one batch [default: 1048588]
    #[arg(long, value_name = "BYTES")]
    batch_bytes_max: Option<u32>,
    /// Bytes of one file; what goes, goes in whole files [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    file_bytes: Option<u64>,
    /// Keep only the newest event of each key; every event has to have one
    #[arg(long)]
    compact: bool,
    /// How much of a partition has to be new before older events of its keys go [default: 50]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    compaction_dirty_percent: Option<u32>,
    /// How old an event has to be before it may go for a newer one [default: 0s]
    #[arg(long, value_name = "DURATION")]
    compaction_lag_min: Option<DurationText>,
    /// After how long it goes even where little is new [default: never]
    #[arg(long, value_name = "DURATION")]
    compaction_lag_max: Option<DurationText>,
    /// How long an event without a value stays, which says that its key is gone [default: 1d]
    #[arg(long, value_name = "DURATION")]
    tombstone_retention: Option<DurationText>,
    /// How far the times of the events of one file may be apart [default: 7d]
    #[arg(long, value_name = "DURATION")]
    file_age: Option<DurationText>,
    /// Count the events of each key, for append --expect; for a new stream only
    #[arg(long)]
    count_keys: bool,
    /// The header of messages whose value is the key of their event [default: the routing key is]
    #[arg(long, value_name = "HEADER")]
    ordering_header: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// List groups, with their members and the events that they have yet to read
    List,
    /// Show how far a group has read, and who its members are
    Show(GroupArgs),
    /// Say how far a group has read, while none of its members is connected
    Set(SetArgs),
    /// Forget how far a group has read, while none of its members is connected
    Delete(GroupArgs),
}

#[derive(Args, Debug)]
pub(crate) struct GroupArgs {
    /// The group
    group: String,
}

#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// The group
    group: String,
    /// The stream
    #[arg(value_parser = name::stream)]
    stream: String,
    /// The partition, and the offset of the first event that it has not read
    #[arg(value_name = "PARTITION=OFFSET", value_parser = place, required = true)]
    offsets: Vec<(u32, u64)>,
}

fn place(text: &str) -> Result<(u32, u64), String> {
    let parts = text.split_once('=');
    let read =
        parts.and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    read.ok_or_else(|| "it has to be PARTITION=OFFSET, as in 0=17".to_owned())
}

pub(crate) fn stream_path(client: &Client, stream: &str, rest: &str) -> String {
    client.path(&format!("/streams/{}{rest}", segment(stream)))
}

fn group_path(client: &Client, group: &str) -> String {
    client.path(&format!("/groups/{}", segment(group)))
}

pub(crate) async fn streams(
    command: StreamsCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (client, format) = (context.client()?, context.format);
    match command {
        StreamsCommand::List => list(&client, format).await?,
        StreamsCommand::Show(args) => {
            show(&client.get(&stream_path(&client, &args.stream, "")).await?, format)?;
        }
        StreamsCommand::Put(args) => {
            let body = StreamBody {
                partitions: args.partitions,
                retention: args.retention,
                retention_bytes: args.retention_bytes,
                batch_bytes_max: args.batch_bytes_max,
                file_bytes: args.file_bytes,
                compact: args.compact.then_some(true),
                compaction_dirty_percent: args.compaction_dirty_percent,
                compaction_lag_min: args.compaction_lag_min,
                compaction_lag_max: args.compaction_lag_max,
                tombstone_retention: args.tombstone_retention,
                file_age: args.file_age,
                ordering_header: args.ordering_header,
                count_keys: args.count_keys.then_some(true),
            };
            show(&client.put(&stream_path(&client, &args.stream, ""), &body).await?, format)?;
        }
        StreamsCommand::Delete(args) => {
            client.delete(&stream_path(&client, &args.stream, "")).await?;
            note(&format!("{} is deleted", args.stream));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, format: Format) -> anyhow::Result<()> {
    let table = Table::new(&["stream", ">partitions", ">events", ">bytes"]);
    let rows = |body: &[u8], table: &mut Table| {
        let page: StreamList = read(body)?;
        for stream in page.streams {
            table.row(&[
                stream.name,
                grouped(stream.partitions.into()),
                grouped(stream.events),
                bytes(stream.bytes),
            ]);
        }
        Ok(page.next)
    };
    client.print_list(format, ("/streams", &[]), (table, ""), rows).await
}

fn show(body: &[u8], format: Format) -> anyhow::Result<()> {
    let Some(stream) = told::<StreamRecord>(body, format)? else { return Ok(()) };
    let settings = stream.settings;
    let retention = settings.retention.map(|kept| match kept.0 {
        0 => "for ever".to_owned(),
        _ => kept.to_string(),
    });
    output::line(&facts(&[
        ("stream", Some(stream.name)),
        ("kept", retention),
        (
            "compacted",
            settings.compact.filter(|it| *it).map(|_| "to the newest of each key".into()),
        ),
        ("kept bytes", settings.retention_bytes.map(bytes)),
        ("largest batch", settings.batch_bytes_max.map(|most| bytes(most.into()))),
        ("file", settings.file_bytes.map(bytes)),
    ]))?;
    let mut table = Table::new(&[">partition", ">start", ">end", ">bytes"]);
    for partition in stream.partitions {
        table.row(&[
            partition.partition.to_string(),
            grouped(partition.start),
            grouped(partition.end),
            bytes(partition.bytes),
        ]);
    }
    table.print()?;
    Ok(())
}

pub(crate) async fn groups(command: GroupsCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let (client, format) = (context.client()?, context.format);
    match command {
        GroupsCommand::List => list_groups(&client, format).await?,
        GroupsCommand::Show(args) => {
            show_group(&client.get(&group_path(&client, &args.group)).await?, format)?;
        }
        GroupsCommand::Set(args) => {
            let offset = |(partition, offset): (u32, u64)| OffsetBody {
                stream: args.stream.clone(),
                partition,
                offset,
                metadata: String::new(),
            };
            let body = OffsetsBody { offsets: args.offsets.into_iter().map(offset).collect() };
            show_group(&client.put(&group_path(&client, &args.group), &body).await?, format)?;
        }
        GroupsCommand::Delete(args) => {
            client.delete(&group_path(&client, &args.group)).await?;
            note(&format!("how far {} has read is forgotten", args.group));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_groups(client: &Client, format: Format) -> anyhow::Result<()> {
    let table = Table::new(&["group", ">members", ">partitions", ">lag"]);
    let rows = |body: &[u8], table: &mut Table| {
        let page: GroupList = read(body)?;
        for group in page.groups {
            let (members, partitions) = (grouped(group.members), grouped(group.partitions));
            table.row(&[group.name, members, partitions, grouped(group.lag)]);
        }
        Ok(page.next)
    };
    let none = "no group has members or has read anything";
    client.print_list(format, ("/groups", &[]), (table, none), rows).await
}

fn show_group(body: &[u8], format: Format) -> anyhow::Result<()> {
    let Some(group) = told::<GroupRecord>(body, format)? else { return Ok(()) };
    let columns = ["stream", ">partition", ">offset", ">end", ">lag", "committed"];
    let mut table = Table::new(&columns);
    for of in &group.offsets {
        table.row(&[
            of.stream.clone(),
            of.partition.to_string(),
            grouped(of.offset),
            grouped(of.end),
            grouped(of.lag),
            of.at.to_string(),
        ]);
    }
    if !table.is_empty() {
        table.print()?;
    }
    show_members(&group.members)
}

/// Who reads, and what.
fn show_members(members: &[GroupMember]) -> anyhow::Result<()> {
    if members.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["member", "client", "host", "reads"]);
    for member in members {
        let of = |it: &MemberPartitions| {
            let indexes: Vec<_> = it.partitions.iter().map(ToString::to_string).collect();
            format!("{} {}", it.stream, indexes.join(","))
        };
        let reads = member.partitions.as_ref();
        let reads = reads.map(|all| all.iter().map(of).collect::<Vec<_>>().join("; "));
        let reads = reads.unwrap_or_else(|| "as its members say".to_owned());
        let id = member.instance.as_ref().unwrap_or(&member.id);
        table.row(&[id.clone(), member.client.clone(), member.host.clone(), reads]);
    }
    table.print()?;
    Ok(())
}
