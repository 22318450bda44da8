//! Facts about limits, gates and levels whose parts are brought up to date bit by bit, about
//! waiting jobs that administrators or their producers change, and what is told of jobs. They are
//! one record of [`Record`](super::Record), and have numbers of their own.

use bytes::Bytes;

use crate::ids::{JobId, NamespaceId, PartitionId, Place};
use crate::limit::LimitSettings;
use crate::stream::LivesLot;
use crate::wire::wire_enum;

wire_enum! {
    /// What was brought up to date, or is to be.
    pub enum Upkeep {
        /// A limit was put, changed or removed. Its keys follow.
        1 => LimitChanged {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
            /// What holds from now on; none where it was removed.
            settings: Option<LimitSettings> = 1,
        },
        /// Keys of a limit are as it is now.
        2 => LimitKeysSettled {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
            /// Which.
            keys: Vec<String>,
            /// Where the round over its keys goes on; none where that was all.
            next: Option<(u8, Option<String>)> = 1,
        },
        /// A key of a limit is as that is now: it was asked about before the round came to it.
        3 => LimitKeySettled {
            /// Its namespace.
            namespace: NamespaceId,
            /// The limit.
            name: String,
            /// The key.
            key: String,
        },
        /// Minutes were removed that were kept of a level that is gone, or measures something else.
        4 => SlaMinutesRemoved {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
            /// Which.
            minutes: Vec<u64>,
            /// Whether some are left.
            more: bool = 1,
        },
        /// A line of jobs that name several keys of limits waits under another one of them.
        5 => LineMoved {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its first job.
            id: JobId,
            /// Which of its keys, in the order in which the job names them.
            under: u32,
        },
        /// A waiting job went to another queue, or has another priority.
        223 => JobMoved {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// Its queue from now on, where that changes.
            queue: Option<String> = 1,
            /// Its priority from now on, where that changes.
            priority: Option<u8> = 2,
            /// Its order of entry into that queue.
            place: Option<Place> = 3,
        },
        /// A job that no worker ever had was withdrawn: nothing is left of it.
        224 => JobWithdrawn {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
        },
        /// A job that may be withdrawn was named to others than who enqueued it: it stays.
        225 => JobTold {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
        },
        /// Steps of jobs, which the records before it are, are events of the stream for these.
        236 => LivesTold {
            /// The name of their namespace.
            namespace: String,
            /// By partition, in order.
            lots: Vec<LivesLot>,
        },
        /// The events of these keys are all kept no longer: they are not counted any more.
        251 => KeysForgotten {
            /// Partition and key of each.
            keys: Vec<(PartitionId, Bytes)>,
        },
    }
}
