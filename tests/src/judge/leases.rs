//! Leases: each has one outcome, an acknowledged job is not delivered again, tokens only grow.

use std::collections::BTreeMap;

use super::{Facts, Leased, Run};

pub(super) fn judge(facts: &Facts<'_>, wrong: &mut Vec<String>) {
    for ((id, token), run) in &facts.runs {
        if run.ended.len() > 1 {
            wrong.push(format!("lease {token:?} of {id} has outcomes {:?}", run.ended));
        }
        if let Some(ended) = run.ended.iter().find(|ended| !run.sent.contains(**ended)) {
            wrong.push(format!("lease {token:?} of {id} ended as {ended}, which nobody said"));
        }
        if run.ended.contains("ack") || run.ended.contains("discard") {
            let later =
                facts.runs_of(id).filter(|(other, run)| other > token && run.leased.is_some());
            for (other, _) in later {
                wrong.push(format!("{id} ended with lease {token:?} and ran with {other:?}"));
            }
        }
    }
    tokens_name_one_lease(facts, wrong);
    tokens_grow(facts, wrong);
    at_most_once(facts, wrong);
}

fn tokens_name_one_lease(facts: &Facts<'_>, wrong: &mut Vec<String>) {
    let mut owner: BTreeMap<(&str, (u64, u64)), &str> = BTreeMap::new();
    for leased in &facts.leases {
        let first = owner.entry((&leased.namespace, leased.token)).or_insert(&leased.id);
        if *first != leased.id {
            let (token, id) = (leased.token, &leased.id);
            wrong.push(format!("token {token:?} is of {first} and of {id}"));
        }
    }
}

/// Whoever asked after another lease had been received got a greater token, unless it is a lease
/// that was granted before and told again.
fn tokens_grow(facts: &Facts<'_>, wrong: &mut Vec<String>) {
    let mut by_namespace: BTreeMap<&str, Vec<&Leased>> = BTreeMap::new();
    for leased in facts.runs.values().filter_map(|run| run.leased) {
        by_namespace.entry(&leased.namespace).or_default().push(leased);
    }
    for leases in by_namespace.values_mut() {
        let mut received = leases.clone();
        received.sort_by_key(|leased| leased.at_us);
        leases.sort_by_key(|leased| leased.sent_us);
        let mut received = received.into_iter().peekable();
        let mut greatest = (0, 0);
        for leased in leases {
            while let Some(before) = received.next_if(|before| before.at_us < leased.sent_us) {
                greatest = greatest.max(before.token);
            }
            if leased.token <= greatest {
                let token = leased.token;
                wrong.push(format!("token {token:?} was granted after {greatest:?} was received"));
            }
        }
    }
}

/// Once only, but for a worker that says that it did not run the job.
fn at_most_once(facts: &Facts<'_>, wrong: &mut Vec<String>) {
    let jobs = facts.enqueues.values().flat_map(|enqueue| enqueue.jobs);
    for job in jobs.filter(|job| job.at_most_once) {
        for id in facts.ids_of.get(job.label.as_str()).into_iter().flatten() {
            let leased = facts.runs_of(id).filter(|(_, run)| run.leased.is_some());
            let returned =
                |run: &Run<'_>| run.sent.contains("release") || run.sent.contains("snooze");
            let kept = leased.filter(|(_, run)| !returned(run)).count();
            if kept > 1 {
                wrong.push(format!("{} may run once and ran {kept} times", job.label));
            }
        }
    }
}
