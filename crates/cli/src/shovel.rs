//! `longshore shovel`: moves the messages of queues over from another server that speaks AMQP
//! 0-9-1. A message is acked there once it is confirmed here, so a break anywhere loses nothing;
//! what was confirmed here and not yet acked there comes twice.

mod address;
mod moving;
mod peer;

use std::process::ExitCode;

use clap::Args;
use longshore_server::api::QueueList;

use self::address::Address;
use self::moving::{Ended, Move};
use self::peer::Peer;
use crate::cli::Context;
use crate::client::{Client, query, read};
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

pub(crate) async fn execute(args: ShovelArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let queues = if args.queue.is_empty() {
        of_both(&context.client()?, &args.from).await?
    } else {
        args.queue.clone()
    };
    if queues.is_empty() {
        note("no queue of messages is here and there: see `longshore queues list`");
        return Ok(ExitCode::SUCCESS);
    }
    let mut signals = Signals::listen()?;
    let mut under_way = tokio::task::JoinSet::new();
    let mut waiting = queues.into_iter();
    loop {
        // One after the other, where they end; all at a time where they do not.
        while under_way.is_empty() || args.follow {
            let Some(queue) = waiting.next() else { break };
            let (from, to) = (args.from.clone(), args.to.clone());
            let (follow, ahead) = (args.follow, args.ahead);
            under_way.spawn(async move {
                Move::open(&from, &to, &queue, ahead).await?.run(follow).await
            });
        }
        if under_way.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let ended = tokio::select! {
            ended = under_way.join_next() => ended,
            () = signals.next() => {
                note("stopped; what was not confirmed stays where it was");
                return Ok(ExitCode::SUCCESS);
            }
        };
        if let Some(ended) = ended {
            let Ended { queue, moved } = ended??;
            line(&format!("{queue}: {}", count(moved, "message")))?;
        }
    }
}

/// The queues of messages that are here and there.
async fn of_both(client: &Client, from: &Address) -> anyhow::Result<Vec<String>> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let parameters = [("cursor", cursor.as_deref())];
        let body = client.get(&client.path(&format!("/queues{}", query(&parameters)))).await?;
        let page: QueueList = read(&body)?;
        let of_messages = page.queues.into_iter().filter(|queue| queue.messages.is_some());
        found.extend(of_messages.map(|queue| queue.name));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let mut peer = Peer::open(from).await?;
    let mut both = Vec::new();
    for queue in found {
        if peer.has_queue(&queue).await? {
            both.push(queue);
        }
    }
    Ok(both)
}

/// The other end said or did what it should not have.
fn broken(address: &Address, what: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Unavailable, format!("{}: {what}", address.host()))
}

/// The other end refused something.
fn refused(address: &Address, text: &str) -> Failure {
    Failure::new(Kind::Refused, format!("{}: {text}", address.host()))
}
