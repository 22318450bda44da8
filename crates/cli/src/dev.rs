//! `longshore dev`: everything on this machine to develop against, durable, with a worker that
//! runs shell commands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use longshore_server::config::{DEFAULT_LISTEN, ServerConfig};
use longshore_server::http::{self, Listeners};
use longshore_server::{Access, AmqpConnections, ConsumerGroups, Listener, Tls, kafka};
use longshore_server::{Node, ShardState};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::Context;
use crate::client::Client;
use crate::config;
use crate::demo::program;
use crate::failure::{Failure, Kind};
use crate::logs;
use crate::output::{self, note};
use crate::serve::{ServeArgs, listen, listen_if, listens, open, runtime, stop_signal, tls};
use crate::work::{SHELL_KIND, Settings, Shell, Way, run};

/// Where clients of AMQP look for a server.
const AMQP_LISTEN: &str = "127.0.0.1:5672";
/// Where Kafka clients look first.
const KAFKA_LISTEN: &str = "127.0.0.1:9092";

/// How many shell commands run at a time.
const CONCURRENCY: usize = 4;

#[derive(Args, Debug)]
#[command(after_help = "Durable: what was accepted is still there when it is started again. \
    Namespaces come into being with their first job.")]
pub(crate) struct DevArgs {
    #[command(flatten)]
    serve: ServeArgs,
}

pub(crate) fn execute(args: &DevArgs, context: &Context) -> Result<ExitCode> {
    let mut flags = vec![
        ("limits.namespaces_on_first_use".to_owned(), "true".into()),
        ("kafka.partitions_default".to_owned(), "4".into()),
    ];
    flags.extend(args.serve.flags()?);
    let config = context.config.server(config::variables().collect(), flags)?;
    if config.access.required {
        let said = "`longshore dev` asks nobody who it is; use `longshore serve` for accounts";
        return Err(Failure::usage(said.to_owned()).into());
    }
    logs::start("warn")?;
    runtime()?.block_on(async {
        let (listener, address) = match listen(&config.listen).await {
            Ok(listening) => listening,
            Err(failure) => return Err(explain_taken(failure, &config.listen).await.into()),
        };
        let tls = tls(&config)?;
        let https = listen_if(config.https_listen.as_deref(), false).await?;
        let amqps = listen_if(config.amqps_listen.as_deref(), false).await?;
        let amqp = listen_for_amqp(&config).await?;
        let amqp_address = amqp.as_ref().map(|(_, address)| *address);
        let node = open(&config)?;
        let groups = ConsumerGroups::default();
        let kafka = open_kafka(&config, &node, (tls.as_ref(), &groups)).await?;
        let stop_asked = stop_signal()?;
        tokio::spawn(greet_when_ready(
            node.clone(),
            (address, amqp_address, kafka.as_ref().and_then(Listener::plain)),
            config.node.dir.clone(),
        ));
        let (stop, stopped) = watch::channel(false);
        let client = Client::new(&address.to_string(), None)?;
        let worker = tokio::spawn(work(client, stopped));
        let listeners = Listeners {
            http: listener,
            amqp: amqp.map(|(listener, _)| listener),
            https: https.map(|(listener, _)| listener),
            amqps: amqps.map(|(listener, _)| listener),
            tls,
            access: Access::off(),
            amqp_connections: AmqpConnections::default(),
            groups,
        };
        http::serve(&config, node, listeners, async {
            stop_asked.await;
            // The worker's last words need a server that listens.
            let _ = stop.send(true);
            let _ = worker.await;
            if let Some(kafka) = kafka {
                kafka.stop().await;
            }
        })
        .await?;
        note("stopped; what was accepted is on disk");
        Ok(ExitCode::SUCCESS)
    })
}

