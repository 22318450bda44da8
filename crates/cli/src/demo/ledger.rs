//! Who has what, and how often each job was handed over: from what the workers tell.

use std::collections::{HashMap, HashSet};

use longshore_server::api::JobIdText;

use super::line::Line;

/// The demo's own books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    deliveries: HashMap<JobIdText, u32>,
    /// Per worker, the jobs that it has and has not settled.
    in_hand: Vec<HashSet<JobIdText>>,
    stored: HashSet<JobIdText>,
    /// Bytes of sources stored, each once.
    pub(super) bytes: u64,
    /// Files that the archive held already.
    pub(super) unchanged: u64,
    /// What went wrong, the last few.
    pub(super) failures: Vec<String>,
}

impl Ledger {
    pub(super) fn new(workers: usize) -> Self {
        Self { in_hand: vec![HashSet::new(); workers], ..Self::default() }
    }

    pub(super) fn note(&mut self, worker: usize, line: &Line) {
        let Some(in_hand) = self.in_hand.get_mut(worker) else { return };
        match line {
            Line::Leased { id, attempt } => {
                in_hand.insert(*id);
                let times = self.deliveries.entry(*id).or_default();
                // What an earlier life of a worker was given without a word of it counts too.
                *times = (*times + 1).max(*attempt);
            }
            Line::Stored { id, bytes, unchanged } => {
                if self.stored.insert(*id) {
                    self.bytes += bytes;
                    self.unchanged += u64::from(*unchanged);
                }
            }
            Line::Settled { id } => {
                in_hand.remove(id);
            }
            Line::Failed { id, message } => {
                in_hand.remove(id);
                if self.failures.len() < 5 {
                    self.failures.push(message.clone());
                }
            }
            Line::Archiving { .. } => {}
        }
    }

    /// A worker was killed: how many jobs it had.
    pub(super) fn forget(&mut self, worker: usize) -> usize {
        self.in_hand.get_mut(worker).map(std::mem::take).unwrap_or_default().len()
    }

    /// The worker with the most jobs, if any has one.
    pub(super) fn busiest(&self) -> Option<usize> {
        let busiest = self.in_hand.iter().enumerate().max_by_key(|(_, jobs)| jobs.len());
        busiest.filter(|(_, jobs)| !jobs.is_empty()).map(|(worker, _)| worker)
    }

    /// Files that went into the archive.
    pub(super) fn stored(&self) -> u64 {
        self.stored.len() as u64
    }

    /// Jobs that were handed over more than once.
    pub(super) fn delivered_again(&self) -> u64 {
        self.deliveries.values().filter(|times| **times > 1).count() as u64
    }
}

/// When to kill what, by how much is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Plan {
    pub(super) kill_worker_at: u64,
    pub(super) kill_server_at: u64,
}

impl Plan {
    pub(super) fn for_jobs(jobs: u64) -> Self {
        Self { kill_worker_at: jobs * 3 / 10, kill_server_at: jobs * 6 / 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leased(id: JobIdText, attempt: u32) -> Line {
        Line::Leased { id, attempt }
    }

    fn id(number: u8) -> JobIdText {
        format!("00000000-0000-8000-8000-0000000000{number:02}").parse().unwrap()
    }

    #[test]
    fn who_has_what_and_how_often() {
        let mut ledger = Ledger::new(2);
        assert_eq!(ledger.busiest(), None);
        ledger.note(0, &leased(id(1), 1));
        ledger.note(1, &leased(id(2), 1));
        ledger.note(1, &leased(id(3), 1));
        assert_eq!(ledger.busiest(), Some(1));
        assert_eq!(ledger.forget(1), 2);
        ledger.note(0, &leased(id(2), 2));
        ledger.note(0, &Line::Stored { id: id(2), bytes: 7, unchanged: false });
        ledger.note(0, &Line::Stored { id: id(2), bytes: 7, unchanged: true });
        ledger.note(0, &Line::Settled { id: id(2) });
        assert_eq!((ledger.delivered_again(), ledger.stored(), ledger.bytes), (1, 1, 7));
        assert_eq!(ledger.busiest(), Some(0));
    }

    #[test]
    fn both_die_before_all_is_done() {
        for jobs in 1..50 {
            let plan = Plan::for_jobs(jobs);
            assert!(plan.kill_worker_at <= plan.kill_server_at && plan.kill_server_at < jobs);
        }
    }
}
