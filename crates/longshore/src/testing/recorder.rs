//! What was enqueued, kept for a test to look at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use longshore_proto::v1;
use longshore_proto::v1::settlement::Verdict;

use super::waiting::Waiting;
use crate::run::lock;
use crate::{Client, FollowUp, Job, JobState, Refusal};

/// Stands for the server: it keeps what is enqueued. Clones share what they keep.
///
/// It has a clock, which stands still until [`Inline::advance`](super::Inline::advance) moves it.
///
/// ```
/// use longshore::{Job, testing::Recorder};
/// # #[derive(Job, serde::Serialize, serde::Deserialize)]
/// # struct WelcomeEmail { user: u64 }
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let recorder = Recorder::new();
/// let client = recorder.client();
/// client.enqueue(WelcomeEmail { user: 7 }).await.unwrap();
/// recorder.assert_enqueued(|mail: &WelcomeEmail| mail.user == 7);
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// What was enqueued and has not ended, by its place: in the order in which it came.
    jobs: BTreeMap<u64, Waiting>,
    next_place: u64,
    /// The clock: how far it was moved.
    now: Duration,
    /// How jobs have ended, by their ids.
    ended: HashMap<String, JobState>,
    /// Every request, by the id of its job: one that is repeated has one effect.
    requests: HashMap<String, v1::NewJob>,
}

impl Recorder {
    /// One that has kept nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client that enqueues here.
    pub fn client(&self) -> Client {
        Client::builder("http://recorder").build_recording(self)
    }

    /// Keeps jobs, all or none, as the server would: a request that came before has no further
    /// effect, and another one with the same id is refused. Returns how many came before.
    pub(crate) fn record(&self, jobs: impl IntoIterator<Item = FollowUp>) -> Result<u32, Refusal> {
        let mut kept = lock(&self.kept);
        let (mut fresh, mut requests, mut replayed) = (Vec::new(), HashMap::new(), 0);
        for job in jobs {
            let id = &job.0.id;
            match kept.requests.get(id).or_else(|| requests.get(id)) {
                Some(before) if *before == job.0 => replayed += 1,
                Some(_) => return Err(taken(id)),
                None => {
                    requests.insert(id.clone(), job.0.clone());
                    fresh.push(job);
                }
            }
        }
        let (now, real) = (kept.now, SystemTime::now());
        for job in fresh {
            let place = kept.next_place;
            kept.next_place += 1;
            kept.jobs.insert(place, Waiting::entering(job, now, real));
        }
        kept.requests.extend(requests);
        Ok(replayed)
    }

    /// The first one, whether its time has come or not.
    pub(super) fn next(&self) -> Option<(u64, Waiting)> {
        lock(&self.kept).jobs.pop_first()
    }

    /// The next one whose time comes until then; the clock is moved to that time, or to the end.
    pub(super) fn next_until(&self, until: Duration) -> Option<(u64, Waiting)> {
        lock(&self.kept).next_until(until)
    }

    /// What becomes of a job that has run. Returns how much later it runs again.
    pub(super) fn settle(
        &self,
        place: u64,
        waiting: Waiting,
        verdict: &Verdict,
        checkpoints: &[v1::Checkpoint],
    ) -> Option<Duration> {
        let mut kept = lock(&self.kept);
        let id = waiting.job.id().to_owned();
        match waiting.after(verdict, checkpoints, kept.now) {
            Ok(waiting) => {
                let again_in = waiting.due.saturating_sub(kept.now);
                kept.jobs.insert(place, waiting);
                Some(again_in)
            }
            Err(state) => {
                kept.ended.insert(id, state);
                None
            }
        }
    }

    /// Keeps a job no longer.
    pub(super) fn forget(&self, place: u64) {
        lock(&self.kept).jobs.remove(&place);
    }

    /// How far the clock was moved.
    pub fn elapsed(&self) -> Duration {
        lock(&self.kept).now
    }