/// Kafka's own port, where it is free and nobody said another one.
async fn open_kafka(
    config: &ServerConfig,
    node: &Node,
    (tls, groups): (Option<&Arc<Tls>>, &ConsumerGroups),
) -> Result<Option<Listener>> {
    if config.kafka.listen.is_some() || config.kafka.listen_tls.is_some() {
        return Ok(listens(
            kafka::listen(&config.kafka, node, (&Access::off(), tls), groups).await,
            "--kafka",
        )?);
    }
    // A server that is not at the usual port is one beside another.
    if config.listen != DEFAULT_LISTEN {
        return Ok(None);
    }
    let mut usual = config.kafka.clone();
    usual.listen = Some(KAFKA_LISTEN.to_owned());
    match kafka::listen(&usual, node, (&Access::off(), tls), groups).await {
        Ok(listener) => Ok(listener),
        Err(error) => {
            note(&format!("no Kafka: {error}"));
            Ok(None)
        }
    }
}

async fn work(client: Client, stop: watch::Receiver<bool>) {
    let settings = Settings::of("dev", "*", SHELL_KIND, CONCURRENCY);
    let (server, namespace) = (client.url(), client.namespace().to_owned());
    let shell = Shell { way: Way { server, namespace, ca: None }, quiet: false };
    if let Err(failure) = run(&client, settings, Arc::new(shell), stop).await {
        note(&format!("the worker has ended: {failure}"));
    }
}

/// Where it listens: for HTTP, and for AMQP and Kafka clients.
type Addresses = (SocketAddr, Option<SocketAddr>, Option<SocketAddr>);

/// What is copied from the greeting shall work at once.
async fn greet_when_ready(node: Node, (address, amqp, kafka): Addresses, data: PathBuf) {
    for (index, state) in node.started().await.shards.iter().enumerate() {
        if let ShardState::Stopped { why } = state {
            note(&format!("shard {index} does not serve: {why}"));
            note(&format!(
                "stop this server, then `longshore verify {}` tells more",
                data.display()
            ));
        }
    }
    // Nobody may read it.
    let _ = greet((address, amqp, kafka), &data.display().to_string());
}

/// Listens for AMQP where its clients look for it, unless somebody else does, or at the address
/// that was asked for. A server that is not at the usual port is one beside another.
async fn listen_for_amqp(
    config: &ServerConfig,
) -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
    if let Some(address) = &config.amqp_listen {
        return listen(address).await.map(Some);
    }
    if config.listen != DEFAULT_LISTEN {
        return Ok(None);
    }
    match listen(AMQP_LISTEN).await {
        Ok(listening) => Ok(Some(listening)),
        Err(failure) => {
            note(&format!("no AMQP: {failure}"));
            Ok(None)
        }
    }
}

/// Lines to copy.
fn greet((address, amqp, kafka): Addresses, data: &str) -> std::io::Result<()> {
    let program = program();
    let url = format!("http://{address}");
    let at = if address.port() == 7077 { String::new() } else { format!(" --server {url}") };
    let job = r#"'{"kind":"greet","args":{"name":"Ada"}}'"#;
    let listening = |face: &str, address: Option<SocketAddr>| {
        address.map_or_else(String::new, |address| format!("listening on {face}://{address}\n"))
    };
    let (amqp, kafka) = (listening("amqp", amqp), listening("kafka", kafka));
    output::line(&format!(
        "listening on {url}\n\
         {amqp}{kafka}\
         Everything is kept in {data}; a worker for shell commands is included. Ctrl-C stops it.\n\
         \n\
         In another terminal, try\n\
         \x20 {program} run 'echo hi'{at}\n\
         \x20 {program} enqueue greet '{{\"name\":\"Ada\"}}'{at}\n\
         \x20 {program} work --exec 'cat'{at}\n\
         \x20 {program} jobs list{at}\n\
         or, from any language,\n\
         \x20 curl -s {url}/v1/queues/default/jobs \\\n\
         \x20   -H 'content-type: application/json' -d {job}\n"
    ))
}

/// Says what to do where something listens already.
async fn explain_taken(failure: Failure, address: &str) -> Failure {
    if failure.kind != Kind::Other {
        return failure;
    }
    let probe = async { Client::new(address, None).ok()?.get("/readyz").await.ok() };
    let ours = tokio::time::timeout(Duration::from_secs(1), probe).await.ok().flatten();
    match ours {
        Some(_) => failure.hint(
            "a Longshore server runs there already: use that one, or start another with \
             --listen 127.0.0.1:0 --data FOLDER",
        ),
        None => failure,
    }
}
