//! Histories made by hand: a good one, and for every rule one that breaks it and nothing else.

use std::collections::BTreeMap;

use super::{Final, judge, summarize};
use crate::history::{Event, Leased, Wanted};

fn wanted(label: &str) -> Wanted {
    Wanted { label: label.to_owned(), id: None, key: None, at_most_once: false }
}

fn sent(call: &str, at_us: u64, jobs: Vec<Wanted>) -> Event {
    Event::EnqueueSent { call: call.to_owned(), at_us, jobs }
}

fn answered(call: &str, at_us: u64, ids: &[&str]) -> Event {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Event::EnqueueAnswered { call: call.to_owned(), at_us, ids }
}

fn refused(call: &str) -> Event {
    Event::EnqueueRefused { call: call.to_owned(), code: "value_refused".to_owned() }
}

fn lease(label: &str, counter: u64, sent_us: u64, at_us: u64) -> Leased {
    Leased {
        sent_us,
        at_us,
        namespace: "default".to_owned(),
        id: format!("id-{label}"),
        label: label.to_owned(),
        key: None,
        token: (1, counter),
        lease_us: 2000,
    }
}

fn leased(label: &str, counter: u64, at_us: u64) -> Event {
    Event::Leased(lease(label, counter, at_us - 5, at_us))
}

fn keyed(label: &str, counter: u64, at_us: u64) -> Event {
    let lease = lease(label, counter, at_us - 5, at_us);
    Event::Leased(Leased { key: Some("k".to_owned()), ..lease })
}

fn settle(label: &str, counter: u64, at_us: u64, verdict: &str) -> Event {
    let id = format!("id-{label}");
    Event::SettleSent { at_us, id, token: (1, counter), verdict: verdict.to_owned() }
}

fn settled(label: &str, counter: u64, verdict: &str) -> Event {
    let id = format!("id-{label}");
    Event::Settled { id, token: (1, counter), verdict: verdict.to_owned() }
}

fn ends(ends: &[(&str, &str)]) -> BTreeMap<String, Final> {
    let end = |(label, state): &(&str, &str)| {
        let (label, state) = ((*label).to_owned(), (*state).to_owned());
        (format!("id-{label}"), Final { label, state })
    };
    ends.iter().map(end).collect()
}

/// Two single jobs and a bulk, all of which end well.
fn good() -> (Vec<Event>, BTreeMap<String, Final>) {
    let history = vec![
        sent("c1", 10, vec![wanted("a")]),
        answered("c1", 20, &["id-a"]),
        sent("c2", 21, vec![wanted("b"), wanted("c")]),
        answered("c2", 30, &["id-b", "id-c"]),
        leased("a", 1, 40),
        leased("b", 2, 50),
        settle("a", 1, 60, "ack"),
        settled("a", 1, "ack"),
        settle("b", 2, 70, "fail"),
        settled("b", 2, "fail"),
        leased("c", 3, 80),
        leased("b", 4, 90),
        settle("c", 3, 95, "ack"),
        settle("b", 4, 100, "ack"),
        settled("b", 4, "ack"),
    ];
    (history, ends(&[("a", "succeeded"), ("b", "succeeded"), ("c", "succeeded")]))
}

/// The good history with `more`, and the ends of the jobs in `other`, breaks the rule that
/// `expected` speaks of, and no other.
fn check(more: Vec<Event>, other: &[(&str, &str)], expected: &str) {
    let (mut history, mut finals) = good();
    history.extend(more);
    finals.extend(ends(other));
    let wrong = judge(&history, &finals);
    assert!(
        wrong.len() == 1 && wrong[0].contains(expected),
        "expected {expected:?} and nothing else, found {wrong:#?}"
    );
}

fn check_sound(more: Vec<Event>, other: &[(&str, &str)]) {
    let (mut history, mut finals) = good();
    history.extend(more);
    finals.extend(ends(other));
    assert_eq!(judge(&history, &finals), [""; 0]);
}

#[test]
fn a_good_history_is_good() {
    check_sound(Vec::new(), &[]);
    let (history, _) = good();
    let summary = summarize(&history);
    assert_eq!((summary.accepted, summary.unknown, summary.leases), (3, 0, 4));
    assert_eq!((summary.repeated, summary.settled), (1, 3));
}

