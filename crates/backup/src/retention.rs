//! Removes what is older than copies are kept: bases, the files that only they name, and the pieces
//! of the journal before the oldest that stays. The base that a time within what is kept begins
//! with stays, however old it is.

use std::collections::BTreeSet;

use longshore_engine::Position;
use object_store::path::Path;

use crate::catalogue::{CATALOGUE_BYTES_MAX, Catalogue, ShardBase};
use crate::error::BackupError;
use crate::names::{Line, first_of, leaf, taken_of};
use crate::place::Place;

/// The catalogue at `path`.
pub(crate) async fn read_catalogue(place: &Place, path: &Path) -> Result<Catalogue, BackupError> {
    let bytes = place.get(path, CATALOGUE_BYTES_MAX).await?;
    let name = path.to_string();
    Catalogue::decode(&bytes).map_err(|what| BackupError::Damaged { name, what })
}

/// Which of these bases stay: those that were taken from `since_ms` on, and the last before.
fn split(bases: Vec<Path>, since_ms: u64) -> (Vec<Path>, Vec<Path>) {
    let old = bases.partition_point(|path| taken_of(path).is_some_and(|taken| taken <= since_ms));
    let mut removed = bases;
    let kept = removed.split_off(old.saturating_sub(1));
    (removed, kept)
}

/// Removes what nobody can want who asks for a time from `since_ms` on; how many objects. No base
/// may be under way.
pub(crate) async fn tidy(place: &Place, line: Line, since_ms: u64) -> Result<usize, BackupError> {
    let bases = place.list(&line.bases(), None).await?;
    let (removed, kept) = split(bases, since_ms);
    if removed.is_empty() {
        return Ok(0);
    }
    let mut catalogues = Vec::with_capacity(kept.len());
    for path in &kept {
        catalogues.push(read_catalogue(place, path).await?);
    }
    let mut count = removed.len();
    // First what says that they are whole.
    place.remove(removed).await?;
    let shards = catalogues.iter().map(|base| base.shards.len()).max().unwrap_or(0);
    for index in 0..shards {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let of_shard = || catalogues.iter().filter_map(|base| base.shards.get(index));
        let named: BTreeSet<String> = of_shard()
            .flat_map(|shard| &shard.files)
            .flat_map(|file| file.objects().map(|(name, _, _)| name))
            .collect();
        let files = place.list(&line.files(number), None).await?;
        let unnamed: Vec<Path> =
            files.into_iter().filter(|path| !named.contains(&leaf(path))).collect();
        let from = of_shard().map(ShardBase::kept).min().unwrap_or(0) + 1;
        let pieces = place.list(&line.pieces(number), None).await?;
        let unneeded = before(&pieces, Position(from));
        count += unnamed.len() + unneeded.len();
        place.remove(unnamed).await?;
        place.remove(unneeded).await?;
    }
    Ok(count)
}

/// The pieces, which are in order, that hold nothing from that position on: the next one begins at
/// or before it.
fn before(pieces: &[Path], from: Position) -> Vec<Path> {
    let next = pieces.iter().skip(1).map(first_of);
    let row = pieces.iter().zip(next);
    let unneeded = row.take_while(|(_, next)| next.is_some_and(|next| next <= from));
    unneeded.map(|(path, _)| path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_base_that_a_time_begins_with_stays() {
        let line = Line { store: Uuid::now_v7(), line: Uuid::now_v7() };
        let bases: Vec<Path> = [10, 20, 30].map(|at| line.base(at, Uuid::now_v7())).into();
        for (since, kept) in [(5, 3), (10, 3), (19, 3), (20, 2), (29, 2), (30, 1), (99, 1)] {
            assert_eq!(split(bases.clone(), since).1, bases[3 - kept..], "{since}");
        }
        assert_eq!(split(Vec::new(), 5), (Vec::new(), Vec::new()));
    }

    #[test]
    fn pieces_that_reach_into_what_is_kept_stay() {
        let line = Line { store: Uuid::now_v7(), line: Uuid::now_v7() };
        let pieces: Vec<Path> = [1, 5, 9].map(|first| line.piece(0, Position(first))).into();
        for (from, removed) in [(1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (50, 2)] {
            assert_eq!(before(&pieces, Position(from)), pieces[..removed], "{from}");
        }
    }
}
