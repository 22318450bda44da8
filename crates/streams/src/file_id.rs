//! How the files of a partition are called, and which of them count. The name of a file that came
//! of compaction says what it holds in whose place, so that a rename is all that puts it there: it
//! needs no list beside the folder, and whatever a crash leaves is told apart by the names.

use std::cmp::Reverse;

use longshore_engine::PartitionId;

/// A file of a partition.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct FileId {
    /// The first offset that it stands for.
    pub(crate) base: u64,
    /// Where it came of compaction.
    pub(crate) compacted: Option<Compacted>,
}

/// What a file that came of compaction stands for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Compacted {
    /// One more than that of any file it stands in place of.
    pub(crate) generation: u64,
    /// The offset after the last that it stands for.
    pub(crate) end: u64,
    /// Before this offset, nothing is in it of which a newer one was known.
    pub(crate) clean: u64,
    /// Its bytes: gaps being usual in it, nothing else says that its end is missing.
    pub(crate) len_bytes: u64,
}

impl FileId {
    /// A file as it was written event by event.
    pub(crate) fn raw(base: u64) -> Self {
        Self { base, compacted: None }
    }

    /// Up to where it is clean.
    pub(crate) fn clean(&self) -> u64 {
        self.compacted.map_or(self.base, |it| it.clean)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.compacted.map_or(0, |it| it.generation)
    }

    /// Its name: partition and first offset, and after compaction its end, how far it is clean, and
    /// its generation and its length, 16 hexadecimal digits each.
    pub(crate) fn name(&self, partition: PartitionId) -> String {
        let (partition, base) = (partition.0, self.base);
        match self.compacted {
            None => format!("{partition:016x}-{base:016x}.events"),
            Some(Compacted { generation, end, clean, len_bytes }) => format!(
                "{partition:016x}-{base:016x}-{end:016x}-{clean:016x}-{generation:016x}-\
                 {len_bytes:016x}.events"
            ),
        }
    }

    /// The partition and the file of that name.
    pub(crate) fn of_name(name: &str) -> Option<(PartitionId, Self)> {
        let mut numbers = Vec::new();
        for text in name.strip_suffix(".events")?.split('-') {
            let hex = text.len() == 16 && numbers.len() < 6;
            numbers.push(u64::from_str_radix(text, 16).ok().filter(|_| hex)?);
        }
        match numbers[..] {
            [partition, base] => Some((PartitionId(partition), Self::raw(base))),
            [partition, base, end, clean, generation, len_bytes]
                if base < end && (base..=end).contains(&clean) && generation > 0 =>
            {
                let compacted = Some(Compacted { generation, end, clean, len_bytes });
                Some((PartitionId(partition), Self { base, compacted }))
            }
            _ => None,
        }
    }
}

/// The name of a file that compaction writes, before it counts.
pub(crate) const UNFINISHED_NAME: &str = "compacting";

/// Those of a partition's files that count, in order, and those that others stand in place of. What
/// compaction makes stands for whole files that it found, so of two that overlap one holds what the
/// other does, and is of a later generation; of the same one, the one that reaches further does.
/// One that reaches beyond what begins before it has events that nothing else has, and counts.
pub(crate) fn sort_out(mut files: Vec<FileId>) -> (Vec<FileId>, Vec<FileId>) {
    let end = |file: &FileId| file.compacted.map_or(file.base, |it| it.end);
    files.sort_unstable_by_key(|file| (file.base, Reverse(file.generation()), Reverse(end(file))));
    let (mut counting, mut replaced) = (Vec::new(), Vec::new());
    let (mut covered, mut generation) = (0, 0);
    for file in files {
        if file.base < covered && file.generation() <= generation && end(&file) <= covered {
            replaced.push(file);
            continue;
        }
        if let Some(compacted) = file.compacted {
            (covered, generation) = (compacted.end, compacted.generation);
        }
        counting.push(file);
    }
    (counting, replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(base: u64, end: u64, generation: u64) -> FileId {
        FileId { base, compacted: Some(Compacted { generation, end, clean: end, len_bytes: 8 }) }
    }

    #[test]
    fn names_come_back_and_others_are_none_of_ours() {
        for file in [FileId::raw(5), compacted(5, 9, 3)] {
            let name = file.name(PartitionId(7));
            assert_eq!(FileId::of_name(&name), Some((PartitionId(7), file)));
            assert_eq!(FileId::of_name(&name.replace(".events", "-0.events")), None);
        }
        assert_eq!(FileId::of_name("synced"), None);
        assert_eq!(FileId::of_name(&compacted(9, 9, 1).name(PartitionId(1))), None);
        assert_eq!(FileId::of_name(UNFINISHED_NAME), None);
    }

    #[test]
    fn what_stands_in_place_of_others_counts() {
        let (raw, of) = (FileId::raw, compacted);
        let sorted = sort_out(vec![raw(0), raw(5), raw(9), of(0, 9, 1)]);
        assert_eq!(sorted, (vec![of(0, 9, 1), raw(9)], vec![raw(0), raw(5)]));
        let all = vec![of(0, 5, 1), of(5, 9, 1), of(0, 9, 2), raw(0), raw(5), raw(9)];
        let replaced = vec![of(0, 5, 1), raw(0), of(5, 9, 1), raw(5)];
        assert_eq!(sort_out(all), (vec![of(0, 9, 2), raw(9)], replaced));
        // A sync that failed left the first one, and a later life went on from its sources.
        let all = vec![of(0, 9, 1), of(0, 14, 1), raw(9), raw(14)];
        assert_eq!(sort_out(all), (vec![of(0, 14, 1), raw(14)], vec![of(0, 9, 1), raw(9)]));
    }

    #[test]
    fn what_reaches_beyond_what_covers_it_is_not_replaced() {
        let of = compacted;
        // Its sources were trimmed while it was made, and it could not be removed.
        let all = vec![of(0, 9, 1), of(5, 14, 1), FileId::raw(14)];
        assert_eq!(sort_out(all.clone()), (all, Vec::new()));
    }
}
