//! What was enqueued, kept for a test to look at.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::run::lock;
use crate::{Client, FollowUp, Job};

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
    jobs: Arc<Mutex<VecDeque<FollowUp>>>,
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

    pub(crate) fn record(&self, jobs: impl IntoIterator<Item = FollowUp>) {
        lock(&self.jobs).extend(jobs);
    }

    pub(super) fn next(&self) -> Option<FollowUp> {
        lock(&self.jobs).pop_front()
    }

    /// Everything that was enqueued.
    pub fn all(&self) -> Vec<FollowUp> {
        lock(&self.jobs).iter().cloned().collect()
    }

    /// The jobs of a type that were enqueued.
    pub fn enqueued<J: Job>(&self) -> Vec<J> {
        let jobs = lock(&self.jobs);
        let of_type = jobs.iter().filter(|job| job.kind() == J::KIND);
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
        let jobs = lock(&self.jobs);
        let told: Vec<_> = jobs
            .iter()
            .map(|job| format!("{}{}", job.kind(), String::from_utf8_lossy(job.args())))
            .collect();
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    }
}
