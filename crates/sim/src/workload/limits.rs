//! What must be true of limits at dispatch: a key is spent if and only if as many leases stand as
//! it allows, a window has counted what started in it, and of a line of waiting jobs the first
//! alone is in its lane, unless nothing is left of its key.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::query::limits_unsettled;
use longshore_engine::wire::Wire;
use longshore_engine::{
    Answer, Command, JobLimit, JobView, LimitRule, LimitScope, LimitSettings, TimeMs,
};

use super::scopes::key_of;
use super::{CALLS, Check, KEYS, TOKENS};
use crate::map::{Entries, SimTree};
use crate::random::Random;

/// The first bytes of keys, as the engine's catalogue of keys has them.
const LANE_KEY_FIRST: u8 = 6;
const LINE_KEY_FIRST: u8 = 152;
const TENANTED_KEY_FIRST: u8 = 192;
/// Bytes that name a lane: queue, urgency, part, kind.
const LANE_BYTES: usize = 11;
const LIMIT_KEY_FIRST: u8 = 153;
pub(crate) const SPENT_KEY_FIRST: u8 = 156;
pub(crate) const BUDGET_KEY_FIRST: u8 = 154;
const UNDER_KEY_FIRST: u8 = 222;
const SLOT_BYTES: usize = 16;

/// How long a window of the limit is that counts what starts in a time.
const WINDOW_MS: u64 = 20_000;

/// A bucket of tokens: how many there are at most, and how often one comes.
const BURST: u64 = 2;
const TOKEN_MS: u64 = 8000;

/// The change of a limit that counts what starts in a time: those are never removed.
pub(crate) fn calls(random: &mut Random) -> Command {
    if random.percent(50) {
        let rule = LimitRule::Bucket { burst: BURST, count: 1, period_ms: TOKEN_MS };
        let settings = LimitSettings { scope: LimitScope::Key, rule };
        return Command::PutLimit { name: TOKENS.to_owned(), settings };
    }
    let rule = LimitRule::Window { max: 1 + random.below(3), period_ms: WINDOW_MS };
    let settings = LimitSettings { scope: LimitScope::Key, rule };
    Command::PutLimit { name: CALLS.to_owned(), settings }
}

/// A key of such a limit, which a job may name beside another one.
pub(crate) fn call(random: &mut Random) -> JobLimit {
    let key = (*random.pick(&KEYS)).to_owned();
    let name = if random.percent(50) { CALLS } else { TOKENS };
    JobLimit { name: name.to_owned(), key }
}

/// Since when the limits that count what starts in a time were certainly there, by namespace: that
/// of windows, and that of tokens.
#[derive(Debug, Default)]
pub(crate) struct KnownLimits(BTreeMap<usize, TimeMs>, BTreeMap<usize, TimeMs>);

/// What a bucket holds that was full before these starts, if nothing else was taken out of it.
fn most_held(starts: &[u64], now: TimeMs) -> u64 {
    let full = BURST * TOKEN_MS;
    let (mut held, mut at) = (full, 0);
    for start in starts {
        held = (held + (start - at)).min(full).saturating_sub(TOKEN_MS);
        at = *start;
    }
    (held + now.0.saturating_sub(at)).min(full)
}

/// What is kept of a bucket, as parts of a token for each millisecond of its period.
fn held(budget: Option<&bytes::Bytes>, now: TimeMs) -> u64 {
    let full = BURST * TOKEN_MS;
    let mut input = budget.map(longshore_engine::wire::Input::new);
    let mut number = || u64::take(input.as_mut()?).ok();
    let kept = number().zip(number());
    kept.map_or(full, |(amount, since)| (amount + now.0.saturating_sub(since)).min(full))
}

/// Whether so many may have started by the tokens that there were.
fn check_tokens(key: &str, starts: &[u64]) -> Check {
    for (index, first) in starts.iter().enumerate() {
        for (more, last) in starts.iter().skip(index).enumerate() {
            let spent = (more as u64 + 1) * TOKEN_MS;
            if spent > BURST * TOKEN_MS + (last - first) {
                let (count, ms) = (more + 1, last - first);
                return Err(format!("{count} runs of {key} started within {ms} ms"));
            }
        }
    }
    Ok(())
}

impl KnownLimits {
    /// An answer was released at an instant.
    pub(crate) fn told(&mut self, namespace: usize, name: &str, answer: &Answer, now: TimeMs) {
        let known = match name {
            CALLS => &mut self.0,
            TOKENS => &mut self.1,
            _ => return,
        };
        if matches!(answer, Answer::Limit(_)) {
            known.entry(namespace).or_insert(now);
        }
    }

