//! Checkpoints: how far a job has come, saved while it runs and kept over its runs, so that the
//! next one goes on from there.

use bytes::Bytes;

use crate::answer::Instruction;
use crate::bounds::{check_name, check_size, cut};
use crate::command::CheckpointJob;
use crate::ids::{JobId, NamespaceId, TimeMs, Token};
use crate::job::enqueue::check_lease;
use crate::job::{Job, JobError};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::wire::{Wire, wire_struct};

wire_struct! {
    /// An item that a job gave up on.
    pub struct SkippedItem {
        /// Where it stands in the collection: JSON text.
        pub cursor: Bytes,
        /// What went wrong, bounded by the limits.
        pub error: JobError,
        /// When it was told.
        pub at: TimeMs,
    }
}

wire_struct! {
    /// What one checkpoint saves.
    pub struct Saved {
        /// The number that its worker gave it.
        pub seq: Option<u64> = 1,
        /// Where another run is to begin: JSON text.
        pub cursor: Option<Bytes> = 2,
        /// 0 to 10,000: hundredths of a per cent.
        pub progress: Option<u16> = 3,
        /// In words.
        pub progress_text: Option<String> = 4,
        /// What is added to each counter.
        pub counters: Vec<(String, i64)> = 5,
        /// Items that are kept as skipped.
        pub skipped: Vec<SkippedItem> = 6,
        /// How many more were skipped.
        pub skipped_dropped: u64 = 7,
        /// Counters that could not be kept: their names are too many or none.
        pub counters_dropped: u64 = 8,
    }
}

wire_struct! {
    /// How far a job has come. It stands beside the job, which is not rewritten while it runs, and
    /// its skipped items stand beside it: a checkpoint is one small write.
    #[derive(Default)]
    pub struct Checkpoint {
        /// The last lease that saved something.
        pub token: Option<Token> = 1,
        /// The last number that the worker of that lease gave a checkpoint.
        pub seq: u64 = 2,
        /// Whether that lease moved the cursor: then its loss uses no attempt.
        pub moved: bool = 3,
        /// Where the next run begins: JSON text. Not kept once the job has ended other than dead.
        pub cursor: Option<Bytes> = 4,
        /// What all runs counted.
        pub counters: Vec<(String, i64)> = 5,
        /// 0 to 10,000: hundredths of a per cent.
        pub progress: Option<u16> = 6,
        /// In words.
        pub progress_text: Option<String> = 7,
        /// How many skipped items are kept; they are numbered from 0.
        pub skipped: u32 = 8,
        /// Their bytes.
        pub skipped_bytes: u64 = 9,
        /// How many more were skipped.
        pub skipped_dropped: u64 = 10,
        /// How often a run was interrupted.
        pub interruptions: u32 = 11,
        /// Why the last one was.
        pub interrupted_for: Option<String> = 12,
        /// Counters that could not be kept.
        pub counters_dropped: u64 = 13,
    }
}

impl Checkpoint {
    fn count(&mut self, name: String, by: i64) {
        match self.counters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, value)) => *value = value.saturating_add(by),
            None => self.counters.push((name, by)),
        }
    }
}

impl State {
    /// What is kept of how far a job has come.
    pub(crate) fn checkpoint(&self, ns: NamespaceId, id: JobId) -> Option<Checkpoint> {
        if self.has_had(keys::CHECKPOINT) { self.value(&keys::checkpoint(ns, id)) } else { None }
    }

    /// Answers its length.
    pub(crate) fn put_checkpoint(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        checkpoint: &Checkpoint,
    ) -> u64 {
        self.note_rare(keys::CHECKPOINT);
        self.put(&keys::checkpoint(ns, id), checkpoint)
    }

    /// What the worker is told, and the record of what it saves where it saves anything new.
    pub(crate) fn decide_checkpoint(
        &self,
        namespace: NamespaceId,
        told: &CheckpointJob,
        moment: Moment,
    ) -> Result<(Option<Record>, Instruction), Rejection> {
        let (id, token) = (told.id, told.token);
        let instruction = self.instruct(namespace, self.live_lease(namespace, id, token)?);
        check_lease(self, told.lease_ms)?;
        let known = self.checkpoint(namespace, id).unwrap_or_default();
        let repeated = known.token == Some(token) && told.seq.is_some_and(|seq| seq <= known.seq);
        if repeated || told.saves_nothing() {
            return Ok((None, instruction));
        }
        let cursor_max = self.limits.cursor_bytes_max;
        if let Some(cursor) = &told.cursor {
            check_size("cursor", cursor.len(), cursor_max)?;
        }
        let counters = self.kept_counters(&told.counters, &known);
        let counters_dropped = (told.counters.len() - counters.len()) as u64;
        let room = self.limits.skipped_items_max.saturating_sub(known.skipped as usize);
        let fits = |item: &&(Bytes, JobError)| item.0.len() as u64 <= cursor_max;
        let kept = told.skipped.iter().filter(fits).take(room);
        let skipped: Vec<_> =
            kept.map(|(cursor, error)| self.skipped_item(cursor, error, moment)).collect();
        let skipped_dropped = (told.skipped.len() - skipped.len()) as u64;
        let max = self.limits.progress_text_bytes_max;
        let saved = Saved {
            seq: told.seq,
            cursor: told.cursor.clone(),
            progress: told.progress.map(|progress| progress.min(10_000)),
            progress_text: told.progress_text.as_ref().map(|text| cut(text, max)),
            counters,
            skipped,
            skipped_dropped: skipped_dropped.saturating_add(told.skipped_dropped),
            counters_dropped: counters_dropped.saturating_add(told.counters_dropped),
        };
        let saved = Box::new(saved);
        Ok((Some(Record::JobCheckpointed { namespace, id, token, saved }), instruction))
    }

