//! What must be true of limits at dispatch: a key is spent if and only if as many leases stand as
//! it allows, and of a line of waiting jobs the first alone is in its lane, unless nothing is
//! left of its key.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::wire::Wire;
use longshore_engine::{JobView, LimitRule, LimitScope, LimitSettings};

use super::Check;
use crate::map::{Entries, SimTree};

/// The first bytes of keys, as the engine's catalogue of keys has them.
const LANE_KEY_FIRST: u8 = 6;
const LINE_KEY_FIRST: u8 = 152;
const TENANTED_KEY_FIRST: u8 = 192;
/// Bytes that name a lane: queue, urgency, part, kind.
const LANE_BYTES: usize = 11;
const LIMIT_KEY_FIRST: u8 = 153;
pub(crate) const SPENT_KEY_FIRST: u8 = 156;

/// Whether a lane is of a part whose entries name keys: those have odd numbers.
fn is_limited(key: &[u8]) -> bool {
    key.get(11).is_some_and(|low| low & 1 == 1)
}

/// Whether a lane is of a part whose entries have tenants: those have the highest bit.
fn is_tenanted(key: &[u8]) -> bool {
    key.get(10).is_some_and(|high| high & 0x80 != 0)
}

/// The end of a key: the namespace's number, then counted texts.
fn tail(key: &[u8]) -> Vec<u8> {
    key.get(1..).unwrap_or_default().to_vec()
}

fn counted(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn of(entries: &Entries, first: u8) -> impl Iterator<Item = (&Vec<u8>, &[u8])> {
    let range = entries.range(vec![first]..vec![first + 1]);
    range.map(|(key, value)| (key, &value[..]))
}

/// `jobs` are those of each namespace, by its number as keys have it.
pub(crate) fn check(map: &SimTree, jobs: &[(u32, Vec<JobView>)]) -> Check {
    let spent: BTreeSet<Vec<u8>> =
        of(&map.entries, SPENT_KEY_FIRST).map(|(key, _)| tail(key)).collect();
    for (key, value) in of(&map.entries, LIMIT_KEY_FIRST) {
        let settings = LimitSettings::from_bytes(&value.to_vec().into());
        let settings = settings.map_err(|error| format!("a limit: {error}"))?;
        let LimitRule::Concurrency { max } = settings.rule else { continue };
        if settings.scope != LimitScope::Key {
            continue;
        }
        let name = tail(key);
        let mut leases: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (ns, views) in jobs {
            for view in views.iter().filter(|view| view.lease.is_some()) {
                let Some(own) = &view.job.options.limit else { continue };
                let of = [&ns.to_be_bytes()[..], &counted(&own.name)].concat();
                if of == name {
                    *leases.entry([of, counted(&own.key)].concat()).or_default() += 1;
                }
            }
        }
        let full: BTreeSet<_> = leases.iter().filter(|(_, count)| **count >= max).collect();
        let full: BTreeSet<_> = full.into_iter().map(|(key, _)| key.clone()).collect();
        let marked: BTreeSet<_> =
            spent.iter().filter(|it| it.starts_with(&name)).cloned().collect();
        if full != marked {
            return Err(format!("{leases:?} run of {max}, and {marked:?} are spent"));
        }
    }
    check_lines(map, &spent)
}

/// The first of each line is in its lane unless nothing is left of its key, and nothing else is.
fn check_lines(map: &SimTree, spent: &BTreeSet<Vec<u8>>) -> Check {
    let mut heads = 0;
    for (key, slot) in of(&map.entries, LINE_KEY_FIRST) {
        let key = tail(key);
        let at = key.len().checked_sub(LANE_BYTES).ok_or("a line without a lane")?;
        let (limit, lane) = key.split_at(at);
        let slot = <(u64, u64)>::from_bytes(&slot.to_vec().into());
        let (at, place) = slot.map_err(|error| format!("a line: {error}"))?;
        let ns = limit.get(..4).unwrap_or_default();
        let (at, place) = (at.to_be_bytes(), place.to_be_bytes());
        let entry = [&[LANE_KEY_FIRST][..], ns, lane, &at, &place].concat();
        let open = !spent.contains(limit);
        heads += usize::from(open);
        if map.entries.contains_key(&entry) != open {
            let is = if open { "is not" } else { "is" };
            return Err(format!("the first of the line {limit:02x?} {is} in its lane"));
        }
    }
    // Jobs that name a limit take no turns of tenants.
    let mut in_lines = of(&map.entries, TENANTED_KEY_FIRST);
    let mut lanes = of(&map.entries, LANE_KEY_FIRST);
    if in_lines.any(|(key, _)| is_limited(key))
        || lanes.any(|(key, _)| is_limited(key) && is_tenanted(key))
    {
        return Err("a job that names a limit stands in the line of a tenant".to_owned());
    }
    let in_lanes = of(&map.entries, LANE_KEY_FIRST).filter(|(key, _)| is_limited(key)).count();
    if in_lanes == heads {
        return Ok(());
    }
    Err(format!(
        "{in_lanes} jobs that name a key are in lanes, and {heads} are the first of theirs"
    ))
}
