//! Policies change what holds for queues and exchanges that are there.

use super::*;
use crate::message::{Overflow, Policy, PolicyTarget};

impl Shard {
    fn policy(&mut self, name: &str, policy: Policy) -> Result<bool, Rejection> {
        let (name, policy) = (name.to_owned(), Box::new(policy));
        match self.carry_out(MessageCommand::PutPolicy { name, policy })? {
            MessageAnswer::Changed(changed) => Ok(changed),
            other => panic!("{other:?}"),
        }
    }
}

fn of(pattern: &str) -> Policy {
    Policy { pattern: pattern.into(), ..Policy::default() }
}

#[test]
fn a_policy_changes_queues_that_are_there_and_its_end_changes_them_back() {
    let mut shard = Shard::new();
    shard.declare("mail.a", durable()).unwrap();
    shard.declare("other", durable()).unwrap();
    shard.declare("dead", durable()).unwrap();
    for queue in ["mail.a", "other"] {
        for body in ["1", "2", "3"] {
            shard.publish("", queue, body).unwrap();
        }
    }
    let policy = Policy {
        max_length: Some(1),
        dead_letter_exchange: Some(String::new()),
        dead_letter_routing_key: Some("dead".into()),
        ..of("^mail\\.")
    };
    assert_eq!(shard.policy("short", policy.clone()), Ok(true));
    assert_eq!(shard.policy("short", policy), Ok(false));
    shard.advance(1);
    assert_eq!((shard.stand_of("mail.a").ready, shard.stand_of("other").ready), (1, 3));
    assert_eq!(shard.stand_of("mail.a").policy, Some("short".into()));
    assert_eq!(texts(&shard.take("dead", 9)), ["1", "2"]);
    // Across a restart, and declared again as before.
    let mut shard = shard.restart();
    assert_eq!(shard.declare("mail.a", durable()), Ok(Declared::Present));
    shard.publish("", "mail.a", "4").unwrap();
    assert_eq!(shard.stand_of("mail.a").ready, 1);
    // The highest counts.
    let other = Policy {
        priority: 1,
        max_length: Some(1),
        overflow: Some(Overflow::RejectPublish),
        ..of("")
    };
    shard.policy("all", other).unwrap();
    let refused = shard.publish("", "mail.a", "5");
    assert!(matches!(refused, Err(Rejection::QueueFull { .. })), "{refused:?}");
    let delete = |name: &str| MessageCommand::DeletePolicy { name: name.into() };
    for name in ["all", "short", "short"] {
        shard.carry_out(delete(name)).unwrap();
    }
    shard.publish("", "mail.a", "5").unwrap();
    assert_eq!((shard.stand_of("mail.a").ready, shard.stand_of("mail.a").policy), (2, None));
    let left = shard.turn.map().entries().keys().filter(|key| key[0] == 109).count();
    assert_eq!(left, 0);
}

#[test]
fn a_policy_without_a_limit_leaves_what_was_declared_and_the_first_by_name_counts() {
    let mut shard = Shard::new();
    shard.declare("never", limited(0)).unwrap();
    let of_none = Policy { delivery_limit: Some(0), ..of("never") };
    for (name, policy) in [("b", of("never")), ("a", of_none)] {
        shard.policy(name, policy).unwrap();
        shard.publish("", "never", "m").unwrap();
        let taken = shard.take("never", 1);
        shard.settle_taken(&taken, MessageVerdict::Requeue);
        assert_eq!(shard.stand_of("never").ready, 0, "{name}");
        assert_eq!(shard.stand_of("never").policy, Some(name.into()));
    }
    shard.policy("b", Policy { priority: 1, ..of("never") }).unwrap();
    assert_eq!(shard.stand_of("never").policy, Some("b".into()));
    shard.policy("b", of("never")).unwrap();
    assert_eq!(shard.stand_of("never").policy, Some("a".into()));
}

#[test]
fn a_policy_of_something_else_puts_no_end_of_a_queue_off() {
    let mut shard = Shard::new();
    let expires_ms = Some(1000);
    shard.declare("q", MessageSettings { expires_ms, ..durable() }).unwrap();
    for n in 0..4 {
        shard.advance(300);
        shard.policy("other", Policy { max_length: Some(10 + n), ..of("") }).unwrap();
        shard.advance(1);
    }
    assert_eq!(shard.publish("", "q", "m"), Ok(Published::Unroutable), "it has ended");
}

#[test]
fn a_policy_ends_queues_gives_times_and_limits_and_routes_what_nobody_takes() {
    let mut shard = Shard::new();
    shard.declare("rest", durable()).unwrap();
    shard.exchange("x", ExchangeKind::Direct);
    shard.exchange("spare", ExchangeKind::Fanout);
    shard.bind("spare", "", "rest");
    let alternate = Some("spare".to_owned());
    let target = PolicyTarget::Exchanges;
    shard.policy("spare", Policy { target, alternate, ..of("^x$") }).unwrap();
    assert_eq!(shard.publish("x", "nobody", "m"), Ok(routed(1)));
    shard.declare("unused", durable()).unwrap();
    shard.declare("tried", limited(20)).unwrap();
    let target = PolicyTarget::Queues;
    shard.policy("unused", Policy { target, expires_ms: Some(1000), ..of("unused") }).unwrap();
    let tried = Policy { ttl_ms: Some(5000), delivery_limit: Some(1), ..of("tried") };
    shard.policy("tried", tried).unwrap();
    shard.advance(1);
    shard.advance(1100);
    assert_eq!(shard.publish("", "unused", "m"), Ok(Published::Unroutable), "it has ended");
    shard.publish("", "tried", "m").unwrap();
    for left in [1, 0] {
        let taken = shard.take("tried", 1);
        shard.settle_taken(&taken, MessageVerdict::Requeue);
        assert_eq!(shard.stand_of("tried").ready, left);
    }
    shard.publish("", "tried", "m").unwrap();
    shard.advance(5000);
    assert_eq!(shard.stand_of("tried").ready, 0);
    for bad in [of("("), of("a{2}"), Policy { expires_ms: Some(0), ..of("") }] {
        shard.policy("bad", bad).unwrap_err();
    }
    let many = (0..=100).map(|n| shard.policy(&format!("p{n}"), of("x")));
    assert!(many.collect::<Vec<_>>().iter().any(Result::is_err));
}
