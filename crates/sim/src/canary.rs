//! Faults put in on purpose, to prove that the simulator notices them: mutations of the driver that
//! ships, and faults of the disk, of the state and of what the engine is told.

use std::cell::Cell;

use longshore_engine::driver::{Fault, Faults};

use crate::random::Random;

/// A fault that the invariants must catch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Canary {
    /// A condition of the driver is left out.
    Driver(Fault),
    /// Syncs do nothing: an append answers before the disk has it.
    NoFsync,
    /// A new life counts its epochs and tokens from the beginning.
    TokenReuse,
    /// A flush leaves out the index of dead jobs.
    LostDeadSet,
    /// A checkpoint counts whatever its token.
    StaleToken,
    /// A flush keeps checkpoints as the flush before it did.
    CursorBack,
    /// What workers say of jobs that they start is not heard.
    StartUnheard,
    /// What workers that come back say of jobs that they started is not heard.
    ReturnUnheard,
    /// A flush forgets that the runs of its time came farther.
    HeadwayForgotten,
    /// A run that is interrupted is taken for one that is released.
    InterruptUnheard,
    /// The progress of runs is not heard: what runs at most once and told it can be given back.
    ProgressUnheard,
    /// A flush keeps the locks of unique keys that were let go since the flush before.
    LeakedLock,
    /// A flush keeps how far schedules have come as the flush before it did.
    ScheduleBack,
    /// A flush keeps keys of limits as spent whose slots were given back since the flush before.
    LeakedSlot,
    /// A flush keeps what windows have counted as the flush before it did.
    WindowBack,
    /// A flush keeps levels, and how often they were breached, as the flush before it did.
    BreachBack,
    /// A flush keeps what is known of tenants whose last jobs ended since the flush before.
    LeakedTenant,
    /// A flush leaves out gates.
    LostGates,
    /// A worker that names versions is taken for one that runs them all.
    VersionsUnheard,
    /// A flush keeps what was measured of levels as the flush before it did.
    LevelBack,
    /// A flush keeps how far operations have come as the flush before it did.
    OperationBack,
    /// A flush keeps jobs aside for tags that were let go since the flush before.
    LeakedHold,
    /// Events are shown before the journal has them.
    EventsShownEarly,
    /// The last marker of a transaction says that it was aborted.
    HalfTransaction,
    /// Nobody is told of aborted transactions whose events compaction has not taken out yet.
    AbortedForgottenEarly,
    /// A flush keeps messages that were acked since the flush before.
    ForgottenAck,
    /// A flush has what was published to several queues in the first of them only.
    HalfFanout,
    /// A flush leaves out messages whose time has not come, and with them ends of jobs.
    LostDelayed,
    /// A message that goes back goes to the end of its queue.
    LostPlace,
    /// Of a message that comes again it is not told that it does.
    UntoldRedelivery,
    /// A flush keeps how far triggers have come as the flush before it did.
    TriggerBack,
    /// A flush leaves out messages that are events as well, in the namespace of those.
    EventAlone,
    /// Whoever brings events to a trigger is believed that it has come no further.
    EventsTwice,
    /// Whoever brings events to a replay leaves out the first of them.
    ReplayGap,
    /// A flush keeps how many events keys have as the flush before it did.
    CountBack,
    /// How many events of a key are expected is not heard.
    ExpectationUnheard,
    /// The success of a job is told as its start.
    StepUntold,
    /// A flush leaves out the answers that are kept for keys.
    LostAnswers,
    /// Messages are published without their ordering keys.
    KeysUnheard,
    /// A flush keeps messages in the queues that they were moved out of since the flush before.
    DoubledMove,
    /// A flush leaves out messages that were moved since the flush before.
    LostMove,
    /// A flush keeps gates that were opened since the flush before.
    LeakedGate,
    /// A flush keeps how many jobs need sets of gates as the flush before it did.
    GateSetBack,
    /// A flush leaves out which queues, kinds and namespaces limits hold back.
    LostSlots,
    /// That a job is withdrawn is told, and not heard.
    WithdrawalUnheard,
    /// The priorities of jobs are not heard.
    PriorityUnheard,
    /// Leases run by wall time, which steps.
    WallLeases,
    /// A flush forgets how the last runs of jobs ended.
    LostEnds,
    /// A flush leaves out which job is the first of each ordering key.
    LostHeads,
    /// A flush leaves out what producers appended last.
    ForgottenProducer,
    /// A flush leaves out which outcomes are to be forgotten.
    KeptOutcomes,
    /// The tree that ships is not told of some of what is removed.
    RemovedStays,
}

