//! What a driver takes in and what it wants done.

use super::waiting::Call;
use crate::Position;
use crate::answer::{Answer, Delivery};
use crate::command::{Command, ConsumerId, ReplyTo};
use crate::driver::DiskLevel;
use crate::effect::CloseReason;
use crate::message::MessageDelivery;
use crate::turn::SealedGroup;

/// What comes in.
#[derive(Debug)]
pub enum Input<C> {
    /// A call is taken up, as [`Driver::admit`](super::Driver::admit) allows.
    Call(Call<C>),
    /// Nothing more is taken up for now: what is due is done, and what was decided is made durable.
    EndTurn,
    /// The journal is durable up to here; the group in flight is in it.
    Committed(Position),
    /// Something is durable beside the journal.
    Flushed {
        /// The state on disk is that at this position.
        persisted: Position,
        /// The events of streams are in their files up to this position; `None` where there are
        /// none.
        events: Option<Position>,
    },
    /// The group in flight has waited for space for so long that its callers are to be told.
    Starved,
    /// Whether a flush waits for space.
    FlushWaits(bool),
    /// What the disk allows from now on.
    Disk(DiskLevel),
    /// This caller has gone.
    CallerGone(ReplyTo),
    /// This consumer has gone.
    ConsumerGone(ConsumerId),
    /// What was let out and came to nobody goes back.
    GiveBack {
        /// Its namespace.
        namespace: String,
        /// How: of [`Delivery::released`] and [`MessageDelivery::untaken`].
        command: Command,
    },
    /// The shard is to end.
    End(Ending),
}

/// How a shard is to end, the stronger one last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Ending {
    /// Nobody shall wait any more: the server is about to stop.
    Begin,
    /// Finish what is there and end.
    Finish,
    /// End at once, as in a crash. No driver hears of it.
    Abandon,
}

/// What is to be done.
#[derive(Debug)]
pub enum Action<C> {
    /// Give the caller its answer.
    Reply {
        /// The call.
        reply_to: ReplyTo,
        /// Whose it is.
        caller: C,
        /// What to say.
        answer: Answer,
        /// The namespace that leases in it are given back in, should they come to nobody.
        give_back_in: Option<String>,
    },
    /// Nothing: the caller of this answer has gone, and leases in it that it cannot ask for again
    /// go back. For whoever counts.
    Unheard {
        /// The call.
        reply_to: ReplyTo,
        /// What would have been said.
        answer: Answer,
    },
    /// Tell the caller that its answer does not come: there is no space. Whether what it asked for
    /// takes effect is not known.
    Dismiss {
        /// Whose it is.
        caller: C,
    },
    /// Hand jobs to a consumer. Those that come to nobody are to be given back.
    Deliver {
        /// Who takes them.
        consumer: ConsumerId,
        /// The jobs, in the order in which they are to start.
        jobs: Vec<Delivery>,
    },
    /// Hand messages to a consumer of a connection. Those that come to nobody are to be given back.
    DeliverMessages {
        /// Who takes them.
        consumer: ConsumerId,
        /// The messages, in order.
        messages: Vec<MessageDelivery>,
    },
    /// Nothing: the consumer has gone, and these go back. For whoever counts.
    Undelivered {
        /// Whose they were.
        consumer: ConsumerId,
        /// The jobs.
        jobs: Vec<Delivery>,
    },
    /// Tell a consumer that it gets nothing more.
    Close {
        /// Who.
        consumer: ConsumerId,
        /// Why.
        reason: CloseReason,
    },
    /// Nothing is on its way any more to this consumer, which has gone.
    Left {
        /// Who.
        consumer: ConsumerId,
    },
    /// Append the group to the journal, for as long as it takes, write what it changes of streams
    /// to their files then, and say that it is durable.
    Commit {
        /// The entries.
        group: SealedGroup,
        /// How many calls they come from.
        calls: usize,
    },
    /// Flush the sealed memtables at or below this position, which the journal has, and the files
    /// of the streams.
    Flush {
        /// The position.
        durable: Position,
    },
    /// Give back the journal's space before this position.
    Truncate {
        /// The position.
        before: Position,
    },
    /// Say in the journal that everything in it is durable.
    Mark,
    /// The disk has no space left for anything, or has some again.
    Shortage {
        /// Whether calls are refused from now on.
        begins: bool,
    },
}
