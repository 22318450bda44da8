//! A sample of seeds, those that once failed, and that a seed decides everything.

use longshore_sim::{Config, Keeper, run};

/// Seeds that found something and their steps, each with what it was. They are run again for ever.
const REGRESSIONS: &[(u64, u64)] = &[
    // A journal began with a segment whose frames only the page cache had shown.
    (2114, 500),
    // Messages stayed with connections that had ended while the shard was short of space.
    (301, 1000),
    (543, 1000),
    // A file of events that had been trimmed came back after a power cut, and was written on.
    (68, 1000),
];

const SAMPLE: u64 = 150;
const SAMPLE_ON_FILES: u64 = 6;

fn check((seed, steps): (u64, u64)) {
    if let Err(failure) = run(seed, &Config { steps, ..Config::default() }) {
        let again =
            format!("cargo run --release -p longshore-sim -- --seed {seed} --steps {steps}");
        panic!("seed {seed}: {}\nagain: {again}", failure.what);
    }
}

#[test]
fn a_sample_of_seeds_breaks_no_promise() {
    (0..SAMPLE).map(|seed| (seed, Config::default().steps)).for_each(check);
}

#[test]
fn seeds_that_once_failed_break_no_promise() {
    REGRESSIONS.iter().copied().for_each(check);
}

fn trace(seed: u64, keeper: Keeper) -> String {
    match run(seed, &Config { keeper, ..Config::default() }) {
        Ok(summary) => summary.trace,
        Err(failure) => format!("{}{}", failure.trace, failure.what),
    }
}

#[test]
fn the_tree_that_ships_changes_nothing_of_a_run() {
    for seed in 0..SAMPLE_ON_FILES {
        let (on_files, in_memory) = (trace(seed, Keeper::Lsm), trace(seed, Keeper::Images));
        let same = on_files.lines().zip(in_memory.lines()).find(|(first, second)| first != second);
        assert!(on_files == in_memory, "seed {seed} runs otherwise on real files: {same:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let trace = || trace(seed, Keeper::Images);
        let (first, second) = (trace(), trace());
        assert!(first.len() > 1000, "seed {seed} does something");
        assert!(first == second, "seed {seed} gave two different runs");
    }
}
