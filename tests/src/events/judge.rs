//! Looks for anomalies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Fate, Operation, Step};

/// What must not be seen, by its name in Jepsen.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Anomaly {
    /// One value has two offsets.
    Duplicate,
    /// One offset has two values.
    InconsistentOffsets,
    /// It was acknowledged, and what came later in its partition was read without it.
    LostWrite,
    /// What an aborted transaction sent was read.
    AbortedRead,
    /// A transaction read what it had sent itself.
    PrecommittedRead,
    /// Two polls that follow each other leave out what lies between them.
    PollSkip,
    /// A poll goes back behind the one before it.
    NonmonotonicPoll,
    /// The same within one operation.
    InternalPollSkip,
    /// The same within one operation.
    InternalNonmonotonicPoll,
    /// Two sends of one transaction have somebody else's between them.
    InternalSendSkip,
    /// A later send of one transaction lies before an earlier one.
    InternalNonmonotonicSend,
    /// A later send of one client lies before an earlier one.
    NonmonotonicSend,
    /// It was acknowledged, and nobody read it by the end.
    Unseen,
    /// Transactions read from each other in a circle, by reads alone.
    CyclicReads,
}

/// One of them, with what it was seen in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// What it is.
    pub anomaly: Anomaly,
    /// Where.
    pub what: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.anomaly, self.what)
    }
}

type Partition = u32;
type Offset = i64;
type Value = u64;

/// What all operations together say.
#[derive(Debug, Default)]
struct Facts {
    /// What is known of each partition, in its order.
    logs: BTreeMap<Partition, BTreeMap<Offset, BTreeSet<Value>>>,
    offsets: BTreeMap<(Partition, Value), BTreeSet<Offset>>,
    acknowledged: BTreeSet<(Partition, Value)>,
    aborted: BTreeSet<(Partition, Value)>,
    read: BTreeSet<(Partition, Value)>,
    sender: BTreeMap<(Partition, Value), usize>,
}

/// What an operation did, one event after the other: whether it was sent, and where.
fn events(operation: &Operation) -> Vec<(bool, Partition, Option<Offset>, Value)> {
    let mut events = Vec::new();
    for step in &operation.steps {
        match step {
            Step::Send { partition, offset, value } => {
                events.push((true, *partition, *offset, *value));
            }
            Step::Poll { partition, events: polled } => {
                let polled =
                    polled.iter().map(|(at, value)| (false, *partition, Some(*at), *value));
                events.extend(polled);
            }
        }
    }
    events
}

impl Facts {
    fn of(history: &[Operation]) -> Self {
        let mut facts = Self::default();
        for (number, operation) in history.iter().enumerate() {
            for (is_sent, partition, offset, value) in events(operation) {
                let event = (partition, value);
                match (is_sent, operation.fate) {
                    (false, _) => _ = facts.read.insert(event),
                    (true, Fate::Ok) => _ = facts.acknowledged.insert(event),
                    (true, Fate::Fail) => _ = facts.aborted.insert(event),
                    (true, Fate::Info) => {}
                }
                if is_sent {
                    facts.sender.insert(event, number);
                }
                // Where an aborted event lies says nothing of what is to be seen.
                if let Some(offset) = offset
                    && !(is_sent && operation.fate == Fate::Fail)
                {
                    facts.offsets.entry(event).or_default().insert(offset);
                    let log = facts.logs.entry(partition).or_default();
                    log.entry(offset).or_default().insert(value);
                }
            }
        }
        facts
    }

    /// Whether something that is surely to be seen lies between two offsets.
    fn is_between(&self, partition: Partition, from: Offset, to: Offset) -> bool {
        let Some(log) = self.logs.get(&partition).filter(|_| from + 1 < to) else { return false };
        let mut between = log.range(from + 1..to).flat_map(|(_, values)| values);
        between.any(|value| {
            let event = (partition, *value);
            self.acknowledged.contains(&event) || self.read.contains(&event)
        })
    }
}

/// Everything that is wrong in a history whose clients have read all partitions to their ends.
pub fn judge(history: &[Operation]) -> Vec<Found> {
    let facts = Facts::of(history);
    let mut found = Vec::new();
    of_logs(&facts, &mut found);
    of_order(history, &facts, &mut found);
    for (number, operation) in history.iter().enumerate() {
        within(number, operation, &facts, &mut found);
    }
    cyclic_reads(history, &facts, &mut found);
    found
}

fn tell(found: &mut Vec<Found>, anomaly: Anomaly, what: String) {
    found.push(Found { anomaly, what });
}

