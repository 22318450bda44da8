//! Whether the engine and the reference say the same.

use std::collections::BTreeMap;

use longshore_engine::query::{Lookup, attempts_of, body_of, find_job, find_schedule, skipped_of};
use longshore_engine::wire::Wire;
use longshore_engine::{
    Answer, Clock, ConsumerId, Delivery, JobView, LimitView, Operation, QueueView, Rejection,
    ReplyTo, SlaAnswer, SlaView,
};

use crate::reference::{RefJob, Reference};
use crate::shard::{Shard, entries};

/// The answer in words; of refusals only what is promised.
pub(crate) fn plain(answer: &Answer) -> String {
    fn each<T: std::fmt::Debug>(results: &[Result<T, Rejection>]) -> String {
        let one = |result: &Result<T, Rejection>| match result {
            Ok(value) => format!("{value:?}"),
            Err(rejection) => code(rejection),
        };
        results.iter().map(one).collect::<Vec<_>>().join(", ")
    }
    let operation =
        |o: &Operation| format!("{:?}", Operation { cursor: None, first: None, ..o.clone() });
    let level = |view: &SlaView| format!("level {} {:?}", view.name, view.sla.settings);
    // What waits behind limits is tested by itself.
    let limit = |view: &LimitView| {
        format!("{:#?}", LimitView { waiting: 0, keys: Vec::new(), ..view.clone() })
    };
    // States are compared with these, where it is known which lines stand in lanes.
    let queue = |view: &QueueView| {
        let (oldest_age_ms, unconsumed_kinds) = (None, Vec::new());
        format!("{:#?}", QueueView { oldest_age_ms, unconsumed_kinds, ..view.clone() })
    };
    match answer {
        Answer::Queue(view) => queue(view),
        Answer::Queues(views, more) => {
            format!("{more} {}", views.iter().map(queue).collect::<Vec<_>>().join("\n"))
        }
        Answer::Leased { jobs, settled } => format!("leased {jobs:#?}, settled {}", each(settled)),
        Answer::Settled(settled) => format!("settled {}", each(settled)),
        Answer::Extended(extended) => format!("extended {}", each(extended)),
        // What levels measured is tested by itself.
        Answer::Sla(SlaAnswer::Sla(view)) => level(view),
        Answer::Sla(SlaAnswer::Slas(all)) => all.iter().map(level).collect::<Vec<_>>().join("\n"),
        Answer::Limit(view) => limit(view),
        Answer::Limits(all) => all.iter().map(limit).collect::<Vec<_>>().join("\n"),
        Answer::Operation(o) => operation(o),
        Answer::Operations(all) => all.iter().map(operation).collect::<Vec<_>>().join("\n"),
        Answer::Rejected(rejection) => code(rejection),
        other => format!("{other:#?}"),
    }
}

fn code(rejection: &Rejection) -> String {
    match rejection {
        Rejection::JobsRefused { faults } => {
            let faults = faults.iter().map(|(index, fault)| format!("{index} {}", code(fault)));
            format!("jobs refused: {}", faults.collect::<Vec<_>>().join(", "))
        }
        other => other.code().to_owned(),
    }
}

/// Checks that the step was answered alike.
pub(crate) fn answers(expected: Vec<(ReplyTo, Answer)>, found: Vec<(ReplyTo, Answer)>) {
    let by_reply = |answers: Vec<(ReplyTo, Answer)>| {
        let mut map = BTreeMap::new();
        for (reply_to, answer) in answers {
            assert!(map.insert(reply_to, plain(&answer)).is_none(), "{reply_to:?} answered twice");
        }
        map
    };
    let (expected, found) = (by_reply(expected), by_reply(found));
    for (reply_to, answer) in &expected {
        let found = found.get(reply_to).map_or("nothing", String::as_str);
        assert!(found == answer, "{reply_to:?}: expected {answer}\nfound {found}");
    }
    for (reply_to, answer) in &found {
        assert!(expected.contains_key(reply_to), "{reply_to:?}: not expected: {answer}");
    }
}

/// Checks that the same was delivered to the same consumers, in the same order.
pub(crate) fn deliveries(
    expected: &[(ConsumerId, Vec<Delivery>)],
    found: &[(ConsumerId, Vec<Delivery>)],
) {
    assert!(expected == found, "expected deliveries {expected:#?}\nfound {found:#?}");
}

