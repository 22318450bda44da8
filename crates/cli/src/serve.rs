//! `longshore serve`: the server by itself.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use longshore_server::config::ServerConfig;
use longshore_server::http::{self, Listeners, ServeError};
use longshore_server::{
    Access, AmqpConnections, ConsumerGroups, ListenError, Listener, Tls, check_exposure, kafka,
    management,
};
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
    /// The address for HTTP and gRPC over TLS, such as 127.0.0.1:7443 [default: none]
    #[arg(long, value_name = "ADDR")]
    https: Option<String>,
    /// The address for AMQP over TLS, such as 127.0.0.1:5671 [default: none]
    #[arg(long, value_name = "ADDR")]
    amqps: Option<String>,
    /// The address for Kafka clients over TLS, such as 127.0.0.1:9093 [default: none]
    #[arg(long, value_name = "ADDR")]
    kafka_tls: Option<String>,
    /// The address for rabbitmqadmin over TLS, such as 127.0.0.1:15671 [default: none]
    #[arg(long, value_name = "ADDR")]
    management_tls: Option<String>,
    /// The certificate for these, with those up to its authority, in PEM
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// The key to the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
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
        add("serve.https", self.https.clone().map(Into::into));
        add("serve.amqps", self.amqps.clone().map(Into::into));
        add("serve.kafka_tls", self.kafka_tls.clone().map(Into::into));
        add("serve.management_tls", self.management_tls.clone().map(Into::into));
        add("tls.certificate", self.tls_certificate.clone().map(Into::into));
        add("tls.key", self.tls_key.clone().map(Into::into));
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
        let tls = tls(&config)?;
        let required = config.access.required;
        let (listener, address) = listen_as(&config.listen, required).await?;
        let amqp = listen_if(config.amqp_listen.as_deref(), required).await?;
        let https = listen_if(config.https_listen.as_deref(), required).await?;
        let amqps = listen_if(config.amqps_listen.as_deref(), required).await?;
        let node = open(&config)?;
        let access = Access::start(&config.access, &node)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let shared = (&access, tls.as_ref());
        let groups = ConsumerGroups::default();
        let kafka = kafka::listen(&config.kafka, &node, shared, &groups).await;
        let kafka = listens(kafka, "--kafka")?;
        let amqp_connections = AmqpConnections::default();
        let management =
            management::listen(&config.management, &node, shared, &amqp_connections).await;
        let management = listens(management, "--management")?;
        let at = |listening: &Option<(TcpListener, SocketAddr)>| listening.as_ref().map(|it| it.1);
        let listening = [
            ("http", Some(address)),
            ("amqp", at(&amqp)),
            ("kafka", kafka.as_ref().and_then(Listener::plain)),
            ("management", management.as_ref().and_then(Listener::plain)),
            ("https", at(&https)),
            ("amqps", at(&amqps)),
            ("kafka+tls", kafka.as_ref().and_then(Listener::tls)),
            ("management+tls", management.as_ref().and_then(Listener::tls)),
        ];
        let listening: Vec<_> = listening
            .into_iter()
            .filter_map(|(scheme, at)| Some(format!("{LISTENING}{scheme}://{}", at?)))
            .collect();
        if let Err(error) = output::line(&listening.join("\n")) {
            tracing::warn!(%error, "standard output does not take the address");
        }
        tracing::info!(%address, data = %config.node.dir.display(), "listening");
        let listeners = Listeners {
            http: listener,
            amqp: amqp.map(|(listener, _)| listener),
            https: https.map(|(listener, _)| listener),
            amqps: amqps.map(|(listener, _)| listener),
            tls,
            access,
            amqp_connections,
            groups,
        };
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

/// Listens where an address is named.
pub(crate) async fn listen_if(
    address: Option<&str>,
    anywhere: bool,
) -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
    match address {
        Some(address) => listen_as(address, anywhere).await.map(Some),
        None => Ok(None),
    }
}

/// What is shown and demanded where TLS is spoken. Says what travels in the open where it is not.
pub(crate) fn tls(config: &ServerConfig) -> Result<Option<Arc<Tls>>, Failure> {
    check_exposure(config).map_err(|error| Failure::usage(error.to_string()))?;
    let is_spoken = [
        &config.https_listen,
        &config.amqps_listen,
        &config.kafka.listen_tls,
        &config.management.listen_tls,
    ];
    let tls = if is_spoken.iter().any(|address| address.is_some()) {
        Tls::load_for(&config.tls, "an address for TLS is").map(Some)
    } else {
        Tls::load(&config.tls)
    };
    tls.map_err(|error| {
        Failure::usage(error.to_string()).hint("docs/tls.md tells how certificates are made")
    })
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
