//! `longshore serve`: the server by itself.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use longshore_server::config::ServerConfig;
use longshore_server::http::{self, Listeners, ServeError};
use longshore_server::{Access, ListenError, Listener, kafka, management};
use longshore_server::{Node, NodeConfig, OpenError, StoreDirError, StoreLost};
use tokio::net::TcpListener;

use crate::cli::Context;
use crate::config;
use crate::failure::{Failure, Kind};
use crate::launch::{self, LISTENING};
use crate::logs;
use crate::output;
use crate::signals::Signals;

#[derive(Args, Debug)]
#[command(after_help = "Everything else that can be set has a key in longshore.toml and a \
    variable LONGSHORE_...: see docs/configuration.md.\nThe first line on standard output tells \
    the address. SIGTERM stops it in order; a second one at once.")]
pub(crate) struct ServeArgs {
    /// The address to listen at, port 0 for a free one [default: 127.0.0.1:7077]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The address to listen at for AMQP, such as 127.0.0.1:5672 [default: none]
    #[arg(long, value_name = "ADDR")]
    amqp: Option<String>,
    /// The folder of the store, made where it is not there [default: .longshore]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address to listen at for Kafka clients, such as 127.0.0.1:9092 [default: none]
    #[arg(long, value_name = "ADDR")]
    kafka: Option<String>,
    /// Who comes in: off for everybody on this machine, or required for accounts [default: off]
    #[arg(long, value_name = "off|required")]
    access: Option<String>,
    /// A TOML file of accounts that are put at each start [default: none]
    #[arg(long, value_name = "FILE")]
    accounts_file: Option<PathBuf>,
    /// The address for rabbitmqadmin and the like, such as 127.0.0.1:15672 [default: none]
    #[arg(long, value_name = "ADDR")]
    management: Option<String>,
    /// Shards of a new store; an existing one keeps its number [default: 2]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    #[arg(long = "set", value_name = "KEY=VALUE")]
    #[arg(help = "Set any key, such as --set http.body_bytes_max=4MiB; may be repeated")]
    settings: Vec<OsString>,
}

impl ServeArgs {
    /// The flags as keys and values, the strongest last.
    pub(crate) fn flags(&self) -> Result<Vec<(String, OsString)>, Failure> {
        let mut flags = Vec::new();
        for setting in &self.settings {
            flags.push(key_and_value(setting).ok_or_else(|| {
                let shown = setting.display();
                Failure::usage(format!("--set {shown}: it has to be KEY=VALUE"))
            })?);
        }
        let mut add = |key: &str, value: Option<OsString>| {
            flags.extend(value.map(|value| (key.to_owned(), value)));
        };
        add("serve.listen", self.listen.clone().map(Into::into));
        add("serve.amqp", self.amqp.clone().map(Into::into));
        add("serve.kafka", self.kafka.clone().map(Into::into));
        add("serve.management", self.management.clone().map(Into::into));
        add("serve.access", self.access.clone().map(Into::into));
        add("serve.accounts_file", self.accounts_file.clone().map(Into::into));
        add("serve.data", self.data.clone().map(Into::into));
        add("serve.shards", self.shards.map(|shards| shards.to_string().into()));
        Ok(flags)
    }
}

/// Both parts of a setting; the value may be a path that is not UTF-8.
fn key_and_value(setting: &OsStr) -> Option<(String, OsString)> {
    let bytes = setting.as_bytes();
    let (key, value) = bytes.split_at_checked(bytes.iter().position(|byte| *byte == b'=')?)?;
    let key = std::str::from_utf8(key).ok()?.trim().to_owned();
    Some((key, OsStr::from_bytes(value.strip_prefix(b"=")?.trim_ascii()).to_owned()))
}

