//! `longshore append` and `tail`: events into a stream and out of it.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, Read};
use std::process::ExitCode;

use clap::Args;
use longshore_server::api::{
    AppendAnswer, AppendBulkAnswer, EventBody, EventBulk, EventList, EventRecord, InstantText,
    RawJson, StreamRecord,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cli::Context;
use crate::client::{Client, query, read};
use crate::failure::{Failure, Kind};
use crate::name;
use crate::output::{self, Format};
use crate::patient::Patient;
use crate::streams::stream_path;

/// Lines that are sent in one request.
const LINES_MAX: usize = 1000;
/// Events that are asked for at a time.
const PAGE: &str = "1000";
/// How long the server is asked to wait for the next event.
const WAIT: &str = "30s";

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  longshore append orders '{\"order\":1}' --key 1\n  \
    tail -F access.log | longshore append clicks --lines")]
pub(crate) struct AppendArgs {
    /// The stream
    #[arg(value_parser = name::stream)]
    stream: String,
    /// What the event says; standard input where it is left out
    value: Option<String>,
    /// What events share that are to stay in order
    #[arg(long, short)]
    key: Option<String>,
    /// The partition [default: as the key says, or any]
    #[arg(long, short, value_name = "N")]
    partition: Option<u32>,
    /// A header
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Its time [default: now]
    #[arg(long, value_name = "INSTANT")]
    at: Option<InstantText>,
    /// How many events the key is to have before; where it has others, nothing is appended
    #[arg(long, value_name = "N", requires = "key", conflicts_with = "lines")]
    expect: Option<u64>,
    /// Each line of standard input is an event
    #[arg(long, conflicts_with = "value")]
    lines: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  longshore tail orders -f\n  \
    longshore tail orders --from 2026-11-29T00:00:00Z --keys\n  \
    longshore tail accounts --key 17")]
pub(crate) struct TailArgs {
    /// The stream
    #[arg(value_parser = name::stream)]
    stream: String,
    /// Go on with what comes
    #[arg(long, short)]
    follow: bool,
    /// Only this partition
    #[arg(long, short, value_name = "N")]
    partition: Option<u32>,
    /// Where to begin: earliest, latest or an instant [default: earliest, with -f latest]
    #[arg(long, value_name = "WHERE", conflicts_with = "offset")]
    from: Option<String>,
    /// Where to begin, in that partition
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    offset: Option<u64>,
    /// How many events at most, of each partition
    #[arg(long, short = 'c', value_name = "N")]
    limit: Option<u64>,
    /// Print the key and a tab before each
    #[arg(long)]
    keys: bool,
    /// Only the events of this key that are there
    #[arg(long, short, value_name = "KEY", conflicts_with_all = ["follow", "partition", "from"])]
    key: Option<String>,
    /// Of the events of a key that are read together, only the newest
    #[arg(long, conflicts_with = "key")]
    newest: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a header is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) async fn append(args: AppendArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let path = stream_path(&client, &args.stream, "/events");
    let headers = args.headers.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    let headers: BTreeMap<_, _> = headers.collect();
    let event = |value: &str| -> anyhow::Result<EventBody<'static>> {
        Ok(EventBody {
            partition: args.partition,
            key: args.key.clone(),
            value: Some(RawJson::of(value)?),
            headers: headers.clone(),
            at: args.at,
            expected_events: args.expect,
            ..EventBody::default()
        })
    };
    if args.lines {
        let mut lines = io::stdin().lock().lines();
        loop {
            let lot: Vec<String> = lines.by_ref().take(LINES_MAX).collect::<Result<_, _>>()?;
            if lot.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            let events = lot.iter().map(|line| event(line)).collect::<Result<_, _>>()?;
            append_all(&client, &path, EventBulk { events }, context.format).await?;
        }
    }
    let mut value = args.value.clone().unwrap_or_default();
    if args.value.is_none() {
        io::stdin().lock().read_to_string(&mut value)?;
    }
    let body = client.post(&path, &event(&value)?).await?;
    if context.format == Format::Json {
        output::json_text(&body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: AppendAnswer = read(&body)?;
    let offset = answer.offset.unwrap_or_default();
    output::line(&format!("appended to partition {} at offset {offset}", answer.partition))?;
    Ok(ExitCode::SUCCESS)
}

async fn append_all(
    client: &Client,
    path: &str,
    bulk: EventBulk<'static>,
    format: Format,
) -> anyhow::Result<()> {
    let body = client.post(path, &bulk).await?;
    if format == Format::Json {
        output::json_text(&body)?;
    }
    let answer: AppendBulkAnswer = read(&body)?;
    match answer.appended.into_iter().find_map(|one| one.error) {
        Some(problem) => Err(Failure::new(Kind::Refused, problem.detail).into()),
        None => Ok(()),
    }
}

/// One partition that is read.
struct Reader {
    client: Client,
    path: String,
    partition: u32,
    /// Where to go on; `None` before the first answer.
    offset: Option<u64>,
    from: String,
    /// Where to end, unless it goes on.
    end: Option<u64>,
    limit: Option<u64>,
    newest: bool,
}

impl Reader {
    /// Reads to its end, and hands on what it reads.
    async fn run(mut self, lines: mpsc::Sender<VecDeque<EventRecord>>) -> Result<(), Failure> {
        let client = self.client.another();
        let mut server = Patient::new(&client);
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 && self.end.is_none_or(|end| self.offset.is_none_or(|at| at < end)) {
            let (partition, offset) =
                (self.partition.to_string(), self.offset.map(|offset| offset.to_string()));
            let parameters = [
                ("partition", Some(partition.as_str())),
                ("offset", offset.as_deref()),
                ("from", Some(self.from.as_str()).filter(|_| offset.is_none())),
                ("limit", Some(PAGE)),
                ("newest", self.newest.then_some("true")),
                // With nothing to wait for, the beginning is learned at once.
                ("wait", Some(WAIT).filter(|_| self.end.is_none() && offset.is_some())),
            ];
            let path = format!("{}{}", self.path, query(&parameters));
            let page: EventList = read(&server.get(&path, None).await?.body)?;
            self.offset = Some(page.next);
            if page.events.is_empty() && self.end.is_some() {
                return Ok(());
            }
            let before_end = |event: &EventRecord| self.end.is_none_or(|end| event.offset < end);
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let events: VecDeque<_> =
                page.events.into_iter().filter(before_end).take(most).collect();
            left -= events.len() as u64;
            if lines.send(events).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Prints the events of a key.
async fn tail_key(key: &str, args: &TailArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let path = stream_path(&client, &args.stream, "/events");
    let (mut offset, mut left) = (args.offset.unwrap_or(0), args.limit.unwrap_or(u64::MAX));
    loop {
        let from = offset.to_string();
        let parameters =
            [("key", Some(key)), ("offset", Some(from.as_str())), ("limit", Some(PAGE))];
        let page: EventList = read(&client.get(&format!("{path}{}", query(&parameters))).await?)?;
        for event in page.events.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            print(event, args, context.format)?;
            left -= 1;
        }
        if left == 0 || page.next >= page.end || page.next <= offset && page.events.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        offset = page.next;
    }
}

pub(crate) async fn tail(args: TailArgs, context: &Context) -> anyhow::Result<ExitCode> {
    if let Some(key) = &args.key {
        return tail_key(key, &args, context).await;
    }
    let client = context.client()?;
    let body = client.get(&stream_path(&client, &args.stream, "")).await?;
    let stream: StreamRecord = read(&body)?;
    let default = if args.follow { "latest" } else { "earliest" };
    let from = args.from.clone().unwrap_or_else(|| default.to_owned());
    let wanted = stream.partitions.iter();
    let wanted = wanted.filter(|it| args.partition.is_none_or(|only| only == it.partition));
    let (sender, mut lines) = mpsc::channel(4);
    let mut readers = JoinSet::new();
    for partition in wanted {
        let reader = Reader {
            client: client.another(),
            path: stream_path(&client, &args.stream, "/events"),
            partition: partition.partition,
            offset: args.offset,
            from: from.clone(),
            end: (!args.follow).then_some(partition.end),
            limit: args.limit,
            newest: args.newest,
        };
        readers.spawn(reader.run(sender.clone()));
    }
    drop(sender);
    if readers.is_empty() {
        let partition = args.partition.unwrap_or_default();
        let message = format!("{} has no partition {partition}", args.stream);
        return Err(Failure::new(Kind::NotFound, message).into());
    }
    while let Some(events) = lines.recv().await {
        for event in &events {
            print(event, &args, context.format)?;
        }
    }
    while let Some(ended) = readers.join_next().await {
        ended??;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(event: &EventRecord, args: &TailArgs, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return Ok(output::line(&serde_json::to_string(event)?)?);
    }
    let text = |text: &Option<String>, base64: &Option<String>| {
        text.clone().or_else(|| base64.clone()).unwrap_or_default()
    };
    let mut line = text(&event.value, &event.value_base64);
    if args.keys {
        line = format!("{}\t{line}", text(&event.key, &event.key_base64));
    }
    output::line(&line)?;
    Ok(())
}