/// Checks that all that is kept is alike.
pub(crate) fn states(expected: &Reference, shard: &Shard, clock: Clock) {
    let stats = shard.turn.stats(clock, None, usize::MAX);
    for queue in &expected.queues {
        let of = expected.namespaces.iter().find(|namespace| namespace.id == queue.ns);
        let name = &of.expect("a queue is in a namespace").name;
        let found =
            stats.queues.iter().find(|q| q.namespace == *name && q.queue.name == queue.name);
        let found = &found.unwrap_or_else(|| panic!("queue {} is missing", queue.name)).queue;
        let mut wanted = expected.queue_view(queue);
        // Which lines of several keys were tried already is not known here.
        let several = |job: &RefJob| {
            job.ns == queue.ns && job.job.queue == queue.name && !job.job.options.limits.is_empty()
        };
        if expected.jobs.iter().any(several) {
            wanted.oldest_age_ms = found.oldest_age_ms;
            wanted.unconsumed_kinds.clone_from(&found.unconsumed_kinds);
        }
        assert_eq!(*found, wanted, "queue {} of {name}", queue.name);
    }
    assert_eq!(stats.queues.len(), expected.queues.len(), "queues");
    assert_eq!(shard.turn.streams(), expected.stream_views(), "streams");
    for namespace in &expected.namespaces {
        let found = stats.namespaces.iter().find(|found| found.name == namespace.name);
        let expected = expected.namespace_view(namespace);
        assert_eq!(found, Some(&expected), "namespace {}", namespace.name);
    }
    assert_eq!(stats.namespaces.len(), expected.namespaces.len(), "namespaces");
    assert_eq!(stats.waiting_requests, expected.waiters.len() as u64, "requests that wait");
    assert_eq!(stats.sessions, expected.sessions.len() as u64, "sessions");
    let running = expected.jobs.iter().filter(|job| job.run.is_some()).count();
    assert_eq!(stats.leases, running as u64, "leases");
    assert_eq!(stats.schedules, expected.schedule_totals, "what schedules did");
    jobs(expected, shard);
    schedules(expected, shard);
}

fn schedules(expected: &Reference, shard: &Shard) {
    let map = shard.turn.map();
    for of in &expected.schedules {
        let (ns, name) = (of.schedule.namespace, &of.schedule.name);
        let namespace = expected.namespaces.iter().find(|namespace| namespace.id == ns);
        let namespace = &namespace.expect("a schedule is in a namespace").name;
        let found = find_schedule(map, namespace, name);
        assert!(found.as_ref() == Some(of), "schedule {name}: expected {of:#?}\nfound {found:#?}");
    }
    // Bytes 130 to 132 begin the keys of schedules, of their names and of how far they have come.
    for first in 130..=132 {
        let count = entries(map).keys().filter(|key| key.first() == Some(&first)).count();
        assert_eq!(count, expected.schedules.len(), "keys {first} in the map");
    }
}

/// By namespace and gates, how many jobs need the number of that set: what has not ended, and dead
/// jobs. The numbers of others may be there or not.
fn gate_sets(expected: &Reference, shard: &Shard) {
    let mut wanted = BTreeMap::new();
    for job in &expected.jobs {
        let gates = &job.job.options.gates;
        let needs = job.job.phase.is_unfinished() || Reference::is_dead(&job.job);
        if needs && !gates.is_empty() {
            *wanted.entry((job.ns.0.to_be_bytes().to_vec(), gates.clone())).or_insert(0_u64) += 1;
        }
    }
    // Byte 172 begins the keys of sets of gates, 234 those of how many jobs need each.
    let map = entries(shard.turn.map());
    let of = |first: u8| map.range(vec![first]..vec![first + 1]);
    assert_eq!(of(172).count(), of(234).count(), "sets of gates and their counts");
    let mut found = BTreeMap::new();
    for (key, gates) in of(172) {
        let jobs = map.get(&[&[234][..], &key[1..]].concat()).expect("each set has a count");
        let jobs = u64::from_bytes(jobs).expect("a count");
        let gates = Vec::<String>::from_bytes(gates).expect("a set of gates");
        if jobs > 0 {
            let before = found.insert((key[1..5].to_vec(), gates), jobs);
            assert!(before.is_none(), "two numbers of one set");
        }
    }
    assert_eq!(found, wanted, "jobs of sets of gates");
}

