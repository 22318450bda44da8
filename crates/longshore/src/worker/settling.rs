//! Settlements that the server has not answered: kept until it has, sent again where that helps.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use longshore_proto::v1;
use longshore_proto::v1::settlement::Verdict;

/// An end of that size is in no message's way.
const SMALL: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Settling {
    unanswered: HashMap<v1::LeaseRef, Verdict>,
    /// Refused for now: when to send them again.
    later: Vec<(Instant, v1::LeaseRef)>,
    /// An end was refused in every way that it can be said: its lease is to be let go.
    stuck: bool,
}

impl Settling {
    /// Keeps a settlement until it is answered, and returns it to be sent.
    pub(super) fn begin(&mut self, lease: v1::LeaseRef, verdict: Verdict) -> v1::Settlement {
        let settlement = settlement(&lease, &verdict);
        self.unanswered.insert(lease, verdict);
        settlement
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unanswered.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.unanswered.len()
    }

    /// All of them, for a new stream.
    pub(super) fn all(&mut self) -> Vec<v1::Settlement> {
        self.later.clear();
        self.unanswered.iter().map(|(lease, verdict)| settlement(lease, verdict)).collect()
    }

    /// Their leases: what they settle had begun.
    pub(super) fn leases(&self) -> impl Iterator<Item = (&v1::LeaseRef, bool)> {
        self.unanswered.iter().map(|(lease, verdict)| {
            let started = !matches!(verdict, Verdict::Release(_));
            (lease, started)
        })
    }

    /// Those whose time to be sent again has come.
    pub(super) fn due(&mut self) -> Vec<v1::Settlement> {
        if self.later.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let mut due = Vec::new();
        let unanswered = &self.unanswered;
        self.later.retain(|(at, lease)| {
            let is_due = *at <= now;
            if is_due && let Some(verdict) = unanswered.get(lease) {
                due.push(settlement(lease, verdict));
            }
            !is_due
        });
        due
    }

    /// Whether a lease is to be let go, which only a new stream does: it does not name it, and
    /// heartbeats extend it no longer.
    pub(super) fn take_stuck(&mut self) -> bool {
        std::mem::take(&mut self.stuck)
    }

    /// Takes the server's answers.
    pub(super) fn answered(&mut self, results: Vec<v1::SettleResult>) {
        for result in results {
            let lease = v1::LeaseRef { id: result.id, token: result.token };
            let Some(verdict) = self.unanswered.remove(&lease) else { continue };
            if let Some(problem) = result.refused {
                self.refused(lease, verdict, problem);
            }
        }
    }

    /// The server takes no message that large: the largest end becomes a failure that says so,
    /// where it has more than `alone` bytes and so went alone. Returns whether there was one.
    pub(super) fn give_up_largest(&mut self, alone: usize, why: &str) -> bool {
        let largest = self.unanswered.values_mut().max_by_key(|verdict| verdict_size(verdict));
        let largest = largest.filter(|verdict| verdict_size(verdict) > alone.max(SMALL));
        let gives_up = largest.is_some();
        if let Some(verdict) = largest {
            let bytes = verdict_size(verdict);
            tracing::error!(bytes, "the end of a run is too large for the server: {why}");
            let message = format!(
                "the run ended, but its result and what follows have {bytes} bytes, more than a \
                 message may have: {why}; keep large results elsewhere and return where they are"
            );
            *verdict = failure("body_too_large".to_owned(), message);
        }
        gives_up
    }

    fn refused(&mut self, lease: v1::LeaseRef, verdict: Verdict, problem: v1::Problem) {
        let gone = is_gone(&problem);
        let passes_in = passes_in(&problem);
        let v1::Problem { code, detail, field, .. } = problem;
        if let Some(wait) = passes_in
            && !gone
        {
            tracing::warn!(job = %lease.id, %code, "not settled yet, again in {wait:?}: {detail}");
            self.later.push((Instant::now() + wait, lease.clone()));
            self.unanswered.insert(lease, verdict);
            return;
        }
        if gone {
            tracing::warn!(job = %lease.id, %code, "the end of a run was refused: {detail}");
            return;
        }
        // Its work is done whether it may name a next slot or not: a job that somebody enqueued by
        // hand has no schedule.
        if let Verdict::Ack(ack) = &verdict
            && field.starts_with("next_")
            && (ack.next_in_ms.is_some() || ack.next_at_unix_ms.is_some())
        {
            tracing::warn!(job = %lease.id, %code, "it moves no schedule: {detail}");
            let ack = v1::Ack { next_in_ms: None, next_at_unix_ms: None, ..ack.clone() };
            self.later.push((Instant::now(), lease.clone()));
            self.unanswered.insert(lease, Verdict::Ack(ack));
            return;
        }
        // It keeps its lease, so it has to end in another way: as a failure that says why, and a
        // failure without the delay that was asked for.
        tracing::error!(job = %lease.id, %code, "the end of a run was refused: {detail}");
        let fail = match verdict {
            Verdict::Fail(fail) if fail.retry_in_ms.is_none() => {
                self.stuck = true;
                return;
            }
            Verdict::Fail(fail) => Verdict::Fail(v1::Fail { retry_in_ms: None, ..fail }),
            _ => failure(code, format!("the run ended, but its end was refused: {detail}")),
        };
        self.later.push((Instant::now(), lease.clone()));
        self.unanswered.insert(lease, fail);
    }
}

