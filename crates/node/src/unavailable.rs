//! Why a shard does not answer now. Never "not found": what it holds is still there.

use thiserror::Error;

/// A call that got no answer. Whether a command that was accepted took effect is not known, unless
/// the cause says that it was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("shard {shard} is unavailable: {reason}")]
pub struct Unavailable {
    /// Which shard.
    pub shard: u32,
    /// What kind of reason.
    pub cause: Cause,
    /// The reason in words.
    pub reason: String,
    /// When to try again, in seconds, where that helps.
    pub retry_after_s: Option<u64>,
}

/// What keeps a shard, or the whole node, from answering.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// It replays its journal and will serve soon.
    Starting,
    /// It has met a fault and serves no more until somebody looks at it.
    Stopped,
    /// The server is being stopped.
    Stopping,
    /// More work is waiting than may.
    Overloaded,
    /// The disk is nearly full: this kind of command is refused. Or it is full, reserve and all:
    /// then a command that was under way may take effect once there is space.
    DiskLow,
    /// Too many bytes of bodies are in flight: this kind of command is refused.
    MemoryLow,
    /// A bug was met while answering; the shard goes on.
    Bug,
}

impl Cause {
    /// The permanent code, as in `docs/errors.md`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Starting => "shard_starting",
            Self::Stopped => "shard_stopped",
            Self::Stopping => "stopping",
            Self::Overloaded => "overloaded",
            Self::DiskLow => "disk_low",
            Self::MemoryLow => "memory_low",
            Self::Bug => "internal",
        }
    }

    /// Whether the command certainly had no effect.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Starting | Self::Overloaded | Self::MemoryLow)
    }

    /// Seconds after which trying again makes sense. What has stopped does not heal by itself.
    pub const fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::Starting | Self::Overloaded | Self::MemoryLow => Some(1),
            Self::Stopping | Self::Bug => Some(5),
            Self::DiskLow => Some(15),
            Self::Stopped => None,
        }
    }
}

impl Unavailable {
    /// A call to that shard that got no answer, for this reason.
    pub fn new(shard: u32, cause: Cause, reason: impl Into<String>) -> Self {
        Self { shard, cause, reason: reason.into(), retry_after_s: cause.retry_after_s() }
    }
}