fn jobs(expected: &Reference, shard: &Shard) {
    let map = shard.turn.map();
    for job in &expected.jobs {
        let of = expected.namespaces.iter().find(|namespace| namespace.id == job.ns);
        let name = &of.expect("a job is in a namespace").name;
        let id = job.job.id;
        let found = match find_job(map, name, id, expected.now) {
            Lookup::Found(found) => *found,
            other => panic!("job {id} of {name}: {other:?}, expected {:?}", job.job),
        };
        let view: JobView = expected.job_view(job.ns, id).expect("it is there");
        assert!(found == view, "job {id} of {name}: expected {view:#?}\nfound {found:#?}");
        assert_eq!(attempts_of(map, name, id), job.notes, "attempts of {id}");
        assert_eq!(skipped_of(map, name, id), job.skipped, "skipped items of {id}");
    }
    // Byte 5 begins the keys of jobs, 14 those of attempts, 15 those of bodies, 16 those of
    // tombstones, 21 those of checkpoints, 22 those of skipped items, 25 those of paused jobs,
    // 150 those of the locks of unique keys.
    let removed = expected.removed_namespaces();
    let count = |first: u8| {
        let of = entries(map).keys().filter(|key| key.first() == Some(&first));
        of.filter(|key| !removed.iter().any(|ns| key[1..].starts_with(ns))).count()
    };
    let of_all = |of: fn(&RefJob) -> usize| expected.jobs.iter().map(of).sum::<usize>();
    assert_eq!(count(5), expected.jobs.len(), "jobs in the map");
    assert_eq!(count(14), of_all(|job| job.notes.len()), "attempts in the map");
    assert_eq!(count(21), of_all(|job| usize::from(job.checkpoint.is_some())), "checkpoints");
    assert_eq!(count(25), of_all(|job| usize::from(job.paused)), "paused jobs in the map");
    assert_eq!(count(150), of_all(|job| usize::from(Reference::has_unique(job))), "unique locks");
    assert_eq!(count(154), expected.budgets.len(), "budgets of limits");
    assert_eq!(count(156), expected.all_keys_spent(), "keys of which nothing is left");
    let lined = |job: &&RefJob| expected.is_filed(job) && job.job.options.limit.is_some();
    assert_eq!(count(151), expected.jobs.iter().filter(lined).count(), "jobs in lines");
    let several = |job: &&RefJob| expected.is_filed(job) && !job.job.options.limits.is_empty();
    assert_eq!(count(220), expected.jobs.iter().filter(several).count(), "lines of several keys");
    let of_tenants = |job: &&RefJob| {
        let plain = job.job.options.limits.is_empty();
        expected.is_filed(job) && Reference::takes_turns(job) && plain
    };
    assert_eq!(count(190), expected.tenants(), "tenants with jobs");
    let waiting = expected.jobs.iter().filter(of_tenants).count();
    assert_eq!(count(192), waiting, "jobs in lines of tenants");
    let held_back = |job: &RefJob| usize::from(job.held_back.is_some());
    assert_eq!(count(173), expected.holds.len(), "holds in the map");
    assert_eq!(count(210), expected.accounts.accounts.len(), "accounts in the map");
    assert_eq!(count(211), expected.accounts.trail.len(), "entries of the trail in the map");
    assert_eq!(count(174), of_all(held_back), "jobs that stand aside for tags");
    assert_eq!(count(175), of_all(held_back), "tags for which jobs stand aside");
    let lost = expected.holds.iter().map(|it| it.lost.len()).sum::<usize>();
    assert_eq!(count(176), lost, "lost runs in the map");
    assert_eq!(count(171), expected.gates.len(), "gates in the map");
    gate_sets(expected, shard);
    assert_eq!(count(22), of_all(|job| job.skipped.len()), "skipped items in the map");
    assert_eq!(count(16), expected.tombstones.len(), "tombstones in the map");
    for (id, bytes) in &expected.bodies {
        let body = longshore_engine::Body::Stored { id: *id, length: bytes.len() as u64 };
        assert_eq!(body_of(map, &body), *bytes, "body {id}");
    }
}
