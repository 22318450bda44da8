//! The net holds: every fault put in on purpose is noticed.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_sim::{CANARIES, Canary, Config, Keeper, TREE_CANARIES, run};

const SEEDS_MAX: u64 = 200;
/// Enough for what needs several things to come together, such as a stream that ends while a
/// delivery is on its way.
const STEPS: u64 = 1000;
/// The first seed that notices each canary, by name. The search for it takes a minute and is done
/// anew where the seed notices nothing any more, in the full tier, and with `LONGSHORE_BLESS=1`.
const SEEDS: &str = "tests/canaries.txt";

fn fails(seed: u64, canary: Canary) -> Option<(u64, String)> {
    let config = Config { canary: Some(canary), steps: STEPS, ..Config::default() };
    Some((seed, run(seed, &config).err()?.what))
}

/// Which seed notices it, and how.
fn caught(canary: Canary, known: Option<u64>) -> Option<(u64, String)> {
    let known = known.filter(|seed| *seed < SEEDS_MAX).and_then(|seed| fails(seed, canary));
    let (seed, what) = known.or_else(|| (0..SEEDS_MAX).find_map(|seed| fails(seed, canary)))?;
    let sound = run(seed, &Config { steps: STEPS, ..Config::default() }).map_err(|it| it.what);
    assert!(sound.is_ok(), "seed {seed} fails without {} as well: {sound:?}", canary.name());
    Some((seed, what))
}

fn known(text: &str) -> BTreeMap<&str, u64> {
    let seed_of = |line| {
        let (name, seed) = str::split_once(line, ' ')?;
        Some((name, seed.parse().ok()?))
    };
    text.lines().filter_map(seed_of).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the seeds are for whoever watches how near the bound is")]
fn every_canary_is_caught() {
    let set = |name| std::env::var_os(name).is_some();
    let anew = set("LONGSHORE_FULL") || set("LONGSHORE_BLESS");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SEEDS);
    let text = if anew { String::new() } else { std::fs::read_to_string(&path).unwrap() };
    let known = known(&text);
    let mut found = String::new();
    std::thread::scope(|scope| {
        let runs = CANARIES.map(|(name, canary)| {
            let known = known.get(name).copied();
            (name, scope.spawn(move || caught(canary, known)))
        });
        let alive: Vec<_> = runs
            .into_iter()
            .filter_map(|(name, run)| match run.join().expect("a run does not panic") {
                Some((seed, what)) => {
                    println!("{name}: seed {seed}: {what}");
                    found.extend([name, " ", &seed.to_string(), "\n"]);
                    None
                }
                None => Some(name),
            })
            .collect();
        assert!(alive.is_empty(), "alive after {SEEDS_MAX} seeds: {alive:?}");
    });
    if set("LONGSHORE_BLESS") {
        std::fs::write(path, found).unwrap();
    }
}

/// What the tree that ships does otherwise than the map beside it is noticed where it runs, and
/// nowhere else.
#[test]
fn every_canary_of_the_tree_is_caught_on_real_files_alone() {
    for (name, canary) in TREE_CANARIES {
        let config = |keeper| Config { canary: Some(canary), keeper, ..Config::default() };
        let noticed = (0..20).find(|seed| run(*seed, &config(Keeper::Lsm)).is_err());
        let seed = noticed.unwrap_or_else(|| panic!("{name} is alive after 20 seeds"));
        let in_memory = run(seed, &config(Keeper::Images)).map_err(|it| it.what);
        assert!(in_memory.is_ok(), "{name}: seed {seed} fails without the tree: {in_memory:?}");
        let sound = Config { keeper: Keeper::Lsm, ..Config::default() };
        let sound = run(seed, &sound).map_err(|it| it.what);
        assert!(sound.is_ok(), "seed {seed} fails without {name} as well: {sound:?}");
    }
}
