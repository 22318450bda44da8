//! Requests per second of an account: a bucket that fills evenly and holds one second's worth.
//! What it publishes over AMQP and Kafka has a bucket of its own, since that waits for its turn and
//! would leave none to the requests.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Bucket {
    /// Below nothing by what has a turn and waits for it.
    tokens: f64,
    /// All that ever got a turn: how far turns were given.
    given: u64,
    /// Turns that were given back while others ahead of them wait, with what they took.
    returned: BTreeMap<u64, u64>,
    filled: Instant,
}

/// A place in the line of what an account publishes. When it comes is looked at again and again: it
/// comes earlier where what is ahead gives its own back, or the rate is raised.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceInLine {
    /// How far turns were given with it.
    at: u64,
    /// What it took.
    cost: u64,
}

impl Bucket {
    fn full(rate: u32, now: Instant) -> Self {
        Self { tokens: rate.into(), given: 0, returned: BTreeMap::new(), filled: now }
    }

    /// What has a turn behind that place, which holds nobody up there. Nothing where the account
    /// was made anew.
    fn behind(&self, at: u64) -> f64 {
        let returned: u64 = self.returned.range(at.saturating_add(1)..).map(|(_, it)| it).sum();
        self.given.saturating_sub(at).saturating_sub(returned) as f64
    }

    /// A turn is not used: those behind it come earlier, those ahead of it as before.
    fn give_back(&mut self, turn: PlaceInLine) {
        if turn.at > self.given {
            // Of an account of that name that is gone.
            return;
        }
        self.tokens += turn.cost as f64;
        self.returned.insert(turn.at, turn.cost);
        while let Some(last) = self.returned.last_entry().filter(|it| *it.key() == self.given) {
            self.given -= last.remove();
        }
        // Where all ahead of one have come, nobody asks any more what is behind them.
        while let Some((at, _)) = self.returned.first_key_value()
            && self.tokens + self.behind(*at) >= 0.0
        {
            self.returned.pop_first();
        }
    }
}

type Buckets = HashMap<String, Bucket>;

/// The buckets of accounts that have a limit.
#[derive(Debug, Default)]
pub(super) struct Rates {
    asked: Buckets,
    published: Buckets,
}

/// The bucket of an account, with what it has by now.
fn filled<'b>(
    buckets: &'b mut Buckets,
    account: &str,
    rate: u32,
    now: Instant,
) -> Option<&'b mut Bucket> {
    if !buckets.contains_key(account) {
        buckets.insert(account.to_owned(), Bucket::full(rate, now));
    }
    let bucket = buckets.get_mut(account)?;
    let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
    bucket.tokens = (bucket.tokens + since * f64::from(rate)).min(rate.into());
    bucket.filled = now;
    Some(bucket)
}

fn rate_of(per_second: u32) -> u32 {
    per_second.max(1)
}

/// How long it takes until a bucket has no less than this.
fn until(bucket: &Bucket, tokens: f64, rate: u32) -> Duration {
    Duration::try_from_secs_f64((tokens - bucket.tokens) / f64::from(rate)).unwrap_or_default()
}

impl Rates {
    /// Takes a request's place; how many seconds to wait where there is none.
    pub(super) fn take(&mut self, account: &str, per_second: u32, now: Instant) -> Result<(), u64> {
        let rate = rate_of(per_second);
        let Some(bucket) = filled(&mut self.asked, account, rate, now) else { return Ok(()) };
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(1)
    }

    /// Gives a turn to so much that is published. More than a second's worth, as a transaction may
    /// be, counts as that: it would hold up all else of its account.
    pub(super) fn reserve(
        &mut self,
        (account, per_second): (&str, u32),
        count: u32,
        now: Instant,
    ) -> Option<PlaceInLine> {
        let rate = rate_of(per_second);
        let bucket = filled(&mut self.published, account, rate, now)?;
        let cost = count.min(rate);
        bucket.tokens -= f64::from(cost);
        let cost = u64::from(cost);
        bucket.given += cost;
        Some(PlaceInLine { at: bucket.given, cost })
    }

    /// How long it is until a turn comes, as things are now.
    pub(super) fn left(
        &mut self,
        (account, per_second): (&str, u32),
        turn: PlaceInLine,
        now: Instant,
    ) -> Duration {
        let rate = rate_of(per_second);
        let bucket = filled(&mut self.published, account, rate, now);
        bucket.map_or(Duration::ZERO, |bucket| until(bucket, -bucket.behind(turn.at), rate))
    }

    /// How long what is published next would wait.
    pub(super) fn turn_in(&mut self, account: &str, per_second: u32, now: Instant) -> Duration {
        let rate = rate_of(per_second);
        let bucket = filled(&mut self.published, account, rate, now);
        bucket.map_or(Duration::ZERO, |bucket| until(bucket, 1.0, rate))
    }

