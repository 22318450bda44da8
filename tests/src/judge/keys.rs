//! Ordering keys: at most one live lease at a time, in the order of entry.

use std::collections::BTreeMap;

use super::{Facts, Fate, Leased, Run};

pub(super) fn judge(facts: &Facts<'_>, wrong: &mut Vec<String>) {
    let mut by_key: BTreeMap<(&str, &str), Vec<(&Leased, &Run<'_>)>> = BTreeMap::new();
    for run in facts.runs.values() {
        if let Some(leased) = run.leased
            && let Some(key) = &leased.key
        {
            by_key.entry((&leased.namespace, key)).or_default().push((leased, run));
        }
    }
    for ((_, key), runs) in &mut by_key {
        one_at_a_time(key, runs, wrong);
    }
    in_order(facts, wrong);
}

/// The server's clock counts whole milliseconds: a lease may end that much early.
const CLOCK_US: u64 = 1000;

/// When a lease was live beyond doubt: from its arrival to the first settlement that left, or to
/// the earliest moment at which it can have run out. Nothing was done to make it longer.
fn live(leased: &Leased, run: &Run<'_>) -> (u64, u64) {
    let runs_out_us = (leased.sent_us + leased.lease_us).saturating_sub(CLOCK_US);
    (leased.at_us, run.settle_sent_us.map_or(runs_out_us, |sent| sent.min(runs_out_us)))
}

fn one_at_a_time(key: &str, runs: &mut [(&Leased, &Run<'_>)], wrong: &mut Vec<String>) {
    runs.sort_by_key(|(leased, _)| leased.at_us);
    let mut last: Option<(&Leased, u64)> = None;
    for (leased, run) in runs {
        let (from_us, to_us) = live(leased, run);
        if let Some((other, other_to_us)) = last
            && from_us < other_to_us.min(to_us.max(from_us + 1))
            && from_us < to_us
        {
            let (one, two) = (&other.label, &leased.label);
            wrong.push(format!("key {key}: {one} and {two} were leased at the same time"));
        }
        if last.is_none_or(|(_, other_to_us)| to_us > other_to_us) {
            last = Some((leased, to_us));
        }
    }
}

/// Of two jobs with a key, where the first was accepted before the other was sent, every lease of
/// the first comes before every lease of the other.
fn in_order(facts: &Facts<'_>, wrong: &mut Vec<String>) {
    struct Keyed<'h> {
        label: &'h str,
        sent_us: u64,
        order: (u64, usize),
        answered_us: u64,
        first: (u64, u64),
        last: (u64, u64),
    }
    let mut by_key: BTreeMap<&str, Vec<Keyed<'_>>> = BTreeMap::new();
    for enqueue in facts.enqueues.values() {
        let Fate::Answered { at_us } = enqueue.fate else { continue };
        for (index, job) in enqueue.jobs.iter().enumerate() {
            let Some(key) = &job.key else { continue };
            let ids = facts.ids_of.get(job.label.as_str()).into_iter().flatten();
            let tokens: Vec<_> = ids
                .flat_map(|id| facts.runs_of(id))
                .filter(|(_, run)| run.leased.is_some())
                .map(|(token, _)| token)
                .collect();
            if let (Some(first), Some(last)) = (tokens.iter().min(), tokens.iter().max()) {
                by_key.entry(key).or_default().push(Keyed {
                    label: &job.label,
                    sent_us: enqueue.sent_us,
                    order: (enqueue.sent_us, index),
                    answered_us: at_us,
                    first: *first,
                    last: *last,
                });
            }
        }
    }
    for (key, jobs) in &mut by_key {
        jobs.sort_by_key(|job| job.order);
        for pair in jobs.windows(2) {
            let [one, two] = pair else { continue };
            let before = one.answered_us <= two.sent_us || one.sent_us == two.sent_us;
            if before && one.last >= two.first {
                let (one, two) = (one.label, two.label);
                wrong.push(format!("key {key}: {two} was leased before {one} had ended"));
            }
        }
    }
}
