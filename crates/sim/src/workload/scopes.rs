//! Limits over a whole queue, a kind or the namespace: no more start under one of which somebody
//! was told than it lets run, until somebody tries to change it.

use std::collections::BTreeMap;

use longshore_engine::{Answer, Command, JobView, LimitRule, LimitScope, LimitSettings, TimeMs};

use super::{Check, KINDS, QUEUES};
use crate::random::Random;

/// Their names. Keys of other limits are drawn elsewhere.
pub(crate) const SCOPED: [&str; 3] = ["of_queue", "of_kind", "of_all"];

pub(crate) fn sample(random: &mut Random) -> Command {
    let name = (*random.pick(&SCOPED)).to_owned();
    if random.percent(40) {
        return Command::DeleteLimit { name };
    }
    let scope = match &*name {
        "of_queue" => LimitScope::Queue {
            name: random.maybe(50, |random| (*random.pick(&QUEUES)).to_owned()),
        },
        "of_kind" => {
            LimitScope::Kind { name: random.maybe(50, |random| (*random.pick(&KINDS)).to_owned()) }
        }
        _ => LimitScope::Namespace,
    };
    let rule = LimitRule::Concurrency { max: 1 + random.below(3) };
    Command::PutLimit { name, settings: LimitSettings { scope, rule } }
}

/// Under which of its keys a limit counts a job; none where it does not, or by keys that jobs name.
pub(crate) fn key_of<'a>(scope: &LimitScope, view: &'a JobView) -> Option<&'a str> {
    let only = |name: &Option<String>, of: &'a str| {
        name.as_ref().is_none_or(|name| name == of).then_some(of)
    };
    match scope {
        LimitScope::Namespace => Some(""),
        LimitScope::Queue { name } => only(name, &view.job.queue),
        LimitScope::Kind { name } => only(name, &view.job.kind),
        LimitScope::Key => None,
    }
}

/// The index of a namespace, and the name of a limit of its.
type ScopeKey = (usize, String);

/// What is known of such limits.
#[derive(Debug, Default)]
pub(crate) struct KnownScopes {
    /// What holds, and since when at the latest.
    known: BTreeMap<ScopeKey, (LimitSettings, TimeMs)>,
    /// Attempts to change one, or to remove it, of which nobody heard yet.
    untold: BTreeMap<ScopeKey, u32>,
}

fn changed(command: &Command) -> Option<&String> {
    match command {
        Command::PutLimit { name, .. } | Command::DeleteLimit { name } => {
            SCOPED.contains(&&**name).then_some(name)
        }
        _ => None,
    }
}

impl KnownScopes {
    /// From now on something else may hold.
    pub(crate) fn tried(&mut self, namespace: usize, command: &Command) {
        let Some(name) = changed(command) else { return };
        let key = (namespace, name.clone());
        self.known.remove(&key);
        *self.untold.entry(key).or_default() += 1;
    }

    /// What became of one of these attempts.
    pub(crate) fn told(
        &mut self,
        namespace: usize,
        command: &Command,
        answer: &Answer,
        now: TimeMs,
    ) {
        let Some(name) = changed(command) else { return };
        let key = (namespace, name.clone());
        let untold = self.untold.entry(key.clone()).or_default();
        *untold = untold.saturating_sub(1);
        if let (Command::PutLimit { settings, .. }, Answer::Limit(_)) = (command, answer)
            && *untold == 0
        {
            self.known.insert(key, (settings.clone(), now));
        }
    }

    /// `jobs` are those of each namespace, by its number as keys have it: from 1 on.
    pub(crate) fn check(&self, jobs: &[(u32, Vec<JobView>)]) -> Check {
        for ((namespace, name), (settings, since)) in &self.known {
            let LimitRule::Concurrency { max } = settings.rule else { continue };
            let own = jobs.iter().filter(|(ns, _)| *ns as usize == namespace + 1);
            let mut started: BTreeMap<&str, u64> = BTreeMap::new();
            for view in own.flat_map(|(_, views)| views) {
                let later = view.lease.as_ref().is_some_and(|lease| lease.started_at > *since);
                if let Some(key) = key_of(&settings.scope, view).filter(|_| later) {
                    *started.entry(key).or_default() += 1;
                }
            }
            if let Some((key, count)) = started.iter().find(|(_, count)| **count > max) {
                return Err(format!("{count} runs of {key:?} started under {name}, of {max}"));
            }
        }
        Ok(())
    }
}
