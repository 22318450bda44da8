//! What the owner of a queue may set, at any time.

use crate::job::RetryPolicy;
use crate::message::MessageSettings;
use crate::tenant::TenantWeight;
use crate::wire::wire_struct;

wire_struct! {
    /// Options for jobs that do not say otherwise.
    #[derive(Default)]
    pub struct JobDefaults {
        /// 0 to 255, the highest first.
        pub priority: Option<u8> = 1,
        /// The lease where the worker names none.
        pub lease_ms: Option<u64> = 2,
        /// The longest that one run may take.
        pub timeout_ms: Option<u64> = 3,
        /// The delay before another attempt.
        pub retry: Option<RetryPolicy> = 4,
        /// Attempts in all, the first included.
        pub max_attempts: Option<u32> = 5,
        /// No attempt starts later than this after the job may first start.
        pub max_age_ms: Option<u64> = 6,
        /// Not started this long after it may first start, a job expires.
        pub ttl_ms: Option<u64> = 7,
        /// How long outcomes are kept.
        pub retain_ms: Option<u64> = 8,
    }
}

wire_struct! {
    /// The settings of a queue.
    pub struct QueueSettings {
        /// Hands out nothing while set.
        pub paused: bool = 1,
        /// Jobs that may wait or run; beyond it enqueueing is refused.
        pub max_length: Option<u64> = 2,
        /// Options for jobs that do not say otherwise.
        pub defaults: JobDefaults,
        /// What is set of a queue of type *messages*; `None` where it is of type *jobs*.
        pub messages: Option<Box<MessageSettings>> = 60,
        /// The exchange to which the end of each of its jobs is published; of queues of jobs only.
        pub outcomes: Option<String> = 61,
        /// Tenants whose turns have more than one job, in the order of their names.
        pub tenants: Vec<TenantWeight> = 70,
    }
}

impl QueueSettings {
    /// What a queue of this type holds.
    pub fn holds(&self) -> &'static str {
        if self.messages.is_some() { "messages" } else { "jobs" }
    }

    /// [`QueueSettings::DEFAULT`], for whoever keeps a reference.
    pub(crate) fn of_none() -> &'static Self {
        static OF_NONE: QueueSettings = QueueSettings::DEFAULT;
        &OF_NONE
    }

    /// What a queue has that nobody set up.
    pub const DEFAULT: Self = Self {
        paused: false,
        max_length: None,
        defaults: JobDefaults {
            priority: None,
            lease_ms: None,
            timeout_ms: None,
            retry: None,
            max_attempts: None,
            max_age_ms: None,
            ttl_ms: None,
            retain_ms: None,
        },
        messages: None,
        tenants: Vec::new(),
        outcomes: None,
    };
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
