//! `longshore schedules import`: reads a file, says line by line what it understood, and makes the
//! namespace's schedules what the file says. Where a line is refused, nothing is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use longshore_server::api::{InstantText, NextRequest, ScheduleList};
use longshore_server::preview_schedule;

use super::crontab::{self, Users};
use super::entries::{self, Entry, Mapping, Read};
use super::yaml::{self, Fault};
use super::{path, when};
use crate::client::{Client, read, to_json};
use crate::failure::{Failure, Kind};
use crate::name;
use crate::output::{self, Format, count, note};

/// Bytes of a file.
const FILE_BYTES_MAX: u64 = 4 << 20;

#[derive(Args, Debug)]
#[command(
    after_help = "A schedule file of resque-scheduler or sidekiq-cron is a YAML map of names to \
    hashes with `cron` or\n`every`, `class`, `queue`, `args`, `description`. The class is the \
    kind, as it is written or in snake\ncase with --snake; args are the list that `perform` takes. \
    Where a line is refused, nothing is changed.\n\nWith --prune the file is the truth for what \
    --source names: give each file that is imported into a\nnamespace a name of its own, and \
    keep it from one deploy to the next, wherever the file lies then:\n  longshore schedules \
    import config/schedule.yml --source shop --prune"
)]
pub(crate) struct ImportArgs {
    /// The file; `.yml`, `.yaml` and `.json` are YAML, `/etc/crontab` and what lies in
    /// `/etc/cron.d` name a user in each line, others are crontabs
    file: PathBuf,
    /// What the file is
    #[arg(long, value_name = "FORMAT")]
    r#as: Option<FileFormat>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Remove schedules that an earlier import from this --source created and the file has no
    /// longer
    #[arg(long, requires = "source")]
    prune: bool,
    /// What the schedules are remembered as coming from [default: the name of the file]
    #[arg(long, value_name = "NAME")]
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
    /// Of one user: five fields and a command
    Crontab,
    /// Of the system: five fields, a user and a command
    SystemCrontab,
}

fn found_in(args: &ImportArgs, text: &str) -> Vec<Result<Read, Fault>> {
    let mapping = Mapping {
        queue: args.queue.clone(),
        snake: args.snake,
        time_zone: args.time_zone.clone(),
        env: args.env.clone(),
    };
    let ending = args.file.extension().and_then(|it| it.to_str()).unwrap_or_default();
    let is_yaml = matches!(ending, "yml" | "yaml" | "json");
    match args.r#as {
        None if is_yaml => entries_of(text, &mapping),
        Some(FileFormat::Yaml) => entries_of(text, &mapping),
        Some(FileFormat::Crontab) => crontab::read(text, &mapping, &Users::None),
        Some(FileFormat::SystemCrontab) => crontab::read(text, &mapping, &Users::Named),
        None if is_of_the_system(&args.file) => crontab::read(text, &mapping, &Users::Named),
        None => crontab::read(text, &mapping, &Users::Unsaid(crontab::users_here())),
    }
}

fn entries_of(text: &str, mapping: &Mapping) -> Vec<Result<Read, Fault>> {
    match yaml::parse(text) {
        Ok(Some(root)) => entries::read(&root, mapping),
        Ok(None) => Vec::new(),
        Err(fault) => vec![Err(fault)],
    }
}

