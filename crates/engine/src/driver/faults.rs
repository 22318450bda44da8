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
    /// The journal is given back as far as events are in their files, whatever the state has.
    StateLetGo,
    /// What the state has is replayed once more, where the journal begins before it.
    ReplayedTwice,
    /// What is replayed is not set aside before all of it is.
    ReplayedInMemory,
    /// What was replayed does not count as what a restart has to replay.
    ReplayUncounted,
    /// What is durable when it is sealed is not flushed.
    UnflushedAtRest,
    /// Where nothing more may be sealed, what is to be sealed counts as sealed all the same.
    RotatedInVain,
    /// A journal that is quiet is not marked.
    UnmarkedRest,
    /// What is given back waits for something else that comes in.
    SleepsOnReturns,
    /// The mark of a quiet journal waits for something else that comes in.
    SleepsPastMark,
    /// What is old is set aside with the next thing that comes in.
    SleepsPastAge,
    /// Nobody looks whether a full disk has room again.
    SleepsOnFullDisk,
    /// What a worker can ask for again goes back where it did not hear of it.
    TakenBack,
    /// What comes for a consumer that has gone is let out.
    DeliversToGone,
    /// What is due is done while there is no space.
    WorksWhileRefusing,
    /// What is due is done while a group or memory is full.
    TicksWithoutRoom,
    /// New jobs are taken up while memory is full.
    PublishesWhileFull,
    /// Calls wait for a flush that waits for space.
    HangsWhileCrammed,
    /// Who waits when a shortage begins waits on.
    StrandedCallers,
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