/// Whether the lease is lost, and the run with it.
pub(super) fn is_gone(problem: &v1::Problem) -> bool {
    matches!(problem.code.as_str(), "lease_lost" | "job_unknown" | "job_gone")
}

/// How long to wait before saying again what was refused, where that helps.
pub(super) fn passes_in(problem: &v1::Problem) -> Option<Duration> {
    let passes = problem.retry_after_ms.is_some() || matches!(problem.http_status, 429 | 503);
    let ms = problem.retry_after_ms.unwrap_or(1_000).clamp(10, 60_000);
    passes.then(|| Duration::from_millis(ms))
}

fn failure(code: String, message: String) -> Verdict {
    let error = v1::JobError { r#type: code, message, backtrace: String::new() };
    Verdict::Fail(v1::Fail { error: Some(error), retry_in_ms: None })
}

/// About how many bytes a settlement has.
pub(super) fn size(settlement: &v1::Settlement) -> usize {
    settlement.verdict.as_ref().map_or(0, verdict_size)
}

fn verdict_size(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Ack(ack) => {
            let jobs = ack.enqueue.iter().map(|job| 256 + job.args.len() + job.metadata.len());
            256 + ack.result.as_ref().map_or(0, bytes::Bytes::len) + jobs.sum::<usize>()
        }
        Verdict::Fail(v1::Fail { error: Some(error), .. })
        | Verdict::Discard(v1::Discard { error: Some(error) }) => 256 + error_size(error),
        _ => 256,
    }
}

fn error_size(error: &v1::JobError) -> usize {
    16 + error.r#type.len() + error.message.len() + error.backtrace.len()
}

fn settlement(lease: &v1::LeaseRef, verdict: &Verdict) -> v1::Settlement {
    v1::Settlement {
        id: lease.id.clone(),
        token: lease.token.clone(),
        verdict: Some(verdict.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: &str) -> v1::LeaseRef {
        v1::LeaseRef { id: id.into(), token: "1".into() }
    }

    fn answer(id: &str, refused: Option<v1::Problem>) -> Vec<v1::SettleResult> {
        vec![v1::SettleResult { id: id.into(), token: "1".into(), refused }]
    }

    fn problem(code: &str, http_status: u32, retry_after_ms: Option<u64>) -> v1::Problem {
        let code = code.into();
        v1::Problem { code, http_status, retry_after_ms, ..v1::Problem::default() }
    }

    #[test]
    fn what_is_answered_is_forgotten() {
        let mut settling = Settling::default();
        settling.begin(lease("a"), Verdict::Ack(v1::Ack::default()));
        settling.begin(lease("b"), Verdict::Ack(v1::Ack::default()));
        settling.answered(answer("a", None));
        assert_eq!(settling.all().len(), 1);
        settling.answered(answer("b", Some(problem("lease_lost", 409, None))));
        assert!(settling.is_empty());
    }

    #[test]
    fn what_passes_by_itself_is_sent_again() {
        let mut settling = Settling::default();
        settling.begin(lease("a"), Verdict::Ack(v1::Ack::default()));
        settling.answered(answer("a", Some(problem("disk_low", 503, Some(60_000)))));
        assert!(settling.due().is_empty());
        assert!(matches!(settling.all()[0].verdict, Some(Verdict::Ack(_))));
    }

    #[test]
    fn an_end_that_is_refused_for_good_becomes_a_failure() {
        let mut settling = Settling::default();
        settling.begin(lease("a"), Verdict::Ack(v1::Ack::default()));
        settling.answered(answer("a", Some(problem("jobs_refused", 400, None))));
        let due = settling.due();
        let Some(Verdict::Fail(fail)) = &due[0].verdict else { panic!("{due:?}") };
        assert_eq!(fail.error.as_ref().unwrap().r#type, "jobs_refused");
        settling.answered(answer("a", Some(problem("jobs_refused", 400, None))));
        assert!(settling.is_empty() && settling.take_stuck() && !settling.take_stuck());
    }
}
