//! How many workers a level needs: Little's law for what runs, Erlang's formula for who waits.

/// Workers that are looked at.
const WORKERS_MAX: u64 = 100_000;

/// The least number of workers, each of one job at a time, with which of jobs that come at random,
/// `arrivals` in a second, and take `run_s` on average, no more than `missed` (a share) wait longer
/// than `wait_s`; and which work off `backlog` within that time.
///
/// By Little's law `arrivals * run_s` of them are busy on average. The share that waits longer than
/// `t` is that of the queue M/M/c: `C(c, a) * exp(-(c - a) * t / run_s)` with Erlang's C (Cooper,
/// Introduction to Queueing Theory, 1981).
pub fn workers_needed(arrivals: f64, run_s: f64, wait_s: f64, missed: f64, backlog: u64) -> u64 {
    let busy = arrivals * run_s;
    if !busy.is_finite() || run_s <= 0.0 {
        return u64::from(backlog > 0);
    }
    let offered = if busy > 0.0 { for_arrivals(busy, run_s, wait_s, missed) } else { 0 };
    let work_off = busy + backlog as f64 * run_s / wait_s.max(run_s.max(0.001));
    let work_off = if backlog > 0 { work_off.ceil().clamp(1.0, WORKERS_MAX as f64) } else { 0.0 };
    #[expect(clippy::cast_sign_loss, reason = "it is clamped")]
    let work_off = work_off as u64;
    offered.max(work_off)
}

fn for_arrivals(busy: f64, run_s: f64, wait_s: f64, missed: f64) -> u64 {
    // Erlang's B with 0 workers; each step gives that with one more.
    let mut blocked = 1.0;
    for workers in 1..=WORKERS_MAX {
        let count = workers as f64;
        blocked = busy * blocked / (count + busy * blocked);
        if count <= busy {
            continue;
        }
        let waits = blocked / (1.0 - busy / count * (1.0 - blocked));
        if waits * (-(count - busy) * wait_s.max(0.0) / run_s).exp() <= missed {
            return workers;
        }
    }
    WORKERS_MAX
}

/// How many looks in a row have to ask for fewer workers before there are fewer.
const PATIENCE: usize = 6;

/// How many workers there are to be, as looks at what a level needs follow each other.
#[derive(Debug, Default)]
pub struct WorkerPatience(Vec<usize>);

impl WorkerPatience {
    /// How many are to run from now on, where these are others: more at once, fewer once every look
    /// of a while asked for fewer, and then as many as the one of these that asked for the most.
    pub fn next(&mut self, before: usize, wanted: usize) -> Option<usize> {
        if wanted >= before {
            self.0.clear();
            return Some(wanted).filter(|wanted| *wanted > before);
        }
        self.0.push(wanted);
        if self.0.len() < PATIENCE {
            return None;
        }
        std::mem::take(&mut self.0).into_iter().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_example_needs_few_more_than_are_busy() {
        // A job takes 5 s and shall start within 30 s, 99 times of 100.
        let needed = |arrivals, backlog| workers_needed(arrivals, 5.0, 30.0, 0.01, backlog);
        assert_eq!(needed(0.0, 0), 0);
        assert_eq!(needed(0.01, 0), 1, "who is nearly always free");
        assert_eq!(needed(1.0, 0), 6, "five are busy");
        assert_eq!(needed(10.0, 0), 51);
        assert_eq!(needed(0.0, 600), 100, "each does six in 30 s");
        assert_eq!(needed(1.0, 600), 105);
    }

    #[test]
    fn who_may_not_wait_needs_more() {
        // Erlang's C for 8 workers and 5 that are busy is 0.167, for 11 0.015, for 12 0.0059.
        assert_eq!(workers_needed(5.0, 1.0, 0.0, 0.17, 0), 8);
        assert_eq!(workers_needed(5.0, 1.0, 0.0, 0.01, 0), 12);
    }

    /// `SplitMix64`, from 0 to 1.
    fn random(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The share of jobs that start in time, of 100,000 that come at random and take a random time.
    fn attained(workers: u64, arrivals: f64, run_s: f64, wait_s: f64) -> f64 {
        let (mut seed, mut now, mut kept) = (7, 0.0, 0_u32);
        let mut free_at = vec![0.0_f64; workers as usize];
        let exponential = |mean: f64, seed: &mut u64| -mean * (1.0 - random(seed)).ln();
        for _ in 0..100_000 {
            now += exponential(1.0 / arrivals, &mut seed);
            let next = free_at.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
            let start = next.max(now);
            *next = start + exponential(run_s, &mut seed);
            kept += u32::from(start - now <= wait_s);
        }
        f64::from(kept) / 100_000.0
    }

    #[test]
    fn so_many_workers_keep_the_level_and_fewer_do_not() {
        for (arrivals, run_s, wait_s) in
            [(1.0, 5.0, 30.0), (1.0, 5.0, 0.5), (10.0, 5.0, 30.0), (4.0, 0.5, 2.0), (0.2, 3.0, 1.0)]
        {
            let workers = workers_needed(arrivals, run_s, wait_s, 0.01, 0);
            let share = attained(workers, arrivals, run_s, wait_s);
            assert!(share > 0.985, "{workers} workers keep {share} of {arrivals}/s of {run_s} s");
            // A fifth fewer is overloaded, or too slow.
            let fewer = (workers * 4 / 5).max(1);
            let share = attained(fewer, arrivals, run_s, wait_s);
            assert!(fewer == workers || share < 0.99, "{fewer} would do: {share}");
        }
    }

    #[test]
    fn odd_figures_need_a_bounded_number() {
        assert_eq!(workers_needed(f64::INFINITY, 1.0, 1.0, 0.01, 3), 1);
        assert_eq!(workers_needed(1e9, 1e3, 1.0, 0.01, u64::MAX), WORKERS_MAX);
        assert_eq!(workers_needed(1.0, 0.0, 0.0, 0.01, 0), 0);
    }
}
