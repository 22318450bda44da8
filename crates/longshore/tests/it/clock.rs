//! Delays, retries and expiry without a server and without waiting: the recorder's clock is moved,
//! and jobs run when their time comes, as a server would have them.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use longshore::testing::{Inline, Ran, Recorder};
use longshore::{
    Context, Enqueue, Job, JobError, JobHandle, JobOptions, JobResult, JobState, Outcome, Perform,
};
use serde::{Deserialize, Serialize};

/// What it does in its runs, one letter each; the last one stays.
#[derive(Job, Serialize, Deserialize)]
#[job(max_attempts = 3, retry(base = "1m", jitter = 0.5))]
struct Play(String);

/// Names of jobs, as they ran.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Perform<Heard> for Play {
    async fn perform(self, ctx: Context<Heard>) -> JobResult {
        let run: usize = ctx.saved_cursor()?.unwrap_or(0);
        ctx.save_cursor(&(run + 1)).await?;
        ctx.count("runs", 1);
        let (name, acts) = self.0.split_once(':').unwrap_or(("", &self.0));
        let once = if ctx.is_at_most_once() { " at most once" } else { "" };
        ctx.state().0.lock().unwrap().push(format!("{name}{once}"));
        let act = acts.as_bytes().get(run).or_else(|| acts.as_bytes().last());
        Ok(match act {
            Some(b's') => Outcome::snooze(minutes(10)),
            Some(b'S') => Outcome::snooze(Duration::ZERO),
            Some(b'i') => Outcome::Interrupted { reason: "deploy".into(), delay: None },
            Some(b'f') => return Err(JobError::msg("not now")),
            Some(b'r') => Outcome::retry_after(minutes(5), JobError::msg("in five minutes")),
            Some(b'd') => Outcome::discard("no use"),
            Some(b'+') => {
                let later = JobOptions::new().delay(minutes(30));
                ctx.follow_up_with(Self("next:".into()), later)?;
                Outcome::DONE
            }
            _ => Outcome::DONE,
        })
    }
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

struct Stage {
    recorder: Recorder,
    jobs: Inline<Heard>,
}

impl Stage {
    fn new() -> Self {
        let recorder = Recorder::new();
        let jobs = Inline::new(Heard::default()).recorder(&recorder).register::<Play>();
        Self { recorder, jobs }
    }

    async fn enqueue(
        &self,
        acts: &str,
        options: impl FnOnce(Enqueue<Play>) -> Enqueue<Play>,
    ) -> JobHandle<Play> {
        options(self.recorder.client().enqueue(Play(acts.into()))).await.unwrap()
    }

    fn state(&self, job: &JobHandle<Play>) -> JobState {
        self.recorder.state(job.id()).unwrap()
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.jobs.state().0.lock().unwrap())
    }
}

/// When they ran, in minutes, which attempt it was, and how that ended.
fn told(ran: &[Ran]) -> Vec<(u64, u32, &'static str)> {
    ran.iter().map(|ran| (ran.at().as_secs() / 60, ran.attempt(), ran.ended())).collect()
}

#[tokio::test]
async fn a_delay_passes_without_waiting() {
    let mut stage = Stage::new();
    let job = stage.enqueue("", |job| job.delay(minutes(120))).await;
    let at = SystemTime::now() + minutes(60);
    let sooner = stage.enqueue("", |job| job.run_at(at)).await;
    assert!(stage.jobs.run_due().await.is_empty());
    assert_eq!(stage.state(&job), JobState::Scheduled);
    let ran = stage.jobs.advance(minutes(119)).await;
    assert_eq!(ran.iter().map(Ran::id).collect::<Vec<_>>(), [sooner.id()]);
    assert_eq!(told(&stage.jobs.advance(minutes(1)).await), [(120, 1, "done")]);
    assert_eq!(stage.state(&job), JobState::Succeeded);
    assert_eq!(stage.recorder.elapsed(), minutes(120));
    assert!(stage.recorder.all().is_empty());
}