/// Every canary with its name on the command line.
pub const CANARIES: [(&str, Canary); 92] = [
    ("no-fsync", Canary::NoFsync),
    ("token-reuse", Canary::TokenReuse),
    ("lost-dead-set", Canary::LostDeadSet),
    ("stale-token", Canary::StaleToken),
    ("cursor-back", Canary::CursorBack),
    ("start-unheard", Canary::StartUnheard),
    ("return-unheard", Canary::ReturnUnheard),
    ("headway-forgotten", Canary::HeadwayForgotten),
    ("interrupt-unheard", Canary::InterruptUnheard),
    ("progress-unheard", Canary::ProgressUnheard),
    ("leaked-lock", Canary::LeakedLock),
    ("leaked-slot", Canary::LeakedSlot),
    ("window-back", Canary::WindowBack),
    ("breach-back", Canary::BreachBack),
    ("leaked-tenant", Canary::LeakedTenant),
    ("lost-gates", Canary::LostGates),
    ("leaked-hold", Canary::LeakedHold),
    ("versions-unheard", Canary::VersionsUnheard),
    ("level-back", Canary::LevelBack),
    ("operation-back", Canary::OperationBack),
    ("schedule-back", Canary::ScheduleBack),
    ("forgotten-ack", Canary::ForgottenAck),
    ("half-fanout", Canary::HalfFanout),
    ("lost-delayed", Canary::LostDelayed),
    ("lost-place", Canary::LostPlace),
    ("untold-redelivery", Canary::UntoldRedelivery),
    ("lost-answers", Canary::LostAnswers),
    ("keys-unheard", Canary::KeysUnheard),
    ("doubled-move", Canary::DoubledMove),
    ("lost-move", Canary::LostMove),
    ("leaked-gate", Canary::LeakedGate),
    ("gate-set-back", Canary::GateSetBack),
    ("lost-slots", Canary::LostSlots),
    ("withdrawal-unheard", Canary::WithdrawalUnheard),
    ("answer-before-commit", Canary::Driver(Fault::AnswerBeforeCommit)),
    ("starved-is-durable", Canary::Driver(Fault::StarvedIsDurable)),
    ("two-groups", Canary::Driver(Fault::TwoGroups)),
    ("finished-early", Canary::Driver(Fault::FinishedEarly)),
    ("skipped-replay", Canary::Driver(Fault::SkippedReplay)),
    ("rotated-in-group", Canary::Driver(Fault::RotatedInGroup)),
    ("overfull-memtable", Canary::Driver(Fault::OverfullMemtable)),
    ("long-replay", Canary::Driver(Fault::LongReplay)),
    ("old-change", Canary::Driver(Fault::OldChange)),
    ("flush-beyond-durable", Canary::Driver(Fault::FlushBeyondDurable)),
    ("unflushed", Canary::Driver(Fault::Unflushed)),
    ("truncate-beyond-flushed", Canary::Driver(Fault::TruncateBeyondFlushed)),
    ("kept-journal", Canary::Driver(Fault::KeptJournal)),
    ("unmarked", Canary::Driver(Fault::Unmarked)),
    ("stranded-answer", Canary::Driver(Fault::StrandedAnswer)),
    ("stranded-delivery", Canary::Driver(Fault::StrandedDelivery)),
    ("stranded-return", Canary::Driver(Fault::StrandedReturn)),
    ("left-early", Canary::Driver(Fault::LeftEarly)),
    ("grants-on-full-disk", Canary::Driver(Fault::GrantsOnFullDisk)),
    ("takes-in-while-crammed", Canary::Driver(Fault::TakesInWhileCrammed)),
    ("hangs-while-starved", Canary::Driver(Fault::HangsWhileStarved)),
    ("huge-group", Canary::Driver(Fault::HugeGroup)),
    ("events-shown-early", Canary::EventsShownEarly),
    ("half-transaction", Canary::HalfTransaction),
    ("aborted-forgotten-early", Canary::AbortedForgottenEarly),
    ("events-let-go", Canary::Driver(Fault::EventsLetGo)),
    ("events-unread", Canary::Driver(Fault::EventsUnread)),
    ("state-let-go", Canary::Driver(Fault::StateLetGo)),
    ("replayed-twice", Canary::Driver(Fault::ReplayedTwice)),
    ("replayed-in-memory", Canary::Driver(Fault::ReplayedInMemory)),
    ("replay-uncounted", Canary::Driver(Fault::ReplayUncounted)),
    ("unflushed-at-rest", Canary::Driver(Fault::UnflushedAtRest)),
    ("rotated-in-vain", Canary::Driver(Fault::RotatedInVain)),
    ("unmarked-rest", Canary::Driver(Fault::UnmarkedRest)),
    ("sleeps-on-returns", Canary::Driver(Fault::SleepsOnReturns)),
    ("sleeps-past-mark", Canary::Driver(Fault::SleepsPastMark)),
    ("sleeps-past-age", Canary::Driver(Fault::SleepsPastAge)),
    ("sleeps-on-full-disk", Canary::Driver(Fault::SleepsOnFullDisk)),
    ("taken-back", Canary::Driver(Fault::TakenBack)),
    ("delivers-to-gone", Canary::Driver(Fault::DeliversToGone)),
    ("works-while-refusing", Canary::Driver(Fault::WorksWhileRefusing)),
    ("ticks-without-room", Canary::Driver(Fault::TicksWithoutRoom)),
    ("publishes-while-full", Canary::Driver(Fault::PublishesWhileFull)),
    ("hangs-while-crammed", Canary::Driver(Fault::HangsWhileCrammed)),
    ("stranded-callers", Canary::Driver(Fault::StrandedCallers)),
    ("trigger-back", Canary::TriggerBack),
    ("event-alone", Canary::EventAlone),
    ("events-twice", Canary::EventsTwice),
    ("replay-gap", Canary::ReplayGap),
    ("step-untold", Canary::StepUntold),
    ("priority-unheard", Canary::PriorityUnheard),
    ("wall-leases", Canary::WallLeases),
    ("lost-ends", Canary::LostEnds),
    ("lost-heads", Canary::LostHeads),
    ("forgotten-producer", Canary::ForgottenProducer),
    ("kept-outcomes", Canary::KeptOutcomes),
    ("count-back", Canary::CountBack),
    ("expectation-unheard", Canary::ExpectationUnheard),
];

