//! Entry points for fuzzers: what comes off a stream, before anything is known about it.

use bytes::Bytes;
use longshore_engine::Limits;
use longshore_proto::codec;
use longshore_proto::v1::{self, worker_message::Message};
use prost::Message as _;

use super::job_in::{checkpoint, lease, new_jobs, settlement};
use super::work::read_hello;
use crate::http::parse::Bounds;
use crate::http::refusal::Refusal;

/// Reads `bytes` as a worker's message and as a producer's, up to the commands. Returns how many of
/// their parts were taken.
pub fn messages(bytes: &[u8]) -> usize {
    if codec::check(bytes).is_err() {
        return 0;
    }
    let bytes = Bytes::copy_from_slice(bytes);
    let bounds = Bounds::of(&Limits::default());
    let told = v1::WorkerMessage::decode(bytes.clone()).ok().and_then(|told| told.message);
    let told = told.map_or(0, |told| of_worker(told, &bounds));
    let Ok(request) = v1::EnqueueRequest::decode(bytes) else { return told };
    told + usize::from(is_taken(new_jobs(&request.queue, request.jobs, &bounds)))
}

fn of_worker(told: Message, bounds: &Bounds) -> usize {
    let taken = |all: &mut dyn Iterator<Item = bool>| all.filter(|taken| *taken).count();
    match told {
        Message::Hello(hello) => {
            usize::from(is_taken(read_hello(hello, &Limits::default(), bounds)))
        }
        Message::Credit(_) | Message::Heartbeat(_) | Message::Goodbye(_) => 1,
        Message::Started(told) => {
            taken(&mut told.jobs.iter().map(|job| is_taken(lease(&job.id, &job.token))))
        }
        Message::Settle(told) => {
            taken(&mut told.settlements.into_iter().map(|one| is_taken(settlement(one, bounds))))
        }
        Message::Checkpoints(told) => {
            taken(&mut told.checkpoints.into_iter().map(|one| is_taken(checkpoint(one, bounds))))
        }
    }
}

/// Drops what was read before the next one has its turn.
fn is_taken<T>(read: Result<T, Refusal>) -> bool {
    match read {
        Ok(_) => true,
        Err(refusal) => {
            drop(super::refusal::status_of(&refusal));
            false
        }
    }
}
