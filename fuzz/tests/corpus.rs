//! Every target over its corpus and over inputs made from it: a second each, minutes with
//! `LONGSHORE_FULL=1`. And what the corpus must hold.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use longshore_engine::wire::Wire;
use longshore_engine::{Entry, LEVEL};
use longshore_fuzz::allocation::peak_during;
use longshore_fuzz::drive::{self, Budget};
use longshore_fuzz::target::{self, TARGETS};
use longshore_fuzz::{corpus, novelty, seeds};
use longshore_server::http::fuzz;

fn inputs(name: &str) -> Vec<Vec<u8>> {
    corpus::read(name).unwrap().into_iter().map(|(_, bytes)| bytes).collect()
}

/// Whether every case is taken instead of a sample.
fn is_full() -> bool {
    std::env::var_os("LONGSHORE_FULL").is_some()
}

fn check(name: &str) {
    let target = target::find(name).unwrap();
    let inputs = inputs(name);
    let before = novelty::sound_count();
    drive::replay(target, &inputs).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(novelty::sound_count() > before, "no input is sound, so nothing is tested");
    let duration = Duration::from_secs(if is_full() { 300 } else { 1 });
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

targets! { frames journal entries values manifest store bodies messages paths amqp kafka batches }

/// What grows in short inputs has to end in long ones: a body as long as one may be takes some
/// times its length and no more, whatever it is full of. What is reserved beforehand is far less
/// than the shorter ones have.
#[test]
fn the_longest_bodies_take_little_more_than_their_length() {
    let length = if is_full() { 24 << 20 } else { 4 << 20 };
    let full_of = |head: &str, item: &str, tail: &str| {
        let body = [head, &item.repeat((length - 64) / item.len()), tail].concat();
        assert!(body.len() <= length);
        (head.to_owned(), body)
    };
    let bodies = [
        full_of("{\"jobs\":[", "0,", "0]}"),
        full_of("{\"jobs\":[", "{},", "{}]}"),
        full_of("{\"jobs\":[", "{\"kind\":\"k\"},", "{\"kind\":\"k\"}]}"),
        full_of("{\"jobs\":[", "{\"kind\":\"\"},", "{\"kind\":\"\"}]}"),
        full_of("{\"kind\":\"k\",\"tags\":[", "\"\",", "\"\"]}"),
        full_of("{\"queues\":[", "\"\",", "\"\"]}"),
        full_of("{\"queues\":[\"q\"],\"kinds\":[", "\"\",", "\"\"]}"),
        full_of("{\"settle\":[", "{},", "{}]}"),
        full_of("{\"kind\":\"k\",\"args\":", "[", ""),
        full_of("{\"kind\":\"k\",\"args\":[", "0,", "0]}"),
        full_of("{\"kind\":\"", "k", "\"}"),
        full_of("{\"kind\":\"", "\\u0001", "\"}"),
        full_of("{\"", "k", "\":1}"),
        full_of("{\"kind\":\"k\",\"delay\":\"", "9", "s\"}"),
        full_of("{\"kind\":\"k\",\"priority\":", "9", "}"),
        full_of("", " ", ""),
    ];
    for (name, body) in bodies {
        let (_, peak) = peak_during(|| fuzz::bodies(body.as_bytes()));
        assert!(peak <= 9 * length, "{name}...: {peak} bytes, {} times its length", peak / length);
    }
}

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
    let entry = Bytes::from(vec![LEVEL, 0, number]);
    Entry::from_bytes(&entry).err().is_none_or(|error| !error.what.ends_with("number of Record"))
}
