//! What the workers of this process ask for together, so that a kind whose jobs wait in a queue
//! that none of them asks for is told, instead of waiting in silence.

use std::sync::{Mutex, PoisonError};

/// What a worker runs and asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served {
    /// The server and the namespace.
    pub(super) place: (String, String),
    /// Each kind with the queue of its type.
    pub(super) kinds: Vec<(String, String)>,
    /// Names of queues, `*` and `prefix*`.
    pub(super) queues: Vec<String>,
}

static WORKERS: Mutex<Vec<(u64, Served)>> = Mutex::new(Vec::new());

/// A worker of this process, for as long as it works.
#[derive(Debug)]
pub(super) struct Listed(u64);

impl Listed {
    pub(super) fn new(served: Served) -> Self {
        let mut workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
        let number = workers.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        workers.push((number, served));
        Self(number)
    }

    /// The kinds of this worker, each with its queue, that no worker of the process serves.
    pub(super) fn unserved(&self) -> Vec<(String, String)> {
        let workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = workers.iter().map(|(_, served)| served).collect();
        let own = workers.iter().find(|(number, _)| *number == self.0);
        own.map(|(_, own)| unserved(own, &all)).unwrap_or_default()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|(number, _)| *number != self.0);
    }
}

fn unserved(own: &Served, all: &[&Served]) -> Vec<(String, String)> {
    let is_served = |wanted: &(String, String)| {
        all.iter().any(|worker| {
            worker.place == own.place
                && worker.kinds.iter().any(|(kind, _)| *kind == wanted.0)
                && worker.queues.iter().any(|asked| covers(asked, &wanted.1))
        })
    };
    own.kinds.iter().filter(|wanted| !is_served(wanted)).cloned().collect()
}

/// Whether who asks for `asked` is given the jobs of `queue`.
fn covers(asked: &str, queue: &str) -> bool {
    match asked.strip_suffix('*') {
        Some(prefix) => queue.starts_with(prefix),
        None => asked == queue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(kinds: &[(&str, &str)], queues: &[&str]) -> Served {
        let kinds = kinds.iter().map(|(kind, queue)| ((*kind).into(), (*queue).into()));
        let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
        Served { place: ("url".into(), "default".into()), kinds: kinds.collect(), queues }
    }

    #[test]
    fn a_kind_is_served_where_a_worker_that_knows_it_asks_for_its_queue() {
        let kinds = [("mail", "mails"), ("report", "reports")];
        let own = served(&kinds, &["mails"]);
        let found = |others: &[Served]| {
            let all: Vec<_> = others.iter().chain([&own]).collect();
            unserved(&own, &all).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), ["report"]);
        assert_eq!(found(&[served(&kinds[..1], &["reports"])]), ["report"], "it knows no reports");
        let elsewhere =
            Served { place: ("url".into(), "other".into()), ..served(&kinds, &["reports"]) };
        assert_eq!(found(&[elsewhere]), ["report"]);
        for queue in ["reports", "rep*", "*"] {
            assert!(found(&[served(&kinds[1..], &[queue])]).is_empty(), "{queue}");
        }
    }
}
