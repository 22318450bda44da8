//! What runs save of how far they have come, and the interruptions between them.

use longshore_engine::{
    CheckpointJob, EndKind, Instruction, JobError, JobId, NamespaceId, Phase, Rejection,
    SkippedItem,
};

use super::settle::remember;
use super::{RefJob, Reference, Refusable, Run, refused};

impl RefJob {
    /// What its worker shall do.
    pub(super) fn instruction(&self) -> Instruction {
        match &self.run {
            Some(run) if run.lease.cancel_requested => Instruction::Cancel,
            _ if self.paused && !self.job.options.at_most_once => {
                Instruction::Interrupt { reason: "pause" }
            }
            _ => Instruction::Continue,
        }
    }
}

impl Reference {
    pub(super) fn save(&mut self, ns: NamespaceId, told: &CheckpointJob) -> Refusable<Instruction> {
        let Some(found) = self.job(ns, told.id) else { return Err(self.unknown(ns, told.id)) };
        let run = found.run.as_ref().filter(|run| run.lease.token == told.token);
        if run.is_none() {
            return Err(Rejection::LeaseLost { id: told.id, token: told.token, why: "" });
        }
        self.check_lease_ms(told.lease_ms)?;
        let mut job = found.clone();
        let before = job.checkpoint.clone().unwrap_or_default();
        let same_run = before.token == Some(told.token);
        if !(same_run && told.seq.is_some_and(|seq| seq <= before.seq)) {
            self.add(&mut job, told)?;
        }
        let mono = self.mono;
        if let Some(run) = &mut job.run {
            run.begin(job.job.options.timeout_ms, mono);
            let expires = mono.saturating_add(told.lease_ms.unwrap_or(run.lease.lease_ms));
            run.expires = run.timeout.map_or(expires, |timeout| expires.min(timeout));
        }
        *self.job_mut(ns, told.id) = job;
        Ok(self.instruct(ns, told.id))
    }

    fn add(&self, job: &mut RefJob, told: &CheckpointJob) -> Refusable<()> {
        let texts = (&told.progress, &told.progress_text);
        let nothing = told.cursor.is_none() && told.counters.is_empty() && told.skipped.is_empty();
        let dropped = (told.counters_dropped, told.skipped_dropped);
        if nothing && dropped == (0, 0) && matches!(texts, (None, None)) {
            return Ok(());
        }
        let limits = &self.limits;
        let is_too_long = |cursor: &bytes::Bytes| cursor.len() as u64 > limits.cursor_bytes_max;
        if told.cursor.as_ref().is_some_and(is_too_long) {
            return Err(refused("cursor"));
        }
        let mut kept = job.checkpoint.clone().unwrap_or_default();
        if kept.token != Some(told.token) {
            (kept.token, kept.seq, kept.moved) = (Some(told.token), 0, false);
        }
        kept.counters_dropped += told.counters_dropped;
        kept.skipped_dropped += told.skipped_dropped;
        for (name, by) in &told.counters {
            if !kept.counters.iter().any(|(known, _)| known == name) {
                let is_full = kept.counters.len() >= limits.counters_max;
                if is_full || self.check_name("counters", name).is_err() {
                    kept.counters_dropped += 1;
                    continue;
                }
                kept.counters.push((name.clone(), 0));
            }
            let counter = kept.counters.iter_mut().find(|(known, _)| known == name);
            let counter = &mut counter.expect("it was added where it was missing").1;
            *counter = counter.saturating_add(*by);
        }
        kept.seq = told.seq.unwrap_or(kept.seq);
        if let Some(cursor) = &told.cursor {
            kept.moved |= kept.cursor.as_ref() != Some(cursor);
            kept.cursor = Some(cursor.clone());
        }
        for (cursor, error) in &told.skipped {
            if is_too_long(cursor) || job.skipped.len() >= limits.skipped_items_max {
                kept.skipped_dropped += 1;
                continue;
            }
            let (cursor, error, at) = (cursor.clone(), cut(error), self.now);
            job.skipped.push(SkippedItem { cursor, error, at });
        }
        kept.skipped = job.skipped.len() as u32;
        kept.skipped_bytes = bytes_of(&job.skipped);
        let lease = &mut job.run.as_mut().expect("it runs").lease;
        if let Some(progress) = told.progress {
            kept.progress = Some(progress.min(10_000));
            lease.progress = None;
        }
        if told.progress_text.is_some() {
            kept.progress_text.clone_from(&told.progress_text);
            lease.progress_text = None;
        }
        job.checkpoint = Some(kept);
        Ok(())
    }

    pub(super) fn interrupt(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        reason: &str,
        delay_ms: Option<u64>,
    ) {
        let mut job = self.stop_run_keeping(ns, id);
        let run = job.run.take().expect("it runs");
        let kept = job.checkpoint.get_or_insert_default();
        kept.interruptions += 1;
        kept.interrupted_for = Some(reason.to_owned());
        job.job.losses = 0;
        job.job.options.expires_at = None;
        if let Some(delay_ms) = delay_ms {
            job.job.phase = Phase::Waiting;
            job.job.available_at = self.now.plus(delay_ms);
        }
        remember(&mut job.job, &run, EndKind::Interrupted);
        self.jobs.push(job);
    }

    /// Whether another run goes on with the attempt of this lost one.
    pub(super) fn goes_on(&self, job: &RefJob, run: &Run) -> bool {
        let late = job.job.deadline.is_some_and(|deadline| deadline <= self.now);
        moved(job, run) && !late && !run.lease.cancel_requested && !job.job.options.at_most_once
    }
}

/// Whether the run came farther than where it began.
pub(super) fn moved(job: &RefJob, run: &Run) -> bool {
    job.checkpoint.as_ref().is_some_and(|kept| kept.moved && kept.token == Some(run.lease.token))
}

fn cut(error: &JobError) -> JobError {
    let text = |text: &str| text.chars().take(1024).collect();
    let (message, backtrace) = (text(&error.message), text(&error.backtrace));
    JobError { kind: error.kind.clone(), message, backtrace }
}

fn bytes_of(items: &[SkippedItem]) -> u64 {
    use longshore_engine::wire::Wire;
    items.iter().map(|item| item.to_bytes().len() as u64).sum()
}
