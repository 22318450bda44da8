//! No namespace uses up what all of a shard share.

use super::*;
use crate::limits::{Cap, Scope};

/// A shard with little room.
fn small() -> Shard {
    let cap = |shard, namespace| Cap { shard, namespace };
    let limits = Limits {
        queues_max: cap(5, 2),
        kinds_max: cap(5, 2),
        sessions_max: cap(5, 2),
        waiters_max: cap(5, 2),
        operations_max: cap(5, 2),
        operations_kept: cap(5, 3),
        namespaces_on_first_use: true,
        ..Limits::default()
    };
    Shard::recover(&[], limits)
}

impl Shard {
    fn send_to(&mut self, namespace: &str, command: Command) -> u64 {
        let reply_to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        self.turn
            .submit(Request { namespace: namespace.to_owned(), reply_to, command }, self.clock);
        self.flush();
        reply_to.0
    }

    /// The code of a refusal and whose cap it is; none where the command is not refused.
    fn refused_in(&mut self, namespace: &str, command: Command) -> Option<(&'static str, Scope)> {
        let reply = self.send_to(namespace, command);
        let Answer::Rejected(rejection) = self.answers.get(&reply)? else { return None };
        let scope = match rejection {
            Rejection::TooManyQueues { scope, .. }
            | Rejection::TooManyKinds { scope, .. }
            | Rejection::TooManyWaiting { scope, .. }
            | Rejection::TooManySessions { scope, .. }
            | Rejection::TooManyOperations { scope, .. } => *scope,
            other => panic!("{other:?}"),
        };
        Some((rejection.code(), scope))
    }
}

/// The commands in one namespace until it may have no more, then in another until the shard may.
fn check(code: &'static str, command: impl Fn(u8) -> Command) {
    let mut shard = small();
    let own = Some((code, Scope::Namespace));
    for (namespace, room) in [("default", 2), ("a", 2), ("b", 1)] {
        for n in 0..room {
            assert_eq!(shard.refused_in(namespace, command(n)), None, "{namespace} {n}");
        }
        let expected = if namespace == "b" { Some((code, Scope::Shard)) } else { own };
        assert_eq!(shard.refused_in(namespace, command(room)), expected, "{namespace}");
    }
}

#[test]
fn a_namespace_with_many_queues_leaves_room_for_others() {
    let settings = QueueSettings::default;
    check("too_many_queues", |n| Command::PutQueue {
        queue: format!("q{n}"),
        settings: settings(),
    });
    let queue = |n| format!("q{n}");
    check("too_many_queues", |n| Command::PauseQueue { queue: queue(n), paused: true });
    check("too_many_queues", |n| enqueue_to(&queue(n), "k", n));
}

#[test]
fn a_namespace_with_many_kinds_leaves_room_for_others() {
    check("too_many_kinds", |n| enqueue_to("q", &format!("k{n}"), n));
}

#[test]
fn a_namespace_with_many_sessions_leaves_room_for_others() {
    let mut shard = small();
    for (namespace, room, scope) in
        [("default", 2, Scope::Namespace), ("a", 2, Scope::Namespace), ("b", 1, Scope::Shard)]
    {
        let ask = |n: u8| {
            let session = format!("s{n}");
            Command::LeaseJobs(Box::new(LeaseJobs { ask: Some(1), session, ..wish() }))
        };
        // Only those that were granted something are remembered for long.
        for n in 0..room {
            shard.send_to(namespace, enqueue_to("q", "k", n));
            assert_eq!(shard.refused_in(namespace, ask(n)), None, "{namespace} {n}");
        }
        let refused = shard.refused_in(namespace, ask(room));
        assert_eq!(refused, Some(("too_many_sessions", scope)), "{namespace}");
    }
}

#[test]
fn sessions_are_counted_after_a_restart_and_no_more_once_forgotten() {
    let mut shard = small();
    let ask = |n: u8| {
        let session = format!("s{n}");
        Command::LeaseJobs(Box::new(LeaseJobs { ask: Some(1), session, max: 1, ..wish() }))
    };
    for n in 0..2 {
        shard.enqueue(job(n));
        shard.call(ask(n));
    }
    let mut shard = shard.restart();
    assert_eq!(shard.refused_in("default", ask(2)), Some(("too_many_sessions", Scope::Namespace)));
    shard.advance(3 * 3600 * 1000);
    assert_eq!(shard.refused_in("default", ask(2)), None);
}