/// What the partitions tell, whoever looked.
fn of_logs(facts: &Facts, found: &mut Vec<Found>) {
    for ((partition, value), offsets) in &facts.offsets {
        if offsets.len() > 1 {
            let what = format!("{value} is at {offsets:?} of partition {partition}");
            tell(found, Anomaly::Duplicate, what);
        }
    }
    for (partition, log) in &facts.logs {
        let mut last_read = None;
        for (offset, values) in log {
            if values.len() > 1 {
                let what = format!("offset {offset} of partition {partition} says {values:?}");
                tell(found, Anomaly::InconsistentOffsets, what);
            }
            if values.iter().any(|value| facts.read.contains(&(*partition, *value))) {
                last_read = Some(*offset);
            }
        }
        let before = log.iter().take_while(|(offset, _)| Some(**offset) <= last_read);
        for (offset, value) in before.flat_map(|(at, values)| values.iter().map(move |it| (at, it)))
        {
            let event = (*partition, *value);
            if facts.acknowledged.contains(&event) && !facts.read.contains(&event) {
                let what = format!("{value} at {offset} of partition {partition}");
                tell(found, Anomaly::LostWrite, what);
            }
        }
    }
    for (partition, value) in facts.acknowledged.difference(&facts.read) {
        tell(found, Anomaly::Unseen, format!("{value} of partition {partition}"));
    }
    for (partition, value) in facts.aborted.intersection(&facts.read) {
        tell(found, Anomaly::AbortedRead, format!("{value} of partition {partition}"));
    }
}

/// What one client saw, from one operation to the next.
fn of_order(history: &[Operation], facts: &Facts, found: &mut Vec<Found>) {
    let mut sent: BTreeMap<(&str, Partition), Offset> = BTreeMap::new();
    let mut polled: BTreeMap<(&str, u64, Partition), Offset> = BTreeMap::new();
    for operation in history {
        let process = operation.process.as_str();
        // Only from one operation to the next: what is within has names of its own.
        let (mut first_polled, mut last_polled) = (BTreeMap::new(), BTreeMap::new());
        let (mut first_sent, mut last_sent) = (BTreeMap::new(), BTreeMap::new());
        for (is_sent, partition, offset, _) in events(operation) {
            let Some(offset) = offset else { continue };
            let (first, last) = if is_sent {
                (&mut first_sent, &mut last_sent)
            } else {
                (&mut first_polled, &mut last_polled)
            };
            first.entry(partition).or_insert(offset);
            last.insert(partition, offset);
        }
        for (partition, first) in first_sent {
            let before = sent.get(&(process, partition));
            if let Some(before) = before.filter(|before| first <= **before) {
                let what = format!("{process} at {first} after {before} of partition {partition}");
                tell(found, Anomaly::NonmonotonicSend, what);
            }
        }
        for (partition, first) in first_polled {
            let Some(before) = polled.get(&(process, operation.position, partition)) else {
                continue;
            };
            let what = format!("{process} at {first} after {before} of partition {partition}");
            if first <= *before {
                tell(found, Anomaly::NonmonotonicPoll, what);
            } else if facts.is_between(partition, *before, first) {
                tell(found, Anomaly::PollSkip, what);
            }
        }
        sent.extend(last_sent.into_iter().map(|(partition, at)| ((process, partition), at)));
        let last = last_polled.into_iter();
        polled.extend(last.map(|(partition, at)| ((process, operation.position, partition), at)));
    }
}

/// What one operation shows of itself.
fn within(number: usize, operation: &Operation, facts: &Facts, found: &mut Vec<Found>) {
    let process = &operation.process;
    let mut last: BTreeMap<(bool, Partition), Offset> = BTreeMap::new();
    for (is_sent, partition, offset, value) in events(operation) {
        if !is_sent && facts.sender.get(&(partition, value)) == Some(&number) {
            let what = format!("{process} read its own {value} of partition {partition}");
            tell(found, Anomaly::PrecommittedRead, what);
        }
        let Some(offset) = offset else { continue };
        let Some(before) = last.insert((is_sent, partition), offset) else { continue };
        let what = format!("{process} at {offset} after {before} of partition {partition}");
        let (back, skip) = if is_sent {
            (Anomaly::InternalNonmonotonicSend, Anomaly::InternalSendSkip)
        } else {
            (Anomaly::InternalNonmonotonicPoll, Anomaly::InternalPollSkip)
        };
        if offset <= before {
            tell(found, back, what);
        } else if operation.fate != Fate::Fail && facts.is_between(partition, before, offset) {
            tell(found, skip, what);
        }
    }
}

/// Who read from whom, where that leads back.
fn cyclic_reads(history: &[Operation], facts: &Facts, found: &mut Vec<Found>) {
    let mut reads_from: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (number, operation) in history.iter().enumerate() {
        for (is_sent, partition, _, value) in events(operation) {
            let sender = facts.sender.get(&(partition, value)).copied();
            if let Some(sender) = sender.filter(|sender| !is_sent && *sender != number) {
                reads_from.entry(number).or_default().insert(sender);
            }
        }
    }
    // What reads from nobody is in no circle, and neither is what reads only from such.
    loop {
        let keys: BTreeSet<usize> = reads_from.keys().copied().collect();
        for senders in reads_from.values_mut() {
            senders.retain(|sender| keys.contains(sender));
        }
        reads_from.retain(|_, senders| !senders.is_empty());
        if reads_from.len() == keys.len() {
            break;
        }
    }
    if !reads_from.is_empty() {
        let in_circles: Vec<_> = reads_from.keys().filter_map(|it| history.get(*it)).collect();
        tell(found, Anomaly::CyclicReads, format!("{in_circles:?}"));
    }
}
