//! Unique jobs: in what they agree, how long one counts, and what becomes of another.

use std::time::Duration;

use longshore_proto::v1;

use crate::options::span_ms;

/// How long a unique job counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UniqueUntil {
    /// Until a worker gets it for the first time, or it ends before that.
    Started,
    /// Until it has ended, whichever way.
    Ended,
    /// Until its outcome is forgotten, or it is removed.
    Forgotten,
}

/// What becomes of a job whose like is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OnConflict {
    Reject,
    Existing,
    Replace { args: bool, run_at: bool },
    Debounce,
    Throttle,
}

/// How a job is to be unique. Jobs are alike that have the same kind, queue and args, unless
/// [`by`](Self::by) says otherwise.
///
/// ```
/// use std::time::Duration;
///
/// use longshore::{JobOptions, Unique};
///
/// // One report of a customer at a time; whoever asks for another gets that one.
/// let report = JobOptions::new().unique(Unique::existing().by(["kind", "/customer"]));
/// // Index a page ten seconds after the last of many changes.
/// let index = JobOptions::new()
///     .unique(Unique::debounce().by(["kind", "/page"]))
///     .delay(Duration::from_secs(10));
/// // A warning at most once an hour.
/// let warning = JobOptions::new().unique(Unique::throttle(Duration::from_secs(3600)));
/// # let _ = (report, index, warning);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Unique {
    by: Vec<String>,
    key: String,
    period: Option<Duration>,
    until: Option<UniqueUntil>,
    on_conflict: OnConflict,
}

impl Unique {
    fn of(on_conflict: OnConflict) -> Self {
        Self { by: Vec::new(), key: String::new(), period: None, until: None, on_conflict }
    }

    /// Another job is refused, with the code `unique_taken`.
    pub fn reject() -> Self {
        Self::of(OnConflict::Reject)
    }

    /// The answer to another job is the one that is there.
    pub fn existing() -> Self {
        Self::of(OnConflict::Existing)
    }

    /// The job that waits gets the other one's args and time.
    pub fn replace() -> Self {
        Self::of(OnConflict::Replace { args: true, run_at: true })
    }

    /// The job that waits gets the other one's args and keeps its time.
    pub fn replace_args() -> Self {
        Self::of(OnConflict::Replace { args: true, run_at: false })
    }

    /// The job that waits gets the other one's time and keeps its args.
    pub fn debounce() -> Self {
        Self::of(OnConflict::Debounce)
    }

    /// Another job of the same period is dropped, also when the first one has ended.
    pub fn throttle(period: Duration) -> Self {
        Self { period: Some(period), ..Self::of(OnConflict::Throttle) }
    }

    /// In what such jobs agree: `kind`, `queue`, `args`, and JSON pointers into the args, such as
    /// `/order/id`.
    pub fn by(mut self, parts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.by = parts.into_iter().map(Into::into).collect();
        self
    }

    /// And in this text.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// And in the period in which they are enqueued: those of this length follow each other from
    /// 1970 on.
    pub fn period(mut self, period: Duration) -> Self {
        self.period = Some(period);
        self
    }

    /// How long a job counts. Where nothing is said: until it has ended; until it is started where
    /// others replace it or debounce; until it is forgotten where others are throttled.
    pub fn until(mut self, until: UniqueUntil) -> Self {
        self.until = Some(until);
        self
    }

    /// As it travels.
    pub(crate) fn into_wire(self) -> v1::Unique {
        let until = match self.until {
            None => "",
            Some(UniqueUntil::Started) => "started",
            Some(UniqueUntil::Ended) => "ended",
            Some(UniqueUntil::Forgotten) => "forgotten",
        };
        let (on_conflict, replace): (_, &[&str]) = match self.on_conflict {
            OnConflict::Reject => ("reject", &[]),
            OnConflict::Existing => ("existing", &[]),
            OnConflict::Replace { args: true, run_at: false } => ("replace", &["args"]),
            OnConflict::Replace { .. } => ("replace", &[]),
            OnConflict::Debounce => ("debounce", &[]),
            OnConflict::Throttle => ("throttle", &[]),
        };
        v1::Unique {
            by: self.by,
            key: self.key,
            period_ms: self.period.map(span_ms),
            until: until.to_owned(),
            on_conflict: on_conflict.to_owned(),
            replace: replace.iter().map(|word| (*word).to_owned()).collect(),
        }
    }
}
