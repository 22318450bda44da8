//! Who gets which partitions: `uniform`, which moves as few as it can, and `range`.

use std::collections::{BTreeMap, BTreeSet};

/// A partition: the id of its topic, and its index.
pub(super) type Part = ([u8; 16], i32);

/// What is known of a member when partitions are given out.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    /// What members are ordered by.
    pub(super) name: &'a str,
    pub(super) topics: BTreeSet<[u8; 16]>,
    /// What it was to have so far.
    pub(super) before: &'a BTreeSet<Part>,
}

/// Ways to give out partitions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Assignor {
    #[default]
    Uniform,
    Range,
}

impl Assignor {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// What each member is to have, in the order of the members.
    pub(super) fn assign(
        self,
        topics: &BTreeMap<[u8; 16], i32>,
        wishes: &[Wish<'_>],
    ) -> Vec<BTreeSet<Part>> {
        match self {
            Self::Uniform => uniform(topics, wishes),
            Self::Range => range(topics, wishes),
        }
    }
}

/// Consecutive partitions of each topic for each of its members.
fn range(topics: &BTreeMap<[u8; 16], i32>, wishes: &[Wish<'_>]) -> Vec<BTreeSet<Part>> {
    let mut given = vec![BTreeSet::new(); wishes.len()];
    for (topic, count) in topics {
        let mut members: Vec<usize> = takers(wishes, *topic).collect();
        members.sort_by_key(|at| wishes.get(*at).map(|wish| wish.name));
        let (all, mut next) = (i32::try_from(members.len()).unwrap_or(i32::MAX), 0);
        for (place, at) in (0..).zip(members) {
            let most = count / all + i32::from(place < count % all);
            if let Some(given) = given.get_mut(at) {
                given.extend((next..next + most).map(|index| (*topic, index)));
            }
            next += most;
        }
    }
    given
}

/// As many for each member as for any other, where all want the same topics; else as even as each
/// topic by itself allows. What a member has stays with it where it can.
fn uniform(topics: &BTreeMap<[u8; 16], i32>, wishes: &[Wish<'_>]) -> Vec<BTreeSet<Part>> {
    let mut given = vec![BTreeSet::new(); wishes.len()];
    let same = wishes.windows(2).all(|two| matches!(two, [a, b] if a.topics == b.topics));
    if same && let Some(first) = wishes.first() {
        let all: Vec<_> = topics.iter().filter(|(id, _)| first.topics.contains(*id)).collect();
        share(&all, (0..wishes.len()).collect(), wishes, &mut given);
    } else {
        for topic in topics {
            share(&[topic], takers(wishes, *topic.0).collect(), wishes, &mut given);
        }
    }
    given
}

fn takers<'a>(wishes: &'a [Wish<'_>], topic: [u8; 16]) -> impl Iterator<Item = usize> + 'a {
    let wants = move |(at, wish): (usize, &Wish<'_>)| wish.topics.contains(&topic).then_some(at);
    wishes.iter().enumerate().filter_map(wants)
}

/// Shares topics among members that want all of them.
fn share(
    topics: &[(&[u8; 16], &i32)],
    members: Vec<usize>,
    wishes: &[Wish<'_>],
    given: &mut [BTreeSet<Part>],
) {
    if members.is_empty() {
        return;
    }
    let all: usize = topics.iter().map(|(_, count)| usize::try_from(**count).unwrap_or(0)).sum();
    let (least, mut odd) = (all / members.len(), all % members.len());
    let counts: BTreeMap<&[u8; 16], i32> = topics.iter().map(|(id, it)| (*id, **it)).collect();
    let is_there =
        |(id, index): &Part| counts.get(id).is_some_and(|count| (0..*count).contains(index));
    let mut taken = BTreeSet::new();
    let mut open = Vec::new();
    // Who has more than its share keeps one of the odd ones.
    for at in members {
        let (Some(wish), Some(given)) = (wishes.get(at), given.get_mut(at)) else { continue };
        let of = |id: [u8; 16]| wish.before.range((id, i32::MIN)..=(id, i32::MAX));
        let had = topics.iter().flat_map(|(id, _)| of(**id));
        let had: Vec<Part> = had.filter(|part| is_there(part)).copied().collect();
        let mut most = least;
        if had.len() > least && odd > 0 {
            (most, odd) = (least + 1, odd - 1);
        }
        let kept = had.into_iter().filter(|part| !taken.contains(part)).take(most);
        let kept: Vec<Part> = kept.collect();
        taken.extend(kept.iter().copied());
        open.push((given.len(), at, least.saturating_sub(kept.len()), most == least));
        given.extend(kept);
    }
    // Of those that have less, first whoever has fewest of other topics.
    open.sort_unstable();
    let parts = topics.iter().flat_map(|(id, count)| (0..**count).map(|index| (**id, index)));
    let mut free = parts.filter(|part| !taken.contains(part));
    for (_, at, lacks, may_have_odd) in open {
        let mut lacks = lacks;
        if may_have_odd && odd > 0 {
            (lacks, odd) = (lacks + 1, odd - 1);
        }
        if let Some(given) = given.get_mut(at) {
            given.extend(free.by_ref().take(lacks));
        }
    }
}
