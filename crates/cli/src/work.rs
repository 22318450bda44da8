//! `longshore work`: a worker in any language, by running a command for each job.

mod autoscale;
mod backoff;
mod child;
mod exec;
mod flags;
mod job;
mod kinds;
mod shell;
mod shortage;
mod worker;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use longshore_server::api::DurationText;
use tokio::sync::watch;

pub(crate) use self::backoff::Backoff;
pub(crate) use self::child::Stop;
pub(crate) use self::exec::{Exec, Way};
use self::flags::Flags;
pub(crate) use self::job::{Assignment, News, Runner, Verdict};
pub(crate) use self::shell::{SHELL_KIND, Shell, ShellArgs, ShellResult, exit_code_of, outputs_of};
pub(crate) use self::worker::{Settings, run};
use crate::cli::Context;
use crate::config::WorkConfig;
use crate::failure::Failure;
use crate::name;
use crate::output::note;
use crate::signals::stop_on_signal;
use crate::stderr::{self, Form};

/// Jobs at a time, at most: what one lease request may ask for.
const CONCURRENCY_MAX: usize = 1000;

#[derive(Args, Debug)]
#[command(
    after_help = "The command gets the args on standard input, and LONGSHORE_JOB_ID, _KIND, \
    _KIND_VERSION,\n_ATTEMPT, _MAX_ATTEMPTS, _LEASE_TOKEN, _QUEUE, _SERVER, _NAMESPACE, _CURSOR, \
    _INTERRUPT and\n_NEXT in its environment. Its exit \
    code is the verdict:\n  0          done; standard output is the result\n  75         failed, \
    tried again later\n  79         interrupted: another run goes on from the cursor that standard \
    output says\n  65         discarded, never tried again\n  otherwise  failed; the end of \
    standard error is the message\nLONGSHORE_INTERRUPT names a file that comes into being when a \
    run shall be interrupted.\nIn the file LONGSHORE_NEXT a run may say when its schedule fires \
    next: 5s, or an instant.\nA cancelled job gets SIGTERM, then SIGKILL after 5 s; a job \
    whose lease is lost SIGKILL.\n\nExample:\n  longshore work --queue mail --exec \
    './send-mail.sh' --concurrency 4"
)]
pub(crate) struct WorkArgs {
    /// The queues in strict order, * and prefix* included; may be repeated [default: default]
    #[arg(long = "queue", short, value_name = "QUEUE", env = "LONGSHORE_QUEUES")]
    #[arg(value_delimiter = ',', value_parser = name::pattern)]
    queues: Vec<String>,
    /// Queues with weights in place of an order: critical=6,default=3
    #[arg(long, value_name = "QUEUE=N", value_delimiter = ',', value_parser = weight)]
    #[arg(conflicts_with = "queues")]
    weights: Vec<(String, u32)>,
    /// The command to run for each job, for sh
    #[arg(long, short, value_name = "CMD", env = "LONGSHORE_EXEC")]
    exec: Option<String>,
    /// Only jobs of these kinds, and of those only jobs without a version, or those of the
    /// versions that are named, as in invoice@2..3 or invoice@4 (0 for none); may be repeated
    #[arg(long = "kind", short, value_name = "KIND[@VERSIONS]", requires = "exec")]
    kinds: Vec<kinds::Named>,
    /// Run what jobs of the kind longshore.shell say
    #[arg(long)]
    allow_shell: bool,
    /// How many jobs at a time [default: 1]
    #[arg(long, short, value_name = "N", env = "LONGSHORE_CONCURRENCY")]
    concurrency: Option<usize>,
    /// As many jobs at a time as the service levels of its queues need, from MIN to MAX
    #[arg(long, value_name = "MIN..MAX", conflicts_with = "concurrency")]
    autoscale: Option<autoscale::Range>,
    /// How often it is looked how many are needed: what tests have no time for otherwise
    #[arg(long, value_name = "DURATION", default_value = "10s", hide = true)]
    autoscale_every: DurationText,
    /// The lease to ask for [default: what job or queue say, else 30s]
    #[arg(long, value_name = "DURATION", env = "LONGSHORE_LEASE")]
    lease: Option<DurationText>,
    /// How long running jobs may go on after SIGTERM [default: 25s]
    #[arg(long, value_name = "DURATION", env = "LONGSHORE_GRACE")]
    grace: Option<DurationText>,
    /// The name to be known by [default: host and process]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Tell only what goes wrong
    #[arg(long)]
    quiet: bool,
}

/// The queues that are asked for: as they are named here, or in the file.
fn queues_of(
    named: Vec<String>,
    weights: &BTreeMap<String, u32>,
    configured: Option<Vec<String>>,
) -> Vec<String> {
    let queues = if weights.is_empty() { named } else { weights.keys().cloned().collect() };
    let queues = Some(queues).filter(|queues| !queues.is_empty()).or(configured);
    queues.unwrap_or_else(|| vec!["default".to_owned()])
}

fn weight(text: &str) -> Result<(String, u32), String> {
    let (queue, weight) = text.split_once('=').ok_or("it has to be as in critical=6")?;
    let weight = weight.parse().map_err(|_| format!("\"{weight}\" is no weight"))?;
    Ok((name::pattern(queue)?, weight))
}

