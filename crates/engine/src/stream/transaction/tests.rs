//! Lives of transactions on plain values: whole or not at all, over restarts; zombies are fenced.

use bytes::Bytes;

use super::*;
use crate::stream::tests::{Bench, CLOCK};
use crate::{
    AppendBatch, AppendRefusal, Appended, Clock, MonoMs, OffsetToCommit, ProducerStamp,
    StreamAnswer, StreamChange, StreamCommand,
};

type Asked = Result<TransactionAnswer, TransactionRefusal>;

fn ask(bench: &mut Bench, ask: TransactionAsk) -> Asked {
    let id = "t".to_owned();
    match bench.ask(StreamCommand::Transact(TransactionCommand { id, ask })).unwrap() {
        StreamAnswer::Transacted(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn take(bench: &mut Bench, current: Option<TransactionStamp>) -> TransactionStamp {
    let taken = ask(bench, TransactionAsk::Take { timeout_ms: 1000, current });
    let Ok(TransactionAnswer::Taken(stamp)) = taken else { panic!("{taken:?}") };
    stamp
}

fn add(bench: &mut Bench, stamp: TransactionStamp, partitions: &[PartitionId]) -> Asked {
    let partitions = partitions.to_vec();
    ask(bench, TransactionAsk::AddPartitions { stamp, partitions })
}

fn end(bench: &mut Bench, stamp: TransactionStamp, commit: bool) -> Asked {
    ask(bench, TransactionAsk::End { stamp, commit })
}

fn append(
    bench: &mut Bench,
    partition: PartitionId,
    (stamp, sequence): (TransactionStamp, u32),
    transactional: bool,
) -> Result<Appended, AppendRefusal> {
    let producer = Some(ProducerStamp { id: stamp.producer, epoch: stamp.epoch, sequence });
    let batch = Bytes::from_static(b"any bytes");
    let batch =
        AppendBatch { partition, events: 2, producer, transactional, batch, keys: Vec::new() };
    match bench.ask(StreamCommand::Append(vec![batch])).unwrap() {
        StreamAnswer::Appended(mut results) => results.pop().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn commit_offset(bench: &mut Bench, stamp: TransactionStamp, offset: u64) -> Asked {
    let committed = CommittedOffset { offset, leader_epoch: None, metadata: String::new() };
    let offsets = vec![OffsetToCommit { stream: "s".into(), partition: 0, committed }];
    ask(bench, TransactionAsk::CommitOffsets { stamp, group: "g".into(), offsets })
}

/// The group's offset, and whether a transaction has another one.
fn offset(bench: &mut Bench) -> (Option<u64>, bool) {
    let get =
        StreamCommand::GetOffsets { group: "g".into(), of: Some(vec![("s".into(), vec![0])]) };
    match bench.ask(get).unwrap() {
        StreamAnswer::Offsets(offsets) => {
            (offsets[0].committed.as_ref().map(|it| it.offset), offsets[0].pending)
        }
        other => panic!("{other:?}"),
    }
}

/// Markers of the last group that had some: partition, offset, epoch, whether committed.
fn markers(bench: &Bench) -> Vec<(PartitionId, u64, u32, bool)> {
    let marked = bench.changes.iter().filter_map(|change| match change {
        StreamChange::Marked { partition, base_offset, epoch, committed, .. } => {
            Some((*partition, *base_offset, *epoch, *committed))
        }
        _ => None,
    });
    marked.collect()
}

fn marks(bench: &Bench) -> Vec<(PartitionId, u64, Option<u64>)> {
    let views = bench.turn.streams();
    let marks = views.iter().flat_map(|view| &view.transactions);
    marks.map(|mark| (mark.partition, mark.first, mark.last)).collect()
}

#[test]
fn a_transaction_is_committed_in_all_partitions_with_its_offsets_at_once() {
    let mut bench = Bench::new();
    let partitions = bench.create(2).unwrap();
    let stamp = take(&mut bench, None);
    let refused = append(&mut bench, partitions[0], (stamp, 0), true);
    assert_eq!(refused, Err(AppendRefusal::NotInTransaction), "not added yet");
    assert_eq!(add(&mut bench, stamp, &partitions), Ok(TransactionAnswer::Done));
    for partition in &partitions {
        assert_eq!(append(&mut bench, *partition, (stamp, 0), true).unwrap().base_offset, 0);
    }
    assert_eq!(commit_offset(&mut bench, stamp, 7), Ok(TransactionAnswer::Offsets(vec![Ok(())])));
    assert_eq!(offset(&mut bench), (None, true));
    bench.restart();
    assert_eq!(offset(&mut bench), (None, true), "in the next life, too");
    assert_eq!(marks(&bench), [(partitions[0], 0, None), (partitions[1], 0, None)]);
    assert_eq!(end(&mut bench, stamp, true), Ok(TransactionAnswer::Done));
    assert_eq!(markers(&bench), [(partitions[0], 2, 0, true), (partitions[1], 2, 0, true)]);
    assert_eq!(offset(&mut bench), (Some(7), false));
    assert_eq!(marks(&bench), []);
    bench.restart();
    assert_eq!(end(&mut bench, stamp, true), Ok(TransactionAnswer::Done), "asked once more");
    assert_eq!(end(&mut bench, stamp, false), Err(TransactionRefusal::NotOpen));
    assert_eq!(markers(&bench).len(), 2);
    // The next one goes on in the same epoch, where the marker took an offset.
    add(&mut bench, stamp, &partitions[..1]).unwrap();
    assert_eq!(append(&mut bench, partitions[0], (stamp, 2), true).unwrap().base_offset, 3);
    let other = append(&mut bench, partitions[1], (stamp, 2), true);
    assert_eq!(other, Err(AppendRefusal::NotInTransaction), "it was of the last one");
}

#[test]
fn what_is_aborted_leaves_no_offset_and_is_remembered_until_it_is_trimmed() {
    let mut bench = Bench::new();
    let partitions = bench.create(1).unwrap();
    let stamp = take(&mut bench, None);
    add(&mut bench, stamp, &partitions).unwrap();
    append(&mut bench, partitions[0], (stamp, 0), true).unwrap();
    commit_offset(&mut bench, stamp, 7).unwrap();
    assert_eq!(end(&mut bench, stamp, false), Ok(TransactionAnswer::Done));
    assert_eq!(offset(&mut bench), (None, false));
    assert_eq!(marks(&bench), [(partitions[0], 0, Some(2))]);
    bench.restart();
    assert_eq!(marks(&bench), [(partitions[0], 0, Some(2))]);
    let trim = StreamCommand::Trim { partition: partitions[0], start: Some(3) };
    bench.ask(trim).unwrap();
    bench.turn.tick(CLOCK);
    bench.seal();
    assert_eq!(marks(&bench), []);
    bench.restart();
}

#[test]
fn an_aborted_transaction_of_which_nothing_is_left_is_forgotten_where_that_is_said() {
    let mut bench = Bench::new();
    let partitions = bench.create(2).unwrap();
    let stamp = take(&mut bench, None);
    add(&mut bench, stamp, &partitions[..1]).unwrap();
    append(&mut bench, partitions[0], (stamp, 0), true).unwrap();
    assert_eq!(end(&mut bench, stamp, false), Ok(TransactionAnswer::Done));
    let before = bench.changes.len();
    for (partition, marker) in [(partitions[0], 1), (partitions[1], 2)] {
        let forget = StreamCommand::ForgetAborted { partition, markers: vec![marker] };
        bench.ask(forget).unwrap();
    }
    assert_eq!((marks(&bench).len(), bench.changes.len()), (1, before), "none of these is known");
    let (partition, markers) = (partitions[0], vec![1, 2]);
    bench.ask(StreamCommand::ForgetAborted { partition, markers }).unwrap();
    assert_eq!(marks(&bench), []);
    let told = bench.changes.last();
    assert!(matches!(told, Some(StreamChange::Forgotten { markers, .. }) if *markers == [2]));
    bench.restart();
}

#[test]
fn whoever_takes_the_id_fences_those_before_and_aborts_what_they_left() {
    let mut bench = Bench::new();
    let partitions = bench.create(1).unwrap();
    let zombie = take(&mut bench, None);
    add(&mut bench, zombie, &partitions).unwrap();
    append(&mut bench, partitions[0], (zombie, 0), true).unwrap();
    let stamp = take(&mut bench, None);
    assert_eq!(stamp, TransactionStamp { epoch: 1, ..zombie });
    assert_eq!(markers(&bench), [(partitions[0], 2, 1, false)]);
    let fenced = Err(TransactionRefusal::Fenced { found: 0, current: 1 });
    assert_eq!(add(&mut bench, zombie, &partitions), fenced);
    assert_eq!(commit_offset(&mut bench, zombie, 7), fenced);
    assert_eq!(end(&mut bench, zombie, true), fenced);
    add(&mut bench, stamp, &partitions).unwrap();
    let late = append(&mut bench, partitions[0], (zombie, 2), true);
    assert_eq!(late, Err(AppendRefusal::EpochPassed { found: 0, current: 1 }));
    assert_eq!(append(&mut bench, partitions[0], (stamp, 0), true).unwrap().base_offset, 3);
    let beside = append(&mut bench, partitions[0], (stamp, 2), false);
    assert_eq!(beside, Err(AppendRefusal::NotInTransaction));
    let stranger = TransactionStamp { producer: 99, epoch: 1 };
    assert_eq!(end(&mut bench, stranger, true), Err(TransactionRefusal::NotTheProducer));
    bench.restart();
    // One that takes a new epoch for itself, and again since it got no answer.
    end(&mut bench, stamp, true).unwrap();
    let next = take(&mut bench, Some(stamp));
    assert_eq!((next.epoch, take(&mut bench, Some(stamp)).epoch), (2, 2));
    let taken = TransactionAsk::Take { timeout_ms: 1000, current: Some(zombie) };
    let fenced = Err(TransactionRefusal::Fenced { found: 0, current: 2 });
    assert_eq!(ask(&mut bench, taken), fenced);
}

#[test]
fn one_that_takes_too_long_is_aborted_and_its_producer_is_fenced() {
    let mut bench = Bench::new();
    let partitions = bench.create(1).unwrap();
    let stamp = take(&mut bench, None);
    add(&mut bench, stamp, &partitions).unwrap();
    append(&mut bench, partitions[0], (stamp, 0), true).unwrap();
    bench.restart();
    let at = |ms| Clock { mono: MonoMs(CLOCK.mono.0 + ms), ..CLOCK };
    bench.turn.tick(at(999));
    bench.seal();
    assert_eq!(markers(&bench), [], "a new life lets it go on for as long again");
    assert_eq!(bench.turn.next_wake_ms(at(999)), Some(1));
    bench.turn.tick(at(1000));
    bench.seal();
    assert_eq!(markers(&bench), [(partitions[0], 2, 1, false)]);
    let fenced = Err(TransactionRefusal::Fenced { found: 0, current: 1 });
    assert_eq!(end(&mut bench, stamp, true), fenced);
    let long = TransactionAsk::Take { timeout_ms: u64::MAX, current: None };
    assert!(matches!(ask(&mut bench, long), Err(TransactionRefusal::TimeoutRefused { .. })));
}

#[test]
fn a_producer_without_epochs_left_gets_another_number() {
    let mut bench = Bench::new();
    let first = take(&mut bench, None);
    for epoch in 1..=EPOCH_LAST {
        assert_eq!(take(&mut bench, None), TransactionStamp { epoch, ..first });
    }
    let next = take(&mut bench, None);
    assert!(next.producer > first.producer && next.epoch == 0);
    assert_eq!(end(&mut bench, first, true), Err(TransactionRefusal::NotTheProducer));
    let StreamAnswer::ProducerId(other) = bench.ask(StreamCommand::TakeProducerId).unwrap() else {
        panic!()
    };
    assert!(other > next.producer);
}

#[test]
fn partitions_and_ids_are_bounded_and_ids_are_forgotten() {
    let mut bench = Bench::new();
    let partitions = bench.create(4).unwrap();
    let stamp = take(&mut bench, None);
    let refused = add(&mut bench, stamp, &partitions);
    assert!(matches!(refused, Err(TransactionRefusal::TooMany { limit: 3, .. })));
    let unknown = add(&mut bench, stamp, &[PartitionId(77)]);
    assert_eq!(unknown, Err(TransactionRefusal::PartitionUnknown));
    let taken = |bench: &mut Bench, id: usize| {
        let ask = TransactionAsk::Take { timeout_ms: 1000, current: None };
        let command = TransactionCommand { id: format!("id{id}"), ask };
        match bench.ask(StreamCommand::Transact(command)).unwrap() {
            StreamAnswer::Transacted(answer) => answer,
            other => panic!("{other:?}"),
        }
    };
    let all: Vec<Asked> = (0..4).map(|id| taken(&mut bench, id)).collect();
    assert!(all[..3].iter().all(Result::is_ok));
    assert!(matches!(all[3], Err(TransactionRefusal::TooMany { limit: 4, .. })));
    // Whoever deletes a stream meanwhile leaves nothing to be marked there.
    add(&mut bench, stamp, &partitions[..1]).unwrap();
    append(&mut bench, partitions[0], (stamp, 0), true).unwrap();
    commit_offset(&mut bench, stamp, 1).unwrap();
    bench.ask(StreamCommand::Delete { stream: "s".into() }).unwrap();
    assert_eq!(end(&mut bench, stamp, true), Ok(TransactionAnswer::Done));
    assert_eq!(markers(&bench), []);
    bench.restart();
    let week = 7 * 24 * 3_600_000;
    let later = Clock { wall: TimeMs(CLOCK.wall.0 + week), mono: MonoMs(week), random: 0 };
    bench.turn.tick(later);
    bench.seal();
    assert!(matches!(taken(&mut bench, 9), Ok(TransactionAnswer::Taken(_))));
    bench.restart();
}

/// The shard took nothing in, so no producer could end its transaction.
#[test]
fn the_time_of_a_shortage_does_not_count_for_a_transaction() {
    let mut bench = Bench::new();
    let partitions = bench.create(1).unwrap();
    let stamp = take(&mut bench, None);
    add(&mut bench, stamp, &partitions).unwrap();
    append(&mut bench, partitions[0], (stamp, 0), true).unwrap();
    let at = |ms| Clock { mono: MonoMs(CLOCK.mono.0 + ms), ..CLOCK };
    bench.turn.begin_shortage(at(500));
    bench.turn.end_shortage(at(60_500));
    bench.turn.tick(at(60_999));
    bench.seal();
    assert_eq!(markers(&bench), []);
    bench.turn.tick(at(61_000));
    bench.seal();
    assert_eq!(markers(&bench), [(partitions[0], 2, 1, false)], "half a second was left");
}

fn commit_offsets(
    bench: &mut Bench,
    stamp: TransactionStamp,
    indexes: &[u32],
    metadata: &str,
) -> Asked {
    let committed = CommittedOffset { offset: 1, leader_epoch: None, metadata: metadata.into() };
    let offset = |partition: &u32| OffsetToCommit {
        stream: "s".into(),
        partition: *partition,
        committed: committed.clone(),
    };
    let offsets = indexes.iter().map(offset).collect();
    ask(bench, TransactionAsk::CommitOffsets { stamp, group: "g".into(), offsets })
}

#[test]
fn offsets_of_open_transactions_are_bounded_and_repeats_count_once() {
    let mut bench = Bench::new();
    let partitions = bench.create(4).unwrap();
    let stamp = take(&mut bench, None);
    for commit in [true, false] {
        add(&mut bench, stamp, &partitions[..1]).unwrap();
        for metadata in ["", "m", "mm"] {
            commit_offsets(&mut bench, stamp, &[0, 1, 2, 2], metadata).unwrap();
        }
        bench.restart();
        // 130 bytes of each and their metadata: 396 of 400.
        for (indexes, metadata) in [(&[3][..], ""), (&[0, 1], "mmmmm")] {
            let refused = commit_offsets(&mut bench, stamp, indexes, metadata);
            assert!(matches!(refused, Err(TransactionRefusal::TooMany { limit: 400, .. })));
        }
        commit_offsets(&mut bench, stamp, &[0, 1, 2], "").unwrap();
        assert_eq!(end(&mut bench, stamp, commit), Ok(TransactionAnswer::Done));
    }
    bench.restart();
}
