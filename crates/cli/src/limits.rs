//! `longshore limits`: how many jobs run, or start in a time.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{
    BucketText, DurationText, LimitList, LimitRecord, LimitScopeText, LimitSettingsBody, WindowText,
};

use crate::cli::Context;
use crate::client::{read, segment};
use crate::output::{self, Format, Table, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum LimitsCommand {
    /// List limits
    List,
    /// Show one limit
    Show(LimitArgs),
    /// Create a limit, or change its numbers
    Put(PutArgs),
    /// Delete a limit: it holds nothing back any more
    Delete(LimitArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LimitArgs {
    /// The limit
    name: String,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  longshore limits put mails --scope queue --of mail --concurrency 10\n  \
    longshore limits put api --scope key --window 100/1m\n  \
    longshore limits put imports --scope kind --bucket 10,2/1s"
)]
pub(crate) struct PutArgs {
    /// The limit
    name: String,
    /// What it counts by itself: namespace, queue, kind, key
    #[arg(long, value_parser = scope)]
    scope: LimitScopeText,
    /// Only this queue or kind
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
    /// So many run at a time
    #[arg(long, value_name = "N")]
    concurrency: Option<u64>,
    /// So many start in each period, as in 100/1m
    #[arg(long, value_name = "N/TIME", value_parser = window, conflicts_with = "concurrency")]
    window: Option<WindowText>,
    /// So many tokens at most, and so many more in a time, as in 10,2/1s
    #[arg(long, value_name = "BURST,N/TIME", value_parser = bucket)]
    #[arg(conflicts_with_all = ["concurrency", "window"])]
    bucket: Option<BucketText>,
}

fn scope(text: &str) -> Result<LimitScopeText, String> {
    let read = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    read.map_err(|_| "it has to be one of namespace, queue, kind, key".to_owned())
}

fn rate(text: &str) -> Option<(u64, DurationText)> {
    let (count, per) = text.split_once('/')?;
    Some((count.parse().ok()?, per.parse().ok()?))
}

fn window(text: &str) -> Result<WindowText, String> {
    let (max, per) = rate(text).ok_or("it has to be a number and a duration, as in 100/1m")?;
    Ok(WindowText { max, per })
}

fn bucket(text: &str) -> Result<BucketText, String> {
    let read = || {
        let (burst, rest) = text.split_once(',')?;
        let (count, per) = rate(rest)?;
        Some(BucketText { burst: burst.parse().ok()?, count, per })
    };
    read().ok_or_else(|| "it has to be as in 10,2/1s: ten, and two more a second".to_owned())
}

fn rule(limit: &LimitSettingsBody) -> String {
    match (&limit.concurrency, &limit.window, &limit.bucket) {
        (Some(max), ..) => format!("{max} at a time"),
        (_, Some(WindowText { max, per }), _) => format!("{max}/{per}"),
        (.., Some(BucketText { burst, count, per })) => format!("{burst},{count}/{per}"),
        _ => String::new(),
    }
}

fn print(limits: &[LimitRecord]) -> anyhow::Result<()> {
    if limits.is_empty() {
        note("no limits: `longshore limits put` creates one");
        return Ok(());
    }
    let mut table = Table::new(&["limit", "scope", "of", "rule", ">running", ">spent", ">waiting"]);
    for limit in limits {
        table.row(&[
            limit.name.clone(),
            limit.settings.scope.to_string(),
            limit.settings.of.clone().unwrap_or_default(),
            rule(&limit.settings),
            grouped(limit.running),
            grouped(limit.spent),
            grouped(limit.waiting),
        ]);
    }
    table.print()?;
    let keys: Vec<_> = limits.iter().flat_map(|limit| &limit.keys).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["key", ">running", ">waiting"]);
    for of in keys {
        table.row(&[of.key.clone(), grouped(of.running), grouped(of.waiting)]);
    }
    Ok(table.print()?)
}

pub(crate) async fn execute(command: LimitsCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let path = |name: &str| client.path(&format!("/limits/{}", segment(name)));
    let one = match command {
        LimitsCommand::List => {
            let body = client.get(&client.path("/limits")).await?;
            match context.format {
                Format::Json => output::json_text(&body)?,
                Format::Table => print(&read::<LimitList>(&body)?.limits)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        LimitsCommand::Delete(args) => {
            client.delete(&path(&args.name)).await?;
            if context.format == Format::Table {
                output::line(&format!("{} is deleted", args.name))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        LimitsCommand::Show(args) => client.get(&path(&args.name)).await?,
        LimitsCommand::Put(args) => {
            let PutArgs { name, scope, of, concurrency, window, bucket } = args;
            let body = LimitSettingsBody { scope, of, concurrency, window, bucket };
            client.put(&path(&name), &body).await?
        }
    };
    match context.format {
        Format::Json => output::json_text(&one)?,
        Format::Table => print(&[read(&one)?])?,
    }
    Ok(ExitCode::SUCCESS)
}
