//! `longshore shovel`: moves the messages of queues over from another server that speaks AMQP
//! 0-9-1. A message is acked there once it is confirmed here, so a break anywhere loses nothing;
//! what was confirmed here and not yet acked there comes twice.

mod address;
mod fitting;
mod moving;
mod peer;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use longshore_server::api::QueueList;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::address::Address;
use self::moving::{Ended, Move, stopped};
use self::peer::{Found, Peer};
use crate::cli::Context;
use crate::client::{Client, read};
use crate::failure::{Failure, Kind};
use crate::name;
use crate::output::{count, line, note};
use crate::signals::Signals;

#[derive(Args, Debug)]
pub(crate) struct ShovelArgs {
    /// The server that messages leave: `amqp://user:password@host:port/vhost`
    #[arg(long, value_name = "URL")]
    from: Address,
    /// The server that they enter; its queues have to be there
    #[arg(long, value_name = "URL", default_value = "amqp://127.0.0.1:5672")]
    to: Address,
    /// A queue, of the same name there and here; all that are here and there where it is left out
    #[arg(long, short, value_name = "QUEUE", value_parser = name::queue)]
    queue: Vec<String>,
    /// Go on when queues are empty, until it is stopped
    #[arg(long, short)]
    follow: bool,
    /// Messages that are on their way at a time, of each queue
    #[arg(long, value_name = "N", default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    ahead: u16,
}

/// Between which servers messages move, and how.
#[derive(Clone, Debug)]
struct Route {
    from: Address,
    to: Address,
    /// Messages that are on their way at a time.
    ahead: u16,
    /// A text that no other run has.
    run: String,
}

