//! `longshore replay`: fills a queue again from a stream, as far as that is kept, and waits for it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use longshore_server::api::{GroupRecord, ReplayBody, ReplayRecord, TriggerRecord};

use crate::cli::Context;
use crate::client::{Client, read, segment};
use crate::failure::{Failure, Kind};
use crate::name;
use crate::output::{self, Format, grouped, note};
use crate::streams::stream_path;

/// How often it is looked how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many looks there are to a line that says so.
const LOOKS_PER_NOTE: u32 = 4;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  longshore replay orders --to orders.inbox\n  \
    longshore replay orders --to mail --kind SendReceipt --from 2026-11-29T00:00:00Z")]
pub(crate) struct ReplayArgs {
    /// The stream
    #[arg(value_parser = name::stream)]
    stream: String,
    /// The queue
    #[arg(long, value_name = "QUEUE")]
    to: String,
    /// The kind of the jobs; without one the queue has messages
    #[arg(long)]
    kind: Option<String>,
    /// Where to begin: earliest, or an instant [default: earliest]
    #[arg(long, value_name = "WHERE", conflicts_with = "offset")]
    from: Option<String>,
    /// Only this partition
    #[arg(long, short, value_name = "N")]
    partition: Option<u32>,
    /// Where to begin, in that partition
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    offset: Option<u64>,
    /// Let jobs of events with the same key run at the same time
    #[arg(long)]
    unordered: bool,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn replay(args: ReplayArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let body = ReplayBody {
        queue: args.to.clone(),
        kind: args.kind,
        ordered: args.unordered.then_some(false),
        priority: None,
        from: args.from,
        partition: args.partition,
        offset: args.offset,
    };
    let body = client.post(&stream_path(&client, &args.stream, "/replay"), &body).await?;
    let record: ReplayRecord = read(&body)?;
    if let Some(trigger) = record.trigger.as_ref().filter(|_| !args.no_wait) {
        wait(&client, trigger).await?;
    }
    if context.format == Format::Json {
        output::json_text(&body)?;
    } else if args.no_wait && record.trigger.is_some() {
        note(&format!("{} offsets are on their way to {}", grouped(record.events), args.to));
    } else {
        note(&format!("{} offsets went to {}", grouped(record.events), args.to));
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until a replay has ended, and tells meanwhile how far it is. One that stands still is told
/// of, and waited for.
async fn wait(client: &Client, trigger: &str) -> anyhow::Result<()> {
    let path = client.path(&format!("/triggers/{}", segment(trigger)));
    let (mut last, mut still, mut looks) = (None, 0_u32, 0_u32);
    let mut seen: Option<TriggerRecord> = None;
    loop {
        let record: TriggerRecord = match client.get(&path).await {
            Ok(body) => read(&body)?,
            Err(failure) if failure.kind == Kind::NotFound => {
                return check_ended(client, seen.as_ref()).await;
            }
            Err(failure) => return Err(failure.into()),
        };
        // Nothing is there if it ended between the two.
        let left = group_of(client, &record).await?.map(|group| left_of(&record, &group));
        still = if left == last { still + 1 } else { 0 };
        looks += 1;
        if looks.is_multiple_of(LOOKS_PER_NOTE)
            && still == 0
            && let Some(left) = left
        {
            note(&format!("{trigger}: {} offsets left", grouped(left)));
        }
        if still == 20 {
            let left = grouped(left.unwrap_or(0));
            note(&format!("{left} offsets wait: the queue may be full, or the server out of room"));
        }
        last = left;
        seen = Some(record);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far a replay has come. Of one that has come to its end nothing is kept.
async fn group_of(client: &Client, replay: &TriggerRecord) -> anyhow::Result<Option<GroupRecord>> {
    match client.get(&client.path(&format!("/groups/{}", segment(&replay.group)))).await {
        Ok(body) => Ok(Some(read(&body)?)),
        Err(failure) if failure.kind == Kind::NotFound => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// Whether a replay that is gone had come to its end: somebody may have deleted it, or its stream.
async fn check_ended(client: &Client, seen: Option<&TriggerRecord>) -> anyhow::Result<()> {
    // It was done before anybody looked.
    let Some(replay) = seen else { return Ok(()) };
    let early = |how: String| Err(Failure::new(Kind::Other, how).into());
    if let Err(failure) = client.get(&stream_path(client, &replay.stream, "")).await
        && failure.kind == Kind::NotFound
    {
        return early(format!("the stream {} was deleted meanwhile", replay.stream));
    }
    let left = group_of(client, replay).await?.map_or(0, |group| left_of(replay, &group));
    if left == 0 {
        return Ok(());
    }
    early(format!("the replay was ended early, with {} offsets left", grouped(left)))
}

/// Offsets that a replay has before it.
fn left_of(replay: &TriggerRecord, group: &GroupRecord) -> u64 {
    let of = |(index, until): (u32, &u64)| {
        let mut offsets = group.offsets.iter();
        let come = offsets.find(|it| it.stream == replay.stream && it.partition == index);
        let come = come.map_or(*until, |it| it.offset);
        until.saturating_sub(come)
    };
    (0..).zip(&replay.until).map(of).sum()
}
