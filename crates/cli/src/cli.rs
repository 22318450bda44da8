//! The tree of commands and what all of them share: which server, which namespace, how to print.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::client::{Client, DEFAULT_LISTEN};
use crate::config::{self, Config};
use crate::failure::Failure;
use crate::output::Format;
use crate::{
    accounts, backup, bench, completions, demo, dev, enqueue, events, gates, holds, jobs, kinds,
    limits, messages, name, namespaces, operations, policies, queues, replay, run, schedules,
    serve, shovel, sla, streams, triggers, verify, work, workers,
};

/// Durable background jobs: one server, one binary.
///
/// Try `longshore demo`, or `longshore dev` and then `longshore run 'echo hi'`.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 2 usage, 3 not found, 4 refused, 5 unavailable, 1 \
    anything else. Flags win over the environment, that over longshore.toml.")]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
struct Global {
    /// The server to ask
    #[arg(long, global = true, env = "LONGSHORE_SERVER", value_name = "URL")]
    #[arg(help_heading = "Everywhere")]
    server: Option<String>,
    /// The namespace to work in [default: default]
    #[arg(long, short, global = true, env = "LONGSHORE_NAMESPACE", value_name = "NAME")]
    #[arg(help_heading = "Everywhere", value_parser = name::namespace)]
    namespace: Option<String>,
    /// The authorities of the server's certificate, in PEM [default: those of the system]
    #[arg(long, global = true, env = "LONGSHORE_CA", value_name = "FILE")]
    #[arg(help_heading = "Everywhere")]
    ca: Option<PathBuf>,
    /// A token to come in with; better in a file, since others see what a process was started with
    #[arg(long, global = true, env = "LONGSHORE_TOKEN", value_name = "TOKEN")]
    #[arg(help_heading = "Everywhere", hide_env_values = true)]
    token: Option<String>,
    /// A file with a token to come in with
    #[arg(long, global = true, env = "LONGSHORE_TOKEN_FILE", value_name = "FILE")]
    #[arg(help_heading = "Everywhere")]
    token_file: Option<PathBuf>,
    /// How to print answers [default: table]
    #[arg(long, short, global = true, env = "LONGSHORE_OUTPUT", value_name = "FORMAT")]
    #[arg(help_heading = "Everywhere")]
    output: Option<Format>,
    /// The configuration file [default: longshore.toml where it is there]
    #[arg(long, global = true, env = "LONGSHORE_CONFIG", value_name = "FILE")]
    #[arg(help_heading = "Everywhere")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: archive a folder of real files while worker and server are killed
    Demo(demo::DemoArgs),
    /// Start everything on this machine to develop against: server and a worker
    Dev(dev::DevArgs),
    /// Start a server
    Serve(serve::ServeArgs),
    /// Run a shell command as a job and show its output
    Run(run::RunArgs),
    /// Enqueue a job, or many
    Enqueue(Box<enqueue::EnqueueArgs>),
    /// Work on jobs: run a command for each
    Work(work::WorkArgs),
    /// List, show, await, cancel and retry jobs
    #[command(subcommand, visible_alias = "job")]
    Jobs(jobs::JobsCommand),
    /// List, show, pause, resume, purge and delete queues
    #[command(subcommand, visible_alias = "queue")]
    Queues(queues::QueuesCommand),
    /// List, show, put, pause, run and delete schedules, and import them from files
    #[command(subcommand, visible_alias = "schedule")]
    Schedules(schedules::SchedulesCommand),
    /// List, show, declare and delete exchanges
    #[command(subcommand, visible_alias = "exchange")]
    Exchanges(messages::ExchangesCommand),
    /// List, add and remove bindings of exchanges
    #[command(subcommand, visible_alias = "binding")]
    Bindings(messages::BindingsCommand),
    /// Publish a message to an exchange or a queue
    Publish(messages::PublishArgs),
    /// Take messages of a queue, print them and ack them
    Consume(messages::ConsumeArgs),
    /// Look at messages of a queue without taking them
    Peek(messages::PeekArgs),
    /// Move the messages of queues over from another server that speaks AMQP
    Shovel(shovel::ShovelArgs),
    /// List, show, put and delete streams of events
    #[command(subcommand, visible_alias = "stream")]
    Streams(streams::StreamsCommand),
    /// Append an event to a stream, or many
    Append(events::AppendArgs),
    /// Print the events of a stream, and those that come
    Tail(events::TailArgs),
    /// Fill a queue from a stream again, as far as that is kept
    Replay(replay::ReplayArgs),
    /// List, show, set and delete how far groups have read streams
    #[command(subcommand, visible_alias = "group")]
    Groups(streams::GroupsCommand),
    /// List, show, put and delete triggers: events of streams that become jobs or messages
    #[command(subcommand, visible_alias = "trigger")]
    Triggers(triggers::TriggersCommand),
    /// List and show workers, ask them to stop
    #[command(subcommand, visible_alias = "worker")]
    Workers(workers::WorkersCommand),
    /// List, show, set and delete service levels: how soon jobs are to start or be done
    #[command(subcommand, visible_alias = "slas")]
    Sla(sla::SlaCommand),
    /// List, set and delete policies: settings for queues of messages and exchanges by name
    #[command(subcommand)]
    Policies(policies::PoliciesCommand),
    /// Close and open gates: named switches behind which nothing starts
    #[command(subcommand, visible_alias = "gate")]
    Gates(gates::GatesCommand),
    /// Hold tags: no job with one starts, and it is told when none runs
    #[command(subcommand, visible_alias = "hold")]
    Holds(holds::HoldsCommand),
    /// List kinds of jobs and their versions: what waits, what runs, and who runs it
    #[command(subcommand, visible_alias = "kind")]
    Kinds(kinds::KindsCommand),
    /// Limit how many jobs run, or start in a time
    #[command(subcommand, visible_alias = "limit")]
    Limits(limits::LimitsCommand),
    /// List, show, put and delete accounts; make and revoke their tokens
    #[command(subcommand, visible_alias = "account")]
    Accounts(accounts::AccountsCommand),
    /// Print what administrators changed
    #[command(subcommand)]
    Audit(accounts::AuditCommand),
    /// Have the server copy its store to another place
    Backup(backup::BackupArgs),
    /// Show how second copies are
    #[command(subcommand)]
    Backups(backup::BackupsCommand),
    /// Make a store of a copy, in an empty folder
    Restore(backup::RestoreArgs),
    /// List, create and delete namespaces
    #[command(subcommand, visible_alias = "namespace")]
    Namespaces(namespaces::NamespacesCommand),
    /// List, show and cancel what touches many jobs
    #[command(subcommand, visible_alias = "operation")]
    Operations(operations::OperationsCommand),
    /// Measure a server, and the disk and loopback below it
    Bench(bench::BenchArgs),
    /// Check a stopped store without changing it
    Verify(verify::VerifyArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    DemoWorker(demo::DemoWorkerArgs),
}

/// What all commands share, with the configuration below the flags.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) format: Format,
    server: String,
    namespace: Option<String>,
    /// Whose certificates are trusted.
    pub(crate) ca: Option<PathBuf>,
    /// What to come in with.
    token: Option<String>,
    /// Whether anybody named a server.
    pub(crate) server_named: bool,
}

