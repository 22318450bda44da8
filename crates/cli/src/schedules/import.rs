//! `longshore schedules import`: reads a file, says line by line what it understood, and makes the
//! namespace's schedules what the file says. Where a line is refused, nothing is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use longshore_server::api::{NextRequest, ScheduleList};
use longshore_server::preview_schedule;

use super::entries::{self, Entry, Mapping, Read};
use super::{crontab, path, when, yaml};
use crate::client::{Client, query, read, to_json};
use crate::failure::{Failure, Kind};
use crate::name;
use crate::output::{self, Format, count, note};

/// Bytes of a file.
const FILE_BYTES_MAX: u64 = 4 << 20;

#[derive(Args, Debug)]
#[command(
    after_help = "A schedule file of resque-scheduler or sidekiq-cron is a YAML map of names \
    to hashes with `cron` or\n`every`, `class`, `queue`, `args`, `description`. The class is the \
    kind, as it is written or with --snake;\nargs are the list that `perform` takes. Where a line \
    is refused, nothing is changed."
)]
pub(crate) struct ImportArgs {
    /// The file; `.yml`, `.yaml` and `.json` are YAML, others are crontabs
    file: PathBuf,
    /// What the file is
    #[arg(long, value_name = "FORMAT")]
    r#as: Option<FileFormat>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Remove schedules that an earlier import of this file created and it has no longer
    #[arg(long)]
    prune: bool,
    /// What the schedules are remembered as, for --prune [default: the name of the file]
    #[arg(long)]
    source: Option<String>,
    /// The queue of entries that name none
    #[arg(long, short, default_value = "default", value_parser = name::queue)]
    queue: String,
    /// Kinds are the classes in snake case
    #[arg(long)]
    snake: bool,
    /// The time zone of expressions that name none [default: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Only entries for this environment, and those that name none
    #[arg(long)]
    env: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FileFormat {
    Yaml,
    Crontab,
}

fn format_of(args: &ImportArgs) -> FileFormat {
    let ending = args.file.extension().and_then(|it| it.to_str()).unwrap_or_default();
    let by_name = match ending {
        "yml" | "yaml" | "json" => FileFormat::Yaml,
        _ => FileFormat::Crontab,
    };
    args.r#as.unwrap_or(by_name)
}

fn text_of(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let broken = |why: String| Failure::usage(format!("{shown}: {why}"));
    let length = fs::metadata(file).map_err(|error| broken(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(broken(format!("{length} bytes, of at most {FILE_BYTES_MAX}")));
    }
    fs::read_to_string(file).map_err(|error| broken(error.to_string()))
}

pub(super) async fn execute(
    client: &Client,
    args: &ImportArgs,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let text = text_of(&args.file)?;
    let mapping = Mapping {
        queue: args.queue.clone(),
        snake: args.snake,
        time_zone: args.time_zone.clone(),
        env: args.env.clone(),
    };
    let found = match format_of(args) {
        FileFormat::Crontab => crontab::read(&text, &mapping),
        FileFormat::Yaml => match yaml::parse(&text) {
            Ok(Some(root)) => entries::read(&root, &mapping),
            Ok(None) => Vec::new(),
            Err(fault) => vec![Err(fault)],
        },
    };
    let file_name = args.file.file_name().and_then(|it| it.to_str()).unwrap_or("import");
    let source = args.source.clone().unwrap_or_else(|| file_name.to_owned());
    let (mut wanted, mut refused) = (Vec::new(), 0);
    for one in found {
        match one {
            Ok(Read::Passed(line, why)) => say(line, &why),
            Err(fault) => {
                refused += 1;
                say(fault.line, &format!("refused: {}", fault.why));
            }
            Ok(Read::Entry(mut entry)) => {
                entry.body.source = Some(source.clone());
                match preview_schedule(&entry.name, &to_json(&entry.body)) {
                    Ok(next) => {
                        say(entry.line, &understood(&entry, &next));
                        wanted.push(*entry);
                    }
                    Err(why) => {
                        refused += 1;
                        say(entry.line, &format!("refused: {}: {why}", entry.name));
                    }
                }
            }
        }
    }
    if refused > 0 {
        let lines = count(refused, "line");
        let message = format!("{lines} of {} refused; nothing is changed", args.file.display());
        return Err(Failure::new(Kind::Refused, message).into());
    }
    apply(client, args, (&wanted, &source), format).await
}

fn say(line: usize, text: &str) {
    note(&format!("line {line}: {text}"));
}

fn understood(entry: &Entry, next: &str) -> String {
    let Entry { name, body, notes, .. } = entry;
    let zone = body.time_zone.as_ref().map(|zone| format!(" {zone}")).unwrap_or_default();
    let queue = body.job.queue.as_deref().unwrap_or_default();
    let args = body.job.args.as_ref().map(|args| args.get().to_owned()).unwrap_or_default();
    let paused = if body.paused == Some(true) { ", paused" } else { "" };
    let notes = notes.iter().flat_map(|note| ["; ", note]).collect::<String>();
    let when = when(body);
    let kind = &body.job.kind;
    format!("{name}: {when}{zone}, next {next}: {kind} {args} in {queue}{paused}{notes}")
}

/// Makes the schedules so.
async fn apply(
    client: &Client,
    args: &ImportArgs,
    (wanted, source): (&[Entry], &str),
    format: Format,
) -> anyhow::Result<ExitCode> {
    let known = all(client).await?;
    let gone: Vec<&(String, Option<String>)> = known
        .iter()
        .filter(|(name, of)| {
            args.prune && of.as_deref() == Some(source) && !wanted.iter().any(|it| it.name == *name)
        })
        .collect();
    if !args.dry_run {
        for entry in wanted {
            client.put(&path(client, &entry.name, ""), &entry.body).await?;
            let is_new = !known.iter().any(|(name, _)| *name == entry.name);
            if let Some(after) = entry.first_in.filter(|_| is_new && entry.body.paused.is_none()) {
                let request = NextRequest { after: Some(after), at: None };
                client.post(&path(client, &entry.name, "/next"), &request).await?;
            }
        }
    }
    for (name, _) in &gone {
        if args.dry_run {
            note(&format!("{name}: would be removed"));
        } else {
            client.delete(&path(client, name, "")).await?;
            note(&format!("{name}: removed"));
        }
    }
    let would = if args.dry_run { "would be " } else { "" };
    match format {
        Format::Table => {
            let put = count(wanted.len() as u64, "schedule");
            output::line(&format!("{put} {would}put, {} {would}removed", gone.len()))?;
        }
        Format::Json => {
            let put: Vec<&str> = wanted.iter().map(|entry| entry.name.as_str()).collect();
            let removed: Vec<&str> = gone.iter().map(|(name, _)| name.as_str()).collect();
            let told = serde_json::json!({
                "dry_run": args.dry_run, "put": put, "removed": removed,
            });
            output::json(&told)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The names of all schedules with their sources.
async fn all(client: &Client) -> anyhow::Result<Vec<(String, Option<String>)>> {
    let (mut all, mut cursor): (Vec<_>, Option<String>) = (Vec::new(), None);
    loop {
        let parameters = [("cursor", cursor.as_deref())];
        let body = client.get(&client.path(&format!("/schedules{}", query(&parameters)))).await?;
        let page: ScheduleList<'_> = read(&body)?;
        all.extend(page.schedules.into_iter().map(|of| (of.name, of.settings.source)));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}