    /// The state of a job that was enqueued here; None where it is not known, or where
    /// [`Inline::drain`](super::Inline::drain) has run it and it did not end.
    pub fn state(&self, id: &str) -> Option<JobState> {
        let kept = lock(&self.kept);
        let waiting = kept.jobs.values().find(|waiting| waiting.job.id() == id);
        waiting.map(|it| it.state(kept.now)).or_else(|| kept.ended.get(id).cloned())
    }

    /// Everything that was enqueued and has not ended.
    pub fn all(&self) -> Vec<FollowUp> {
        lock(&self.kept).jobs.values().map(|waiting| waiting.job.clone()).collect()
    }

    /// The jobs of a type that were enqueued and have not ended.
    pub fn enqueued<J: Job>(&self) -> Vec<J> {
        let kept = lock(&self.kept);
        let of_type = kept.jobs.values().map(|waiting| &waiting.job);
        let of_type = of_type.filter(|job| job.kind() == J::KIND);
        of_type
            .map(|job| {
                serde_json::from_slice(job.args())
                    .unwrap_or_else(|error| panic!("a job of kind {}: {error}", J::KIND))
            })
            .collect()
    }

    /// Panics unless a job of the type was enqueued for which `is_it` holds.
    #[track_caller]
    pub fn assert_enqueued<J: Job>(&self, is_it: impl Fn(&J) -> bool) {
        let is_there = self.enqueued::<J>().iter().any(is_it);
        assert!(is_there, "no such {} was enqueued, but: {}", J::KIND, self.told());
    }

    /// Panics if a job of the type was enqueued.
    #[track_caller]
    pub fn assert_none<J: Job>(&self) {
        let count = self.enqueued::<J>().len();
        assert!(count == 0, "{count} of {} were enqueued: {}", J::KIND, self.told());
    }

    fn told(&self) -> String {
        let kept = lock(&self.kept);
        let told: Vec<_> = kept
            .jobs
            .values()
            .map(|it| format!("{}{}", it.job.kind(), String::from_utf8_lossy(it.job.args())))
            .collect();
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    }
}

impl Kept {
    fn next_until(&mut self, until: Duration) -> Option<(u64, Waiting)> {
        loop {
            let begins = self.next_begin();
            let ends = self.jobs.iter().filter_map(|(place, it)| {
                let (at, state) = it.end()?;
                Some((at.max(self.now), *place, state))
            });
            let ends = ends.min_by_key(|(at, place, _)| (*at, *place));
            match (begins, ends) {
                // Whose time is over does not run any more.
                (begins, Some((at, place, state)))
                    if at <= until && begins.is_none_or(|(begin, _)| at <= begin) =>
                {
                    self.now = at;
                    if let Some(gone) = self.jobs.remove(&place) {
                        self.ended.insert(gone.job.id().to_owned(), state);
                    }
                }
                (Some((at, place)), _) if at <= until => {
                    self.now = at;
                    return self.jobs.remove_entry(&place);
                }
                _ => {
                    self.now = self.now.max(until);
                    return None;
                }
            }
        }
    }

    /// Which job runs next, and when: of those of an ordering key only the first may.
    fn next_begin(&self) -> Option<(Duration, u64)> {
        let mut keys = HashSet::new();
        let free = self.jobs.iter().filter(|(_, it)| {
            let key = it.delivery.ordering_key.as_str();
            key.is_empty() || keys.insert(key)
        });
        let order = free.map(|(place, it)| {
            (it.due.max(self.now), Reverse(it.delivery.priority), it.due, *place)
        });
        order.min().map(|(at, _, _, place)| (at, place))
    }
}

fn taken(id: &str) -> Refusal {
    Refusal {
        code: "job_id_taken".to_owned(),
        detail: format!("another request has enqueued a job with the id {id}"),
        field: Some("id".to_owned()),
        retry_after: None,
        allowed: None,
        is_fault: false,
    }
}
