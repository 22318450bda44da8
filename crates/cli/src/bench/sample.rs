//! Durations measured, and their quantiles.

use std::time::Duration;

/// Durations in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    nanos: Vec<u64>,
}

impl Sample {
    pub(super) fn add(&mut self, duration: Duration) {
        self.nanos.push(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn extend(&mut self, other: &Self) {
        self.nanos.extend_from_slice(&other.nanos);
    }

    pub(super) fn len(&self) -> usize {
        self.nanos.len()
    }

    /// The duration that `per_mille` of all do not exceed; zero where nothing was measured.
    pub(super) fn quantile(&self, per_mille: usize) -> Duration {
        let mut sorted = self.nanos.clone();
        sorted.sort_unstable();
        let index = (per_mille * sorted.len()).div_ceil(1000);
        let nanos = sorted.get(index.saturating_sub(1).min(sorted.len().saturating_sub(1)));
        Duration::from_nanos(nanos.copied().unwrap_or_default())
    }
}

/// A duration for people.
pub(super) fn show(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    if micros < 1000.0 {
        format!("{micros:.0} us")
    } else if micros < 1e6 {
        format!("{:.1} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut sample = Sample::default();
        assert_eq!(sample.quantile(500), Duration::ZERO);
        for micros in [5, 1, 4, 2, 3] {
            sample.add(Duration::from_micros(micros));
        }
        assert_eq!(sample.quantile(500), Duration::from_micros(3));
        assert_eq!(sample.quantile(0), Duration::from_micros(1));
        assert_eq!(sample.quantile(1000), Duration::from_micros(5));
    }

    #[test]
    fn durations_for_people() {
        assert_eq!(show(Duration::from_micros(57)), "57 us");
        assert_eq!(show(Duration::from_micros(1500)), "1.5 ms");
        assert_eq!(show(Duration::from_secs(2)), "2.00 s");
    }
}
