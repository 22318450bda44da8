//! Sessions of streaming workers: what had started is never given back, what a session lost is
//! lost, and what a worker says when it comes back counts.

use longshore_engine::{
    Answer, Command, Holder, Instruction, JobId, Rejection, SessionView, Token,
};

use crate::workload::Check;
use crate::workload::shadow::Shadow;

/// What the server did with a run at its worker's word, or for want of it.
pub(crate) fn told(
    shadow: &mut Shadow,
    namespace: usize,
    command: &Command,
    answer: &Answer,
) -> Check {
    match (command, answer) {
        (Command::StartJobs(jobs), Answer::Extended(told)) => {
            for ((id, token), told) in jobs.iter().zip(told) {
                started(shadow, namespace, (*id, *token), told)?;
                if told.is_ok()
                    && let Some(granted) = shadow.granted(namespace, *id, *token)
                {
                    granted.start_heard = true;
                }
            }
            Ok(())
        }
        (Command::ResumeSession { held, .. }, Answer::Session(view)) => {
            for (id, token) in &view.lost {
                if let Some(granted) = shadow.granted(namespace, *id, *token) {
                    granted.lost = true;
                }
            }
            for job in &view.held {
                alive(shadow, namespace, (job.id, job.token))?;
                let named = held.iter().find(|named| named.token == job.token);
                if named.is_some_and(|named| named.started) && !job.started {
                    let (id, token) = (job.id, job.token);
                    return Err(format!("job {id} has started under {token}, which is not heard"));
                }
                // A worker that extended a lease and says now that the job does not run is
                // believed: after a restart nobody else knows.
                if !job.started
                    && let Some(granted) = shadow.granted(namespace, job.id, job.token)
                {
                    granted.started = false;
                }
            }
            given_back(shadow, namespace, view)
        }
        (Command::EndSession { .. }, Answer::Session(view)) => {
            for (id, token) in &view.lost {
                if let Some(granted) = shadow.granted(namespace, *id, *token) {
                    granted.session_ended = true;
                }
            }
            given_back(shadow, namespace, view)
        }
        _ => Ok(()),
    }
}

/// A run was extended, saved or started: then its lease is the worker's, and it has started.
pub(crate) fn started(
    shadow: &mut Shadow,
    namespace: usize,
    (id, token): (JobId, Token),
    told: &Result<Instruction, Rejection>,
) -> Check {
    if told.is_err() {
        return Ok(());
    }
    alive(shadow, namespace, (id, token))?;
    if let Some(granted) = shadow.granted(namespace, id, token) {
        granted.started = true;
    }
    Ok(())
}

/// A session that ended leaves no lease of it alive.
fn alive(shadow: &mut Shadow, namespace: usize, (id, token): (JobId, Token)) -> Check {
    match shadow.granted(namespace, id, token) {
        Some(granted) if granted.lost => {
            Err(format!("lease {token} of {id} was told to be lost and is honoured"))
        }
        Some(granted) if granted.session_ended => {
            Err(format!("lease {token} of {id} went with its session and is honoured"))
        }
        Some(granted) if granted.told.is_some() => {
            Err(format!("lease {token} of {id} was {:?} and is honoured", granted.told))
        }
        _ => Ok(()),
    }
}

fn given_back(shadow: &mut Shadow, namespace: usize, view: &SessionView) -> Check {
    for (id, token) in &view.given_back {
        if shadow.job((namespace, *id)).is_some_and(|told| told.new.at_most_once) {
            return Err(format!("job {id} is to run at most once and was given back unasked"));
        }
        let Some(granted) = shadow.granted(namespace, *id, *token) else { continue };
        if granted.started {
            return Err(format!("job {id} had started under {token} and was given back free"));
        }
        granted.given_back = true;
        granted.session_ended = true;
    }
    Ok(())
}

/// A worker and one life of it.
pub(crate) fn holder(worker: &str, session: u64) -> Holder {
    Holder { worker: worker.to_owned(), session: format!("session-{session}") }
}