#[tokio::test]
async fn attempts_follow_each_other_by_the_policy_until_the_job_is_dead() {
    let mut stage = Stage::new();
    let job = stage.enqueue("f", |job| job).await;
    let ran = stage.jobs.run_due().await;
    assert_eq!(ran[0].again_in(), Some(minutes(1)));
    assert_eq!(stage.state(&job), JobState::Retrying);
    let ran = stage.jobs.advance(minutes(600)).await;
    assert_eq!(told(&ran), [(1, 2, "failed"), (3, 3, "failed")]);
    assert_eq!(stage.state(&job), JobState::Dead);
    // A delay of its own goes before that of the policy.
    let job = stage.enqueue("rd", |job| job).await;
    let ran = stage.jobs.advance(minutes(5)).await;
    assert_eq!(told(&ran), [(600, 1, "failed"), (605, 2, "discarded")]);
    assert_eq!(stage.state(&job), JobState::Cancelled);
}

#[tokio::test]
async fn snoozes_and_interruptions_use_no_attempt_and_keep_what_was_saved() {
    let mut stage = Stage::new();
    stage.enqueue("ssif.", |job| job).await;
    let ran = stage.jobs.advance(minutes(60)).await;
    let all = [
        (0, 1, "snoozed"),
        (10, 1, "snoozed"),
        (20, 1, "interrupted"),
        (20, 1, "failed"),
        (21, 2, "done"),
    ];
    assert_eq!(told(&ran), all);
}

#[tokio::test]
async fn what_is_not_started_in_time_ends() {
    let mut stage = Stage::new();
    // A `ttl` counts from when the job may start, and behind another one of its key it waits.
    let key = |job: Enqueue<Play>| job.ordering_key("k");
    let first = stage.enqueue("1:sf", key).await;
    let expired = stage.enqueue("2:", |job| key(job).delay(minutes(1)).ttl(minutes(4))).await;
    let third = stage.enqueue("3:", key).await;
    let aged = stage.enqueue("4:f", |job| job.max_age(minutes(3))).await;
    stage.jobs.advance(minutes(4)).await;
    assert_eq!(stage.heard(), ["1", "4", "4"]);
    assert_eq!(stage.state(&aged), JobState::Dead);
    assert_eq!(stage.state(&expired), JobState::Ready);
    stage.jobs.advance(minutes(1)).await;
    assert_eq!(stage.state(&expired), JobState::Expired);
    stage.jobs.advance(minutes(60)).await;
    assert_eq!(stage.heard(), ["1", "1", "1", "3"]);
    assert_eq!(stage.state(&first), JobState::Dead);
    assert_eq!(stage.state(&third), JobState::Succeeded);
}

#[tokio::test]
async fn what_runs_at_most_once_runs_once() {
    for acts in ["f", "s", "i"] {
        let mut stage = Stage::new();
        let job = stage.enqueue(acts, Enqueue::at_most_once).await;
        assert_eq!(stage.jobs.advance(minutes(600)).await.len(), 1);
        assert_eq!(stage.state(&job), JobState::Dead);
        assert_eq!(stage.heard(), [" at most once"]);
    }
}

#[tokio::test]
async fn higher_priorities_come_first_and_what_follows_in_its_time() {
    let mut stage = Stage::new();
    stage.enqueue("low:+", |job| job).await;
    stage.enqueue("high:", |job| job.priority(9)).await;
    stage.enqueue("later:", |job| job.priority(9).delay(minutes(1))).await;
    let ran = stage.jobs.advance(minutes(60)).await;
    assert_eq!(ran.iter().map(Ran::at).max(), Some(minutes(30)));
    assert_eq!(stage.heard(), ["high", "low", "later", "next"]);
}

#[tokio::test]
#[should_panic(expected = "again and again")]
async fn a_job_that_never_lets_time_pass_is_told() {
    let mut stage = Stage::new();
    stage.enqueue("S", |job| job).await;
    stage.jobs.run_due().await;
}

#[tokio::test]
async fn drain_runs_what_has_not_come_yet_and_tries_nothing_again() {
    let mut stage = Stage::new();
    stage.enqueue("f", |job| job.delay(minutes(5))).await;
    stage.enqueue("+", |job| job).await;
    let ran = stage.jobs.drain().await;
    assert_eq!(told(&ran), [(0, 1, "failed"), (0, 1, "done"), (0, 1, "done")]);
    assert!(stage.jobs.advance(minutes(600)).await.is_empty());
}
