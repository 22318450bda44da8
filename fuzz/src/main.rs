//! `longshore-fuzz`: runs fuzz targets for as long as is asked, one input again, or writes the
//! seeds of the corpus.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use longshore_fuzz::drive::{self, Budget};
use longshore_fuzz::target::{self, TARGETS, Target};
use longshore_fuzz::{corpus, seeds};

const USAGE: &str = "\
usage: longshore-fuzz [TARGET] [--seconds N] [--seed N] [--keep-last FILE]
       longshore-fuzz TARGET --input FILE
       longshore-fuzz --write-seeds

Without TARGET all of them run one after the other. --keep-last writes each input before it is run,
for a target that ends the process.";

fn main() -> Result<()> {
    let mut names = Vec::new();
    let mut input = None;
    let mut budget = Budget { seed: 1, duration: Duration::from_secs(60), keep_last: None };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => budget.duration = Duration::from_secs(value()?.parse()?),
            "--seed" => budget.seed = value()?.parse()?,
            "--keep-last" => budget.keep_last = Some(PathBuf::from(value()?)),
            "--input" => input = Some(PathBuf::from(value()?)),
            "--write-seeds" => return write_seeds(),
            name if !name.starts_with('-') => names.push(name.to_owned()),
            _ => bail!("{USAGE}"),
        }
    }
    let find = |name: &String| target::find(name).with_context(|| format!("no target '{name}'"));
    let chosen: Vec<&'static Target> = names.iter().map(find).collect::<Result<_>>()?;
    if let Some(path) = input {
        let [target] = chosen[..] else { bail!("{USAGE}") };
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        return drive::replay(target, &[bytes]).map_err(|failure| anyhow!("{failure}"));
    }
    let chosen = if chosen.is_empty() { TARGETS.iter().collect() } else { chosen };
    for target in chosen {
        fuzz(target, &budget)?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn fuzz(target: &'static Target, budget: &Budget) -> Result<()> {
    let inputs: Vec<_> = corpus::read(target.name)?.into_iter().map(|(_, bytes)| bytes).collect();
    drive::replay(target, &inputs).map_err(|failure| anyhow!("{failure}"))?;
    match drive::fuzz(target, &inputs, budget) {
        Ok(runs) => println!("{}: {} of the corpus and {runs} more", target.name, inputs.len()),
        Err(failure) => {
            let path = env::temp_dir().join(format!("longshore-fuzz-{}", target.name));
            fs::write(&path, &failure.input)?;
            bail!("{failure}\nthe input stands in {}", path.display());
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn write_seeds() -> Result<()> {
    for (target, inputs) in seeds::all()? {
        println!("{target}: {} of {} seeds were new", corpus::add(target, &inputs)?, inputs.len());
    }
    Ok(())
}