impl Context {
    /// A client of the server that was named.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.client_of(&self.server)
    }

    /// A client of a server at another address, in the namespace that was named.
    pub(crate) fn client_of(&self, server: &str) -> Result<Client, Failure> {
        let ca = self.ca.as_deref();
        let client = Client::trusting(server, self.namespace.as_deref(), ca)?;
        Ok(client.with_token(self.token.as_deref()))
    }
}

impl Cli {
    /// Reads the command line; what clap refuses ends the process as clap would.
    pub(crate) fn read() -> Result<Self, Failure> {
        Self::try_parse().or_else(|error| {
            // It does not say that a variable is at fault, which is out of sight.
            if error.use_stderr() {
                let odd = config::variables().filter(|(_, value)| value.to_str().is_none());
                config::check_variables(odd)?;
            }
            error.exit()
        })
    }

    pub(crate) fn execute(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(self.global.config.as_deref())?;
        config::check_variables(config::variables())?;
        let server = self.global.server.or_else(|| config.client.server.clone());
        let token = token_of(self.global.token.as_deref(), self.global.token_file.as_deref())?;
        let context = Context {
            token,
            format: self.global.output.or(config.client.output).unwrap_or_default(),
            namespace: self.global.namespace.or_else(|| config.client.namespace.clone()),
            ca: self.global.ca.or_else(|| config.client.ca.clone()),
            server_named: server.is_some(),
            server: server.unwrap_or_else(|| format!("http://{DEFAULT_LISTEN}")),
            config,
        };
        match self.command {
            Command::Serve(args) => serve::execute(&args, &context),
            Command::Dev(args) => dev::execute(&args, &context),
            Command::Verify(args) => verify::execute(&args, &context),
            Command::Completions(args) => completions::execute(&args),
            Command::Restore(args) => backup::restore_into(&args, &context),
            Command::Backup(args) => block_on(backup::backup(args, &context)),
            Command::Backups(command) => block_on(backup::backups(command, &context)),
            Command::Demo(args) => block_on(demo::execute(args, &context)),
            Command::DemoWorker(args) => block_on(demo::execute_worker(args)),
            Command::Run(args) => block_on(run::execute(args, &context)),
            Command::Enqueue(args) => block_on(enqueue::execute(*args, &context)),
            Command::Work(args) => block_on(work::execute(args, &context)),
            Command::Jobs(command) => block_on(jobs::execute(command, &context)),
            Command::Queues(command) => block_on(queues::execute(command, &context)),
            Command::Schedules(command) => block_on(schedules::execute(command, &context)),
            Command::Exchanges(command) => block_on(messages::exchanges(command, &context)),
            Command::Bindings(command) => block_on(messages::bindings(command, &context)),
            Command::Publish(args) => block_on(messages::publish(args, &context)),
            Command::Consume(args) => block_on(messages::consume(args, &context)),
            Command::Peek(args) => block_on(messages::peek(args, &context)),
            Command::Shovel(args) => block_on(shovel::execute(args, &context)),
            Command::Streams(command) => block_on(streams::streams(command, &context)),
            Command::Append(args) => block_on(events::append(args, &context)),
            Command::Tail(args) => block_on(events::tail(args, &context)),
            Command::Replay(args) => block_on(replay::replay(args, &context)),
            Command::Groups(command) => block_on(streams::groups(command, &context)),
            Command::Triggers(command) => block_on(triggers::triggers(command, &context)),
            Command::Workers(command) => block_on(workers::execute(command, &context)),
            Command::Kinds(command) => block_on(kinds::execute(command, &context)),
            Command::Limits(command) => block_on(limits::execute(command, &context)),
            Command::Holds(command) => block_on(holds::execute(command, &context)),
            Command::Sla(command) => block_on(sla::execute(command, &context)),
            Command::Policies(command) => block_on(policies::execute(command, &context)),
            Command::Gates(command) => block_on(gates::execute(command, &context)),
            Command::Accounts(command) => block_on(accounts::execute(command, &context)),
            Command::Audit(command) => block_on(accounts::audit(command, &context)),
            Command::Namespaces(command) => block_on(namespaces::execute(command, &context)),
            Command::Operations(command) => block_on(operations::execute(command, &context)),
            Command::Bench(args) => block_on(bench::execute(args, &context)),
        }
    }
}