pub(crate) fn execute(args: &ServeArgs, context: &Context) -> Result<ExitCode> {
    launch::end_with_parent();
    let config = context.config.server(config::variables().collect(), args.flags()?)?;
    logs::start("info")?;
    runtime()?.block_on(async {
        check_faces(&config)?;
        let (listener, address) = listen_as(&config.listen, config.access.required).await?;
        let amqp = match &config.amqp_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let node = open(&config)?;
        let access = Access::start(&config.access, &node)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let kafka = listens(kafka::listen(&config.kafka, &node).await, "--kafka")?;
        let management =
            listens(management::listen(&config.management, &node, &access).await, "--management")?;
        let mut listening = vec![format!("{LISTENING}http://{address}")];
        listening.extend(amqp.iter().map(|(_, address)| format!("{LISTENING}amqp://{address}")));
        listening.extend(kafka.iter().map(|it| format!("{LISTENING}kafka://{}", it.address())));
        let told = management.iter().map(|it| format!("{LISTENING}management://{}", it.address()));
        listening.extend(told);
        if let Err(error) = output::line(&listening.join("\n")) {
            tracing::warn!(%error, "standard output does not take the address");
        }
        tracing::info!(%address, data = %config.node.dir.display(), "listening");
        let amqp = amqp.map(|(listener, _)| listener);
        let listeners = Listeners { http: listener, amqp, access };
        let stop = stop_signal()?;
        http::serve(&config, node, listeners, async {
            stop.await;
            if let Some(management) = management {
                management.stop().await;
            }
            if let Some(kafka) = kafka {
                kafka.stop().await;
            }
        })
        .await?;
        tracing::info!("stopped: all that was answered is on disk");
        Ok(ExitCode::SUCCESS)
    })
}

/// For what has no thread of its own; connections and shards have.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Refuses faces that ask nobody who it is, in a server that has to.
fn check_faces(config: &ServerConfig) -> Result<(), Failure> {
    if !config.access.required {
        return Ok(());
    }
    let open = [(&config.amqp_listen, "--amqp"), (&config.kafka.listen, "--kafka")];
    match open.iter().find(|(listen, _)| listen.is_some()) {
        None => Ok(()),
        Some((_, flag)) => Err(Failure::usage(format!(
            "{flag} with --access required: clients there cannot say yet who they are, so anybody \
             could do anything"
        ))),
    }
}

/// Listens, and tells which address that is.
pub(crate) async fn listen(address: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    listen_as(address, false).await
}

async fn listen_as(address: &str, anywhere: bool) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound =
        if anywhere { http::bind_anywhere(address).await } else { http::bind(address).await };
    let listener = bound.map_err(|error| match &error {
        ServeError::Bind { error: cause, .. } if cause.kind() == std::io::ErrorKind::AddrInUse => {
            Failure::new(Kind::Other, error.to_string())
                .hint("choose another with --listen or --amqp; 127.0.0.1:0 takes a free port")
        }
        ServeError::Bind { .. } => Failure::new(Kind::Other, error.to_string()),
        _ => Failure::usage(error.to_string()),
    })?;
    let address = listener.local_addr().map_err(|error| {
        Failure::new(Kind::Other, format!("cannot tell where it listens: {error}"))
    })?;
    Ok((listener, address))
}

/// What came of listening for a face that is only there where the configuration says so.
pub(crate) fn listens(
    started: Result<Option<Listener>, ListenError>,
    flag: &str,
) -> Result<Option<Listener>, Failure> {
    started.map_err(|error| {
        Failure::new(Kind::Other, error.to_string()).hint(format!("choose another with {flag}"))
    })
}

/// Opens the store.
pub(crate) fn open(config: &ServerConfig) -> Result<Node, Failure> {
    let config = NodeConfig { store_lost: StoreLost::EndProcess, ..config.node.clone() };
    Node::open(&config).map_err(|error| {
        let failure = Failure::new(Kind::Other, error.to_string());
        match error {
            OpenError::Store(StoreDirError::InUse { .. }) => {
                let failure = Failure { kind: Kind::Refused, ..failure };
                failure.hint("stop that server first, or use another folder with --data")
            }
            OpenError::Store(StoreDirError::OtherLevel { other, .. }) => {
                Failure { kind: Kind::OtherLevel, ..failure }.hint(other.way_out())
            }
            OpenError::Store(
                StoreDirError::Manifest { .. } | StoreDirError::ManifestLost { .. },
            ) => {
                let dir = config.dir.display();
                failure.hint(format!("`longshore verify {dir}` tells more"))
            }
            _ => failure,
        }
    })
}

/// Ready at the first signal that asks for it; the second ends the process, as `kill -9` would.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut signals = Signals::listen()?;
    Ok(async move {
        signals.next().await;
        tracing::info!("stopping");
        tokio::spawn(async move {
            signals.next().await;
            std::process::exit(1);
        });
    })
}
