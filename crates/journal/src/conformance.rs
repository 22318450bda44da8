//! What every journal must do, as tests that each implementation runs. They know the trait alone.

use bytes::Bytes;
use longshore_engine::Position;

use crate::{AppendError, Group, Journal, ReadError};

/// A journal under test that outlives its handles.
pub trait Subject {
    /// The implementation.
    type Journal: Journal;

    /// Opens the journal, and opens it again after the last handle was dropped.
    fn open(&mut self) -> Self::Journal;
}

/// Runs every check, each on a fresh subject.
///
/// # Panics
///
/// If the journal does not do what the trait says.
pub fn run<S: Subject>(fresh: impl Fn() -> S) {
    an_empty_journal_begins_at_position_one(fresh());
    groups_come_back_from_every_position(fresh());
    a_group_elsewhere_is_refused(fresh());
    entries_of_every_size_come_back(fresh());
    entries_in_pieces_come_back(fresh());
    what_was_appended_is_there_after_opening_again(fresh());
    a_reader_sees_what_was_durable_when_it_began(fresh());
    truncation_keeps_what_it_was_not_asked_to_give_back(fresh());
    truncation_of_everything_keeps_the_tail(fresh());
    many_groups_pass_from_segment_to_segment(fresh());
}

/// Entry of `len` bytes that no other position has.
fn entry(position: Position, len: usize) -> Vec<u8> {
    let seed = position.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    seed.iter().copied().cycle().take(len).collect()
}

fn append(journal: &mut impl Journal, lens: &[usize]) -> Position {
    let mut group = Group::new(journal.tail().next());
    for len in lens {
        let position = group.last().next();
        group.push(&entry(position, *len));
    }
    let tail = journal.append(&group).expect("append");
    assert_eq!((tail, journal.tail()), (group.last(), group.last()));
    tail
}

fn read(journal: &impl Journal, from: Position) -> Vec<(Position, Bytes)> {
    journal.read_from(from).expect("read").map(|entry| entry.expect("entry")).collect()
}

/// Checks that exactly the positions from `from` to the tail are read, as [`entry`] made them.
fn check_from(journal: &impl Journal, from: Position, len_of: impl Fn(Position) -> usize) {
    let found = read(journal, from);
    let positions: Vec<u64> = found.iter().map(|(position, _)| position.0).collect();
    assert_eq!(positions, (from.0..=journal.tail().0).collect::<Vec<_>>());
    for (position, bytes) in found {
        assert_eq!(bytes, entry(position, len_of(position)), "position {position}");
    }
}

fn an_empty_journal_begins_at_position_one(mut subject: impl Subject) {
    for _ in 0..3 {
        let mut journal = subject.open();
        assert_eq!(journal.tail(), Position::START);
        assert!(read(&journal, Position::START).is_empty());
        assert!(read(&journal, Position(1)).is_empty());
        let beyond = journal.read_from(Position(2)).err();
        assert!(matches!(beyond, Some(ReadError::BeyondTail { .. })), "{beyond:?}");
        journal.mark().expect("mark");
        assert_eq!(journal.append(&Group::new(Position(1))).expect("append"), Position::START);
    }
}

fn groups_come_back_from_every_position(mut subject: impl Subject) {
    let mut journal = subject.open();
    append(&mut journal, &[10]);
    append(&mut journal, &[10, 10, 10]);
    journal.mark().expect("mark");
    journal.mark().expect("mark");
    append(&mut journal, &[10, 10]);
    assert_eq!(read(&journal, Position::START).len(), 6);
    for from in 1..=7 {
        check_from(&journal, Position(from), |_| 10);
    }
}