    /// What had a turn is not published.
    pub(super) fn give_back(&mut self, account: &str, turn: PlaceInLine) {
        if let Some(bucket) = self.published.get_mut(account) {
            bucket.give_back(turn);
        }
    }

    /// Forgets what accounts that are gone had.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.asked.retain(|account, _| is_there(account));
        self.published.retain(|account, _| is_there(account));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_as_many_requests_as_it_may() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let taken = |rates: &mut Rates, at: Instant| {
            (0..100).take_while(|_| rates.take("ann", 10, at).is_ok()).count()
        };
        assert_eq!(taken(&mut rates, now), 10);
        assert_eq!(rates.take("ann", 10, now), Err(1));
        assert_eq!(rates.take("bob", 10, now), Ok(()));
        assert_eq!(taken(&mut rates, now + Duration::from_millis(500)), 5);
        assert_eq!(taken(&mut rates, now + Duration::from_secs(60)), 10);
    }

    /// What gets a turn at that time, and when that comes.
    fn turn(
        rates: &mut Rates,
        (of, rate): (&str, u32),
        count: u32,
        now: Instant,
    ) -> (PlaceInLine, u128) {
        let turn = rates.reserve((of, rate), count, now).unwrap();
        (turn, rates.left((of, rate), turn, now).as_millis())
    }

    #[test]
    fn what_is_published_gets_its_turns_one_after_the_other() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let ann = ("ann", 10);
        assert_eq!(turn(&mut rates, ann, 10, now).1, 0);
        let (first, ms) = turn(&mut rates, ann, 1, now);
        assert_eq!(ms, 100);
        assert_eq!(rates.turn_in("ann", 10, now).as_millis(), 200);
        let (second, ms) = turn(&mut rates, ann, 10, now);
        assert_eq!(ms, 1100);
        // Whoever comes later holds nobody up.
        assert_eq!(rates.left(ann, first, now).as_millis(), 100);
        // Requests have their own.
        assert_eq!(rates.take("ann", 10, now), Ok(()));
        assert_eq!(turn(&mut rates, ("bob", 10), 1, now).1, 0);
        let later = now + Duration::from_millis(500);
        assert_eq!(rates.left(ann, first, later), Duration::ZERO);
        assert_eq!(rates.left(ann, second, later).as_millis(), 600);
    }

    #[test]
    fn a_transaction_counts_as_a_second_and_what_is_given_back_is_nobodys_wait() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let ann = ("ann", 10);
        let (huge, ms) = turn(&mut rates, ann, 10_000, now);
        assert_eq!(ms, 0);
        let (dead, ms) = turn(&mut rates, ann, 10_000, now);
        assert_eq!(ms, 1000);
        let (waits, ms) = turn(&mut rates, ann, 1, now);
        assert_eq!(ms, 1100);
        rates.give_back("ann", dead);
        assert_eq!(rates.left(ann, waits, now).as_millis(), 100);
        rates.give_back("ann", huge);
        assert_eq!(rates.left(ann, waits, now), Duration::ZERO);
    }

    /// Whoever reserves and gives back, again and again, moved all ahead of it on.
    #[test]
    fn what_is_given_back_moves_nobody_on_who_is_ahead() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let ann = ("ann", 10);
        turn(&mut rates, ann, 10, now);
        let (ahead, _) = turn(&mut rates, ann, 1, now);
        let (middle, _) = turn(&mut rates, ann, 4, now);
        let (behind, ms) = turn(&mut rates, ann, 1, now);
        assert_eq!(ms, 600);
        for _ in 0..1000 {
            let (last, ms) = turn(&mut rates, ann, 10, now);
            assert_eq!(ms, 1600);
            rates.give_back("ann", last);
        }
        rates.give_back("ann", middle);
        assert_eq!(rates.left(ann, ahead, now).as_millis(), 100);
        assert_eq!(rates.left(ann, behind, now).as_millis(), 200);
        rates.give_back("ann", behind);
        assert_eq!(rates.left(ann, ahead, now).as_millis(), 100);
        assert_eq!(turn(&mut rates, ann, 1, now).1, 200);
        // Of one that is done nothing is kept.
        let later = now + Duration::from_secs(9);
        let (some, _) = turn(&mut rates, ann, 1, later);
        rates.give_back("ann", some);
        assert!(rates.published["ann"].returned.is_empty());
    }

    #[test]
    fn a_turn_comes_as_the_rate_is_then() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        turn(&mut rates, ("ann", 1), 1, now);
        let turns: Vec<_> = (0..60).map(|_| turn(&mut rates, ("ann", 1), 1, now)).collect();
        let (last, ms) = turns[59];
        assert_eq!(ms, 60_000);
        assert_eq!(rates.left(("ann", 60), last, now).as_millis(), 1000);
        // The account is removed and made anew.
        rates.retain(|_| false);
        assert_eq!(rates.left(("ann", 1), last, now), Duration::ZERO);
    }
}
