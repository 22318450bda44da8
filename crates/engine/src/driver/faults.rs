//! Mutations of the driver, put in on purpose: the simulator shows that each is noticed. Which ones
//! a driver has is a type of its own, so a driver without faults has none of this in its code.

/// A condition of the driver that is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Effects are let out when they are decided, not when their records are durable.
    AnswerBeforeCommit,
    /// A group that waits for space counts as durable.
    StarvedIsDurable,
    /// A group is sealed while another one is being made durable.
    TwoGroups,
    /// The shard ends with a group that is not durable.
    FinishedEarly,
    /// An entry is left out in a replay.
    SkippedReplay,
    /// The state is kept as it is in the middle of a group.
    RotatedInGroup,
    /// A memtable that is full is written on.
    OverfullMemtable,
    /// The journal that a restart replays may be of any length.
    LongReplay,
    /// A change may stay out of the state on disk for ever.
    OldChange,
    /// What is sealed is flushed, although the journal does not have as much.
    FlushBeyondDurable,
    /// What is sealed before it is durable is not flushed once it is.
    Unflushed,
    /// The journal is given back up to what is durable, not to what is flushed.
    TruncateBeyondFlushed,
    /// The journal's space is not given back.
    KeptJournal,
    /// A journal is not marked before it rests.
    Unmarked,
    /// The answer of a caller that has gone takes its leases along.
    StrandedAnswer,
    /// What is delivered to a consumer that has gone is dropped.
    StrandedDelivery,
    /// What was let out and came to nobody is not given back.
    StrandedReturn,
    /// A consumer has left while something is on its way to it.
    LeftEarly,
    /// Jobs are granted while the disk has room for settlements alone.
    GrantsOnFullDisk,
    /// Calls are taken up while memory is full of what cannot be flushed.
    TakesInWhileCrammed,
    /// What waits for space is not refused.
    HangsWhileStarved,
    /// A group may be of any size.
    HugeGroup,
    /// The journal is given back although events are not in their files.
    EventsLetGo,
    /// A start reads the journal from where the state is, whatever the files of the events have.
    EventsUnread,
}

/// Which faults a driver has.
pub trait Faults {
    /// Whether it has this one, here and now.
    fn has(&self, fault: Fault) -> bool;
}

/// None.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    #[inline]
    fn has(&self, _: Fault) -> bool {
        false
    }
}
