//! Messages that their consumer has for longer than it said: they go back, and nothing else happens
//! to it. It may still settle them, in vain.

use longshore_engine::MessageVerdict;

use super::Session;
use super::settings::number_argument;
use crate::codec::Table;
use crate::failure::Failure;

/// How often it is looked, at least and at most, in milliseconds.
const LOOK_MS_MIN: u64 = 10;
const LOOK_MS_MAX: u64 = 30_000;
/// Tags of a channel that are remembered as given back.
const LATE_MAX: usize = 4096;

/// For how long a consumer may have a message, in milliseconds; 0 for ever.
pub(super) fn consumer_timeout(arguments: &Table, named: &str) -> Result<u64, Failure> {
    Ok(number_argument(arguments, "x-consumer-timeout", 1, named)?.unwrap_or(0))
}

impl Session {
    /// When it is to be looked next.
    pub(super) fn next_look_ms(&self) -> Option<u64> {
        let every_ms = (self.timeout_ms_min? / 10).clamp(LOOK_MS_MIN, LOOK_MS_MAX);
        Some(self.looked_ms + every_ms)
    }

    /// Gives back what consumers have for too long.
    pub(super) fn look(&mut self, now_ms: u64) {
        if self.next_look_ms().is_none_or(|at| at > now_ms) {
            return;
        }
        self.looked_ms = now_ms;
        let numbers: Vec<_> = self.channels.keys().copied().collect();
        for number in numbers {
            self.look_at(number, now_ms);
        }
        self.flush();
    }

    fn look_at(&mut self, number: u16, now_ms: u64) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let mut overdue = Vec::new();
        for (delivery_tag, one) in &mut channel.unsettled {
            if one.timeout_ms == 0 {
                continue;
            }
            // It was delivered since the last look.
            let since_ms = *one.since_ms.get_or_insert(now_ms);
            if now_ms >= since_ms + one.timeout_ms {
                overdue.push(*delivery_tag);
            }
        }
        let mut back = Vec::with_capacity(overdue.len());
        for delivery_tag in overdue {
            back.extend(channel.unsettled.remove(&delivery_tag));
            channel.late.insert(delivery_tag);
            if channel.late.len() > LATE_MAX {
                channel.late.pop_first();
            }
        }
        if !back.is_empty() {
            self.settle_all(number, back, MessageVerdict::Requeue);
        }
    }
}
