//! `longshore sla`: how soon jobs shall start or be done, whether they do, and how many workers
//! that takes.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{DurationText, NewJob, SlaBody, SlaList, SlaRecord, SlaTargetText};

use crate::cli::Context;
use crate::client::{read, segment};
use crate::failure::Failure;
use crate::output::{self, Format, Table, facts, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum SlaCommand {
    /// List service levels with what they need
    List,
    /// Show everything about a service level
    Show(SlaArgs),
    /// Create a service level, or change it; what is not named is reset
    Set(Box<SetArgs>),
    /// Delete a service level
    Delete(SlaArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SlaArgs {
    /// The service level
    name: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  longshore sla set mail --queue mail --started-within 30s\n  \
    longshore sla set reports --kind report --done-within 2m --share 0.95\n  \
    longshore sla set nightly --schedule nightly --at-least-every 25h \\\n    \
    --breach '{\"queue\": \"alarms\", \"kind\": \"page\"}'")]
pub(crate) struct SetArgs {
    /// The service level
    name: String,
    /// About the jobs of this queue
    #[arg(long, required_unless_present_any = ["kind", "schedule"])]
    #[arg(conflicts_with_all = ["kind", "schedule"])]
    queue: Option<String>,
    /// About the jobs of this kind
    #[arg(long, conflicts_with = "schedule")]
    kind: Option<String>,
    /// About the jobs of this schedule
    #[arg(long)]
    schedule: Option<String>,
    /// A job is handed out so soon after it may start
    #[arg(long, value_name = "DURATION")]
    started_within: Option<DurationText>,
    /// A job succeeds within this time after it may first start
    #[arg(long, value_name = "DURATION", conflicts_with = "started_within")]
    done_within: Option<DurationText>,
    /// The longest time between two successes of the schedule
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["started_within", "done_within"])]
    at_least_every: Option<DurationText>,
    /// For which share of them [default: 0.99]
    #[arg(long)]
    share: Option<f64>,
    /// What is enqueued on a breach, as JSON with its queue and kind
    #[arg(long, value_name = "JOB")]
    breach: Option<String>,
}

fn goal(of: &SlaBody<'_>) -> String {
    let goals = [
        ("started within", of.started_within),
        ("done within", of.done_within),
        ("at least every", of.at_least_every),
    ];
    let told = goals.into_iter().find_map(|(what, ms)| Some(format!("{what} {}", ms?)));
    let share = of.share.map_or_else(String::new, |share| format!(", {}", percent(share)));
    format!("{}{share}", told.unwrap_or_default())
}

fn target(of: &SlaTargetText) -> String {
    match of {
        SlaTargetText::Queue(name) => format!("queue {name}"),
        SlaTargetText::Kind(name) => format!("kind {name}"),
        SlaTargetText::Schedule(name) => format!("schedule {name}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

fn print(slas: &[SlaRecord<'_>]) -> anyhow::Result<()> {
    if slas.is_empty() {
        note("no service levels: `longshore sla set` creates one");
        return Ok(());
    }
    let mut table = Table::new(&[
        "sla", "on", "goal", ">5m", ">1h", ">24h", ">late", ">at risk", ">running", ">workers", "",
    ]);
    for sla in slas {
        let mut row = vec![sla.name.clone(), target(&sla.settings.on), goal(&sla.settings)];
        let shares = sla.windows.iter().map(|it| it.attained.map(percent).unwrap_or_default());
        row.extend(shares.chain((sla.windows.len()..3).map(|_| String::new())).take(3));
        row.extend([
            grouped(sla.late),
            grouped(sla.at_risk),
            grouped(sla.running),
            sla.workers_needed.map(grouped).unwrap_or_default(),
            sla.breached_since.map(|at| format!("breached since {at}")).unwrap_or_default(),
        ]);
        table.row(&row);
    }
    Ok(table.print()?)
}

fn show(sla: &SlaRecord<'_>) -> anyhow::Result<()> {
    let windows: Vec<_> = sla
        .windows
        .iter()
        .map(|it| {
            let share = it.attained.map_or_else(|| "nothing".to_owned(), percent);
            let burn = it.burn_rate.map(|rate| format!(", burn rate {rate:.2}"));
            let burn = burn.unwrap_or_default();
            format!("{share} of {}{burn}, the worst {}", grouped(it.measured), it.worst)
        })
        .collect();
    let window = |at: usize| windows.get(at).cloned();
    output::line(&facts(&[
        ("sla", Some(sla.name.clone())),
        ("on", Some(target(&sla.settings.on))),
        ("goal", Some(goal(&sla.settings))),
        ("breached", sla.breached_since.map(|at| format!("since {at}"))),
        ("breaches", Some(grouped(sla.breaches_total))),
        ("last 5 min", window(0)),
        ("last hour", window(1)),
        ("last day", window(2)),
        ("late", Some(grouped(sla.late))),
        ("at risk", Some(grouped(sla.at_risk))),
        ("oldest", sla.oldest.map(|age| age.to_string())),
        ("running", Some(grouped(sla.running))),
        ("arrivals", Some(format!("{:.2}/s", sla.arrivals_per_second))),
        ("mean run", sla.mean_run.map(|ms| ms.to_string())),
        ("workers needed", sla.workers_needed.map(grouped)),
    ]))?;
    Ok(())
}

fn body_of<'a>(args: &'a SetArgs) -> Result<SlaBody<'a>, Failure> {
    let on = match (&args.queue, &args.kind, &args.schedule) {
        (Some(name), ..) => SlaTargetText::Queue(name.clone()),
        (_, Some(name), _) => SlaTargetText::Kind(name.clone()),
        (.., name) => SlaTargetText::Schedule(name.clone().unwrap_or_default()),
    };
    let job = |text: &'a String| {
        serde_json::from_str::<NewJob<'a>>(text)
            .map_err(|error| Failure::usage(format!("breach: {error}")))
    };
    Ok(SlaBody {
        on,
        started_within: args.started_within,
        done_within: args.done_within,
        at_least_every: args.at_least_every,
        share: args.share,
        breach: args.breach.as_ref().map(job).transpose()?,
    })
}

pub(crate) async fn execute(command: SlaCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let path = |name: &str| client.path(&format!("/sla/{}", segment(name)));
    let one = match command {
        SlaCommand::List => {
            let body = client.get(&client.path("/sla")).await?;
            match context.format {
                Format::Json => output::json_text(&body)?,
                Format::Table => print(&read::<SlaList<'_>>(&body)?.slas)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        SlaCommand::Delete(args) => {
            client.delete(&path(&args.name)).await?;
            if context.format == Format::Table {
                output::line(&format!("{} is deleted", args.name))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        SlaCommand::Show(args) => client.get(&path(&args.name)).await?,
        SlaCommand::Set(args) => client.put(&path(&args.name), &body_of(&args)?).await?,
    };
    match context.format {
        Format::Json => output::json_text(&one)?,
        Format::Table => show(&read(&one)?)?,
    }
    Ok(ExitCode::SUCCESS)
}
