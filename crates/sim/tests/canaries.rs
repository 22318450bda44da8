//! The net holds: every fault put in on purpose is noticed.

use longshore_sim::{Canary, Config, run};

const SEEDS_MAX: u64 = 200;

fn check(canary: Canary) {
    let config = Config { canary: Some(canary), ..Config::default() };
    let caught = (0..SEEDS_MAX).find_map(|seed| Some((seed, run(seed, &config).err()?.what)));
    let name = canary.name();
    let (seed, what) = caught.unwrap_or_else(|| panic!("{name} lives after {SEEDS_MAX} seeds"));
    let sound = run(seed, &Config::default()).map_err(|failure| failure.what);
    assert!(sound.is_ok(), "seed {seed} did not catch {name}: {what}\nwithout it: {sound:?}");
}

#[test]
fn an_append_that_answers_before_the_sync_is_caught() {
    check(Canary::NoFsync);
}

#[test]
fn an_answer_before_its_commit_is_caught() {
    check(Canary::AnswerBeforeCommit);
}

#[test]
fn tokens_that_begin_anew_are_caught() {
    check(Canary::TokenReuse);
}

#[test]
fn a_state_flushed_beyond_the_durable_position_is_caught() {
    check(Canary::FlushBeyondDurable);
}

#[test]
fn a_lost_dead_set_is_caught() {
    check(Canary::LostDeadSet);
}

#[test]
fn a_checkpoint_of_a_stale_token_is_caught() {
    check(Canary::StaleToken);
}

#[test]
fn a_cursor_that_goes_back_is_caught() {
    check(Canary::CursorBack);
}

#[test]
fn an_entry_skipped_in_recovery_is_caught() {
    check(Canary::SkippedReplay);
}

#[test]
fn a_start_that_is_not_heard_is_caught() {
    check(Canary::StartUnheard);
}

#[test]
fn a_start_that_is_not_heard_from_who_comes_back_is_caught() {
    check(Canary::ReturnUnheard);
}

#[test]
fn an_attempt_that_is_used_up_by_a_run_with_headway_is_caught() {
    check(Canary::HeadwayForgotten);
}

#[test]
fn an_interruption_that_is_taken_for_a_release_is_caught() {
    check(Canary::InterruptUnheard);
}

#[test]
fn an_at_most_once_run_that_told_its_progress_and_is_taken_back_is_caught() {
    check(Canary::ProgressUnheard);
}

#[test]
fn a_delivery_that_nobody_takes_and_nobody_gives_back_is_caught() {
    check(Canary::StrandedGrant);
}

#[test]
fn a_lock_of_a_unique_key_that_outlives_its_job_is_caught() {
    check(Canary::LeakedLock);
}

#[test]
fn a_slot_of_a_limit_that_outlives_its_lease_is_caught() {
    check(Canary::LeakedSlot);
}