/// Those that only a run over the tree that ships can notice, likewise.
pub const TREE_CANARIES: [(&str, Canary); 1] = [("removed-stays", Canary::RemovedStays)];

impl Canary {
    fn all() -> impl Iterator<Item = (&'static str, Self)> {
        CANARIES.into_iter().chain(TREE_CANARIES)
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|(of, _)| *of == name).map(|(_, canary)| canary)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::all().find(|(_, it)| *it == self).map_or("", |(name, _)| name)
    }
}

/// The fault of one driver, or none.
#[derive(Debug)]
pub(crate) struct Injected {
    fault: Option<Fault>,
    seed: Cell<u64>,
}

impl Injected {
    pub(crate) fn of(canary: Option<Canary>, seed: u64) -> Self {
        let fault = match canary {
            Some(Canary::Driver(fault)) => Some(fault),
            _ => None,
        };
        Self { fault, seed: Cell::new(seed) }
    }
}

impl Faults for Injected {
    fn has(&self, fault: Fault) -> bool {
        if self.fault != Some(fault) {
            return false;
        }
        // Not every entry: a start that skips all of them is noticed by far too much.
        self.seed.set(self.seed.get().wrapping_add(1));
        fault != Fault::SkippedReplay || Random::new(self.seed.get()).percent(10)
    }
}
