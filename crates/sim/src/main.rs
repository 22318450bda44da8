//! `longshore-sim`: runs seeds and says how to run the one that fails again.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use longshore_sim::{Canary, Config, Keeper, run};

const USAGE: &str =
    "usage: longshore-sim [--seeds N] [--from S] [--seed S] [--steps N] [--store NAME]
                     [--canary NAME]
  --seeds N      run N seeds (default 1000)
  --from S       the first of them (default 0)
  --seed S       run one seed and show what happened
  --steps N      things that happen in a run (default 500)
  --store NAME   what keeps the state: images (the default), or lsm, the tree on real files
  --canary NAME  put a fault in on purpose: a word of crates/sim/src/canary.rs";

struct Options {
    seeds: std::ops::Range<u64>,
    shown: bool,
    config: Config,
}

fn options() -> Result<Options, String> {
    let (mut from, mut count, mut one) = (0, 1000, None);
    let mut config = Config::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{flag}: no number: {value}"));
        match flag.as_str() {
            "--seeds" => count = number()?,
            "--from" => from = number()?,
            "--seed" => one = Some(number()?),
            "--steps" => config.steps = number()?,
            "--store" => {
                config.keeper = match value.as_str() {
                    "images" => Keeper::Images,
                    "lsm" => Keeper::Lsm,
                    _ => return Err(format!("no store: {value}")),
                };
            }
            "--canary" => {
                let canary = Canary::named(&value);
                config.canary = Some(canary.ok_or_else(|| format!("no canary: {value}"))?);
            }
            _ => return Err(format!("unknown flag: {flag}")),
        }
    }
    if config.canary.is_some() && config.keeper == Keeper::Lsm {
        return Err("canaries go with images only".to_owned());
    }
    let seeds = one.map_or(from..from + count, |seed| seed..seed + 1);
    Ok(Options { seeds, shown: one.is_some(), config })
}

fn again(seed: u64, config: &Config) -> String {
    let mut command = format!("cargo run --release -p longshore-sim -- --seed {seed}");
    // Writing to a string does not fail.
    if config.steps != Config::default().steps {
        let _ = write!(command, " --steps {}", config.steps);
    }
    if config.keeper == Keeper::Lsm {
        command.push_str(" --store lsm");
    }
    if let Some(canary) = config.canary {
        let _ = write!(command, " --canary {}", canary.name());
    }
    command
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut out = std::io::stdout().lock();
    let (mut lives, mut refusals, mut jobs, mut recovered, mut duplicated) = (0, 0, 0, 0, 0);
    let count = options.seeds.end - options.seeds.start;
    for seed in options.seeds {
        match run(seed, &options.config) {
            Ok(summary) => {
                lives += summary.lives;
                refusals += summary.refusals;
                jobs += summary.verdict.tried;
                recovered += summary.verdict.recovered;
                duplicated += summary.verdict.duplicated;
                if options.shown {
                    // Whoever reads it may have seen enough.
                    drop(out.write_all(summary.trace.as_bytes()));
                }
            }
            Err(failure) => {
                if options.shown {
                    drop(out.write_all(failure.trace.as_bytes()));
                }
                eprintln!("seed {seed}: {}\nagain: {}", failure.what, again(seed, &options.config));
                return ExitCode::FAILURE;
            }
        }
    }
    let told = writeln!(
        out,
        "{count} seeds: {lives} lives, {jobs} jobs, {recovered} recovered, {duplicated} handed \
         over again, {refusals} damages refused; nothing lost"
    );
    drop(told);
    ExitCode::SUCCESS
}
