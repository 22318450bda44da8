//! Faults put in on purpose, to prove that the simulator notices them. Each is a switch in the
//! simulated driver or disk; none is in code that the server runs.

/// A fault of the shard's driver that the invariants must catch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Canary {
    /// Syncs do nothing: an append answers before the disk has it.
    NoFsync,
    /// Answers go out when they are decided, not when their records are durable.
    AnswerBeforeCommit,
    /// A new life counts its epochs and tokens from the beginning.
    TokenReuse,
    /// The state is flushed at a position that the journal does not have yet.
    FlushBeyondDurable,
    /// A flush leaves out the index of dead jobs.
    LostDeadSet,
    /// Recovery leaves out an entry.
    SkippedReplay,
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
    /// What is delivered to a consumer that has gone is dropped.
    StrandedGrant,
    /// The journal is given back without a sync of the files that the events went to.
    EventsLetGo,
}

impl Canary {
    /// Every one of them.
    pub const ALL: [Self; 15] = [
        Self::NoFsync,
        Self::AnswerBeforeCommit,
        Self::TokenReuse,
        Self::FlushBeyondDurable,
        Self::LostDeadSet,
        Self::SkippedReplay,
        Self::StaleToken,
        Self::CursorBack,
        Self::StartUnheard,
        Self::ReturnUnheard,
        Self::HeadwayForgotten,
        Self::InterruptUnheard,
        Self::ProgressUnheard,
        Self::StrandedGrant,
        Self::EventsLetGo,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoFsync => "no-fsync",
            Self::AnswerBeforeCommit => "answer-before-commit",
            Self::TokenReuse => "token-reuse",
            Self::FlushBeyondDurable => "flush-beyond-durable",
            Self::LostDeadSet => "lost-dead-set",
            Self::SkippedReplay => "skipped-replay",
            Self::StaleToken => "stale-token",
            Self::CursorBack => "cursor-back",
            Self::StartUnheard => "start-unheard",
            Self::ReturnUnheard => "return-unheard",
            Self::HeadwayForgotten => "headway-forgotten",
            Self::InterruptUnheard => "interrupt-unheard",
            Self::ProgressUnheard => "progress-unheard",
            Self::StrandedGrant => "stranded-grant",
            Self::EventsLetGo => "events-let-go",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|canary| canary.name() == name)
    }
}
