//! What a turn costs follows what it does, not what there is.

use super::*;

impl Shard {
    fn call_in(&mut self, namespace: &str, command: Command) -> Answer {
        let reply_to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        let request = Request { namespace: namespace.to_owned(), reply_to, command };
        self.turn.submit(request, self.clock);
        self.flush();
        self.answers.remove(&reply_to.0).expect("answered at once")
    }

    /// Runs a job in that namespace to its end.
    fn run_one(&mut self, namespace: &str, job: NewJob) {
        let (queue, jobs) = ("q".to_owned(), vec![job]);
        self.call_in(namespace, Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
        let answer = self.call_in(namespace, Command::LeaseJobs(Box::new(wish())));
        let Answer::Leased { jobs, .. } = answer else { panic!("{answer:?}") };
        let settle =
            vec![Settlement { id: jobs[0].id, token: jobs[0].token, verdict: ack() }];
        self.call_in(namespace, Command::SettleJobs(settle));
    }

    /// Namespaces that were looked at for something to forget.
    fn looks(&self) -> u64 {
        self.turn.state.forgetting.borrow().looks
    }

    fn outcome_bytes(&mut self, namespace: &str) -> u64 {
        match self.call_in(namespace, Command::GetNamespace) {
            Answer::Namespace(view) => view.outcome_bytes,
            other => panic!("{other:?}"),
        }
    }
}

const HOUR_MS: u64 = 3_600_000;

/// Every turn walked all namespaces several times, for the next instant at which something was to
/// be forgotten.
#[test]
fn a_turn_looks_at_no_namespace_that_nothing_happened_in() {
    let mut shard = Shard::new();
    let names: Vec<_> = (0..300).map(|n| format!("n{n}")).collect();
    for name in &names {
        shard.call_in(name, Command::CreateNamespace);
        shard.run_one(name, NewJob { retain_ms: Some(HOUR_MS), ..job(1) });
    }
    shard.advance(1);
    let before = shard.looks();
    for _ in 0..10 {
        shard.advance(1);
        shard.turn.next_wake_ms(shard.clock);
    }
    assert_eq!(shard.looks(), before, "nothing happened");
    shard.run_one("n7", NewJob { retain_ms: Some(HOUR_MS), ..job(2) });
    shard.advance(1);
    assert!(shard.looks() <= before + 4, "it happened in one");
    assert_eq!(shard.turn.next_wake_ms(shard.clock).map(|ms| ms < HOUR_MS), Some(true));

    let before = shard.looks();
    shard.advance(HOUR_MS);
    for name in &names {
        assert_eq!(shard.outcome_bytes(name), 0, "{name}");
    }
    assert!(shard.looks() <= before + 3 * 301, "each was looked at when it forgot something");
}

/// With one slice for all, those that have most to forget must not keep the others from it.
#[test]
fn who_was_served_last_forgets_after_those_who_waited() {
    let limits = Limits { slice_items_max: 1, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    for name in ["a", "b"] {
        shard.call_in(name, Command::CreateNamespace);
    }
    for n in 1..=5 {
        shard.run_one("a", NewJob { retain_ms: Some(10), ..job(n) });
    }
    shard.run_one("b", NewJob { retain_ms: Some(10), ..job(1) });
    shard.clock.wall = shard.clock.wall.plus(20);
    shard.clock.mono = shard.clock.mono.plus(20);
    for _ in 0..2 {
        shard.turn.tick(shard.clock);
        shard.flush();
    }
    assert_eq!(shard.outcome_bytes("b"), 0, "it waited for one turn");
    assert_ne!(shard.outcome_bytes("a"), 0);
    shard.advance(1);
    assert_eq!(shard.outcome_bytes("a"), 0);
}
