//! `longshore namespaces`: the units of isolation.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::NamespaceList;

use crate::cli::Context;
use crate::client::{Client, read, segment};
use crate::jobs::moment;
use crate::name;
use crate::output::{self, Format, Table, bytes, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum NamespacesCommand {
    /// List namespaces
    List,
    /// Create a namespace
    Create(NamespaceArgs),
    /// Delete a namespace that has no queues
    Delete(NamespaceArgs),
}

#[derive(Args, Debug)]
pub(crate) struct NamespaceArgs {
    /// The namespace
    #[arg(value_parser = name::namespace)]
    name: String,
}

pub(crate) async fn execute(
    command: NamespacesCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    match command {
        NamespacesCommand::List => list(&client, context.format).await?,
        NamespacesCommand::Create(args) => {
            let path = format!("/v1/namespaces/{}", segment(&args.name));
            let body = client.put_nothing(&path).await?;
            match context.format {
                Format::Json => output::json_text(&body)?,
                Format::Table => output::line(&format!("{} is there", args.name))?,
            }
        }
        NamespacesCommand::Delete(args) => {
            client.delete(&format!("/v1/namespaces/{}", segment(&args.name))).await?;
            if context.format == Format::Table {
                output::line(&format!("{} is deleted", args.name))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, format: Format) -> anyhow::Result<()> {
    let mut list = NamespaceList { namespaces: Vec::new(), next: None, unavailable: Vec::new() };
    let add = |body: &[u8]| {
        let page: NamespaceList = read(body)?;
        list.namespaces.extend(page.namespaces);
        list.unavailable = page.unavailable;
        Ok(page.next)
    };
    client.pages("/v1/namespaces", &[("limit", Some("1000"))], add).await?;
    if format == Format::Json {
        return Ok(output::json(&list)?);
    }
    let mut table =
        Table::new(&["namespace", ">queues", ">outcomes", ">dead", ">remembered ids", "created"]);
    for it in list.namespaces {
        table.row(&[
            it.name,
            grouped(it.queues),
            bytes(it.outcome_bytes),
            bytes(it.dead_bytes),
            grouped(it.tombstones),
            moment(it.created_at),
        ]);
    }
    table.print()?;
    for shard in list.unavailable {
        note(&format!("shard {} does not answer: {}", shard.shard, shard.reason));
    }
    Ok(())
}