    /// What started in the present window is counted in it, whatever happened since.
    pub(crate) fn check(&self, map: &SimTree, jobs: &[(u32, Vec<JobView>)], now: TimeMs) -> Check {
        self.check_buckets(map, jobs, now)?;
        for (ns, views) in jobs {
            // Namespaces are numbered from 1 on, in the order in which they are served.
            let known = ns.checked_sub(1).and_then(|index| self.0.get(&(index as usize)));
            let Some(known) = known else { continue };
            for key in KEYS {
                let named = |view: &&JobView| {
                    let mut own = view.job.options.own_limits();
                    own.any(|limit| limit.name == CALLS && limit.key == key)
                };
                let window = now.0 / WINDOW_MS;
                let starts = views.iter().filter(named).filter_map(|view| view.lease.as_ref());
                let starts = starts.map(|lease| lease.started_at);
                let here = starts.filter(|at| at.0 / WINDOW_MS == window && *at > *known).count();
                let ns = ns.to_be_bytes();
                let of = [&ns[..], &counted(CALLS), &counted(key)].concat();
                let budget = map.entries.get(&[&[BUDGET_KEY_FIRST][..], &of].concat());
                let mut input = budget.map(longshore_engine::wire::Input::new);
                let used = input.as_mut().and_then(|input| u64::take(input).ok()).unwrap_or(0);
                if used < here as u64 {
                    return Err(format!("{here} runs of {key} started in a window with {used}"));
                }
            }
        }
        Ok(())
    }
}

impl KnownLimits {
    /// What runs has started as tokens came, and a bucket holds no more than that left in it.
    fn check_buckets(&self, map: &SimTree, jobs: &[(u32, Vec<JobView>)], now: TimeMs) -> Check {
        for (ns, views) in jobs {
            let known = ns.checked_sub(1).and_then(|index| self.1.get(&(index as usize)));
            let Some(known) = known else { continue };
            for key in KEYS {
                let named = |view: &&JobView| {
                    let mut own = view.job.options.own_limits();
                    own.any(|limit| limit.name == TOKENS && limit.key == key)
                };
                let starts = views.iter().filter(named).filter_map(|view| view.lease.as_ref());
                let starts = starts.map(|lease| lease.started_at).filter(|at| at > known);
                let mut starts: Vec<u64> = starts.map(|at| at.0).collect();
                starts.sort_unstable();
                check_tokens(key, &starts)?;
                let of = [&ns.to_be_bytes()[..], &counted(TOKENS), &counted(key)].concat();
                let budget = map.entries.get(&[&[BUDGET_KEY_FIRST][..], &of].concat());
                let (held, most) = (held(budget, now), most_held(&starts, now));
                if held > most {
                    return Err(format!(
                        "the bucket of {key} holds {held} parts, of which {most} can be left"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether a lane is of a part whose entries name keys: those have odd numbers.
fn is_limited(key: &[u8]) -> bool {
    key.get(11).is_some_and(|low| low & 1 == 1)
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
        let name = tail(key);
        // Until all of its keys were looked through, some are as they were before it changed.
        let unsettled = limits_unsettled(map);
        let mut unsettled =
            unsettled.iter().map(|(ns, of)| [&ns.0.to_be_bytes()[..], &counted(of)].concat());
        if unsettled.any(|of| of == name) {
            continue;
        }
        let mut leases: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (ns, views) in jobs {
            for view in views.iter().filter(|view| view.lease.is_some()) {
                let own = ns.to_be_bytes();
                if let Some(key) = key_of(&settings.scope, view).filter(|_| name.starts_with(&own))
                {
                    *leases.entry([&name[..], &counted(key)].concat()).or_default() += 1;
                }
                let by_key = settings.scope == LimitScope::Key;
                for own in view.job.options.own_limits().filter(|_| by_key) {
                    let of = [&ns.to_be_bytes()[..], &counted(&own.name)].concat();
                    if of == name {
                        *leases.entry([of, counted(&own.key)].concat()).or_default() += 1;
                    }
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
    heads += check_several(map, spent)?;
    // Jobs that name a limit stand in lines of their own.
    let mut in_lines = of(&map.entries, TENANTED_KEY_FIRST);
    if in_lines.any(|(key, _)| is_limited(key)) {
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

/// Of the lines under a key and lane the one that comes first is in the lane unless nothing is left
/// of the key. Answers how many are.
fn check_several(map: &SimTree, spent: &BTreeSet<Vec<u8>>) -> Result<usize, String> {
    let (mut heads, mut last) = (0, Vec::new());
    for (key, _) in of(&map.entries, UNDER_KEY_FIRST) {
        let key = tail(key);
        let at = key.len().checked_sub(SLOT_BYTES).ok_or("a line without a place")?;
        let (group, slot) = key.split_at(at);
        let is_first = group != &last[..];
        last = group.to_vec();
        let at = group.len().checked_sub(LANE_BYTES).ok_or("a line without a lane")?;
        let (limit, lane) = group.split_at(at);
        let ns = limit.get(..4).unwrap_or_default();
        let entry = [&[LANE_KEY_FIRST][..], ns, lane, slot].concat();
        let stands = is_first && !spent.contains(limit);
        heads += usize::from(stands);
        if map.entries.contains_key(&entry) != stands {
            let is = if stands { "is not" } else { "is" };
            return Err(format!("a line under {limit:02x?} {is} in its lane"));
        }
    }
    Ok(heads)
}
