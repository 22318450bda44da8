//! Sends the journal of a shard piece by piece. A piece is never written over: one that is there
//! has to hold the same entries, or another server sends to the same place.

use bytes::Bytes;
use longshore_engine::Position;
use longshore_journal::{Follow, Followed};
use longshore_node::Source;

use crate::error::BackupError;
use crate::names::Line;
use crate::piece::{PIECE_BYTES, PIECE_BYTES_MAX, Piece};
use crate::place::Place;

/// The journal of a shard on its way to a place.
#[derive(Debug)]
pub(crate) struct Pieces {
    place: Place,
    line: Line,
    source: Source,
    follow: Follow,
    /// What was read and not sent yet.
    pending: Option<Piece>,
    next: Position,
}

impl Pieces {
    /// From the entry at `from` on.
    pub(crate) fn new(
        place: &Place,
        line: Line,
        source: &Source,
        from: Position,
    ) -> Result<Self, BackupError> {
        let follow = source.follow(from)?;
        let next = follow.next();
        Ok(Self { place: place.clone(), line, source: source.clone(), follow, pending: None, next })
    }

    /// Everything before this position was sent.
    pub(crate) fn next(&self) -> Position {
        self.next
    }

    /// Sends one piece; bytes of it, or `None` where nothing is left.
    pub(crate) async fn send_one(&mut self) -> Result<Option<u64>, BackupError> {
        if self.pending.is_none() {
            self.pending = self.read()?;
        }
        while let Some(piece) = &self.pending {
            let shard = self.source.index();
            let path = self.line.piece(shard, piece.first);
            let bytes = Bytes::from(piece.encode(self.line.store, shard));
            let sent = bytes.len() as u64;
            if self.place.create(&path, bytes).await? {
                self.next = piece.last().next();
                self.pending = None;
                return Ok(Some(sent));
            }
            let there = self.place.get(&path, PIECE_BYTES_MAX).await?;
            let name = path.to_string();
            let there = Piece::decode(&there, self.line.store, shard)
                .map_err(|what| BackupError::Damaged { name: name.clone(), what })?;
            let rest = rest_of(piece, &there).ok_or(BackupError::OtherWriter { name })?;
            self.next = there.last().min(piece.last()).next();
            self.pending = rest;
            if self.pending.is_none() {
                return Ok(Some(0));
            }
        }
        Ok(None)
    }

    /// As many groups as make a piece, one at least; `None` where nothing more is durable.
    fn read(&mut self) -> Result<Option<Piece>, BackupError> {
        let (mut groups, mut bytes): (Vec<Followed>, usize) = (Vec::new(), 0);
        while bytes < PIECE_BYTES
            && let Some(group) = self.follow.read()?
        {
            bytes += group.bytes.len();
            groups.push(group);
        }
        if groups.is_empty() {
            return Ok(None);
        }
        let piece = Piece::of(&groups);
        let shard = self.source.index();
        piece.map(Some).map_err(|position| BackupError::Entry { shard, position })
    }
}

/// What of a piece is not in another one that begins with it; `None` where that holds other
/// entries.
#[expect(clippy::option_option, reason = "there may be nothing left")]
fn rest_of(piece: &Piece, there: &Piece) -> Option<Option<Piece>> {
    let (mine, theirs) = (piece.group()?, there.group()?);
    if mine.entries().zip(theirs.entries()).any(|(mine, theirs)| mine != theirs) {
        return None;
    }
    if there.last() >= piece.last() {
        return Some(None);
    }
    let bytes = piece.entries.get(there.entries.len()..)?;
    let rest = Followed {
        first: there.last().next(),
        count: piece.count - there.count,
        bytes: Bytes::copy_from_slice(bytes),
    };
    Some(Some(Piece::of(&[rest]).ok()?))
}

#[cfg(test)]
mod tests {
    use longshore_engine::LEVEL;
    use longshore_journal::Group;

    use super::*;

    fn piece(entries: &[u8]) -> Piece {
        let mut group = Group::new(Position(7));
        for at in entries {
            group.push(&[LEVEL, *at]);
        }
        let bytes = group.to_bytes();
        Piece::of(&[Followed { first: Position(7), count: entries.len() as u32, bytes }]).unwrap()
    }

    #[test]
    fn what_is_there_is_not_sent_again_and_never_written_over() {
        let mine = piece(&[1, 2, 3]);
        assert_eq!(rest_of(&mine, &mine), Some(None));
        assert_eq!(rest_of(&mine, &piece(&[1, 2, 3, 4])), Some(None));
        let rest = rest_of(&mine, &piece(&[1, 2])).unwrap().unwrap();
        assert_eq!((rest.first, rest.count), (Position(9), 1));
        assert_eq!(rest_of(&mine, &piece(&[1, 9])), None);
    }
}
