//! `longshore kinds`: what waits, what runs, and who runs it, by kind and version.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{KindList, KindRecord};

use crate::cli::Context;
use crate::client::{query, read, segment};
use crate::output::{self, Format, Table, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum KindsCommand {
    /// List kinds and their versions
    List,
    /// Show the versions of a kind, and the workers that run each
    Show(KindArgs),
}

#[derive(Args, Debug)]
pub(crate) struct KindArgs {
    /// The name of the kind
    kind: String,
}

fn table(kinds: &[KindRecord], with_workers: bool) -> anyhow::Result<()> {
    let columns = ["kind", ">version", ">waiting", ">running", ">workers", "names"];
    let shown = if with_workers { columns.len() } else { columns.len() - 1 };
    let mut table = Table::new(columns.get(..shown).unwrap_or_default());
    for kind in kinds {
        let row = [
            kind.kind.clone(),
            kind.version.map_or_else(|| "none".to_owned(), |version| version.to_string()),
            grouped(kind.waiting),
            grouped(kind.running),
            kind.consumers.map_or_else(|| "?".to_owned(), grouped),
            kind.workers.join(", "),
        ];
        table.row(row.get(..shown).unwrap_or_default());
    }
    Ok(table.print()?)
}

pub(crate) async fn execute(command: KindsCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    if let KindsCommand::Show(args) = &command {
        let body = client.get(&client.path(&format!("/kinds/{}", segment(&args.kind)))).await?;
        match context.format {
            Format::Json => output::json_text(&body)?,
            Format::Table => {
                let kinds = read::<KindList>(&body)?.kinds;
                if kinds.is_empty() {
                    note(&format!("no job of the kind {} was enqueued yet", args.kind));
                } else {
                    table(&kinds, true)?;
                }
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (mut kinds, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let path = format!("/kinds{}", query(&[("cursor", cursor.as_deref())]));
        let page: KindList = read(&client.get(&client.path(&path)).await?)?;
        kinds.extend(page.kinds);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    match context.format {
        Format::Json => output::json(&KindList { kinds, next: None })?,
        Format::Table if kinds.is_empty() => note("no kinds: none was enqueued yet"),
        Format::Table => table(&kinds, false)?,
    }
    Ok(ExitCode::SUCCESS)
}
