//! Runs targets over the corpus and over inputs made from it, for a bounded time, and shortens the
//! input at which one fails.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::allocation::peak_during;
use crate::mutate::Mutator;
use crate::novelty;
use crate::target::Target;

/// How many inputs are kept to be mutated further, beside the corpus.
const POOL_MAX: usize = 4096;

/// How many runs are spent on making a failing input shorter.
const SHRINK_RUNS_MAX: usize = 20_000;

/// What a run may take.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The mutator's seed.
    pub seed: u64,
    /// How long to go on.
    pub duration: Duration,
    /// Where to write each input before it is run: for targets that end the process.
    pub keep_last: Option<PathBuf>,
}

/// An input at which a target fails.
#[derive(Debug)]
pub struct Failure {
    /// The target's name.
    pub target: &'static str,
    /// The input.
    pub input: Vec<u8>,
    /// What it did.
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, input, why } = self;
        write!(f, "target {target}, input of {} bytes: {why}\n{:?}", input.len(), Escaped(input))
    }
}

impl std::error::Error for Failure {}

struct Escaped<'a>(&'a [u8]);

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, rest) = self.0.split_at(self.0.len().min(2000));
        write!(f, "b\"{}\"", shown.escape_ascii())?;
        if rest.is_empty() { Ok(()) } else { write!(f, "... and {} bytes", rest.len()) }
    }
}

thread_local! {
    /// What a panic of this thread said while a target ran.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Keeps the panics of targets from standard error: thousands of them are expected where the code
/// under test catches those of a library.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                PANIC.with_borrow_mut(|said| *said = Some(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
}

/// Runs one input. An error says what the target did wrong.
pub fn run(target: &Target, input: &[u8]) -> Result<(), String> {
    install_hook();
    QUIET.set(true);
    let (outcome, peak) =
        peak_during(|| panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    QUIET.set(false);
    let said = PANIC.take();
    let cap = target.cap.of(input.len());
    match outcome {
        Err(_) => Err(said.unwrap_or_else(|| "it panicked".to_owned())),
        Ok(()) if peak > cap => Err(format!("{peak} bytes lived at the same time, at most {cap}")),
        Ok(()) => Ok(()),
    }
}

/// Runs every input of the corpus.
pub fn replay(target: &'static Target, corpus: &[Vec<u8>]) -> Result<(), Failure> {
    for input in corpus {
        run(target, input).map_err(|why| Failure {
            target: target.name,
            input: input.clone(),
            why,
        })?;
    }
    Ok(())
}

/// Runs inputs made from the corpus until the time is up, and says how many.
pub fn fuzz(
    target: &'static Target,
    corpus: &[Vec<u8>],
    budget: &Budget,
) -> Result<u64, Box<Failure>> {
    let end = Instant::now() + budget.duration;
    let mut mutator = Mutator::new(budget.seed, target.dictionary, target.bytes_max);
    let mut pool = corpus.to_vec();
    novelty::forget();
    let mut runs = 0;
    while Instant::now() < end {
        for _ in 0..64 {
            let input = mutator.input(&pool);
            if let Some(path) = &budget.keep_last {
                fs::write(path, &input).expect("the file for the last input can be written");
            }
            if let Err(why) = run(target, &input) {
                let (input, why) = shrink(target, input, why);
                return Err(Box::new(Failure { target: target.name, input, why }));
            }
            runs += 1;
            if novelty::take() {
                if pool.len() < POOL_MAX {
                    pool.push(input);
                } else if let Some(old) = pool.get_mut(mutator.below(POOL_MAX)) {
                    *old = input;
                }
            }
        }
    }
    Ok(runs)
}

/// A shorter input at which the target still fails.
fn shrink(target: &Target, mut input: Vec<u8>, mut why: String) -> (Vec<u8>, String) {
    let mut runs = 0;
    let mut piece = input.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < input.len() && runs < SHRINK_RUNS_MAX {
            let mut shorter = input.clone();
            drop(shorter.drain(at..(at + piece).min(input.len())));
            runs += 1;
            match run(target, &shorter) {
                Err(still) => (input, why) = (shorter, still),
                Ok(()) => at += piece,
            }
        }
        piece /= 2;
    }
    (input, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Cap;

    fn target(run: fn(&[u8])) -> &'static Target {
        Box::leak(Box::new(Target {
            name: "made up",
            run,
            cap: Cap { base_bytes: 1000, factor: 2 },
            bytes_max: 100,
            dictionary: &[],
        }))
    }

    fn budget() -> Budget {
        Budget { seed: 1, duration: Duration::from_secs(60), keep_last: None }
    }

    #[test]
    fn a_panic_is_found_and_its_input_shortened() {
        let target = target(|input| {
            assert!(!input.windows(2).any(|pair| pair == [b'a', b'!']), "there it is");
        });
        let corpus = [b"some text with an a in it".to_vec()];
        replay(target, &corpus).unwrap();
        let failure = fuzz(target, &corpus, &budget()).unwrap_err();
        assert_eq!(failure.input, b"a!");
        assert!(failure.why.contains("there it is"), "{failure}");
    }

    #[test]
    fn an_input_that_costs_too_much_is_found() {
        let target = target(|input| {
            let promised = input.first().map_or(0, |first| usize::from(*first) * 100);
            drop(std::hint::black_box(Vec::<u8>::with_capacity(promised)));
        });
        let failure = fuzz(target, &[vec![1]], &budget()).unwrap_err();
        assert_eq!(failure.input.len(), 1, "{failure}");
        assert!(failure.why.contains("lived at the same time"), "{failure}");
    }

    #[test]
    fn new_answers_lead_deeper() {
        // Four steps, each seen only by who took those before it: too much for chance alone.
        let target = target(|input| {
            let depth = input.iter().zip(b"deep").take_while(|(a, b)| a == b).count();
            novelty::saw(depth);
            assert!(depth < 4, "all of it");
        });
        assert_eq!(fuzz(target, &[vec![0; 4]], &budget()).unwrap_err().input, b"deep");
    }
}