/// Whether cron reads it as a crontab of the system: that is a question of where it lies.
fn is_of_the_system(file: &Path) -> bool {
    let place = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    place == Path::new("/etc/crontab") || place.parent() == Some(Path::new("/etc/cron.d"))
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

/// A schedule that is there.
struct Known {
    name: String,
    /// What it came from.
    source: Option<String>,
    paused: bool,
}

pub(super) async fn execute(
    client: &Client,
    args: &ImportArgs,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let text = text_of(&args.file)?;
    let found = found_in(args, &text);
    // Refused lines are told without a server, too.
    let is_sound = found.iter().all(Result::is_ok);
    let known = if is_sound { all(client).await? } else { Vec::new() };
    let file_name = args.file.file_name().and_then(|it| it.to_str()).unwrap_or("import");
    let source = args.source.as_deref().unwrap_or(file_name);
    let (mut wanted, mut refused) = (Vec::new(), 0);
    for one in found {
        match one {
            Ok(Read::Passed(line, why)) => say(line, &why),
            Err(fault) => {
                refused += 1;
                say(fault.line, &format!("refused: {}", fault.why));
            }
            Ok(Read::Entry(mut entry)) => {
                entry.body.source = Some(source.to_owned());
                entry.first_in = entry.first_in.filter(|_| {
                    let is_new = !known.iter().any(|of| of.name == entry.name);
                    is_new && entry.body.paused != Some(true)
                });
                match next_of(&entry) {
                    Ok(next) => {
                        say(entry.line, &understood(&entry, &next, &known));
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
    apply(client, args, (&wanted, source, &known), format).await
}

fn say(line: usize, text: &str) {
    note(&format!("line {line}: {text}"));
}

/// When it comes next; else why it is refused.
fn next_of(entry: &Entry) -> Result<String, String> {
    let next = preview_schedule(&entry.name, &to_json(&entry.body))?;
    let Some(after) = entry.first_in else { return Ok(next) };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = InstantText((since.as_millis() as u64).saturating_add(after.0));
    Ok(format!("{first}, in {after}"))
}

fn understood(entry: &Entry, next: &str, known: &[Known]) -> String {
    let Entry { name, body, notes, .. } = entry;
    let zone = body.time_zone.as_ref().map(|zone| format!(" {zone}")).unwrap_or_default();
    let queue = body.job.queue.as_deref().unwrap_or_default();
    let args = body.job.args.as_ref().map(|args| args.get().to_owned()).unwrap_or_default();
    let unique = if body.job.unique.is_some() { ", unique" } else { "" };
    let paused = if body.paused == Some(true) { ", paused" } else { "" };
    let mut notes = notes.clone();
    let before = known.iter().find(|of| of.name == *name);
    if let Some(Known { source, .. }) = before.filter(|of| of.source != body.source) {
        let of = source.as_ref().map_or_else(|| "by hand".to_owned(), |of| format!("from {of}"));
        notes.push(format!("it was put {of}, and is replaced"));
    }
    if before.is_some_and(|of| of.paused) {
        let goes_on = body.paused == Some(false);
        notes.extend(goes_on.then(|| "it is paused, and goes on".to_owned()));
        notes.extend(body.paused.is_none().then(|| "it stays paused".to_owned()));
    }
    let notes = notes.iter().flat_map(|note| ["; ", note]).collect::<String>();
    let when = when(body);
    let kind = &body.job.kind;
    format!("{name}: {when}{zone}, next {next}: {kind} {args} in {queue}{unique}{paused}{notes}")
}

/// Makes the schedules so.
async fn apply(
    client: &Client,
    args: &ImportArgs,
    (wanted, source, known): (&[Entry], &str, &[Known]),
    format: Format,
) -> anyhow::Result<ExitCode> {
    let is_gone = |of: &&Known| {
        of.source.as_deref() == Some(source) && !wanted.iter().any(|it| it.name == of.name)
    };
    let gone: Vec<_> = known.iter().filter(|_| args.prune).filter(is_gone).collect();
    if wanted.is_empty() && !gone.is_empty() {
        let all = count(gone.len() as u64, "schedule");
        let shown = args.file.display();
        let message = format!("{shown} has no schedules: nothing is changed");
        return Err(Failure::new(Kind::Refused, message)
            .hint(format!("to remove the {all} of {source}: longshore schedules delete NAME"))
            .into());
    }
    let will = if args.dry_run { "would" } else { "will" };
    for Known { name, .. } in &gone {
        note(&format!("{name}: {will} be removed: it came from {source}, which has it no longer"));
    }
    if !args.dry_run {
        for entry in wanted {
            client.put(&path(client, &entry.name, ""), &entry.body).await?;
            if let Some(after) = entry.first_in {
                let request = NextRequest { after: Some(after), at: None };
                client.post(&path(client, &entry.name, "/next"), &request).await?;
            }
        }
        for Known { name, .. } in &gone {
            client.delete(&path(client, name, "")).await?;
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
            let removed: Vec<&str> = gone.iter().map(|of| of.name.as_str()).collect();
            let told = serde_json::json!({
                "dry_run": args.dry_run, "put": put, "removed": removed,
            });
            output::json(&told)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All schedules.
async fn all(client: &Client) -> anyhow::Result<Vec<Known>> {
    let mut all = Vec::new();
    let add = |body: &[u8]| {
        let page: ScheduleList<'_> = read(body)?;
        all.extend(page.schedules.into_iter().map(|of| Known {
            name: of.name,
            source: of.settings.source,
            paused: of.paused,
        }));
        Ok(page.next)
    };
    client.pages(&client.path("/schedules"), &[], add).await?;
    Ok(all)
}
