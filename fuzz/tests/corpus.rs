//! Every target over its corpus and over inputs made from it: a few seconds each, minutes with
//! `LONGSHORE_FULL=1`. And what the corpus must hold.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use longshore_engine::Entry;
use longshore_engine::wire::Wire;
use longshore_fuzz::drive::{self, Budget};
use longshore_fuzz::target::{self, TARGETS};
use longshore_fuzz::{corpus, seeds};

fn inputs(name: &str) -> Vec<Vec<u8>> {
    corpus::read(name).unwrap().into_iter().map(|(_, bytes)| bytes).collect()
}

fn check(name: &str) {
    let target = target::find(name).unwrap();
    let inputs = inputs(name);
    drive::replay(target, &inputs).unwrap_or_else(|failure| panic!("{failure}"));
    let full = std::env::var_os("LONGSHORE_FULL").is_some();
    let duration = Duration::from_secs(if full { 300 } else { 3 });
    let budget = Budget { seed: 1, duration, keep_last: None };
    if let Err(failure) = drive::fuzz(target, &inputs, &budget) {
        let path = std::env::temp_dir().join(format!("longshore-fuzz-{name}"));
        std::fs::write(&path, &failure.input).unwrap();
        panic!("{failure}\nthe input stands in {}: add it to the corpus", path.display());
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_target_is_run_here() {
            let here = BTreeSet::from([$(stringify!($name)),*]);
            assert_eq!(here, TARGETS.iter().map(|target| target.name).collect());
        }
    };
}

targets! { frames journal entries values manifest store bodies paths }

#[test]
fn every_kind_of_record_stands_in_the_corpus() {
    let mut kinds = BTreeSet::new();
    for input in inputs("entries") {
        if let Ok(entry) = Entry::from_bytes(&Bytes::from(input)) {
            // The first byte of a record's encoding is its number.
            kinds.extend(entry.records.iter().filter_map(|it| it.to_bytes().first().copied()));
        }
    }
    let known: BTreeSet<u8> = (0..=u8::MAX).filter(|number| is_known(*number)).collect();
    assert_eq!(kinds, known);
    assert_eq!(seeds::records().len(), known.len());
}

/// Whether records may have this number: of an unknown one nothing but the number is read.
fn is_known(number: u8) -> bool {
    let entry = Bytes::from(vec![1, 0, 1, number]);
    Entry::from_bytes(&entry)
        .err()
        .is_none_or(|error| error.at > 4 || !error.what.contains("Record"))
}
