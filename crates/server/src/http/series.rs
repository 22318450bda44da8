//! Which queues or namespaces metrics name, and what each ever counted: sums are complete, and no
//! counter falls, whatever is deleted or comes back meanwhile. The shards know what all that is
//! gone has counted, so the sum stays complete over a restart; who has a name is [`Kept`] over it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What the labels say: a namespace and a queue; the queue is empty for a namespace as a whole.
pub(crate) type Name = (String, String);

/// How the rest is named, and nothing else.
pub(crate) const OTHER: &str = "other";
/// Names that are remembered as named before.
const RETIRED_MAX: usize = 10_000;

/// The counters of one queue or namespace as a shard tells them now.
#[derive(Clone, Debug)]
pub(crate) struct Told<const N: usize> {
    pub(crate) shard: usize,
    pub(crate) name: Name,
    /// Those with the least are named, where there is room for some only. What comes into being
    /// later has more.
    pub(crate) order: u64,
    pub(crate) totals: [u64; N],
}

/// `N` counters for each name. Who is named once stays so: were it counted with the rest later, one
/// series would end and another one jump.
#[derive(Debug)]
pub(crate) struct Series<const N: usize> {
    named: BTreeSet<Name>,
    /// Gone and named before, until another one needed the place: part of the rest for good.
    retired: BTreeSet<Name>,
    /// What each shard told last.
    last: BTreeMap<(Name, usize), [u64; N]>,
    /// What each shard said that all counted which is gone from it.
    all_gone: BTreeMap<usize, [u64; N]>,
    /// The part of it that those with a name counted before they were deleted, as far as they told
    /// it. It stays with them.
    gone: BTreeMap<Name, [u64; N]>,
    /// What all without a name were said to have counted together.
    others: [u64; N],
    /// The last one of each shard that was told: whoever is older and has no name gets none, since
    /// it was counted with the rest.
    seen: BTreeMap<usize, u64>,
}

/// What is known of a name over a restart.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct KeptName {
    name: Name,
    /// What it counted before it was deleted.
    gone: Vec<u64>,
    /// What shards told of it last.
    last: Vec<(usize, Vec<u64>)>,
}

/// Who has a name, over a restart.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Kept {
    named: Vec<KeptName>,
    retired: Vec<Name>,
    seen: Vec<(usize, u64)>,
}

/// What a shard says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shard<const N: usize> {
    /// Whether it said anything.
    pub(crate) answered: bool,
    /// What all counted that is gone from it.
    pub(crate) gone: [u64; N],
}

impl<const N: usize> Default for Series<N> {
    fn default() -> Self {
        Self {
            named: BTreeSet::new(),
            retired: BTreeSet::new(),
            last: BTreeMap::new(),
            all_gone: BTreeMap::new(),
            gone: BTreeMap::new(),
            others: [0; N],
            seen: BTreeMap::new(),
        }
    }
}

