//! `longshore kinds`: what waits, what runs, and who runs it, by kind and version.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{KindList, KindRecord, KindSettingsBody, KindWholeRecord};

use crate::cli::Context;
use crate::client::{Client, read, segment};
use crate::failure::Failure;
use crate::output::{self, Format, Table, facts, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum KindsCommand {
    /// List kinds and their versions
    List,
    /// Show a kind: its settings, what is over it, its versions and the workers that run each
    Show(KindArgs),
    /// Set defaults of a kind, in all of its versions; what is not named is reset
    Set(SetArgs),
}

#[derive(Args, Debug)]
pub(crate) struct KindArgs {
    /// The name of the kind
    kind: String,
}

#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// The name of the kind
    kind: String,
    #[arg(help = r#"As JSON, such as '{"defaults":{"timeout":"5m","max_attempts":3}}'"#)]
    settings: String,
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

fn path(client: &Client, kind: &str) -> String {
    client.path(&format!("/kinds/{}", segment(kind)))
}

fn show(body: &[u8], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return Ok(output::json_text(body)?);
    }
    let whole = read::<KindWholeRecord>(body)?;
    let defaults = serde_json::to_string(&whole.settings.defaults)?;
    let names = |of: &[String]| (!of.is_empty()).then(|| of.join(", "));
    output::line(&facts(&[
        ("kind", Some(whole.kind.clone())),
        ("defaults", Some(defaults).filter(|text| text != "{}")),
        ("gates", names(&whole.gates)),
        ("limits", names(&whole.limits)),
        ("levels", names(&whole.sla)),
    ]))?;
    if whole.kinds.is_empty() {
        note(&format!("no job of the kind {} was enqueued yet", whole.kind));
        return Ok(());
    }
    table(&whole.kinds, true)
}

pub(crate) async fn execute(command: KindsCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let shown = match &command {
        KindsCommand::Show(args) => Some(client.get(&path(&client, &args.kind)).await?),
        KindsCommand::Set(args) => {
            let settings: KindSettingsBody = serde_json::from_str(&args.settings)
                .map_err(|error| Failure::usage(format!("settings: {error}")))?;
            Some(client.put(&path(&client, &args.kind), &settings).await?)
        }
        KindsCommand::List => None,
    };
    if let Some(body) = shown {
        show(&body, context.format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut kinds = Vec::new();
    let add = |body: &[u8]| {
        let page: KindList = read(body)?;
        kinds.extend(page.kinds);
        Ok(page.next)
    };
    client.pages(&client.path("/kinds"), &[], add).await?;
    match context.format {
        Format::Json => output::json(&KindList { kinds, next: None })?,
        Format::Table if kinds.is_empty() => note("no kinds: none was enqueued yet"),
        Format::Table => table(&kinds, false)?,
    }
    Ok(ExitCode::SUCCESS)
}