/// The token that is named, or that the file holds which is named.
fn token_of(token: Option<&str>, file: Option<&Path>) -> Result<Option<String>, Failure> {
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic());
    // An empty variable is as none.
    if let Some(text) = token.map(str::trim).filter(|text| !text.is_empty()) {
        if !is_token(text) {
            let said = "the token that is given is none: it has other letters than ASCII's";
            return Err(Failure::usage(said));
        }
        return Ok(Some(text.to_owned()));
    }
    let Some(path) = file else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read the token of {}: {error}", path.display()))
    })?;
    let text = text.trim();
    if !is_token(text) {
        return Err(Failure::usage(format!("there is no token in {}", path.display())));
    }
    Ok(Some(text.to_owned()))
}

/// Runs a command on this thread: processes that are to end with their parent are bound to the
/// thread that started them.
fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_token_is_that_which_is_named_or_that_of_the_file() {
        let file = std::env::temp_dir().join(format!("longshore-token-{}", std::process::id()));
        std::fs::write(&file, "of-the-file\n").unwrap();
        let of = token_of;
        let found = |token, file| of(token, file).unwrap();
        assert_eq!(found(None, None), None);
        assert_eq!(found(None, Some(&file)).as_deref(), Some("of-the-file"));
        assert_eq!(found(Some("named\n"), Some(&file)).as_deref(), Some("named"));
        for empty in ["", "\n"] {
            assert_eq!(found(Some(empty), Some(&file)).as_deref(), Some("of-the-file"));
            assert_eq!(found(Some(empty), None), None);
        }
        assert!(of(Some("one\r\nhost: other"), None).is_err());
        std::fs::write(&file, "\n").unwrap();
        assert!(of(None, Some(&file)).is_err());
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let cli = Cli::try_parse_from(["longshore", "jobs", "list", "-o", "json", "-n", "shop"]);
        let cli = cli.unwrap();
        assert_eq!(cli.global.output, Some(Format::Json));
        assert_eq!(cli.global.namespace.as_deref(), Some("shop"));
    }
}