#[test]
fn a_namespace_with_many_that_wait_leaves_room_for_others() {
    let mut shard = small();
    for namespace in ["default", "a", "b"] {
        shard.send_to(namespace, enqueue_to("q", "k", 1));
    }
    let wait = || Command::AwaitJob { id: id(1), wait_ms: 1000 };
    for (namespace, room, scope) in
        [("default", 2, Scope::Namespace), ("a", 2, Scope::Namespace), ("b", 1, Scope::Shard)]
    {
        for _ in 0..room {
            assert_eq!(shard.refused_in(namespace, wait()), None);
        }
        assert_eq!(shard.refused_in(namespace, wait()), Some(("too_many_waiting", scope)));
    }
    shard.advance(2000);
    assert_eq!(shard.refused_in("a", wait()), None, "who has been answered waits no more");
}

#[test]
fn a_namespace_with_many_operations_leaves_room_for_others() {
    let mut shard = small();
    // Nothing ticks, so that each of them goes on.
    for (namespace, room, scope) in
        [("default", 2, Scope::Namespace), ("a", 2, Scope::Namespace), ("b", 1, Scope::Shard)]
    {
        shard.send_to(namespace, enqueue_to("q", "k", 1));
        let purge = || {
            let queue = "q".to_owned();
            Command::StartOperation(OperationKind::DeleteQueue { queue })
        };
        for _ in 0..room {
            assert_eq!(shard.refused_in(namespace, purge()), None);
        }
        assert_eq!(shard.refused_in(namespace, purge()), Some(("too_many_operations", scope)));
    }
}

/// Others' operations made those of a namespace unknown.
#[test]
fn a_namespace_with_many_finished_operations_forgets_its_own() {
    let mut shard = small();
    for namespace in ["a", "b"] {
        shard.send_to(namespace, enqueue_to("q", "k", 1));
    }
    let mut run = |namespace: &str| {
        let kind = OperationKind::RetryDead { queue: None, kind: None, before: None, limit: None };
        let started = shard.send_to(namespace, Command::StartOperation(kind));
        shard.advance(1000);
        let Some(Answer::Operation(operation)) = shard.answers.get(&started) else { panic!() };
        operation.id
    };
    for namespace in ["default", "a", "b"] {
        run(namespace);
    }
    let kept = run("default");
    let busy: Vec<_> = (0..9).map(|_| run("a")).collect();
    let mut is_known = |namespace: &str, id| {
        let asked = shard.send_to(namespace, Command::GetOperation { id });
        matches!(shard.answers[&asked], Answer::Operation(_))
    };
    assert!(is_known("default", kept));
    assert!(is_known("a", busy[8]) && is_known("a", busy[7]) && !is_known("a", busy[0]));
}

/// Kinds were never given back.
#[test]
fn the_kinds_of_a_namespace_go_with_it() {
    let mut shard = small();
    let delete_queue = || Command::DeleteQueue { queue: "q".to_owned() };
    for round in 0..4 {
        for n in 0..2 {
            let enqueued = shard.send_to("a", enqueue_to("q", &format!("k{round}{n}"), n));
            assert!(matches!(shard.answers[&enqueued], Answer::Enqueued(_)));
            shard.send_to("a", Command::CancelJob { id: id(n), force: false });
        }
        shard.send_to("a", delete_queue());
        let deleted = shard.send_to("a", Command::DeleteNamespace);
        assert!(matches!(shard.answers[&deleted], Answer::NamespaceDeleted));
        shard = shard.restart();
    }
}

fn enqueue_to(queue: &str, kind: &str, n: u8) -> Command {
    let job = NewJob { kind: kind.to_owned(), ..job(n) };
    Command::EnqueueJobs(EnqueueJobs { queue: queue.to_owned(), jobs: vec![job] })
}
