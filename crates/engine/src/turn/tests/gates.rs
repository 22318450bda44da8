//! Gates: what is behind a closed one does not start, what runs is interrupted, and turning one
//! moves no job.

use super::*;
use crate::gate::{GateAnswer, GateChange, GateClosed, GateCommand, GateView};
use crate::{BlockedBy, Start};

fn closed(reason: Option<&str>, expiry: Option<Start>) -> GateChange {
    let reason = reason.map(str::to_owned);
    GateChange {
        closed: Some(GateClosed { closed: true, reason, expiry }),
        ..GateChange::default()
    }
}

fn open() -> GateChange {
    GateChange { closed: Some(GateClosed::default()), ..GateChange::default() }
}

fn change(shard: &mut Shard, name: &str, change: GateChange) -> GateView {
    let command = GateCommand::Change { name: name.to_owned(), change };
    match shard.call(Command::Gates(command)) {
        Answer::Gates(GateAnswer::Gate(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn close(shard: &mut Shard, name: &str) -> GateView {
    change(shard, name, closed(None, None))
}

fn behind(n: u8, gates: &[&str]) -> NewJob {
    NewJob { gates: gates.iter().map(|gate| (*gate).to_owned()).collect(), ..job(n) }
}

fn blocked_by(shard: &mut Shard, n: u8) -> Vec<BlockedBy> {
    match shard.call(Command::AwaitJob { id: id(n), wait_ms: 0 }) {
        Answer::Job(view) => view.blocked_by,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_starts_behind_a_closed_gate_and_all_goes_on_when_it_opens() {
    let mut shard = Shard::new();
    change(&mut shard, "bank", closed(Some("it is down"), None));
    shard.enqueue(behind(1, &["bank"]));
    shard.enqueue(behind(2, &["mail", "bank"]));
    shard.enqueue(behind(3, &["mail"]));
    shard.enqueue(job(4));
    assert_eq!(ids(&shard.lease(9)), [3, 4], "what depends on no closed gate passes");
    let told = BlockedBy::Gate {
        name: "bank".to_owned(),
        reason: Some("it is down".to_owned()),
        expires_at: None,
    };
    assert_eq!(blocked_by(&mut shard, 2), [told]);
    let mut shard = shard.restart();
    assert!(shard.lease(9).is_empty(), "it is closed after a restart, too");
    let waiting = shard.send(Command::LeaseJobs(Box::new(LeaseJobs { wait_ms: 1000, ..wish() })));
    change(&mut shard, "bank", open());
    match shard.answers.remove(&waiting) {
        Some(Answer::Leased { jobs, .. }) => assert_eq!(ids(&jobs), [1]),
        other => panic!("{other:?}"),
    }
    assert!(blocked_by(&mut shard, 2).is_empty());
    close(&mut shard, "mail");
    assert!(shard.lease(9).is_empty());
    let deleted = shard.call(Command::Gates(GateCommand::Delete { name: "mail".to_owned() }));
    assert!(matches!(deleted, Answer::Gates(GateAnswer::Deleted)));
    assert_eq!(ids(&shard.lease(9)), [2]);
}

#[test]
fn a_gate_may_be_over_queues_and_kinds() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    shard.enqueue(NewJob { kind: "other".to_owned(), ..job(2) });
    let kinds = Some(vec!["k".to_owned(), "new".to_owned()]);
    let view = change(&mut shard, "g", GateChange { kinds, ..closed(None, None) });
    assert_eq!((view.gate.kinds.len(), view.running), (2, 0));
    shard.enqueue(NewJob { kind: "new".to_owned(), ..job(3) });
    assert_eq!(ids(&shard.lease(9)), [2], "kinds that are new are held back, too");
    let by_kind = LeaseJobs { kinds: Some(vec!["k".into()]), ..wish() };
    match shard.call(Command::LeaseJobs(Box::new(by_kind))) {
        Answer::Leased { jobs, .. } => assert!(jobs.is_empty(), "nor is one who asks for them"),
        other => panic!("{other:?}"),
    }
    let mut shard = shard.restart();
    let (queues, kinds) = (Some(vec!["q".to_owned()]), Some(Vec::new()));
    change(&mut shard, "g", GateChange { queues, kinds, closed: None });
    assert!(shard.lease(9).is_empty());
    let mut shard = shard.restart();
    assert!(shard.lease(9).is_empty());
    close(&mut shard, "h");
    change(&mut shard, "g", open());
    assert_eq!(ids(&shard.lease(9)), [1, 3]);
}

#[test]
fn a_gate_opens_by_itself_when_its_time_is_over() {
    let mut shard = Shard::new();
    let view = change(&mut shard, "g", closed(None, Some(Start::After(5_000))));
    assert_eq!(view.gate.expires_at, Some(shard.clock.wall.plus(5_000)));
    shard.enqueue(behind(1, &["g"]));
    let mut shard = shard.restart();
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(5_000));
    shard.advance(4_999);
    assert!(shard.lease(9).is_empty());
    shard.advance(1);
    assert_eq!(ids(&shard.lease(9)), [1]);
    let refused = closed(None, Some(Start::At(TimeMs(7))));
    let command = GateCommand::Change { name: "g".to_owned(), change: refused };
    let answer = shard.call(Command::Gates(command));
    let past = Rejection::ValueRefused {
        field: "expires_at",
        value: "7".to_owned(),
        allowed: "an instant that is still to come".to_owned(),
    };
    assert!(matches!(answer, Answer::Rejected(it) if it == past), "its time has passed");
}

#[test]
fn what_runs_behind_a_closed_gate_is_interrupted_and_waits_without_an_attempt() {
    let mut shard = Shard::new();
    shard.enqueue(behind(1, &["g"]));
    shard.enqueue(NewJob { at_most_once: true, ..behind(2, &["g"]) });
    let jobs = shard.lease(9);
    assert_eq!(close(&mut shard, "g").running, 2);
    let beat = |job: &Delivery| Extension {
        id: job.id,
        token: job.token,
        lease_ms: None,
        progress: None,
        progress_text: None,
    };
    let told = shard.call(Command::ExtendLeases(jobs.iter().map(beat).collect()));
    let interrupt = Instruction::Interrupt { reason: "gate" };
    let Answer::Extended(told) = told else { panic!("{told:?}") };
    assert_eq!(told, [Ok(interrupt), Ok(Instruction::Continue)], "what runs once comes to its end");
    let verdict = Verdict::Interrupt { reason: "gate".to_owned(), delay_ms: None };
    assert_eq!(shard.settle(&jobs[0], verdict), Ok(EndKind::Interrupted));
    assert!(shard.lease(9).is_empty());
    change(&mut shard, "g", open());
    let again = shard.lease(9);
    assert_eq!((ids(&again), again[0].attempt), (vec![1], 1));
}

#[test]
fn closing_and_opening_a_gate_moves_no_job_and_looks_at_none() {
    let mut shard = Shard::new();
    let command = EnqueueJobs {
        queue: "q".to_owned(),
        jobs: (0..10_000)
            .map(|n: u32| {
                let mut id = JobId([0; 16]);
                id.0[..4].copy_from_slice(&n.to_be_bytes());
                NewJob { gates: vec!["g".to_owned()], ..NewJob::new(id, "k", "[]") }
            })
            .collect(),
    };
    shard.call(Command::EnqueueJobs(command));
    let keys = |shard: &Shard| {
        let map = shard.turn.state.map().entries();
        map.keys().filter(|key| key[0] != crate::state::keys::GATE).cloned().collect::<Vec<_>>()
    };
    close(&mut shard, "g");
    let before = (keys(&shard), shard.turn.state.lanes.in_memory());
    let looked = |shard: &Shard| {
        let all = QueuePattern::Prefix(String::new());
        let ns = crate::ids::NamespaceId(1);
        shard.turn.state.offer(ns, &all, None, (shard.clock.wall, 1)).looked
    };
    assert_eq!(looked(&shard), 0, "its tree is passed over");
    change(&mut shard, "g", open());
    assert_eq!(looked(&shard), 3, "the tree, its root and its lane");
    close(&mut shard, "g");
    assert_eq!((keys(&shard), shard.turn.state.lanes.in_memory()), before);
}

#[test]
fn jobs_name_a_bounded_number_of_sets_of_gates() {
    let mut shard = Shard::new();
    for n in 0..crate::gate::GATE_SETS_MAX {
        let gates = vec![format!("g{n}")];
        let job = NewJob { gates, ..job((n % 200) as u8) };
        let mut id = job.id;
        id.0[..2].copy_from_slice(&(n as u16).to_be_bytes());
        assert!(matches!(shard.enqueue(NewJob { id, ..job }), Answer::Enqueued(_)));
    }
    let answer = shard.enqueue(behind(250, &["one", "more"]));
    assert!(matches!(answer, Answer::Rejected(Rejection::TooManyGateSets { .. })), "{answer:?}");
    assert!(matches!(shard.enqueue(behind(250, &["g0", "g0"])), Answer::Enqueued(_)));
    let answer = shard.restart().enqueue(behind(251, &["two"]));
    assert!(matches!(answer, Answer::Rejected(Rejection::TooManyGateSets { .. })), "{answer:?}");
}

const NS: crate::ids::NamespaceId = crate::ids::NamespaceId(1);

impl Shard {
    /// A job comes and goes that names these gates.
    fn pass_behind(&mut self, n: u64, gates: Vec<String>) {
        let id = JobId(u128::from(n).to_be_bytes());
        let retain_ms = Some(0);
        let answer = self.enqueue(NewJob { id, retain_ms, gates, ..job(0) });
        assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
        let run = self.lease(1).remove(0);
        assert_eq!(run.id, id);
        self.settle(&run, ack()).unwrap();
    }
}

/// The numbers of sets of gates were never free again: after 2000 different ones jobs that named
/// others were refused for ever.
#[test]
#[expect(clippy::disallowed_methods, reason = "it asks for the tier that it runs in")]
fn sets_of_gates_that_no_job_needs_make_room_for_others() {
    let sets = if std::env::var_os("LONGSHORE_FULL").is_some() { 1_000_000 } else { 20_000 };
    let mut shard = Shard::new();
    let mut keys = None;
    for n in 0..sets {
        shard.pass_behind(n, vec![format!("g{n}"), format!("h{}", n % 7)]);
        assert!(shard.turn.state.gating.sets_of(NS) <= 5);
        if n % 5_000 == 4_999 {
            shard.advance(1);
            shard.keep();
            shard = shard.restart();
            let left = shard.turn.map().entries().len();
            assert!(*keys.get_or_insert(left) + 8 >= left, "{left} keys after {n} sets");
        }
    }
}

/// A set that waits keeps its number whatever comes and goes, and so does that of a dead job.
#[test]
fn sets_of_gates_that_jobs_need_keep_their_numbers() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { max_attempts: Some(1), ..behind(1, &["dead"]) });
    let run = shard.lease(1).remove(0);
    shard.settle(&run, fail()).unwrap();
    close(&mut shard, "bank");
    shard.enqueue(behind(2, &["bank"]));
    for n in 100..200 {
        shard.pass_behind(n, vec![format!("g{n}")]);
        if n == 150 {
            shard.keep();
            shard = shard.restart();
        }
    }
    close(&mut shard, "dead");
    shard.call(Command::RetryJob { id: id(1), from: RetryFrom::Kept });
    assert!(shard.lease(9).is_empty());
    let mut shard = shard.restart();
    assert!(shard.lease(9).is_empty());
    change(&mut shard, "dead", open());
    assert_eq!(ids(&shard.lease(9)), [1]);
    change(&mut shard, "bank", open());
    assert_eq!(ids(&shard.lease(9)), [2]);
}

/// One command names gates of which no job needs the number, and others that have none yet.
#[test]
fn a_bulk_gives_no_number_away_that_it_uses_itself() {
    let mut shard = Shard::new();
    for n in 0..9 {
        shard.pass_behind(100 + n, vec![format!("g{n}")]);
    }
    let kept: Vec<_> = (0..9).map(|n| format!("g{n}")).collect();
    let known = |gate: &&String| shard.turn.state.gating.set_of(NS, &[(*gate).clone()]).is_some();
    let kept: Vec<&str> = kept.iter().filter(known).map(String::as_str).collect();
    assert_eq!(kept.len(), 5);
    let mut jobs = Vec::new();
    for (index, new) in ["a", "b", "c"].into_iter().enumerate() {
        // The last of those that have a number now, and the first, whose number is the next to go.
        for gate in [kept[4 - index], new, kept[index]] {
            jobs.push(behind(1 + jobs.len() as u8, &[gate]));
        }
    }
    let (queue, count) = ("q".to_owned(), jobs.len());
    let answer = shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs: jobs.clone() }));
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
    for mut shard in [shard.restart(), shard] {
        for of in &jobs {
            let set = shard.turn.state.gating.set_of(NS, &of.gates).expect("a job needs it");
            let named = shard.turn.state.value(&crate::state::keys::gate_set(NS, set));
            assert_eq!(named.as_ref(), Some(&of.gates), "the number {set}");
        }
        close(&mut shard, kept[0]);
        let behind = jobs.iter().filter(|job| job.gates == [kept[0]]).count();
        assert_eq!(shard.lease(99).len(), count - behind);
    }
}
