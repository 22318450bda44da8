//! Requests per second of an account: a bucket that fills evenly and holds one second's worth.

use std::collections::HashMap;
use std::time::Instant;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The buckets of accounts that have a limit.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<String, Bucket>);

impl Rates {
    /// Takes a request's place; how many seconds to wait where there is none.
    pub(super) fn take(&mut self, account: &str, per_second: u32, now: Instant) -> Result<(), u64> {
        let rate = f64::from(per_second.max(1));
        if !self.0.contains_key(account) {
            self.0.insert(account.to_owned(), Bucket { tokens: rate, filled: now });
        }
        let Some(bucket) = self.0.get_mut(account) else { return Ok(()) };
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * rate).min(rate);
        bucket.filled = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(1)
    }

    /// Forgets what accounts that are gone had.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|account, _| is_there(account));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
