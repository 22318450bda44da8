//! What must be true of service levels: what is counted is of a level that there is, no more missed
//! a goal than were measured, and nothing is counted for longer than a day.

use std::collections::BTreeMap;

use longshore_engine::wire::Wire;
use longshore_engine::{Command, SlaCommand, SlaCount, SlaGoal, SlaSettings, SlaTarget};

use super::{Check, KINDS, QUEUES};
use crate::map::SimTree;
use crate::random::Random;

/// The first bytes of keys, as the engine's catalogue of keys has them.
const SLA_KEY_FIRST: u8 = 194;
const MINUTE_KEY_FIRST: u8 = 195;

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

pub(crate) fn check(map: &SimTree) -> Check {
    let mut minutes: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (key, value) in map.entries.range(vec![MINUTE_KEY_FIRST]..vec![MINUTE_KEY_FIRST + 1]) {
        let of = key.len().checked_sub(8).and_then(|end| key.get(1..end));
        let of = of.ok_or("a minute of no level")?;
        let level = [&[SLA_KEY_FIRST][..], of].concat();
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
