//! Which jobs are meant where somebody lists some, or an operation changes many: one set of words
//! for both. It reads a job and its args, and nothing that depends on who asks.

use memchr::memmem;

use super::{Body, Job};
use crate::answer::JobState;
use crate::bounds::{check_name, check_size};
use crate::ids::TimeMs;
use crate::limits::Limits;
use crate::map::Reader;
use crate::rejection::Rejection;
use crate::state::keys;
use crate::wire::wire_struct;

/// Bytes of a text that is looked for, at most.
const TEXT_BYTES_MAX: u64 = 1024;

/// Bytes of args that cost as much as looking at one job does.
const BYTES_PER_LOOK: u64 = 4096;

wire_struct! {
    /// Jobs that are as each of its parts says; one without parts means all.
    #[derive(Default, Eq)]
    pub struct JobFilter {
        /// Only of this queue.
        pub queue: Option<String> = 1,
        /// Only in this state.
        pub state: Option<JobState> = 2,
        /// Only of this kind.
        pub kind: Option<String> = 3,
        /// Only with this tag.
        pub tag: Option<String> = 4,
        /// Only of this ordering key.
        pub ordering_key: Option<String> = 5,
        /// Only of this tenant.
        pub tenant: Option<String> = 6,
        /// Only those whose last error is of this type.
        pub error: Option<String> = 7,
        /// Only those whose args contain this text.
        pub text: Option<String> = 8,
        /// Only what was enqueued (what has ended: ended) before this instant.
        pub before: Option<TimeMs> = 9,
        /// Only what was enqueued (what has ended: ended) at this instant or later.
        pub since: Option<TimeMs> = 10,
    }
}

impl JobFilter {
    /// Refuses one with a part that no job can be like, or that is longer than it may be.
    ///
    /// # Errors
    ///
    /// It is one of them.
    pub fn check(&self, limits: &Limits) -> Result<(), Rejection> {
        let named = [
            ("queue", &self.queue),
            ("kind", &self.kind),
            ("tag", &self.tag),
            ("ordering_key", &self.ordering_key),
            ("tenant", &self.tenant),
        ];
        for (field, name) in named {
            name.as_ref().map_or(Ok(()), |name| check_name(limits, field, name))?;
        }
        for (field, text) in [("error", &self.error), ("text", &self.text)] {
            check_size(field, text.as_ref().map_or(0, String::len), TEXT_BYTES_MAX)?;
            if text.as_ref().is_some_and(String::is_empty) {
                let (value, allowed) = (String::new(), "at least one byte".to_owned());
                return Err(Rejection::ValueRefused { field, value, allowed });
            }
        }
        Ok(())
    }

    /// Whether the job is meant. Its args are read last, and only where nothing else rules it out.
    pub(crate) fn takes(
        &self,
        reader: &dyn Reader,
        (job, leased): (&Job, bool),
        now: TimeMs,
    ) -> bool {
        fn is(wanted: Option<&String>, own: Option<&String>) -> bool {
            wanted.is_none() || wanted == own
        }
        let options = &job.options;
        let since = job.phase.ended_at().unwrap_or(job.enqueued_at);
        let error = job.last_error.as_ref().map(|error| &error.kind);
        is(self.queue.as_ref(), Some(&job.queue))
            && is(self.kind.as_ref(), Some(&job.kind))
            && is(self.ordering_key.as_ref(), options.ordering_key.as_ref())
            && is(self.tenant.as_ref(), options.tenant.as_ref())
            && is(self.error.as_ref(), error)
            && self.tag.as_ref().is_none_or(|tag| options.tags.contains(tag))
            && self.before.is_none_or(|before| since < before)
            && self.since.is_none_or(|from| since >= from)
            && self.state.is_none_or(|state| state == JobState::of(job, leased, now))
            && self.takes_args(reader, job)
    }

    fn takes_args(&self, reader: &dyn Reader, job: &Job) -> bool {
        let (Some(text), Some(args)) = (&self.text, &job.args) else { return self.text.is_none() };
        memmem::find(&crate::query::body_of(reader, args), text.as_bytes()).is_some()
    }

    /// What it costs to look at the job, in jobs whose args are not read.
    pub(crate) fn looks(&self, job: &Job) -> usize {
        let read = self.text.as_ref().and(job.args.as_ref()).map_or(0, Body::length);
        1 + usize::try_from(read / BYTES_PER_LOOK).unwrap_or(usize::MAX - 1)
    }

    /// The index in which every job that is meant stands, with its id at the end of the key.
    pub(crate) fn index(&self) -> u8 {
        match self.state {
            Some(JobState::Dead) => keys::DEAD,
            Some(JobState::Running) => keys::LEASE,
            _ => keys::JOB,
        }
    }
}