    /// The counters that can be kept, in order. They only inform: one that cannot be kept costs
    /// neither the others nor the run.
    fn kept_counters(&self, told: &[(String, i64)], known: &Checkpoint) -> Vec<(String, i64)> {
        let mut names: Vec<&str> = known.counters.iter().map(|(name, _)| &**name).collect();
        let mut kept = Vec::with_capacity(told.len().min(self.limits.counters_max));
        for (name, by) in told {
            if !names.contains(&&**name) {
                let is_name = check_name(&self.limits, "counters", name).is_ok();
                if !is_name || names.len() >= self.limits.counters_max {
                    continue;
                }
                names.push(name);
            }
            kept.push((name.clone(), *by));
        }
        kept
    }

    fn skipped_item(&self, cursor: &Bytes, error: &JobError, moment: Moment) -> SkippedItem {
        let max = self.limits.skipped_text_bytes_max;
        let error = JobError {
            kind: cut(&error.kind, self.limits.name_bytes_max),
            message: cut(&error.message, max),
            backtrace: cut(&error.backtrace, max),
        };
        SkippedItem { cursor: cursor.clone(), error, at: moment.at }
    }

    pub(crate) fn apply_job_checkpointed(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        token: Token,
        saved: Saved,
    ) {
        let mut checkpoint = self.checkpoint(ns, id).unwrap_or_default();
        if checkpoint.token != Some(token) {
            checkpoint.token = Some(token);
            (checkpoint.seq, checkpoint.moved) = (0, false);
        }
        checkpoint.seq = saved.seq.unwrap_or(checkpoint.seq);
        if saved.cursor.is_some() {
            // A cursor that has not moved is no progress: else a run that dies on the same item
            // each time would never use up its attempts.
            checkpoint.moved |= checkpoint.cursor != saved.cursor;
            checkpoint.cursor = saved.cursor;
        }
        for (name, by) in saved.counters {
            checkpoint.count(name, by);
        }
        for item in &saved.skipped {
            let key = keys::skipped(ns, id, checkpoint.skipped);
            checkpoint.skipped_bytes += self.put(&key, item);
            checkpoint.skipped += 1;
        }
        checkpoint.skipped_dropped =
            checkpoint.skipped_dropped.saturating_add(saved.skipped_dropped);
        checkpoint.counters_dropped =
            checkpoint.counters_dropped.saturating_add(saved.counters_dropped);
        self.forget_heard(ns, id, saved.progress.is_some(), saved.progress_text.is_some());
        checkpoint.progress = saved.progress.or(checkpoint.progress);
        checkpoint.progress_text = saved.progress_text.or(checkpoint.progress_text);
        self.put_checkpoint(ns, id, &checkpoint);
    }

    /// The next run begins there. What earlier ones counted and skipped stands. The job waits.
    pub(crate) fn apply_cursor_set(&mut self, ns: NamespaceId, id: JobId, cursor: Option<Bytes>) {
        let checkpoint = self.checkpoint(ns, id).unwrap_or_default();
        let (progress, progress_text) = (None, None);
        self.put_checkpoint(ns, id, &Checkpoint { cursor, progress, progress_text, ..checkpoint });
        let job = self.job(ns, id).expect("the record names a waiting job");
        if !job.has_run() {
            let mut job = (*job).clone();
            job.ends.push(Job::STARTED_ELSEWHERE);
            self.put_job(ns, job);
        }
    }

    /// What a heartbeat said of the progress before is not the newest any more.
    fn forget_heard(&mut self, ns: NamespaceId, id: JobId, progress: bool, text: bool) {
        let live = self.leases.get(ns, id).expect("the record names a live lease");
        let progress = progress && live.lease().progress.is_some();
        let text = text && live.lease().progress_text.is_some();
        if progress || text {
            self.change_lease(ns, id, |lease| {
                lease.progress = lease.progress.filter(|_| !progress);
                lease.progress_text = lease.progress_text.take().filter(|_| !text);
            });
        }
    }

    /// The job has ended other than dead: nothing goes on from its cursor. Answers the bytes that
    /// are kept of how far it came.
    pub(crate) fn keep_checkpoint(&mut self, ns: NamespaceId, id: JobId) -> u64 {
        let Some(mut checkpoint) = self.checkpoint(ns, id) else { return 0 };
        checkpoint.cursor = None;
        self.put_checkpoint(ns, id, &checkpoint) + checkpoint.skipped_bytes
    }

    /// Bytes that are kept of how far a job came.
    pub(crate) fn checkpoint_bytes(&self, ns: NamespaceId, id: JobId) -> u64 {
        let checkpoint = self.checkpoint(ns, id);
        checkpoint.map_or(0, |it| it.to_bytes().len() as u64 + it.skipped_bytes)
    }

    pub(crate) fn forget_checkpoint(&mut self, ns: NamespaceId, id: JobId) {
        let Some(checkpoint) = self.checkpoint(ns, id) else { return };
        for index in 0..checkpoint.skipped {
            self.remove(&keys::skipped(ns, id, index));
        }
        self.remove(&keys::checkpoint(ns, id));
    }
}
