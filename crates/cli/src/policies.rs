//! `longshore policies`: what holds for queues of messages and exchanges by their names.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{ChangedAnswer, PolicyBody, PolicyList, PolicyTargetText};

use crate::cli::Context;
use crate::client::{Client, segment, told};
use crate::failure::Failure;
use crate::output::{self, Format, Table, note};

#[derive(Debug, Subcommand)]
pub(crate) enum PoliciesCommand {
    /// List policies
    List,
    /// Create a policy, or replace it
    Set(SetArgs),
    /// Remove a policy: what was declared holds again
    Delete(PolicyArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    /// The policy
    policy: String,
}

#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// The policy
    policy: String,
    /// A regular expression, matched anywhere in the names of queues and exchanges
    pattern: String,
    #[arg(help = r#"As JSON, such as '{"max_length":1000,"overflow":"reject-publish"}'"#)]
    settings: String,
}

fn path(client: &Client, policy: &str) -> String {
    client.path(&format!("/policies/{}", segment(policy)))
}

pub(crate) async fn execute(
    command: PoliciesCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (client, format) = (context.client()?, context.format);
    match command {
        PoliciesCommand::List => list(&client.get(&client.path("/policies")).await?, format)?,
        PoliciesCommand::Set(args) => {
            let fault = |error| Failure::usage(format!("settings: {error}"));
            let mut settings: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&args.settings).map_err(fault)?;
            settings.insert("pattern".to_owned(), args.pattern.into());
            let settings: PolicyBody = serde_json::from_value(settings.into()).map_err(fault)?;
            let body = client.put(&path(&client, &args.policy), &settings).await?;
            changed(&body, format, &format!("{} holds", args.policy))?;
        }
        PoliciesCommand::Delete(args) => {
            let body = client.delete(&path(&client, &args.policy)).await?;
            changed(&body, format, &format!("{} is removed", args.policy))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn changed(body: &[u8], format: Format, done: &str) -> anyhow::Result<()> {
    let Some(answer) = told::<ChangedAnswer>(body, format)? else { return Ok(()) };
    output::line(if answer.changed { done } else { "it was so already" })?;
    Ok(())
}

fn list(body: &[u8], format: Format) -> anyhow::Result<()> {
    let Some(page) = told::<PolicyList>(body, format)? else { return Ok(()) };
    let mut table = Table::new(&["policy", "pattern", "for", ">priority", "settings"]);
    for policy in page.policies {
        let target = match policy.settings.apply_to {
            PolicyTargetText::All => "all",
            PolicyTargetText::Queues => "queues",
            PolicyTargetText::Exchanges => "exchanges",
        };
        let mut settings = serde_json::to_value(&policy.settings)?;
        if let Some(settings) = settings.as_object_mut() {
            settings.retain(|name, _| !matches!(&**name, "pattern" | "apply_to" | "priority"));
        }
        let priority = policy.settings.priority.to_string();
        let cells = [
            policy.name,
            policy.settings.pattern,
            target.to_owned(),
            priority,
            settings.to_string(),
        ];
        table.row(&cells);
    }
    if table.is_empty() {
        note("there are no policies");
        return Ok(());
    }
    Ok(table.print()?)
}