#[test]
fn nobody_knows_of_an_enqueue_without_an_answer() {
    check_sound(vec![sent("c9", 110, vec![wanted("x")])], &[]);
    let ran =
        vec![sent("c9", 110, vec![wanted("x")]), leased("x", 9, 200), settle("x", 9, 210, "ack")];
    check_sound(ran, &[("x", "succeeded")]);
}

#[test]
fn a_lost_job_is_noticed() {
    let lost = vec![sent("c9", 110, vec![wanted("x")]), answered("c9", 120, &["id-x"])];
    check(lost.clone(), &[], "x was accepted and is lost");
    check(lost.clone(), &[("x", "ready")], "x ended as ready");
    check(lost, &[("x", "succeeded")], "x ended as succeeded, after 0 leases");
}

#[test]
fn a_forgotten_ack_is_noticed() {
    let history = vec![
        sent("c9", 110, vec![Wanted { at_most_once: true, ..wanted("x") }]),
        answered("c9", 120, &["id-x"]),
        leased("x", 9, 200),
        settle("x", 9, 210, "ack"),
        settled("x", 9, "ack"),
    ];
    check_sound(history.clone(), &[("x", "succeeded")]);
    check(history, &[("x", "dead")], "x was acknowledged and is dead");
}

#[test]
fn a_run_after_an_answered_ack_is_noticed() {
    check(vec![leased("a", 9, 200)], &[], "id-a ended with lease (1, 1) and ran with (1, 9)");
}

#[test]
fn a_run_that_nobody_asked_for_is_noticed() {
    check(vec![leased("ghost", 9, 200)], &[], "ghost ran, and nobody enqueued it");
}

#[test]
fn a_refused_job_that_ran_is_noticed() {
    let history =
        vec![sent("c9", 110, vec![wanted("x"), wanted("y")]), refused("c9"), leased("y", 9, 200)];
    check(history, &[], "c9 was refused, and 1 of its jobs are there");
}

#[test]
fn half_a_bulk_is_noticed() {
    let history = vec![
        sent("c9", 110, vec![wanted("x"), wanted("y")]),
        leased("y", 9, 200),
        settle("y", 9, 210, "ack"),
    ];
    check(history, &[("y", "succeeded")], "c9 is half there: 1 of 2 jobs");
}

#[test]
fn two_outcomes_of_a_lease_are_noticed() {
    let more = vec![settle("a", 1, 61, "release"), settled("a", 1, "release")];
    check(more, &[], "has outcomes");
    let repeated = vec![settle("a", 1, 61, "release"), settled("a", 1, "ack")];
    check_sound(repeated, &[]);
    check(vec![settled("c", 3, "discard")], &[], "ended as discard, which nobody said");
}

#[test]
fn a_token_that_does_not_grow_is_noticed() {
    let job = || vec![sent("c9", 110, vec![wanted("x")]), answered("c9", 120, &["id-x"])];
    let run = |counter| {
        let mut history = job();
        history.push(leased("x", counter, 200));
        history.push(settle("x", counter, 210, "ack"));
        history
    };
    check(run(0), &[("x", "succeeded")], "token (1, 0) was granted after (1, 4)");
    check_sound(run(5), &[("x", "succeeded")]);
    // Who asked before the other had its answer may get the smaller one.
    let mut raced = job();
    raced.push(Event::Leased(lease("x", 0, 39, 200)));
    raced.push(settle("x", 0, 210, "ack"));
    check_sound(raced, &[("x", "succeeded")]);
}

#[test]
fn a_token_of_two_jobs_is_noticed() {
    let history = vec![
        sent("c9", 1, vec![wanted("x")]),
        answered("c9", 2, &["id-x"]),
        Event::Leased(lease("x", 4, 3, 200)),
        settle("x", 4, 210, "ack"),
    ];
    check(history, &[("x", "succeeded")], "token (1, 4) is of");
}