fn add<const N: usize>(sum: &mut [u64; N], more: &[u64; N]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

impl<const N: usize> Series<N> {
    /// What is to be known after a restart.
    pub(crate) fn kept(&self) -> Kept {
        let named = self.named.iter().map(|name| KeptName {
            name: name.clone(),
            gone: self.gone.get(name).copied().unwrap_or([0; N]).to_vec(),
            last: self.told_of(name).map(|(shard, totals)| (shard, totals.to_vec())).collect(),
        });
        Kept {
            named: named.collect(),
            retired: self.retired.iter().cloned().collect(),
            seen: self.seen.iter().map(|(shard, order)| (*shard, *order)).collect(),
        }
    }

    /// Goes on from what was known before a restart; none where that cannot be.
    pub(crate) fn from_kept(kept: Kept, max: usize) -> Option<Self> {
        if kept.named.len() > max || kept.retired.len() > RETIRED_MAX {
            return None;
        }
        let mut series = Self { seen: kept.seen.into_iter().collect(), ..Self::default() };
        series.retired = kept.retired.into_iter().collect();
        for KeptName { name, gone, last } in kept.named {
            for (shard, totals) in last {
                series.last.insert((name.clone(), shard), totals.try_into().ok()?);
            }
            series.gone.insert(name.clone(), gone.try_into().ok()?);
            series.named.insert(name);
        }
        Some(series)
    }

    /// Takes what the shards say now, all of it. At most `max` get a name.
    pub(crate) fn take(&mut self, told: &[Told<N>], shards: &[Shard<N>], max: usize) {
        let answered = |shard: usize| shards.get(shard).is_some_and(|it| it.answered);
        for (shard, said) in shards.iter().enumerate().filter(|(_, said)| said.answered) {
            self.all_gone.insert(shard, said.gone);
        }
        let there: BTreeSet<(&Name, usize)> = told.iter().map(|it| (&it.name, it.shard)).collect();
        let deleted =
            |(name, shard): &(Name, usize)| answered(*shard) && !there.contains(&(name, *shard));
        let deleted: Vec<_> = self.last.keys().filter(|key| deleted(key)).cloned().collect();
        for key in deleted {
            if let Some(totals) = self.last.remove(&key) {
                self.keep(&key.0, &totals);
            }
        }
        let is_new = |it: &&Told<N>| {
            let is_later = self.seen.get(&it.shard).is_none_or(|seen| it.order > *seen);
            is_later && self.shards_of(&it.name).next().is_none()
        };
        let mut new: Vec<&Told<N>> = told.iter().filter(is_new).collect();
        for it in told {
            let seen = self.seen.entry(it.shard).or_default();
            *seen = it.order.max(*seen);
        }
        new.sort_by_key(|it| (it.order, it.shard, &it.name));
        for it in told {
            let before = self.last.insert((it.name.clone(), it.shard), it.totals);
            // It was deleted and is there again.
            if let Some(before) = before
                && before.iter().zip(&it.totals).any(|(before, now)| now < before)
            {
                self.keep(&it.name, &before);
            }
        }
        for it in new {
            if !self.name(&it.name, max) {
                break;
            }
        }
        self.sum_up_others();
    }

    /// What is told page by page may miss what went meanwhile, until the next time: then the sum
    /// stays as it was.
    fn sum_up_others(&mut self) {
        let mut sum = [0; N];
        self.all_gone.values().for_each(|gone| add(&mut sum, gone));
        for ((name, _), totals) in &self.last {
            if !self.named.contains(name) {
                add(&mut sum, totals);
            }
        }
        let mut of_named = [0; N];
        self.gone.values().for_each(|gone| add(&mut of_named, gone));
        for ((others, sum), of_named) in self.others.iter_mut().zip(sum).zip(of_named) {
            *others = sum.saturating_sub(of_named).max(*others);
        }
    }

    /// Gives a name, if there is room or can be made; answers whether there may be more.
    fn name(&mut self, name: &Name, max: usize) -> bool {
        let is_other = name.0 == OTHER && (name.1 == OTHER || name.1.is_empty());
        if is_other || self.named.contains(name) || self.retired.contains(name) {
            return true;
        }
        if self.named.len() >= max {
            let ended = |name: &&Name| self.shards_of(name).next().is_none();
            let Some(ended) = self.named.iter().find(ended).cloned() else { return false };
            self.named.remove(&ended);
            self.gone.remove(&ended);
            self.retired.insert(ended);
            if self.retired.len() > RETIRED_MAX {
                self.retired.pop_first();
            }
        }
        self.named.insert(name.clone());
        true
    }

    fn keep(&mut self, name: &Name, totals: &[u64; N]) {
        if self.named.contains(name) {
            add(self.gone.entry(name.clone()).or_insert([0; N]), totals);
        }
    }

    fn shards_of(&self, name: &Name) -> impl Iterator<Item = &[u64; N]> {
        self.told_of(name).map(|(_, totals)| totals)
    }

    fn told_of(&self, name: &Name) -> impl Iterator<Item = (usize, &[u64; N])> {
        let range = (name.clone(), 0)..=(name.clone(), usize::MAX);
        self.last.range(range).map(|((_, shard), totals)| (*shard, totals))
    }

    /// Whether it has a name.
    pub(crate) fn is_named(&self, name: &Name) -> bool {
        self.named.contains(name)
    }

    /// What has a name, with what it counted.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&Name, [u64; N])> {
        self.named.iter().map(|name| {
            let mut sum = self.gone.get(name).copied().unwrap_or([0; N]);
            self.shards_of(name).for_each(|totals| add(&mut sum, totals));
            (name, sum)
        })
    }

    /// What all others counted together, if there are any or were.
    pub(crate) fn others(&self) -> Option<[u64; N]> {
        let is_any = || self.last.keys().any(|(name, _)| !self.named.contains(name));
        (self.others != [0; N] || is_any()).then_some(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        ("n".to_owned(), name.to_owned())
    }

    /// What is told, in the order of age, and what all counted that is gone.
    fn take(series: &mut Series<1>, told: &[(&str, u64)], gone: u64) {
        // Whoever comes later comes into being later.
        let first = series.seen.get(&0).map_or(1, |seen| seen + 1);
        let known: Vec<Name> = series.last.keys().map(|(name, _)| name.clone()).collect();
        let order = |it: &str, at: u64| if known.contains(&name(it)) { at } else { first + at };
        let told: Vec<_> = (0..)
            .zip(told)
            .map(|(at, (it, total))| Told {
                shard: 0,
                name: name(it),
                order: order(it, at),
                totals: [*total],
            })
            .collect();
        series.take(&told, &[Shard { answered: true, gone: [gone] }], 2);
    }

    fn shown(series: &Series<1>) -> (Vec<(&str, u64)>, Option<u64>) {
        let named = series.named().map(|(name, [total])| (&*name.1, total)).collect();
        (named, series.others().map(|[total]| total))
    }

    #[test]
    fn who_is_named_once_stays_so() {
        let mut series = Series::default();
        take(&mut series, &[("b", 1), ("c", 3), ("a", 5)], 0);
        assert_eq!(shown(&series), (vec![("b", 1), ("c", 3)], Some(5)));
        take(&mut series, &[("b", 1), ("c", 4), ("a", 100), ("d", 50)], 0);
        assert_eq!(shown(&series), (vec![("b", 1), ("c", 4)], Some(150)));
    }

    #[test]
    fn what_is_deleted_or_comes_back_takes_nothing_away() {
        let mut series = Series::default();
        take(&mut series, &[("a", 9), ("b", 5), ("c", 3)], 0);
        // All were deleted, c had counted one more by then, and b is there again.
        take(&mut series, &[("b", 1)], 18);
        assert_eq!(shown(&series), (vec![("a", 9), ("b", 6)], Some(4)));
        // A new one takes the place of what is gone.
        take(&mut series, &[("b", 1), ("d", 4)], 18);
        assert_eq!(shown(&series), (vec![("b", 6), ("d", 4)], Some(13)));
        take(&mut series, &[("b", 1), ("d", 4), ("a", 2)], 18);
        assert_eq!(shown(&series), (vec![("b", 6), ("d", 4)], Some(15)));
        // Who has lost its name counts with the rest for good, whoever goes.
        take(&mut series, &[("b", 1), ("a", 2)], 22);
        assert_eq!(shown(&series), (vec![("b", 6), ("d", 4)], Some(15)));
        take(&mut series, &[("b", 1)], 24);
        take(&mut series, &[("b", 1), ("a", 1)], 24);
        assert_eq!(shown(&series), (vec![("b", 6), ("d", 4)], Some(16)));
    }

    /// They were counted in memory alone, or not at all where they came and went between two
    /// scrapes.
    #[test]
    fn what_is_gone_counts_after_a_restart_and_where_nobody_saw_it() {
        let mut series = Series::default();
        take(&mut series, &[("a", 9), ("b", 5), ("c", 3)], 0);
        take(&mut series, &[("b", 5), ("c", 3)], 9 + 37);
        assert_eq!(shown(&series), (vec![("a", 9), ("b", 5)], Some(3 + 37)));
        let mut again = Series::default();
        take(&mut again, &[("b", 5), ("c", 3)], 9 + 37);
        assert_eq!(shown(&again), (vec![("b", 5), ("c", 3)], Some(9 + 37)));
    }

    /// What was counted with the rest got the name of a deleted one at the next start, and the rest
    /// fell by what it had counted.
    #[test]
    fn the_same_ones_have_names_after_a_restart() {
        let mut series = Series::default();
        take(&mut series, &[("a", 9), ("b", 5), ("c", 300)], 0);
        take(&mut series, &[("b", 5), ("c", 300)], 9);
        let before = shown(&series);
        assert_eq!(before, (vec![("a", 9), ("b", 5)], Some(300)));
        let kept: Kept =
            serde_json::from_str(&serde_json::to_string(&series.kept()).unwrap()).unwrap();
        let mut again = Series::<1>::from_kept(kept.clone(), 2).unwrap();
        assert_eq!(again.kept(), kept);
        let told = |name: &str, order, total| Told {
            shard: 0,
            name: self::name(name),
            order,
            totals: [total],
        };
        let shards = [Shard { answered: true, gone: [9 + 6] }];
        // b was deleted after the last look, and had counted one more by then.
        again.take(&[told("c", 3, 300)], &shards, 2);
        assert_eq!(shown(&again), (vec![("a", 9), ("b", 5)], Some(301)));
        // A new one may have the place of one that is gone.
        again.take(&[told("c", 3, 300), told("d", 4, 7)], &shards, 2);
        assert_eq!(shown(&again), (vec![("b", 5), ("d", 7)], Some(310)));
        assert!(Series::<1>::from_kept(kept.clone(), 1).is_none(), "fewer may have a name now");
        assert!(Series::<2>::from_kept(kept, 2).is_none(), "these count something else");
    }

    #[test]
    fn what_goes_while_it_is_told_takes_nothing_away() {
        let mut series = Series::default();
        take(&mut series, &[("a", 9), ("b", 5), ("c", 3)], 0);
        // The first page was told before a and c went, the next one after that.
        take(&mut series, &[("b", 5)], 0);
        assert_eq!(shown(&series), (vec![("a", 9), ("b", 5)], Some(3)));
        take(&mut series, &[("b", 5)], 12);
        assert_eq!(shown(&series), (vec![("a", 9), ("b", 5)], Some(3)));
    }

    #[test]
    fn a_shard_that_does_not_answer_keeps_its_counts() {
        let mut series = Series::default();
        take(&mut series, &[("a", 9), ("b", 5), ("c", 3)], 2);
        series.take(&[], &[Shard { answered: false, gone: [0] }], 2);
        assert_eq!(shown(&series), (vec![("a", 9), ("b", 5)], Some(5)));
        take(&mut series, &[("a", 9), ("b", 5), ("c", 3)], 2);
        assert_eq!(shown(&series), (vec![("a", 9), ("b", 5)], Some(5)), "nothing counts twice");
    }

    #[test]
    fn the_rest_is_no_queue_of_that_name() {
        let mut series: Series<1> = Series::default();
        let told = |name: Name| Told { shard: 0, name, order: 1, totals: [1] };
        let other = || OTHER.to_owned();
        let shards = [Shard { answered: true, gone: [0] }];
        series.take(&[told((other(), other())), told(name("a"))], &shards, 2);
        assert_eq!(shown(&series), (vec![("a", 1)], Some(1)));
    }
}
