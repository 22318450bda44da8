//! The delay before another attempt.

use crate::wire::wire_enum;

wire_enum! {
    /// How long a failed job waits for its next attempt.
    pub enum RetryPolicy {
        /// Sidekiq's curve: `c^4 + 15 + random(10 * (c + 1))` seconds with c = attempt - 1.
        1 => Sidekiq,
        /// The same delay each time.
        2 => Constant {
            /// The delay.
            delay_ms: u64,
        },
        /// Doubles (or grows by another factor) from `base_ms` up to `cap_ms`.
        3 => Exponential {
            /// The delay after the first attempt.
            base_ms: u64,
            /// What each further failure multiplies it by, in hundredths (200 doubles).
            factor_percent: u32,
            /// The longest delay.
            cap_ms: u64,
            /// Up to this share of the delay, in per cent, is taken off at random.
            jitter_percent: u8,
        },
    }
}

impl RetryPolicy {
    /// The delay in milliseconds after attempt number `attempt` (1-based) failed. `random` decides
    /// the jitter.
    pub fn delay_ms(&self, attempt: u32, random: u64) -> u64 {
        let count = u64::from(attempt.saturating_sub(1));
        match *self {
            Self::Sidekiq => {
                let seconds = count
                    .saturating_pow(4)
                    .saturating_add(15)
                    .saturating_add(random % (10 * (count + 1)));
                seconds.saturating_mul(1000)
            }
            Self::Constant { delay_ms } => delay_ms,
            Self::Exponential { base_ms: 0, .. } => 0,
            Self::Exponential { base_ms, factor_percent, cap_ms, jitter_percent } => {
                let mut delay_ms = base_ms.min(cap_ms);
                for _ in 0..count {
                    if delay_ms >= cap_ms || factor_percent <= 100 {
                        break;
                    }
                    // The first term grows even where a hundredth rounds to nothing.
                    let grown = u128::from(delay_ms) * u128::from(factor_percent) / 100;
                    delay_ms = u64::try_from(grown).unwrap_or(cap_ms).max(delay_ms + 1).min(cap_ms);
                }
                let jitter_ms = u128::from(delay_ms) * u128::from(jitter_percent.min(100)) / 100;
                let taken_ms = u128::from(random) % (jitter_ms + 1);
                delay_ms - u64::try_from(taken_ms).unwrap_or(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_curve_is_sidekiqs() {
        let first = RetryPolicy::Sidekiq.delay_ms(1, 0);
        assert_eq!(first, 15_000);
        assert_eq!(RetryPolicy::Sidekiq.delay_ms(1, 9), 24_000);
        assert_eq!(RetryPolicy::Sidekiq.delay_ms(3, 0), (16 + 15) * 1000);
        assert_eq!(RetryPolicy::Sidekiq.delay_ms(26, 0), (390_625 + 15) * 1000);
    }

    #[test]
    fn an_exponential_delay_from_nothing_stays_nothing() {
        let policy = RetryPolicy::Exponential {
            base_ms: 0,
            factor_percent: 200,
            cap_ms: 86_400_000,
            jitter_percent: 20,
        };
        assert_eq!(policy.delay_ms(25, 7), 0);
    }

    #[test]
    fn exponential_delays_are_capped_and_jittered_downwards() {
        let policy = RetryPolicy::Exponential {
            base_ms: 100,
            factor_percent: 200,
            cap_ms: 1_000,
            jitter_percent: 50,
        };
        assert_eq!(policy.delay_ms(1, 0), 100);
        assert_eq!(policy.delay_ms(3, 0), 400);
        assert_eq!(policy.delay_ms(u32::MAX, 0), 1_000);
        assert_eq!(policy.delay_ms(3, 200), 200);
    }
}
