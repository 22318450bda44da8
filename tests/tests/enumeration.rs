//! Crash enumeration: every folder that a loss of power could leave opens to a state between the
//! last answer and the last request, and a disk that does not do what it is told is noticed. It
//! needs `strace`.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use longshore_tests::enumeration::enumerate::{Effort, after_power_loss, draw, enumerate};
use longshore_tests::enumeration::operation::Operation;
use longshore_tests::enumeration::record::{Plan, Recording, Start, record};
use longshore_tests::enumeration::walk::Moment;
use longshore_tests::random::Random;
use longshore_tests::skip::lacks;
use longshore_tests::tier;

/// Each of these tests keeps all processors busy by itself. A process that one of them starts would
/// also hold for a moment the locks of stores that another one has open. There is no turn without
/// `strace`.
fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    (!lacks("strace")).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_recorded-life"))
}

/// A recording that all tests share: a life that is killed, one that is stopped, and another one.
fn recording() -> &'static Recording {
    static RECORDING: OnceLock<Recording> = OnceLock::new();
    RECORDING.get_or_init(|| {
        let requests = tier::pick(20, 50);
        let plan = |seed, kill| Plan { seed, requests, kill };
        let plans = [plan(1, true), plan(2, true), plan(3, false), plan(4, true)];
        record(binary(), &Start::default(), &plans).expect("lives that strace has seen")
    })
}

#[test]
#[expect(clippy::print_stderr, reason = "what was looked at is worth knowing")]
fn every_folder_that_a_crash_may_leave_opens_to_what_was_answered() {
    let Some(_turn) = turn() else { return };
    let effort =
        Effort { samples: tier::pick(4, 30), images_max: tier::pick(3, 10_000), wrong_max: 5 };
    let outcome = enumerate(recording(), effort, &|_| false).unwrap();
    eprintln!("{} moments, {} folders", outcome.moments, outcome.opened);
    assert_eq!(outcome.report().unwrap(), "");
    assert!(outcome.moments > 100 && outcome.opened > 300);
}

#[test]
fn the_recording_has_all_that_a_server_does_to_files() {
    let Some(_turn) = turn() else { return };
    let recording = recording();
    let renamed = |end: &str| {
        recording.count(|it| matches!(it, Operation::Rename { to, .. } if to.ends_with(end)))
    };
    let removed = |part: &str| {
        recording.count(|it| matches!(it, Operation::Remove { path } if path.contains(part)))
    };
    let counts = [renamed(".segment"), renamed("current"), removed(".segment"), removed("tables/")];
    assert!(counts.iter().all(|count| *count > 4), "{counts:?}");
    let bodies = recording.count(
        |it| matches!(it, Operation::Open { path, create: true, .. } if path.contains("bodies/")),
    );
    assert!(bodies > 4, "{bodies}");
    // Whether a sweep of them falls into the recording is a question of time.
    let punched = recording.count(|it| matches!(it, Operation::Punch { .. }));
    eprintln!("{} body files removed, {punched} holes", removed("bodies/"));
}

/// Starts a server on each of these, and has it crash in its turn.
fn check_next(starts: &[Start]) {
    assert!(!starts.is_empty());
    let effort = Effort { samples: 4, images_max: tier::pick(3, 40), wrong_max: 5 };
    for (seed, start) in (100..).zip(starts) {
        let plans = [Plan { seed, requests: 2, kill: false }];
        let next = record(binary(), start, &plans).expect("a life that strace has seen");
        let outcome = enumerate(&next, effort, &|_| false).expect("folders to look at");
        assert_eq!(outcome.report().expect("what was found"), "");
    }
}

#[test]
fn a_crash_after_a_loss_of_power_is_survived_too() {
    let Some(_turn) = turn() else { return };
    let left = |moment: &Moment<'_>, random: &mut Random| Some(after_power_loss(moment, random));
    let count = tier::pick(3, 40);
    check_next(&draw(recording(), count, &mut Random::new(5), &left).unwrap());
}

#[test]
fn a_crash_after_a_kill_is_survived_too() {
    let Some(_turn) = turn() else { return };
    let left = |moment: &Moment<'_>, _: &mut Random| Some(moment.files.clone());
    let count = tier::pick(3, 40);
    check_next(&draw(recording(), count, &mut Random::new(6), &left).unwrap());
}

/// A server was killed after it had renamed the pointer to the version that a compaction made, and
/// before it had synced the folder. The next one took that version for durable and removed the
/// tables that only the one before names. Then a loss of power brought that one back: the shard was
/// refused, as a table is missing.
#[test]
fn a_version_that_only_the_page_cache_knows_costs_no_table() {
    let Some(_turn) = turn() else { return };
    let left = |moment: &Moment<'_>, _: &mut Random| {
        let renamed = moment.files.is_renaming("shard-0/state", "current");
        renamed.then(|| moment.files.clone())
    };
    let count = tier::pick(8, 40);
    check_next(&draw(recording(), count, &mut Random::new(7), &left).unwrap());
}

/// Whether the syncs of a path are those.
type Ignored = fn(&str) -> bool;

/// Syncs that a disk pretends to do, each of which has to be missed.
const CANARIES: [(&str, Ignored); 9] = [
    ("segments", |path| path.contains(".segment")),
    ("the journal's folder", |path| path == "shard-0/journal"),
    ("tables", |path| path.starts_with("shard-0/state/tables/")),
    ("the folder of tables", |path| path == "shard-0/state/tables"),
    ("body files", |path| path.starts_with("shard-0/state/bodies/")),
    ("the folder of body files", |path| path == "shard-0/state/bodies"),
    ("versions", |path| path.starts_with("shard-0/state/v")),
    ("pointers", |path| path.contains("state/.tmp") || path == "shard-0/state/current"),
    ("the folder of the state", |path| path == "shard-0/state"),
];

#[test]
fn a_sync_that_does_nothing_is_missed() {
    let Some(_turn) = turn() else { return };
    let effort = Effort { samples: 4, images_max: 6, wrong_max: 1 };
    for (what, ignored) in CANARIES {
        let outcome = enumerate(recording(), effort, &ignored).unwrap();
        assert!(!outcome.wrong.is_empty(), "nothing is wrong without syncs of {what}");
    }
}
