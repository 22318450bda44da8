//! How often new jobs met another one with their key. It is counted where the answer is known: no
//! record has a job that is refused, or in whose place the other one stands.

use super::{OnConflict, UniqueMet};
use crate::answer::Answer;
use crate::command::NewJob;
use crate::rejection::Rejection;

/// What a policy came to, as metrics name both.
const OUTCOMES: [(&str, &str); 7] = [
    ("reject", "refused"),
    ("existing", "existing"),
    ("replace", "replaced"),
    ("replace", "refused"),
    ("debounce", "debounced"),
    ("debounce", "refused"),
    ("throttle", "throttled"),
];

/// How often each of them was met by requests that enqueue, since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UniqueConflicts([u64; OUTCOMES.len()]);

impl UniqueConflicts {
    /// Policy, outcome, and how often; all of them, in the same order.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        OUTCOMES.iter().zip(&self.0).map(|((policy, outcome), count)| (*policy, *outcome, *count))
    }

    /// Notes what a request came to.
    pub(crate) fn note(&mut self, jobs: &[NewJob], answer: &Result<Answer, Rejection>) {
        match answer {
            Ok(Answer::Enqueued(enqueued)) => {
                for met in enqueued.iter().filter_map(|one| one.met) {
                    self.count(match met {
                        UniqueMet::Existing => ("existing", "existing"),
                        UniqueMet::Replaced => ("replace", "replaced"),
                        UniqueMet::Debounced => ("debounce", "debounced"),
                        UniqueMet::Throttled => ("throttle", "throttled"),
                    });
                }
            }
            Err(Rejection::UniqueTaken { .. }) => self.note_refused(jobs.first()),
            Err(Rejection::JobsRefused { faults }) => {
                for (index, rejection) in faults {
                    if matches!(rejection, Rejection::UniqueTaken { .. }) {
                        self.note_refused(jobs.get(*index));
                    }
                }
            }
            _ => {}
        }
    }

    fn note_refused(&mut self, job: Option<&NewJob>) {
        match job.and_then(|job| job.unique.as_ref()).map(|unique| unique.on_conflict) {
            Some(OnConflict::Replace { .. }) => self.count(("replace", "refused")),
            Some(OnConflict::Debounce) => self.count(("debounce", "refused")),
            // The others are answered otherwise.
            _ => self.count(("reject", "refused")),
        }
    }

    fn count(&mut self, of: (&str, &str)) {
        let at = OUTCOMES.iter().position(|known| *known == of);
        if let Some(count) = at.and_then(|at| self.0.get_mut(at)) {
            *count += 1;
        }
    }
}
