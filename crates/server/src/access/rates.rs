//! Requests per second of an account: a bucket that fills evenly and holds one second's worth.
//! What it publishes over AMQP and Kafka has a bucket of its own, since that waits for its turn and
//! would leave none to the requests.

use std::collections::HashMap;
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Bucket {
    /// Below nothing by what has a turn and waits for it.
    tokens: f64,
    filled: Instant,
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
    rate: f64,
    now: Instant,
) -> Option<&'b mut Bucket> {
    if !buckets.contains_key(account) {
        buckets.insert(account.to_owned(), Bucket { tokens: rate, filled: now });
    }
    let bucket = buckets.get_mut(account)?;
    let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
    bucket.tokens = (bucket.tokens + since * rate).min(rate);
    bucket.filled = now;
    Some(bucket)
}

fn rate_of(per_second: u32) -> f64 {
    f64::from(per_second.max(1))
}

/// How long it takes until a bucket has no less than this.
fn until(bucket: &Bucket, tokens: f64, rate: f64) -> Duration {
    Duration::try_from_secs_f64((tokens - bucket.tokens) / rate).unwrap_or_default()
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

    /// Gives a turn to so much that is published: how long it is until then.
    pub(super) fn reserve(
        &mut self,
        (account, per_second): (&str, u32),
        count: u32,
        now: Instant,
    ) -> Duration {
        let rate = rate_of(per_second);
        let bucket = filled(&mut self.published, account, rate, now);
        let Some(bucket) = bucket else { return Duration::ZERO };
        bucket.tokens -= f64::from(count);
        until(bucket, 0.0, rate)
    }

    /// How long what is published next would wait.
    pub(super) fn turn_in(&mut self, account: &str, per_second: u32, now: Instant) -> Duration {
        let rate = rate_of(per_second);
        let bucket = filled(&mut self.published, account, rate, now);
        bucket.map_or(Duration::ZERO, |bucket| until(bucket, 1.0, rate))
    }

    /// What had a turn is not published.
    pub(super) fn give_back(&mut self, account: &str, count: u32) {
        if let Some(bucket) = self.published.get_mut(account) {
            bucket.tokens += f64::from(count);
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

    #[test]
    fn what_is_published_gets_its_turns_one_after_the_other() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let ms = |rates: &mut Rates, count: u32, after_ms: u64| {
            let at = now + Duration::from_millis(after_ms);
            rates.reserve(("ann", 10), count, at).as_millis()
        };
        assert_eq!([ms(&mut rates, 10, 0), ms(&mut rates, 1, 0)], [0, 100]);
        assert_eq!(rates.turn_in("ann", 10, now).as_millis(), 200);
        // As much as a transaction has; whoever comes then waits for all of it.
        assert_eq!([ms(&mut rates, 30, 0), ms(&mut rates, 1, 0)], [3100, 3200]);
        // Requests have their own.
        assert_eq!(rates.take("ann", 10, now), Ok(()));
        assert_eq!(rates.reserve(("bob", 10), 1, now), Duration::ZERO);
        rates.give_back("ann", 31);
        assert_eq!(ms(&mut rates, 1, 100), 100);
        rates.give_back("ann", 1000);
        assert_eq!([ms(&mut rates, 10, 200), ms(&mut rates, 1, 200)], [0, 100]);
    }
}
