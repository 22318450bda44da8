//! Total-queue: what was accepted is there and ends, what was refused is not, bulks are whole, and
//! a client's id names one job.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, Fate};

/// Losses in a row after which a job is dead.
const LOSSES_MAX: usize = 5;

pub(super) fn judge(facts: &Facts<'_>, wrong: &mut Vec<String>) {
    let mut wanted = BTreeSet::new();
    for (call, enqueue) in &facts.enqueues {
        let there =
            |label: &str| facts.ids_of.contains_key(label) || facts.final_labels.contains(label);
        let present = enqueue.jobs.iter().filter(|job| there(&job.label)).count();
        wanted.extend(enqueue.jobs.iter().map(|job| job.label.as_str()));
        match enqueue.fate {
            Fate::Refused if present > 0 => {
                wrong.push(format!("{call} was refused, and {present} of its jobs are there"));
            }
            Fate::Unknown if present > 0 && present < enqueue.jobs.len() => {
                let all = enqueue.jobs.len();
                wrong.push(format!("{call} is half there: {present} of {all} jobs"));
            }
            Fate::Answered { .. } => {
                for job in enqueue.jobs {
                    accepted(facts, &job.label, job.at_most_once, wrong);
                }
            }
            Fate::Refused | Fate::Unknown => {}
        }
    }
    for leased in &facts.leases {
        if !wanted.contains(leased.label.as_str()) {
            wrong.push(format!("{} ran, and nobody enqueued it", leased.label));
        }
    }
    identities(facts, wrong);
}

/// A job that was accepted is there and has ended as its settlements say.
fn accepted(facts: &Facts<'_>, label: &str, at_most_once: bool, wrong: &mut Vec<String>) {
    let Some(ids) = facts.ids_of.get(label) else { return };
    for id in ids {
        let Some(end) = facts.finals.get(id) else {
            wrong.push(format!("{label} was accepted and is lost"));
            continue;
        };
        let sent = |verdict: &str| facts.runs_of(id).any(|(_, run)| run.sent.contains(verdict));
        let leases = facts.runs_of(id).filter(|(_, run)| run.leased.is_some()).count();
        let ended = |verdict: &str| facts.runs_of(id).any(|(_, run)| run.ended.contains(verdict));
        let sound = match end.state.as_str() {
            "succeeded" => sent("ack"),
            "cancelled" => sent("discard"),
            // One worker may have been killed before it could write that it had the job.
            "dead" => at_most_once || leases + 1 >= LOSSES_MAX,
            _ => false,
        };
        if !sound {
            wrong.push(format!("{label} ended as {}, after {leases} leases", end.state));
        }
        if ended("ack") && end.state != "succeeded" {
            wrong.push(format!("{label} was acknowledged and is {}", end.state));
        }
    }
}

/// One id per label, one label per id.
fn identities(facts: &Facts<'_>, wrong: &mut Vec<String>) {
    let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
    for (label, ids) in &facts.ids_of {
        if ids.len() > 1 {
            wrong.push(format!("{label} became {} jobs: {ids:?}", ids.len()));
        }
        for id in ids {
            if let Some(other) = labels.insert(id, label) {
                wrong.push(format!("{id} is both {other} and {label}"));
            }
        }
    }
    for (id, end) in &facts.finals {
        if labels.get(id).is_some_and(|label| *label != end.label) {
            wrong.push(format!("{id} ran with the args of {} and has others", labels[id]));
        }
    }
}