fn a_group_elsewhere_is_refused(mut subject: impl Subject) {
    let mut journal = subject.open();
    append(&mut journal, &[3, 3]);
    for found in [1, 2, 4].map(Position) {
        let mut group = Group::new(found);
        group.push(b"no");
        let refused = journal.append(&group);
        let Err(AppendError::Unexpected { expected, found: named }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((expected, named), (Position(3), found));
    }
    append(&mut journal, &[3]);
    check_from(&journal, Position(1), |_| 3);
}

fn entries_of_every_size_come_back(mut subject: impl Subject) {
    let lens = [0, 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097, 100_000];
    let len_of = |position: Position| lens[(position.0 as usize - 1) % lens.len()];
    let mut journal = subject.open();
    append(&mut journal, &lens);
    for len in lens {
        append(&mut journal, &[len]);
    }
    for from in [1, 5, 12, 13, 24] {
        check_from(&journal, Position(from), len_of);
    }
    drop(journal);
    check_from(&subject.open(), Position(1), len_of);
}

/// Large parts of entries are referred to, so a group is many pieces, which are cut anywhere: at
/// the beginning of an entry, at its end, one behind the other, and more than one write of the
/// system takes.
fn entries_in_pieces_come_back(mut subject: impl Subject) {
    const PIECE: usize = 5000;
    let cuts: [&[usize]; 6] = [
        &[PIECE],
        &[3, PIECE],
        &[PIECE, 3],
        &[PIECE, PIECE, PIECE],
        &[1, PIECE, 0, PIECE, 4095, 4096],
        &[4097, 2, 100_000, 1],
    ];
    let cuts_of = |position: Position| cuts[(position.0 as usize - 1) % cuts.len()];
    let len_of = |position: Position| cuts_of(position).iter().sum();
    let mut journal = subject.open();
    for count in [1, 6, 400] {
        let mut group = Group::new(journal.tail().next());
        for _ in 0..count {
            let position = group.last().next();
            let mut whole = Bytes::from(entry(position, len_of(position)));
            group.push_with(|rope| {
                for cut in cuts_of(position) {
                    rope.extend_from_bytes(&whole.split_to(*cut));
                }
            });
        }
        assert!(group.pieces().len() > count, "it is in pieces");
        assert_eq!(journal.append(&group).expect("append"), group.last());
    }
    check_from(&journal, Position(1), len_of);
    drop(journal);
    let journal = subject.open();
    check_from(&journal, Position(1), len_of);
    check_from(&journal, Position(5), len_of);
}

fn what_was_appended_is_there_after_opening_again(mut subject: impl Subject) {
    for round in 0..6_u64 {
        let mut journal = subject.open();
        assert_eq!(journal.tail(), Position(round * 3));
        check_from(&journal, Position(1), |_| 20);
        append(&mut journal, &[20, 20]);
        if round % 3 == 1 {
            journal.mark().expect("mark");
        }
        append(&mut journal, &[20]);
        if round % 3 == 2 {
            journal.mark().expect("mark");
        }
        check_from(&journal, Position(1), |_| 20);
    }
}

fn a_reader_sees_what_was_durable_when_it_began(mut subject: impl Subject) {
    let mut journal = subject.open();
    append(&mut journal, &[5, 5, 5]);
    let reader = journal.read_from(Position(2)).expect("read");
    append(&mut journal, &[5]);
    journal.truncate_before(Position(5)).expect("truncate");
    drop(journal);
    let found: Vec<_> = reader.map(|entry| entry.expect("entry").0.0).collect();
    assert_eq!(found, [2, 3]);
}

fn truncation_keeps_what_it_was_not_asked_to_give_back(mut subject: impl Subject) {
    let mut journal = subject.open();
    for _ in 0..40 {
        append(&mut journal, &[500, 500]);
    }
    for before in [0, 1, 2, 20, 41, 41, 60] {
        journal.truncate_before(Position(before)).expect("truncate");
        check_from(&journal, Position(before.max(1)), |_| 500);
        match journal.read_from(Position(1)) {
            Ok(entries) => assert_eq!(entries.count(), 80),
            Err(ReadError::Truncated { asked, first }) => {
                assert!(asked == Position(1) && first > asked && first <= Position(before));
                check_from(&journal, first, |_| 500);
            }
            Err(other) => panic!("{other}"),
        }
    }
    drop(journal);
    let mut journal = subject.open();
    check_from(&journal, Position(60), |_| 500);
    append(&mut journal, &[500]);
    check_from(&journal, Position(60), |_| 500);
}

fn truncation_of_everything_keeps_the_tail(mut subject: impl Subject) {
    for round in 1..=3 {
        let mut journal = subject.open();
        append(&mut journal, &[50_000]);
        append(&mut journal, &[50_000]);
        for before in [journal.tail().next(), Position(1_000_000)] {
            journal.truncate_before(before).expect("truncate");
        }
        assert_eq!(journal.tail(), Position(round * 2));
        assert!(read(&journal, journal.tail().next()).is_empty());
    }
}

fn many_groups_pass_from_segment_to_segment(mut subject: impl Subject) {
    let len_of = |position: Position| (position.0 as usize * 37) % 900;
    let mut journal = subject.open();
    for round in 0..300 {
        let next = journal.tail().next();
        let lens: Vec<usize> = (0..round % 4).map(|i| len_of(next.advanced_by(i))).collect();
        append(&mut journal, &lens);
        if round % 7 == 0 {
            journal.mark().expect("mark");
        }
        if round % 100 == 99 {
            drop(journal);
            journal = subject.open();
        }
    }
    check_from(&journal, Position(1), len_of);
    check_from(&journal, Position(200), len_of);
}
