//! What is set of kinds: which options their jobs get, and what is told of them.

use super::*;
use crate::gate::GateChange;
use crate::kind::{KindAnswer, KindCommand, KindDetail, KindSettings};
use crate::limit::{LimitRule, LimitScope, LimitSettings};
use crate::queue::JobDefaults;
use crate::sla::{SlaGoal, SlaSettings, SlaTarget};
use crate::{GateCommand, SlaCommand};

impl Shard {
    fn put_kind(&mut self, defaults: JobDefaults) -> KindDetail {
        let settings = Box::new(KindSettings { defaults });
        self.kind(KindCommand::Put { name: "k".to_owned(), settings })
    }

    fn kind(&mut self, command: KindCommand) -> KindDetail {
        match self.call(Command::Kinds(command)) {
            Answer::Kinds(KindAnswer::Kind(kind)) => *kind,
            other => panic!("{other:?}"),
        }
    }

    fn get_kind(&mut self) -> KindDetail {
        self.kind(KindCommand::Get { name: "k".to_owned() })
    }
}

fn of_kind() -> JobDefaults {
    let (max_attempts, timeout_ms) = (Some(3), Some(7000));
    JobDefaults { priority: Some(5), max_attempts, timeout_ms, ..JobDefaults::default() }
}

#[test]
fn options_come_from_the_job_then_its_kind_then_its_queue() {
    let mut shard = Shard::new();
    let told = shard.put_kind(of_kind());
    assert_eq!(told.settings.defaults, of_kind());
    let mut settings = QueueSettings::DEFAULT;
    settings.defaults.max_attempts = Some(9);
    settings.defaults.max_age_ms = Some(5000);
    shard.call(Command::PutQueue { queue: "q".to_owned(), settings });
    shard.enqueue(NewJob { timeout_ms: Some(100), version: 4, ..job(1) });
    let mut shard = shard.restart();
    shard.enqueue(NewJob { kind: "other".to_owned(), ..job(2) });
    let options = |shard: &Shard, n| {
        let ns = shard.turn.state.namespaces.named("default").unwrap();
        let options = shard.turn.state.job(ns, JobId([n; 16])).unwrap().options.clone();
        (options.priority, options.timeout_ms, options.max_attempts, options.max_age_ms)
    };
    assert_eq!(options(&shard, 1), (5, Some(100), 3, Some(5000)));
    assert_eq!(options(&shard, 2), (0, None, 9, Some(5000)), "another kind has those of the queue");
    assert_eq!(shard.get_kind().settings.defaults, of_kind(), "as before a restart");
    shard.put_kind(JobDefaults::default());
    shard.enqueue(job(3));
    assert_eq!(options(&shard, 3), (0, None, 9, Some(5000)), "what is reset holds no longer");
}

#[test]
fn options_that_no_job_may_have_are_refused_of_a_kind() {
    let mut shard = Shard::new();
    let defaults = JobDefaults { timeout_ms: Some(0), ..JobDefaults::default() };
    let settings = Box::new(KindSettings { defaults });
    match shard.call(Command::Kinds(KindCommand::Put { name: "k".to_owned(), settings })) {
        Answer::Rejected(Rejection::ValueRefused { field: "timeout", .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_kind_tells_what_is_over_it() {
    let mut shard = Shard::new();
    for (name, of) in [("g", "k"), ("h", "other")] {
        let kinds = Some(vec![of.to_owned()]);
        let change = GateChange { kinds, ..GateChange::default() };
        shard.call(Command::Gates(GateCommand::Change { name: name.to_owned(), change }));
        let rule = LimitRule::Concurrency { max: 1 };
        let scope = LimitScope::Kind { name: Some(of.to_owned()) };
        let settings = LimitSettings { scope, rule };
        shard.call(Command::PutLimit { name: format!("l{name}"), settings });
        let settings = Box::new(SlaSettings {
            target: SlaTarget::Kind { name: of.to_owned() },
            goal: SlaGoal::StartedWithin { within_ms: 1000 },
            share: 9900,
            breach: None,
        });
        shard.call(Command::Sla(SlaCommand::Put { name: format!("s{name}"), settings }));
    }
    let scope = LimitScope::Kind { name: None };
    let settings = LimitSettings { scope, rule: LimitRule::Concurrency { max: 9 } };
    shard.call(Command::PutLimit { name: "each".to_owned(), settings });
    let KindDetail { gates, limits, slas, .. } = shard.get_kind();
    assert_eq!((gates, slas), (vec!["g".to_owned()], vec!["sg".to_owned()]));
    assert_eq!(limits, ["each", "lg"]);
}

#[test]
fn what_is_set_of_kinds_goes_with_their_namespace() {
    let mut shard = Shard::new();
    shard.put_kind(of_kind());
    shard.call(Command::DeleteNamespace);
    shard.call(Command::CreateNamespace);
    assert_eq!(shard.get_kind().settings, KindSettings::default());
}
