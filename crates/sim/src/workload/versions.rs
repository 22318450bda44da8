//! Versions of kinds, in some of the runs: jobs have one, and workers name ranges. Both follow from
//! who they are, so that what is sent again is the same, and draws of others stay as they are.

use longshore_engine::{Command, JobId, KindRange};

use super::KINDS;

/// Whether jobs of a run have versions.
pub(crate) fn has_some(seed: u64) -> bool {
    seed % 10 == 3
}

/// Spreads what names something over all numbers.
fn spread(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The version of a job: 0, which is none, to 3.
fn version_of(id: JobId) -> u32 {
    (spread(&id.0) >> 20) as u32 % 4
}

/// What a worker runs in one of its sessions: everything, or two of the versions.
fn ranges_of(worker: &str, session: &str) -> Option<Vec<KindRange>> {
    let from = (spread(format!("{worker}/{session}").as_bytes()) >> 20) as u32 % 5;
    let range = |kind: &str| KindRange { kind: kind.to_owned(), from, to: from + 1 };
    (from < 4).then(|| KINDS.map(range).to_vec())
}

/// Gives jobs their versions, and workers their ranges.
pub(crate) fn amend(command: &mut Command) {
    match command {
        Command::EnqueueJobs(enqueue) => {
            for job in &mut enqueue.jobs {
                job.version = version_of(job.id);
            }
        }
        Command::LeaseJobs(request) if request.kinds.is_none() => {
            request.kinds = ranges_of(&request.worker, &request.session);
        }
        Command::Subscribe(command) if command.kinds.is_none() => {
            let holder = &command.holder;
            command.kinds = ranges_of(&holder.worker, &holder.session);
        }
        _ => {}
    }
}

/// Two workers that run all of these kinds between them: the old versions, and the new ones.
pub(crate) fn halves(kinds: &[String]) -> [Vec<KindRange>; 2] {
    [(0, 1), (2, u32::MAX)].map(|(from, to)| {
        kinds.iter().map(|kind| KindRange { kind: kind.clone(), from, to }).collect()
    })
}