#[test]
fn a_second_delivery_of_an_at_most_once_job_is_noticed() {
    let history = vec![
        sent("c9", 110, vec![Wanted { at_most_once: true, ..wanted("x") }]),
        answered("c9", 120, &["id-x"]),
        leased("x", 9, 200),
        leased("x", 10, 300),
    ];
    check(history.clone(), &[("x", "dead")], "x may run once and ran 2 times");
    let returned = [history, vec![settle("x", 9, 210, "release")]].concat();
    check_sound(returned, &[("x", "dead")]);
}

#[test]
fn one_label_under_two_ids_is_noticed() {
    let chosen = |id: &str| Wanted { id: Some(id.to_owned()), ..wanted("x") };
    let twice = vec![
        sent("c9", 110, vec![chosen("id-x")]),
        answered("c9", 120, &["id-x"]),
        leased("x", 9, 200),
        settle("x", 9, 210, "ack"),
        Event::Leased(Leased { id: "id-other".to_owned(), ..lease("x", 10, 300, 310) }),
        Event::SettleSent {
            at_us: 320,
            id: "id-other".to_owned(),
            token: (1, 10),
            verdict: "ack".to_owned(),
        },
    ];
    let (mut history, mut finals) = good();
    history.extend(twice);
    finals.extend(ends(&[("x", "succeeded")]));
    let other = Final { label: "x".to_owned(), state: "succeeded".to_owned() };
    finals.insert("id-other".to_owned(), other);
    let wrong = judge(&history, &finals);
    assert!(wrong.len() == 1 && wrong[0].contains("x became 2 jobs"), "{wrong:#?}");
    let renamed = vec![sent("c9", 110, vec![chosen("id-7")]), answered("c9", 120, &["id-x"])];
    let more = [leased("x", 9, 200), settle("x", 9, 210, "ack")];
    check([renamed, more.to_vec()].concat(), &[("x", "succeeded")], "x: its id became id-x");
}

fn two_of_a_key(second_at_us: u64, first_settled_us: Option<u64>) -> Vec<Event> {
    let job = |label| Wanted { key: Some("k".to_owned()), ..wanted(label) };
    let mut history = vec![
        sent("c9", 110, vec![job("x")]),
        answered("c9", 120, &["id-x"]),
        // Not known to come after the other: their order is not judged here.
        sent("c8", 115, vec![job("y")]),
        answered("c8", 125, &["id-y"]),
        keyed("x", 9, 200),
        keyed("y", 10, second_at_us),
        settle("y", 10, second_at_us + 50, "ack"),
    ];
    history.push(settle("x", 9, first_settled_us.unwrap_or(9000), "ack"));
    history
}

#[test]
fn two_live_leases_of_a_key_are_noticed() {
    let finals = [("x", "succeeded"), ("y", "succeeded")];
    check_sound(two_of_a_key(400, Some(300)), &finals);
    check(two_of_a_key(400, Some(500)), &finals, "x and y were leased at the same time");
    // The first lease can have run out before the second was there.
    check_sound(two_of_a_key(1400, Some(5000)), &finals);
    check_sound(two_of_a_key(1400, None), &finals);
    check(two_of_a_key(1100, None), &finals, "x and y were leased at the same time");
}

#[test]
fn a_key_out_of_order_is_noticed() {
    let job = |label| Wanted { key: Some("k".to_owned()), ..wanted(label) };
    let history = |x, y| {
        vec![
            sent("c9", 110, vec![job("x")]),
            answered("c9", 120, &["id-x"]),
            sent("c8", 121, vec![job("y")]),
            answered("c8", 125, &["id-y"]),
            keyed("x", x, 100 + x * 100),
            settle("x", x, 110 + x * 100, "ack"),
            keyed("y", y, 100 + y * 100),
            settle("y", y, 110 + y * 100, "ack"),
        ]
    };
    let finals = [("x", "succeeded"), ("y", "succeeded")];
    check_sound(history(8, 9), &finals);
    check(history(9, 8), &finals, "y was leased before x had ended");
}

#[test]
fn what_a_client_finds_wrong_counts() {
    check(vec![Event::Wrong { what: "a surprise".to_owned() }], &[], "a surprise");
}
