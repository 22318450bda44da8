//! What was enqueued, kept for a test to look at.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use longshore_proto::v1;

use crate::run::lock;
use crate::{Client, FollowUp, Job, Refusal};

/// Stands for the server: it keeps what is enqueued. Clones share what they keep.
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
    /// What was enqueued and not run.
    jobs: VecDeque<FollowUp>,
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
        kept.jobs.extend(fresh);
        kept.requests.extend(requests);
        Ok(replayed)
    }

    pub(super) fn next(&self) -> Option<FollowUp> {
        lock(&self.kept).jobs.pop_front()
    }

    /// Everything that was enqueued.
    pub fn all(&self) -> Vec<FollowUp> {
        lock(&self.kept).jobs.iter().cloned().collect()
    }

    /// The jobs of a type that were enqueued.
    pub fn enqueued<J: Job>(&self) -> Vec<J> {
        let kept = lock(&self.kept);
        let of_type = kept.jobs.iter().filter(|job| job.kind() == J::KIND);
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
            .iter()
            .map(|job| format!("{}{}", job.kind(), String::from_utf8_lossy(job.args())))
            .collect();
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    }
}

fn taken(id: &str) -> Refusal {
    Refusal {
        code: "job_id_taken".to_owned(),
        detail: format!("another request has enqueued a job with the id {id}"),
        field: Some("id".to_owned()),
        retry_after: None,
    }
}
