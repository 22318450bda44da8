//! The producer's side: it hands jobs over, follows them and changes them.

mod bearer;
mod call;
#[expect(clippy::module_inception, reason = "the main type of the module")]
mod client;
mod control;
mod enqueue;
mod error;
pub(crate) mod events;
mod handle;
mod held;
mod kinds;
mod levels;
mod limits;
mod operate;
mod record;
mod schedules;
mod stream;

pub(crate) use bearer::Way;
pub(crate) use call::reason;
pub use client::{Client, ClientBuilder};
pub use control::{Gate, Hold};
pub use enqueue::{Enqueue, EnqueueAll, EnqueueCall, EnqueueService, Enqueued};
pub use error::{ClientError, Refusal};
pub use handle::{Ended, JobHandle};
pub use kinds::{Kind, KindVersion};
pub use levels::{Sla, SlaSettings};
pub use limits::{Limit, LimitSettings};
pub use operate::{Jobs, Resume, Start};
pub use record::{Change, JobRecord, JobState, SkippedItem};
pub use schedules::{Missed, Overlap, Schedule, ScheduleRecord};
pub use stream::{BatchOutcome, StreamedBatch, UnansweredBatch};
