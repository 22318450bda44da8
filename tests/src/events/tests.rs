//! Each anomaly is found where it is, and nothing where nothing is.

use std::collections::BTreeSet;

use super::{Anomaly, Fate, Operation, Step, judge, read};

fn send(value: u64, offset: i64) -> Step {
    Step::Send { partition: 0, offset: Some(offset), value }
}

fn poll(events: &[(i64, u64)]) -> Step {
    Step::Poll { partition: 0, events: events.to_vec() }
}

fn does(process: &str, fate: Fate, steps: Vec<Step>) -> Operation {
    Operation { process: process.to_owned(), position: 0, fate, steps }
}

fn found(history: &[Operation]) -> Vec<Anomaly> {
    let found: BTreeSet<Anomaly> = judge(history).into_iter().map(|it| it.anomaly).collect();
    found.into_iter().collect()
}

/// Two clients that did nothing wrong, and what somebody else did.
fn with(others: Vec<Operation>) -> Vec<Anomaly> {
    let mut history = vec![
        does("a", Fate::Ok, vec![send(1, 0)]),
        does("a", Fate::Ok, vec![send(2, 1), send(3, 2)]),
        does("b", Fate::Ok, vec![poll(&[(0, 1), (1, 2)])]),
        does("b", Fate::Ok, vec![poll(&[(2, 3)])]),
    ];
    history.extend(others);
    found(&history)
}

#[test]
fn a_good_history_is_good() {
    // A transaction has a marker, which takes an offset; what was aborted is left out.
    let aborted = does("c", Fate::Fail, vec![send(9, 4)]);
    let later = does("a", Fate::Ok, vec![send(4, 6)]);
    let seen = does("b", Fate::Ok, vec![poll(&[(6, 4)])]);
    let unknown = Step::Send { partition: 0, offset: None, value: 7 };
    assert_eq!(with(vec![aborted, later, seen, does("d", Fate::Info, vec![unknown])]), []);
}

#[test]
fn each_anomaly_is_found() {
    let ok = |process: &str, steps| does(process, Fate::Ok, steps);
    let cases = [
        (vec![ok("c", vec![poll(&[(3, 1)])])], vec![Anomaly::Duplicate]),
        (vec![ok("c", vec![poll(&[(0, 5)])])], vec![Anomaly::InconsistentOffsets]),
        (
            vec![
                ok("a", vec![send(4, 3)]),
                ok("c", vec![send(5, 4)]),
                ok("d", vec![poll(&[(4, 5)])]),
            ],
            vec![Anomaly::LostWrite, Anomaly::Unseen],
        ),
        (
            vec![does("c", Fate::Fail, vec![send(9, 3)]), ok("b", vec![poll(&[(3, 9)])])],
            vec![Anomaly::AbortedRead],
        ),
        (vec![ok("c", vec![send(4, 3), poll(&[(3, 4)])])], vec![Anomaly::PrecommittedRead]),
        (
            vec![ok("c", vec![poll(&[(0, 1)])]), ok("c", vec![poll(&[(2, 3)])])],
            vec![Anomaly::PollSkip],
        ),
        (
            vec![ok("c", vec![poll(&[(1, 2)])]), ok("c", vec![poll(&[(1, 2)])])],
            vec![Anomaly::NonmonotonicPoll],
        ),
        (vec![ok("c", vec![poll(&[(0, 1), (2, 3)])])], vec![Anomaly::InternalPollSkip]),
        (vec![ok("c", vec![poll(&[(1, 2), (0, 1)])])], vec![Anomaly::InternalNonmonotonicPoll]),
        (
            vec![
                ok("c", vec![send(4, 3), send(6, 5)]),
                ok("d", vec![send(5, 4)]),
                ok("b", vec![poll(&[(3, 4), (4, 5), (5, 6)])]),
            ],
            vec![Anomaly::InternalSendSkip],
        ),
        (
            vec![ok("c", vec![send(4, 4), send(5, 3)]), ok("b", vec![poll(&[(3, 5), (4, 4)])])],
            vec![Anomaly::InternalNonmonotonicSend],
        ),
        (
            vec![
                ok("c", vec![send(4, 4)]),
                ok("c", vec![send(5, 3)]),
                ok("b", vec![poll(&[(3, 5), (4, 4)])]),
            ],
            vec![Anomaly::NonmonotonicSend],
        ),
        (vec![ok("a", vec![send(4, 3)])], vec![Anomaly::Unseen]),
        (
            vec![
                ok("c", vec![send(4, 3), poll(&[(4, 5)])]),
                ok("d", vec![send(5, 4), poll(&[(3, 4)])]),
            ],
            vec![Anomaly::CyclicReads],
        ),
    ];
    for (others, anomalies) in cases {
        assert_eq!(with(others.clone()), anomalies, "{others:?}");
    }
}

#[test]
fn another_position_may_begin_anywhere() {
    let again = Operation { position: 1, ..does("b", Fate::Ok, vec![poll(&[(0, 1)])]) };
    assert_eq!(with(vec![again]), []);
}

#[test]
fn a_history_is_read_and_a_line_that_was_cut_left_out() {
    let text = "{\"process\":\"a\",\"position\":2,\"fate\":\"ok\",\"steps\":[{\"did\":\"send\",\
                \"partition\":1,\"offset\":null,\"value\":7},{\"did\":\"poll\",\"partition\":0,\
                \"events\":[[3,4]]}]}\n{\"process\":";
    let history = read(text).unwrap();
    let sent = Step::Send { partition: 1, offset: None, value: 7 };
    let expected = Operation { position: 2, ..does("a", Fate::Ok, vec![sent, poll(&[(3, 4)])]) };
    assert_eq!(history, [expected]);
    assert!(read("no\n").is_err());
}
