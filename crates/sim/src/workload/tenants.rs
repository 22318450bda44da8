//! What must be true of tenants: something is known of one as long as it has jobs that have not
//! ended, the first of each of its lines stands in its lane, and nothing else of it does.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_engine::wire::Wire;
use longshore_engine::{JobView, TenantWeight};

use super::Check;
use crate::map::{Entries, SimTree};
use crate::random::Random;

/// The first bytes of keys, as the engine's catalogue of keys has them.
const LANE_KEY_FIRST: u8 = 6;
const QUEUE_NAME_KEY_FIRST: u8 = 26;
pub(crate) const TENANT_KEY_FIRST: u8 = 190;
const LINE_KEY_FIRST: u8 = 191;
const TENANTED_KEY_FIRST: u8 = 192;
const FIRST_KEY_FIRST: u8 = 193;

/// Whose jobs are.
pub(crate) const TENANTS: [&str; 3] = ["acme", "big", "small"];

/// What the key of a line has before its tenant: namespace, queue and urgency.
const OF_LANE: usize = 9;
/// And behind it: part and kind.
const PART_AND_KIND: usize = 6;

pub(crate) fn weights(random: &mut Random) -> Vec<TenantWeight> {
    let mut weights = Vec::new();
    for tenant in TENANTS {
        let weight = 1 + random.below(3) as u32;
        weights.push(TenantWeight { tenant: tenant.to_owned(), weight });
    }
    weights
}

fn of(entries: &Entries, first: u8) -> impl Iterator<Item = (&[u8], &Bytes)> {
    let range = entries.range(vec![first]..vec![first + 1]);
    range.map(|(key, value)| (key.get(1..).unwrap_or_default(), value))
}

fn counted(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// `jobs` are those of each namespace, by its number as keys have it.
pub(crate) fn check(map: &SimTree, jobs: &[(u32, Vec<JobView>)]) -> Check {
    check_known(map, jobs)?;
    let mut lines = 0;
    for (key, value) in of(&map.entries, LINE_KEY_FIRST) {
        lines += 1;
        check_line(&map.entries, key, value)?;
    }
    // Of those that name limits, the lines that come first under keys with something left are in
    // lanes, too.
    let is_limited = |key: &[u8]| key.get(OF_LANE + 1).is_some_and(|low| low & 1 == 1);
    let is_tenanted = |key: &[u8]| key.get(OF_LANE).is_some_and(|high| high & 0x80 != 0);
    let tenanted = of(&map.entries, LANE_KEY_FIRST).filter(|(key, _)| is_tenanted(key));
    let (limited, plain): (Vec<_>, Vec<_>) = tenanted.partition(|(key, _)| is_limited(key));
    let firsts = of(&map.entries, FIRST_KEY_FIRST).count();
    if (plain.len(), firsts) == (lines, lines + limited.len()) {
        return Ok(());
    }
    let in_lanes = plain.len() + limited.len();
    Err(format!("{in_lanes} jobs of tenants are in lanes and {firsts} are noted, of {lines} lines"))
}

/// What is known of each tenant are its jobs that have not ended.
fn check_known(map: &SimTree, jobs: &[(u32, Vec<JobView>)]) -> Check {
    let mut expected: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for (ns, views) in jobs {
        for view in views.iter().filter(|view| view.job.phase.is_unfinished()) {
            let Some(tenant) = &view.job.options.tenant else { continue };
            let ns = ns.to_be_bytes();
            let name = counted(&view.job.queue);
            let queue = [&[QUEUE_NAME_KEY_FIRST][..], &ns, &name].concat();
            let queue = map.entries.get(&queue).and_then(|id| u32::from_bytes(id).ok());
            let queue = queue.ok_or_else(|| format!("queue {} is missing", view.job.queue))?;
            let urgency = [u8::MAX - view.job.options.priority];
            let key = [&ns[..], &queue.to_be_bytes(), &urgency, &counted(tenant)].concat();
            *expected.entry(key).or_default() += 1;
        }
    }
    let known: BTreeMap<Vec<u8>, u64> = of(&map.entries, TENANT_KEY_FIRST)
        .map(|(key, value)| {
            let jobs = u64::take(&mut longshore_engine::wire::Input::new(value));
            (key.to_vec(), jobs.unwrap_or_default())
        })
        .collect();
    if known == expected {
        return Ok(());
    }
    Err(format!("jobs of tenants are {expected:02x?}, and {known:02x?} are counted"))
}

/// The first of a line is the first that waits in it, and stands in its lane.
fn check_line(entries: &Entries, key: &[u8], value: &Bytes) -> Check {
    let bad = || format!("the line {key:02x?} is none");
    let (of_lane, rest) = key.split_at_checked(OF_LANE).ok_or_else(bad)?;
    let tenant_bytes = rest.len().checked_sub(PART_AND_KIND).ok_or_else(bad)?;
    let (tenant, part_and_kind) = rest.split_at(tenant_bytes);
    let head = <((u64, u64), (u64, u64))>::from_bytes(value);
    let (own, stands) = head.map_err(|error| format!("a line: {error}"))?;
    let slot = |(at, place): (u64, u64)| [at.to_be_bytes(), place.to_be_bytes()].concat();
    let waiting = [&[TENANTED_KEY_FIRST][..], of_lane, part_and_kind, tenant].concat();
    let first = entries.range(waiting.clone()..).next();
    let first = first.filter(|(key, _)| key.starts_with(&waiting));
    let (first, id) = first.ok_or_else(|| format!("the line {key:02x?} is empty"))?;
    if first.get(waiting.len()..) != Some(&slot(own)) {
        return Err(format!("{own:?} is not the first of the line {key:02x?}"));
    }
    let lane = [&[LANE_KEY_FIRST][..], of_lane, part_and_kind, &slot(stands)].concat();
    if stands < own || entries.get(&lane) != Some(id) {
        return Err(format!("the first of the line {key:02x?} is not in its lane at {stands:?}"));
    }
    Ok(())
}
