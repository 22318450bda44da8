//! The net holds: every fault put in on purpose is noticed.

use longshore_sim::{CANARIES, Canary, Config, run};

const SEEDS_MAX: u64 = 200;
/// Enough for what needs several things to come together, such as a stream that ends while a
/// delivery is on its way.
const STEPS: u64 = 1000;

/// Which seed notices it, and how.
fn caught(canary: Canary) -> Option<(u64, String)> {
    let config = Config { canary: Some(canary), steps: STEPS, ..Config::default() };
    let (seed, what) =
        (0..SEEDS_MAX).find_map(|seed| Some((seed, run(seed, &config).err()?.what)))?;
    let sound = run(seed, &Config { canary: None, ..config }).map_err(|failure| failure.what);
    assert!(sound.is_ok(), "seed {seed} fails without {} as well: {sound:?}", canary.name());
    Some((seed, what))
}

#[test]
#[expect(clippy::print_stdout, reason = "the seeds are for whoever watches how near the bound is")]
fn every_canary_is_caught() {
    std::thread::scope(|scope| {
        let runs = CANARIES.map(|(name, canary)| (name, scope.spawn(move || caught(canary))));
        let alive: Vec<_> = runs
            .into_iter()
            .filter_map(|(name, run)| match run.join().expect("a run does not panic") {
                Some((seed, what)) => {
                    println!("{name}: seed {seed}: {what}");
                    None
                }
                None => Some(name),
            })
            .collect();
        assert!(alive.is_empty(), "alive after {SEEDS_MAX} seeds: {alive:?}");
    });
}