fn check_concurrency(given: usize) -> Result<(), Failure> {
    if (1..=CONCURRENCY_MAX).contains(&given) {
        return Ok(());
    }
    let message = format!("a concurrency of {given}: 1 to {CONCURRENCY_MAX} can be had");
    Err(Failure::usage(message))
}

/// How the worker works: as the flags say, and where they do not, as the configuration does.
fn settings_of(args: WorkArgs, config: &WorkConfig) -> Result<Settings, Failure> {
    let configured = |text: &Option<String>, key: &str| -> Result<Option<DurationText>, Failure> {
        let parse = |text: &String| text.parse();
        text.as_ref()
            .map(parse)
            .transpose()
            .map_err(|error| Failure::usage(format!("longshore.toml: work.{key}: {error}")))
    };
    let lease = args.lease.or(configured(&config.lease, "lease")?);
    let grace = args.grace.or(configured(&config.grace, "grace")?);
    let weights: BTreeMap<String, u32> = args.weights.into_iter().collect();
    Ok(Settings {
        queues: queues_of(args.queues, &weights, config.queues.clone()),
        weights,
        kinds: kinds::without_version(&args.kinds),
        versions: kinds::with_versions(&args.kinds),
        concurrency: match args.autoscale {
            Some(range) => range.max,
            None => args.concurrency.or(config.concurrency).unwrap_or(1),
        },
        scale: None,
        lease,
        grace: Duration::from_millis(grace.unwrap_or(DurationText::seconds(25)).0),
        name: args.name.unwrap_or_else(worker_name),
    })
}

pub(crate) async fn execute(args: WorkArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let config = &context.config.work;
    let client = context.client()?;
    let exec = args.exec.clone().or_else(|| config.exec.clone());
    if exec.is_none() && !args.allow_shell {
        return Err(Failure::usage("nothing to do with jobs: neither --exec nor --allow-shell")
            .hint("longshore work --queue mail --exec './send-mail.sh'")
            .into());
    }
    let quiet = args.quiet;
    let (allow_shell, range) = (args.allow_shell, args.autoscale);
    let every = Duration::from_millis(args.autoscale_every.0.max(1));
    let mut settings = settings_of(args, config)?;
    let (scale, scaled) = range.map(|range| watch::channel(range.min)).unzip();
    settings.scale = scaled;
    check_concurrency(settings.concurrency)?;
    let stop = stop_on_signal()?;
    stderr::start(Form::Plain)?;
    if !quiet {
        note(&format!("working on {} at {}", settings.queues.join(", "), client.url()));
    }
    let way = Way {
        server: client.url(),
        namespace: client.namespace().to_owned(),
        ca: context.ca.as_deref().map(std::path::absolute).transpose()?,
    };
    // A worker that names kinds gets only those: running both takes two.
    let shell = allow_shell.then(|| {
        let kinds = Some(vec![SHELL_KIND.to_owned()]);
        let runner = Arc::new(Shell { way: way.clone(), quiet });
        run(
            &client,
            Settings { kinds, versions: Vec::new(), ..settings.clone() },
            runner,
            stop.clone(),
        )
    });
    let flags = exec.as_ref().and_then(|_| flags());
    let exec = exec.map(|command| {
        let runner = Arc::new(Exec { command, way: way.clone(), quiet, flags });
        run(&client, settings.clone(), runner, stop.clone())
    });
    let follow = async {
        let of = range.zip(scale);
        let Some((range, scale)) = of else { return std::future::pending().await };
        autoscale::follow(client.another(), settings.clone(), (range, scale, every), quiet).await;
    };
    let both = async {
        tokio::try_join!(
            async { if let Some(shell) = shell { shell.await } else { Ok(()) } },
            async { if let Some(exec) = exec { exec.await } else { Ok(()) } },
        )
    };
    let done = tokio::select! {
        done = both => done.map(|_| ()),
        () = follow => Ok(()),
    };
    done.map_err(|failure| explain(failure, &settings.queues))?;
    Ok(ExitCode::SUCCESS)
}

/// Where commands hear of interruptions, and say when schedules fire next. A worker without such a
/// place runs its jobs to their ends.
fn flags() -> Option<Arc<Flags>> {
    let made = Flags::create();
    let tell = |error: &std::io::Error| {
        note(&format!("commands hear of no interruption, and move no schedule: {error}"));
    };
    made.inspect_err(tell).ok().map(Arc::new)
}

/// Who this worker is, for people.
pub(crate) fn worker_name() -> String {
    let uname = rustix::system::uname();
    format!("{}:{}", uname.nodename().to_string_lossy(), std::process::id())
}

/// A refusal of a worker's very first turn, as it is worth telling.
fn explain(failure: Failure, queues: &[String]) -> Failure {
    use crate::failure::Kind;
    match failure.kind {
        Kind::NotFound => failure.hint("create it with `longshore namespaces create NAME`"),
        Kind::Refused => failure.hint(format!("the queues asked for: {}", queues.join(", "))),
        _ => failure,
    }
}
