//! `longshore queues redrive`: messages back to where they came from, or elsewhere; which messages
//! of a queue are meant.

use std::process::ExitCode;

use clap::Args;
use longshore_server::api::{InstantText, MessageFilterBody, OperationRecord, RedriveRequest};

use crate::client::{Client, read};
use crate::messages::{header, headers_of};
use crate::name;
use crate::operations;
use crate::output::{self, Format, count};
use crate::queues::{confirm, path};

/// Which messages of a queue.
#[derive(Args, Clone, Debug)]
pub(crate) struct Meant {
    /// Only those whose body contains this
    #[arg(long = "match", value_name = "TEXT")]
    text: Option<String>,
    /// Only those with this routing key; `*` is one word, `#` any number
    #[arg(long, short, value_name = "PATTERN")]
    key: Option<String>,
    /// Only those with this header
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Option<(String, String)>,
    /// Only those published at this instant or later
    #[arg(long, value_name = "INSTANT")]
    since: Option<InstantText>,
    /// Only those published before this instant
    #[arg(long, value_name = "INSTANT")]
    until: Option<InstantText>,
    /// Only dead letters that ended last for this: rejected, expired, maxlen or `delivery_limit`
    #[arg(long)]
    reason: Option<String>,
    /// Only dead letters that ended last in this queue
    #[arg(long, value_name = "QUEUE")]
    died_in: Option<String>,
}

impl Meant {
    /// As parameters of a query.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, Option<String>)> {
        let instant = |at: Option<InstantText>| at.map(|at| at.to_string());
        let header = self.header.as_ref().map(|(name, value)| format!("{name}={value}"));
        vec![
            ("text", self.text.clone()),
            ("routing_key", self.key.clone()),
            ("header", header),
            ("since", instant(self.since)),
            ("until", instant(self.until)),
            ("reason", self.reason.clone()),
            ("died_in", self.died_in.clone()),
        ]
    }

    fn filter(self) -> MessageFilterBody {
        MessageFilterBody {
            routing_key: self.key,
            headers: headers_of(self.header.as_slice()),
            text: self.text,
            since: self.since,
            until: self.until,
            reason: self.reason,
            died_in: self.died_in,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct RedriveArgs {
    /// The queue that they leave
    #[arg(value_parser = name::queue)]
    queue: String,
    /// The queue that they enter, instead of the one in which each of them ended
    #[arg(long, value_name = "QUEUE", value_parser = name::queue)]
    to: Option<String>,
    /// The exchange that routes them instead
    #[arg(long, value_name = "EXCHANGE", conflicts_with = "to")]
    to_exchange: Option<String>,
    /// The key by which that exchange routes them; their own where it is left out
    #[arg(long, value_name = "KEY", requires = "to_exchange")]
    to_key: Option<String>,
    /// Only so many, those that would be handed out first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    meant: Meant,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Only count
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

pub(crate) async fn redrive(
    client: &Client,
    args: RedriveArgs,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let path = path(client, &args.queue, "/redrive");
    let to = args.to.as_ref().or(args.to_exchange.as_ref());
    let place = to.map_or_else(|| "back to where they ended".to_owned(), |to| format!("to {to}"));
    let request = RedriveRequest {
        to_queue: args.to,
        to_exchange: args.to_exchange,
        routing_key: args.to_key,
        limit: args.limit,
        filter: args.meant.filter(),
    };
    if args.dry_run || !args.yes {
        let body = client.post(&format!("{path}?dry_run=true"), &request).await?;
        let would: OperationRecord = read(&body)?;
        let messages = count(would.changed, "message");
        match (args.dry_run, format) {
            (true, Format::Json) => output::json_text(&body)?,
            (true, Format::Table) => output::line(&messages)?,
            (false, _) => confirm(&format!("move {messages} {place}?"))?,
        }
        if args.dry_run {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let body = client.post(&path, &request).await?;
    operations::follow(client, &body, format).await
}
