//! `longshore exchanges`, `bindings`, `publish`, `consume` and `peek`: messages for people and
//! scripts.

use std::io::{self, Read};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use longshore_server::api::{
    BindingBody, BindingList, ChangedAnswer, ConsumeAnswer, ConsumeRequest, DurationText,
    ExchangeBody, ExchangeList, ExchangeRecord, ExchangeTypeText, HeadersBody, JobBindingBody,
    MatchText, MessageList, MessageRecord, MessageSettlementBody, MessageVerdictText,
    PublishAnswer, PublishBody, RawJson, SettleMessagesAnswer, SettleMessagesRequest,
};

use crate::cli::Context;
use crate::client::{Client, query, read, segment, told};
use crate::failure::{Failure, Kind};
use crate::moving::Meant;
use crate::name;
use crate::output::{self, Format, Table, count, facts, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum ExchangesCommand {
    /// List exchanges
    List,
    /// Show an exchange
    Show(ExchangeArgs),
    /// Declare an exchange; one that is there has to be the same
    Declare(DeclareArgs),
    /// Delete an exchange with its bindings
    Delete(ExchangeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ExchangeArgs {
    /// The exchange
    exchange: String,
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    /// By the routing key as it is
    Direct,
    /// To all that is bound
    Fanout,
    /// By patterns of words: `*` for one, `#` for any number
    Topic,
    /// By headers
    Headers,
    /// To one of what is bound, by the routing key; the key of a binding is its weight
    ConsistentHash,
}

#[derive(Args, Debug)]
pub(crate) struct DeclareArgs {
    /// The exchange
    exchange: String,
    /// How it routes
    #[arg(long = "type", short = 't', default_value = "topic")]
    kind: Type,
    /// It ends with the server
    #[arg(long)]
    transient: bool,
    /// It ends with its last binding
    #[arg(long)]
    auto_delete: bool,
    /// Only other exchanges publish to it
    #[arg(long)]
    internal: bool,
    /// The exchange for messages that none of its bindings take
    #[arg(long, value_name = "EXCHANGE")]
    alternate: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BindingsCommand {
    /// List bindings
    List(ListBindingsArgs),
    /// Bind a queue, or an exchange, to an exchange
    Add(BindingArgs),
    /// Remove a binding
    Remove(BindingArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ListBindingsArgs {
    /// Only those that lead from this exchange
    exchange: Option<String>,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
pub(crate) struct BindingArgs {
    /// The exchange that it leads from
    exchange: String,
    /// The queue that it leads to
    to: String,
    /// It leads to an exchange instead
    #[arg(long)]
    to_exchange: bool,
    /// It leads to a stream instead: each message becomes an event, too
    #[arg(long, conflicts_with_all = ["to_exchange", "job_kind"])]
    to_stream: bool,
    /// The routing key, or the pattern of a topic exchange
    #[arg(long, short, default_value = "")]
    key: String,
    /// A header that a message is to have, of a headers exchange
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// One of the headers will do
    #[arg(long)]
    any: bool,
    /// The queue is one of jobs: the kind that each message becomes there
    #[arg(long, value_name = "KIND", conflicts_with = "to_exchange")]
    job_kind: Option<String>,
    /// The version of that kind, from 1
    #[arg(long, value_name = "N", requires = "job_kind")]
    job_version: Option<u32>,
    /// The priority of these jobs, 0 to 9
    #[arg(long, value_name = "N", requires = "job_kind")]
    job_priority: Option<u8>,
    /// How long after the message they may start
    #[arg(long, value_name = "DURATION", requires = "job_kind")]
    job_delay: Option<DurationText>,
    /// Those of the same routing key run one after the other
    #[arg(long, requires = "job_kind")]
    job_ordered: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    /// What it says; standard input where it is left out
    body: Option<String>,
    /// The exchange
    #[arg(long, short, required_unless_present = "queue", conflicts_with = "queue")]
    exchange: Option<String>,
    /// The routing key
    #[arg(long, short, default_value = "", conflicts_with = "queue")]
    key: String,
    /// The queue, without an exchange
    #[arg(long, short, value_parser = name::queue)]
    queue: Option<String>,
    /// A header
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// 0 to 255, the highest first, where the queue has priorities
    #[arg(long)]
    priority: Option<u8>,
    /// How long it stays aside before it is routed
    #[arg(long, value_name = "DURATION")]
    delay: Option<DurationText>,
}

#[derive(Args, Debug)]
pub(crate) struct ConsumeArgs {
    /// The queue
    #[arg(value_parser = name::queue)]
    queue: String,
    /// How many at most
    #[arg(long, short, default_value_t = 1)]
    max: usize,
    /// How long to wait for the first
    #[arg(long, short, value_name = "DURATION")]
    wait: Option<DurationText>,
    /// Put them back instead of acking them once they are printed
    #[arg(long)]
    requeue: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PeekArgs {
    /// The queue
    #[arg(value_parser = name::queue)]
    queue: String,
    /// How many at most
    #[arg(long, short, default_value_t = 10)]
    limit: usize,
    #[command(flatten)]
    meant: Meant,
}

pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a header is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Values that are JSON count as such, others as texts.
pub(crate) fn headers_of(headers: &[(String, String)]) -> HeadersBody {
    let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| text.clone().into());
    headers.iter().map(|(name, text)| (name.clone(), value(text))).collect()
}

fn exchange_path(client: &Client, exchange: &str, rest: &str) -> String {
    client.path(&format!("/exchanges/{}{rest}", segment(exchange)))
}

fn queue_path(client: &Client, queue: &str, rest: &str) -> String {
    client.path(&format!("/queues/{}{rest}", segment(queue)))
}

pub(crate) async fn exchanges(
    command: ExchangesCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (client, format) = (context.client()?, context.format);
    match command {
        ExchangesCommand::List => list_exchanges(&client, format).await?,
        ExchangesCommand::Show(args) => {
            let body = client.get(&exchange_path(&client, &args.exchange, "")).await?;
            show_exchange(&body, format)?;
        }
        ExchangesCommand::Declare(args) => {
            let kind = match args.kind {
                Type::Direct => ExchangeTypeText::Direct,
                Type::Fanout => ExchangeTypeText::Fanout,
                Type::Topic => ExchangeTypeText::Topic,
                Type::Headers => ExchangeTypeText::Headers,
                Type::ConsistentHash => ExchangeTypeText::ConsistentHash,
            };
            let declare = ExchangeBody {
                kind,
                durable: !args.transient,
                auto_delete: args.auto_delete,
                internal: args.internal,
                alternate: args.alternate,
            };
            let path = exchange_path(&client, &args.exchange, "");
            show_exchange(&client.put(&path, &declare).await?, format)?;
        }
        ExchangesCommand::Delete(args) => {
            let body = client.delete(&exchange_path(&client, &args.exchange, "")).await?;
            changed(&body, format, &format!("{} is deleted", args.exchange))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_exchanges(client: &Client, format: Format) -> anyhow::Result<()> {
    let table = Table::new(&["exchange", "type", ">bindings", "durable", "alternate"]);
    let rows = |body: &[u8], table: &mut Table| {
        let page: ExchangeList = read(body)?;
        for exchange in page.exchanges {
            table.row(&[
                exchange.name,
                word(exchange.settings.kind)?,
                grouped(exchange.bindings),
                if exchange.settings.durable { "yes" } else { "no" }.to_owned(),
                exchange.settings.alternate.unwrap_or_default(),
            ]);
        }
        Ok(page.next)
    };
    client.print_list(format, ("/exchanges", &[]), (table, ""), rows).await
}

fn word(kind: ExchangeTypeText) -> anyhow::Result<String> {
    Ok(serde_json::to_value(kind)?.as_str().unwrap_or_default().to_owned())
}

fn show_exchange(body: &[u8], format: Format) -> anyhow::Result<()> {
    let Some(exchange) = told::<ExchangeRecord>(body, format)? else { return Ok(()) };
    let yes = |is: bool| is.then(|| "yes".to_owned());
    output::line(&facts(&[
        ("exchange", Some(exchange.name)),
        ("type", Some(word(exchange.settings.kind)?)),
        ("bindings", Some(grouped(exchange.bindings))),
        ("transient", yes(!exchange.settings.durable)),
        ("auto-delete", yes(exchange.settings.auto_delete)),
        ("internal", yes(exchange.settings.internal)),
        ("alternate", exchange.settings.alternate),
    ]))?;
    Ok(())
}

fn changed(body: &[u8], format: Format, done: &str) -> anyhow::Result<()> {
    let Some(answer) = told::<ChangedAnswer>(body, format)? else { return Ok(()) };
    output::line(if answer.changed { done } else { "it was so already" })?;
    Ok(())
}

pub(crate) async fn bindings(
    command: BindingsCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (client, format) = (context.client()?, context.format);
    match command {
        BindingsCommand::List(args) => {
            list_bindings(&client, args.exchange.as_deref(), format).await?;
        }
        BindingsCommand::Add(args) => {
            let path = exchange_path(&client, &args.exchange, "/bind");
            let body = client.post(&path, &binding_of(&args)).await?;
            changed(&body, format, &format!("{} is bound to {}", args.to, args.exchange))?;
        }
        BindingsCommand::Remove(args) => {
            let path = exchange_path(&client, &args.exchange, "/unbind");
            let body = client.post(&path, &binding_of(&args)).await?;
            changed(&body, format, &format!("{} is not bound so any more", args.to))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn binding_of(args: &BindingArgs) -> BindingBody {
    let to = Some(args.to.clone());
    BindingBody {
        queue: to.clone().filter(|_| !args.to_exchange && !args.to_stream),
        to_exchange: to.clone().filter(|_| args.to_exchange),
        to_stream: to.filter(|_| args.to_stream),
        routing_key: args.key.clone(),
        matching: if args.any { MatchText::Any } else { MatchText::All },
        headers: headers_of(&args.headers),
        job: args.job_kind.as_ref().map(|kind| JobBindingBody {
            version: args.job_version,
            kind: kind.clone(),
            priority: args.job_priority,
            delay: args.job_delay,
            ordered: args.job_ordered,
        }),
    }
}

async fn list_bindings(
    client: &Client,
    exchange: Option<&str>,
    format: Format,
) -> anyhow::Result<()> {
    let table = Table::new(&["exchange", "to", "", "key", "headers"]);
    let rows = |body: &[u8], table: &mut Table| {
        let page: BindingList = read(body)?;
        for binding in page.bindings {
            let headers = if binding.headers.is_empty() {
                String::new()
            } else {
                serde_json::to_string(&binding.headers)?
            };
            let what = match (&binding.job, &binding.queue) {
                (Some(job), _) => &match job.version {
                    None => format!("jobs of kind {}", job.kind),
                    Some(version) => format!("jobs of kind {}, version {version}", job.kind),
                },
                (None, Some(_)) => "queue",
                (None, None) if binding.to_stream.is_some() => "stream",
                (None, None) => "exchange",
            };
            let to =
                binding.queue.or(binding.to_exchange).or(binding.to_stream).unwrap_or_default();
            let cells = [binding.exchange, to, what.to_owned(), binding.routing_key, headers];
            table.row(&cells);
        }
        Ok(page.next)
    };
    let of = ("/bindings", &[("exchange", exchange)][..]);
    client.print_list(format, of, (table, "nothing is bound"), rows).await
}

pub(crate) async fn publish(args: PublishArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let text = if let Some(text) = args.body {
        text
    } else {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        text
    };
    let path = match (&args.queue, &args.exchange) {
        (Some(queue), _) => queue_path(&client, queue, "/publish"),
        (None, exchange) => {
            exchange_path(&client, exchange.as_deref().unwrap_or_default(), "/publish")
        }
    };
    let message = PublishBody {
        routing_key: args.key,
        body: Some(RawJson::of(&text)?),
        headers: headers_of(&args.headers),
        priority: args.priority,
        delay: args.delay,
        ..PublishBody::default()
    };
    let body = client.post(&path, &message).await?;
    if context.format == Format::Json {
        output::json_text(&body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: PublishAnswer = read(&body)?;
    match answer.queues {
        0 if answer.delayed => output::line("kept until its time comes")?,
        0 => note("no queue is bound for that: the message is gone"),
        queues => output::line(&format!("published to {}", count(queues, "queue")))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What a message says, for a terminal.
fn said(message: &MessageRecord) -> &str {
    message.body.as_deref().or(message.body_base64.as_deref()).unwrap_or_default()
}

/// The ordering key of which another message comes first.
fn behind_key(message: &MessageRecord) -> &str {
    let mut by = message.blocked_by.iter();
    by.find_map(|by| by.ordering_key.as_deref()).unwrap_or_default()
}

pub(crate) async fn consume(args: ConsumeArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let (max, wait) = (Some(args.max), args.wait);
    let request = ConsumeRequest { max, wait, lease: None, auto_ack: false };
    let body = client.post(&queue_path(&client, &args.queue, "/consume"), &request).await?;
    let taken: ConsumeAnswer = read(&body)?;
    match context.format {
        Format::Json => output::json_text(&body)?,
        Format::Table => {
            taken.messages.iter().try_for_each(|message| output::line(said(message)))?;
        }
    }
    if taken.messages.is_empty() {
        note("no message waits");
        return Ok(ExitCode::SUCCESS);
    }
    let verdict = if args.requeue { MessageVerdictText::Requeue } else { MessageVerdictText::Ack };
    let messages = taken.messages.into_iter().map(|message| MessageSettlementBody {
        id: message.id,
        token: message.token.unwrap_or_default(),
        verdict,
    });
    let request = SettleMessagesRequest { messages: messages.collect() };
    let body = client.post(&queue_path(&client, &args.queue, "/settle"), &request).await?;
    let settled: SettleMessagesAnswer = read(&body)?;
    if let Some(problem) = settled.settled.into_iter().find_map(|one| one.error) {
        return Err(Failure::new(Kind::Refused, problem.detail).into());
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn peek(args: PeekArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let mut table = Table::new(&["id", "exchange", "key", "published", "blocked by", "body"]);
    let mut all = MessageList { messages: Vec::new(), examined: None, next: None };
    let mut left = args.limit.max(1);
    loop {
        let limit = left.to_string();
        let mut parameters = args.meant.parameters();
        parameters.extend([("limit", Some(limit)), ("cursor", all.next.take())]);
        let given: Vec<_> = parameters.iter().map(|(name, it)| (*name, it.as_deref())).collect();
        let path = format!("/messages{}", query(&given));
        let body = client.get(&queue_path(&client, &args.queue, &path)).await?;
        let page: MessageList = read(&body)?;
        for message in &page.messages {
            table.row(&[
                message.id.clone(),
                message.exchange.clone(),
                message.routing_key.clone(),
                message.published_at.to_string(),
                behind_key(message).to_owned(),
                said(message).chars().take(60).collect(),
            ]);
        }
        left = left.saturating_sub(page.messages.len());
        all.examined = page.examined.map(|more| more + all.examined.unwrap_or(0));
        all.messages.extend(page.messages);
        all.next = page.next;
        // A page may end before it is full.
        if all.next.is_none() || left == 0 {
            break;
        }
    }
    if context.format == Format::Json {
        // One document, whatever the number of pages.
        output::json_text(&serde_json::to_vec(&all)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let examined = all.examined.unwrap_or(0);
    if table.is_empty() && examined > 0 {
        note(&format!("none of {} is so", count(examined, "message")));
    } else if table.is_empty() {
        note("no message waits");
    } else {
        table.print()?;
    }
    Ok(ExitCode::SUCCESS)
}
