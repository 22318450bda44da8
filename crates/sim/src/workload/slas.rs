//! What must be true of service levels: what is counted is of a level that there is, no more missed
//! a goal than were measured, and nothing is counted for longer than a day.

use std::collections::BTreeMap;

use longshore_engine::wire::Wire;
use longshore_engine::{
    Answer, Command, SlaAnswer, SlaCommand, SlaCount, SlaGoal, SlaSettings, SlaTarget, TimeMs,
};

use super::{Check, KINDS, QUEUES};
use crate::map::SimTree;
use crate::random::Random;

/// The first bytes of keys, as the engine's catalogue of keys has them.
pub(crate) const SLA_KEY_FIRST: u8 = 194;
pub(crate) const MINUTE_KEY_FIRST: u8 = 195;
/// Levels that are gone, or measure something else, and of which earlier minutes are yet to go.
const LEFT_KEY_FIRST: u8 = 219;

/// How long what was measured is kept.
const DAY_MS: u64 = 24 * 3_600_000;

/// Minutes that are counted, and the present one.
const MINUTES_MAX: usize = 24 * 60 + 1;

const NAMES: [&str; 2] = ["fast", "slow"];

pub(crate) fn sample(random: &mut Random) -> Command {
    let name = (*random.pick(&NAMES)).to_owned();
    let command = match random.below(6) {
        0 => SlaCommand::Delete { name },
        1 => SlaCommand::Get { name },
        2 => SlaCommand::List,
        _ => SlaCommand::Put { name, settings: Box::new(settings(random)) },
    };
    Command::Sla(command)
}

fn settings(random: &mut Random) -> SlaSettings {
    let target = if random.percent(60) {
        SlaTarget::Queue { name: (*random.pick(&QUEUES)).to_owned() }
    } else {
        SlaTarget::Kind { name: (*random.pick(&KINDS)).to_owned() }
    };
    let within_ms = 1 + random.below(60_000);
    let goal = if random.percent(50) {
        SlaGoal::StartedWithin { within_ms }
    } else {
        SlaGoal::DoneWithin { within_ms }
    };
    SlaSettings { target, goal, share: 5_000 + random.below(4_999) as u32, breach: None }
}

/// What was told of levels: what was measured of one since it is as it is does not become less.
#[derive(Debug, Default)]
pub(crate) struct KnownSlas(BTreeMap<(usize, String), (TimeMs, u64)>);

impl KnownSlas {
    /// An answer was released at an instant.
    pub(crate) fn told(&mut self, namespace: usize, answer: &Answer, now: TimeMs) -> Check {
        let views = match answer {
            Answer::Sla(SlaAnswer::Sla(view)) => std::slice::from_ref(&**view),
            Answer::Sla(SlaAnswer::Slas(views)) => views,
            _ => return Ok(()),
        };
        for view in views {
            let since = view.sla.since;
            let [.., day] = &view.windows;
            let known = self.0.entry((namespace, view.name.clone())).or_insert((since, 0));
            if known.0 != since {
                *known = (since, 0);
            }
            // What is older than a day is forgotten.
            if now.since(since) < DAY_MS && day.measured + day.arrived < known.1 {
                let (name, before, is) = (&view.name, known.1, day.measured + day.arrived);
                return Err(format!("level {name} counted {before} and counts {is} since {since}"));
            }
            known.1 = day.measured + day.arrived;
        }
        Ok(())
    }
}

pub(crate) fn check(map: &SimTree) -> Check {
    let mut minutes: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (key, value) in map.entries.range(vec![MINUTE_KEY_FIRST]..vec![MINUTE_KEY_FIRST + 1]) {
        let of = key.len().checked_sub(8).and_then(|end| key.get(1..end));
        let of = of.ok_or("a minute of no level")?;
        let level = [&[SLA_KEY_FIRST][..], of].concat();
        if map.entries.contains_key(&[&[LEFT_KEY_FIRST][..], of].concat()) {
            continue;
        }
        if !map.entries.contains_key(&level) {
            return Err(format!("a minute is counted of {of:02x?}, which is no level"));
        }
        let count = SlaCount::from_bytes(value).map_err(|error| format!("a minute: {error}"))?;
        if count.missed > count.measured {
            return Err(format!("of {of:02x?} more missed than were measured: {count:?}"));
        }
        *minutes.entry(of).or_default() += 1;
    }
    match minutes.into_iter().find(|(_, count)| *count > MINUTES_MAX) {
        Some((of, count)) => Err(format!("{count} minutes are counted of {of:02x?}")),
        None => Ok(()),
    }
}