pub(crate) async fn execute(args: ShovelArgs, context: &Context) -> anyhow::Result<ExitCode> {
    refuse_itself(&args.from, &args.to).await?;
    let (queues, unknown) = if args.queue.is_empty() {
        let client = context.client()?.within(match &*args.to.vhost {
            "/" => "default",
            vhost => vhost,
        });
        of_both(&client, &args.from, &args.to).await?
    } else {
        (args.queue.clone(), 0)
    };
    if queues.is_empty() && unknown == 0 {
        note("no queue of messages is here and there: see `longshore queues list`");
        return Ok(ExitCode::SUCCESS);
    }
    let run = uuid::Uuid::now_v7().to_string();
    let route = Route { from: args.from, to: args.to, ahead: args.ahead, run };
    let stayed = move_all(route, queues, args.follow).await?;
    if stayed > 0 {
        let message = format!("{} stayed, for they do not fit here", count(stayed, "message"));
        let hint = "raise amqp.message_bytes_max or amqp.frame_bytes_max here, or consume them \
                    there";
        return Err(Failure::new(Kind::Refused, message).hint(hint).into());
    }
    if unknown > 0 {
        let message = format!("{} left out: the lines above say why", count(unknown, "queue"));
        return Err(Failure::new(Kind::Refused, message).into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Moves queues, until they are empty, one of them fails or a signal comes. Says how many messages
/// stayed, for they do not fit.
async fn move_all(route: Route, queues: Vec<String>, follow: bool) -> anyhow::Result<u64> {
    let mut signals = Signals::listen()?;
    let (stop, is_stopped) = watch::channel(false);
    let mut under_way = JoinSet::new();
    let mut waiting = queues.into_iter();
    let (mut stayed, mut signaled, mut failure) = (0, false, None::<anyhow::Error>);
    loop {
        // One after the other, where they end; all at a time where they do not.
        while !*is_stopped.borrow() && (under_way.is_empty() || follow) {
            let Some(queue) = waiting.next() else { break };
            under_way.spawn(move_one(route.clone(), queue, follow, is_stopped.clone()));
        }
        let ended = tokio::select! {
            ended = under_way.join_next() => ended,
            () = signals.next() => {
                if signaled {
                    note("stopped at once; what was on its way may come twice");
                    return Ok(stayed);
                }
                signaled = true;
                stop.send_replace(true);
                continue;
            }
        };
        let Some(ended) = ended else { break };
        // Whatever went wrong, the others are told to end, and end in order.
        let told = ended.map_err(anyhow::Error::from).and_then(|ended| {
            let Ended { queue, moved, stayed: more, failure } = ended;
            stayed += more;
            line(&format!("{queue}: {}", count(moved, "message")))?;
            failure.map_or(Ok(()), |failure| Err(failure.into()))
        });
        if let Err(error) = told {
            stop.send_replace(true);
            failure.get_or_insert(error);
        }
    }
    if let Some(failure) = failure {
        if stayed > 0 {
            note(&format!("{} stayed, for they do not fit here", count(stayed, "message")));
        }
        return Err(failure);
    }
    if signaled {
        note("stopped; what was not confirmed stays where it was");
    }
    Ok(stayed)
}

async fn move_one(
    route: Route,
    queue: String,
    follow: bool,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let opened = tokio::select! {
        opened = Move::open(&route, &queue) => Some(opened),
        () = stopped(&mut stop) => None,
    };
    let failure = match opened {
        Some(Ok(moving)) => return moving.run(follow, stop).await,
        Some(Err(failure)) => Some(failure),
        None => None,
    };
    Ended { queue, moved: 0, stayed: 0, failure }
}

/// Refuses to move messages to where they are.
async fn refuse_itself(from: &Address, to: &Address) -> Result<(), Failure> {
    if from.vhost != to.vhost {
        return Ok(());
    }
    let (there, here) = (resolved(from).await?, resolved(to).await?);
    if let Some(both) = there.iter().find(|it| here.contains(it)) {
        let message =
            format!("--from and --to are the same: virtual host \"{}\" of {both}", from.vhost);
        return Err(Failure::usage(message).hint("name another server, or another virtual host"));
    }
    Ok(())
}

/// Where an address leads.
async fn resolved(address: &Address) -> Result<Vec<SocketAddr>, Failure> {
    let found = tokio::net::lookup_host(address.host()).await;
    let found = found.map_err(|error| broken(address, error))?;
    Ok(found.map(|it| SocketAddr::new(it.ip().to_canonical(), it.port())).collect())
}

/// The queues of messages that are here and there, and how many of here are left out.
async fn of_both(
    client: &Client,
    from: &Address,
    to: &Address,
) -> anyhow::Result<(Vec<String>, u64)> {
    let mut known = Vec::new();
    let add = |body: &[u8]| {
        let page: QueueList = read(body)?;
        let of_messages = page.queues.into_iter().filter(|queue| queue.messages.is_some());
        known.extend(of_messages.map(|queue| queue.name));
        Ok(page.next)
    };
    client.pages(&client.path("/queues"), &[], add).await?;
    let (mut source, mut target) = (Peer::open(from).await?, Peer::open(to).await?);
    let (mut both, mut unknown) = (Vec::new(), 0);
    for queue in known {
        match source.find(&queue).await? {
            Found::There => {}
            Found::NotThere => continue,
            Found::Refused(text) => {
                note(&format!("{queue} is left out: {}: {text}", from.host()));
                unknown += 1;
                continue;
            }
        }
        match target.find(&queue).await? {
            Found::There => both.push(queue),
            found => {
                let why = match found {
                    Found::Refused(text) => text,
                    _ => format!("it is a queue of {}, and not there", client.url()),
                };
                note(&format!("{queue} is left out: {}: {why}", to.host()));
                unknown += 1;
            }
        }
    }
    let listed = "AMQP does not list queues: those there that are not here are left out";
    note(&format!("{}: {listed}", from.host()));
    Ok((both, unknown))
}

/// The other end said or did what it should not have.
fn broken(address: &Address, what: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Unavailable, format!("{}: {what}", address.host()))
}

/// The other end refused something.
fn refused(address: &Address, text: &str) -> Failure {
    Failure::new(Kind::Refused, format!("{}: {text}", address.host()))
}
