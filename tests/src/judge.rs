//! The verdict over all histories of a run: what total-queue and the promises about leases,
//! tokens, ordering keys and bulks allow. It knows nothing of how the clients worked.

mod enqueues;
mod keys;
mod leases;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, Leased, Wanted};

/// How a job stood at the very end, with no client left and every queue empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Final {
    /// What its args say.
    pub label: String,
    /// Its state.
    pub state: String,
}

/// What became of a request to enqueue.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Answered { at_us: u64 },
    Refused,
    Unknown,
}

/// A request to enqueue.
#[derive(Clone, Debug)]
struct Enqueue<'h> {
    sent_us: u64,
    jobs: &'h [Wanted],
    fate: Fate,
}

/// What became of one lease, as far as clients know.
#[derive(Clone, Debug, Default)]
struct Run<'h> {
    leased: Option<&'h Leased>,
    /// When the first settlement left.
    settle_sent_us: Option<u64>,
    /// What settlements said.
    sent: BTreeSet<&'h str>,
    /// What ended it, as the server answered.
    ended: BTreeSet<&'h str>,
}

/// Names a lease: the job's id and the token.
type LeaseName<'h> = (&'h str, (u64, u64));

/// All histories, put in order by what they are about.
#[derive(Debug, Default)]
struct Facts<'h> {
    enqueues: BTreeMap<&'h str, Enqueue<'h>>,
    runs: BTreeMap<LeaseName<'h>, Run<'h>>,
    /// The ids under which each label was seen or accepted.
    ids_of: BTreeMap<&'h str, BTreeSet<&'h str>>,
    leases: Vec<&'h Leased>,
    finals: BTreeMap<&'h str, &'h Final>,
    final_labels: BTreeSet<&'h str>,
    wrong: Vec<String>,
}

impl<'h> Facts<'h> {
    fn of(history: &'h [Event], finals: &'h BTreeMap<String, Final>) -> Self {
        let mut facts = Self {
            finals: finals.iter().map(|(id, end)| (id.as_str(), end)).collect(),
            final_labels: finals.values().map(|end| end.label.as_str()).collect(),
            ..Self::default()
        };
        for event in history {
            if let Event::EnqueueSent { call, at_us, jobs } = event {
                let enqueue = Enqueue { sent_us: *at_us, jobs, fate: Fate::Unknown };
                if facts.enqueues.insert(call, enqueue).is_some() {
                    facts.wrong.push(format!("two requests are called {call}"));
                }
            }
        }
        for event in history {
            facts.add(event);
        }
        facts
    }

    fn add(&mut self, event: &'h Event) {
        match event {
            Event::EnqueueAnswered { call, at_us, ids } => self.answered(call, *at_us, ids),
            Event::EnqueueRefused { call, .. } => {
                if let Some(enqueue) = self.enqueues.get_mut(call.as_str()) {
                    enqueue.fate = Fate::Refused;
                }
            }
            Event::Leased(leased) => {
                self.leases.push(leased);
                self.ids_of.entry(&leased.label).or_default().insert(&leased.id);
                let run = self.runs.entry((&leased.id, leased.token)).or_default();
                // A repeated turn brings the same lease again; the first one counts.
                run.leased = Some(match run.leased {
                    Some(first) if first.at_us <= leased.at_us => first,
                    _ => leased,
                });
            }
            Event::SettleSent { at_us, id, token, verdict } => {
                let run = self.runs.entry((id, *token)).or_default();
                let first = run.settle_sent_us.map_or(*at_us, |first| first.min(*at_us));
                run.settle_sent_us = Some(first);
                run.sent.insert(verdict);
            }
            Event::Settled { id, token, verdict } => {
                self.runs.entry((id, *token)).or_default().ended.insert(verdict);
            }
            Event::EnqueueSent { .. } | Event::SettleRefused { .. } => {}
            Event::Wrong { what } => self.wrong.push(what.clone()),
        }
    }

    fn answered(&mut self, call: &'h str, at_us: u64, ids: &'h [String]) {
        let Some(enqueue) = self.enqueues.get_mut(call) else {
            return self.wrong.push(format!("an answer to {call}, which nobody sent"));
        };
        enqueue.fate = Fate::Answered { at_us };
        if ids.len() != enqueue.jobs.len() {
            let (jobs, ids) = (enqueue.jobs.len(), ids.len());
            self.wrong.push(format!("{call}: {jobs} jobs were sent, {ids} ids came back"));
        }
        for (job, id) in enqueue.jobs.iter().zip(ids) {
            if job.id.as_ref().is_some_and(|chosen| chosen != id) {
                self.wrong.push(format!("{}: its id became {id}", job.label));
            }
            self.ids_of.entry(&job.label).or_default().insert(id);
        }
    }

    /// The runs of one job.
    fn runs_of(&self, id: &'h str) -> impl Iterator<Item = ((u64, u64), &Run<'h>)> {
        let range = (id, (0, 0))..=(id, (u64::MAX, u64::MAX));
        self.runs.range(range).map(|((_, token), run)| (*token, run))
    }
}

/// Everything that the histories show and no history may show.
pub fn judge(history: &[Event], finals: &BTreeMap<String, Final>) -> Vec<String> {
    let facts = Facts::of(history, finals);
    let mut wrong = facts.wrong.clone();
    enqueues::judge(&facts, &mut wrong);
    leases::judge(&facts, &mut wrong);
    keys::judge(&facts, &mut wrong);
    wrong
}

/// What a run was like, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Jobs whose acceptance was answered.
    pub accepted: usize,
    /// Jobs of which the producer never heard.
    pub unknown: usize,
    /// Leases received.
    pub leases: usize,
    /// Of them, those of a job that had been leased before.
    pub repeated: usize,
    /// Settlements answered.
    pub settled: usize,
}

/// Counts.
pub fn summarize(history: &[Event]) -> Summary {
    let finals = BTreeMap::new();
    let facts = Facts::of(history, &finals);
    let jobs = |answered: bool| {
        let is = |fate: &Fate| match fate {
            Fate::Answered { .. } => answered,
            Fate::Unknown => !answered,
            Fate::Refused => false,
        };
        facts.enqueues.values().filter(|it| is(&it.fate)).map(|it| it.jobs.len()).sum()
    };
    let leased: Vec<_> = facts.runs.values().filter_map(|run| run.leased).collect();
    let distinct: BTreeSet<_> = leased.iter().map(|leased| &leased.id).collect();
    Summary {
        accepted: jobs(true),
        unknown: jobs(false),
        leases: leased.len(),
        repeated: leased.len() - distinct.len(),
        settled: facts.runs.values().filter(|run| !run.ended.is_empty()).count(),
    }
}
