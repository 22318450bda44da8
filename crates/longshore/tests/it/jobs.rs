//! Jobs in the test itself: outcomes, panics, follow-ups.

use std::time::Duration;

use longshore::testing::{Inline, Recorder};
use longshore::{Client, Context, Job, JobError, JobResult, Outcome, Perform, PerformBlocking};
use serde::{Deserialize, Serialize};

#[derive(Job, Serialize, Deserialize, Debug, PartialEq)]
#[job(kind = "signed_up", queue = "users")]
struct SignedUp {
    user: u64,
}

#[derive(Job, Serialize, Deserialize, Debug, PartialEq)]
#[job(queue = "mails", max_attempts = 3, timeout = "200ms", ordering_key = self.user)]
struct Mail {
    user: u64,
}

#[derive(Job, Serialize, Deserialize)]
#[job(output = u64)]
struct Sum(Vec<u64>);

struct App {
    client: Client,
}

impl Perform<App> for SignedUp {
    async fn perform(self, ctx: Context<App>) -> JobResult {
        ctx.follow_up(Mail { user: self.user })?;
        ctx.count("signed_up", 1);
        ctx.progress(0.5, "half");
        ctx.state().client.enqueue(Sum(vec![1, 2])).await?;
        Ok(Outcome::made((), format!("/users/{}", self.user)))
    }
}

impl Perform<App> for Mail {
    async fn perform(self, ctx: Context<App>) -> JobResult {
        match self.user {
            1 => panic!("no user {}", self.user),
            2 => Err(std::io::Error::other("no route"))?,
            3 => return Ok(Outcome::snooze(Duration::from_secs(5))),
            4 => return Ok(Outcome::discard("unsubscribed")),
            5 => std::future::pending().await,
            6 => {
                ctx.follow_up(SignedUp { user: 6 })?;
                return Err(JobError::new("busy", "later").retry_in(Duration::from_secs(9)));
            }
            _ => {}
        }
        Ok(Outcome::DONE)
    }
}

impl PerformBlocking<App> for Sum {
    fn perform(self, _: Context<App>) -> JobResult<u64> {
        assert!(!self.0.is_empty(), "nothing to add");
        Ok(Outcome::done(self.0.iter().sum()))
    }
}

fn inline(recorder: &Recorder) -> Inline<App> {
    Inline::new(App { client: recorder.client() })
        .recorder(recorder)
        .register::<SignedUp>()
        .register::<Mail>()
        .register_blocking::<Sum>()
}

#[tokio::test]
async fn a_run_tells_what_it_did() {
    let recorder = Recorder::new();
    let ran = inline(&recorder).run(SignedUp { user: 7 }).await;
    assert!(ran.is_done());
    assert_eq!(ran.location(), Some("/users/7"));
    assert_eq!(ran.follow_ups_of::<Mail>(), [Mail { user: 7 }]);
    assert_eq!(ran.follow_ups()[0].queue(), "mails");
    assert_eq!(ran.counter("signed_up"), 1);
    assert_eq!(ran.progress(), [0.5]);
    recorder.assert_enqueued(|sum: &Sum| sum.0 == [1, 2]);
    recorder.assert_none::<Mail>();
}

#[tokio::test]
async fn everything_that_follows_is_run() {
    let recorder = Recorder::new();
    recorder.client().enqueue(SignedUp { user: 7 }).await.unwrap();
    let all = inline(&recorder).drain().await;
    let kinds: Vec<_> = all.iter().map(|ran| (ran.kind(), ran.ended())).collect();
    assert_eq!(kinds, [("signed_up", "done"), ("sum", "done"), ("mail", "done")]);
    assert_eq!(all[1].result::<u64>(), 3);
}

#[tokio::test]
async fn a_run_can_end_in_many_ways() {
    let recorder = Recorder::new();
    let mut inline = inline(&recorder);
    for (user, ended, kind) in [
        (1, "failed", Some("panic")),
        (2, "failed", Some("Error")),
        (3, "snoozed", None),
        (4, "discarded", Some("discarded")),
        (5, "failed", Some("timeout")),
        (6, "failed", Some("busy")),
        (7, "done", None),
    ] {
        let ran = inline.run(Mail { user }).await;
        assert_eq!(ran.ended(), ended, "user {user}");
        assert_eq!(ran.error().as_ref().map(JobError::kind), kind, "user {user}");
        assert!(ran.follow_ups().is_empty(), "only success is followed");
    }
    let panicked = inline.run(Mail { user: 1 }).await.error().unwrap();
    assert_eq!(panicked.message(), "no user 1");
    assert!(panicked.backtrace().contains("jobs.rs"), "{}", panicked.backtrace());
    let blocking = inline.run(Sum(Vec::new())).await.error().unwrap();
    assert_eq!((blocking.kind(), blocking.message()), ("panic", "nothing to add"));
}

#[test]
fn a_type_says_how_it_runs() {
    let options = Mail { user: 9 }.options();
    assert_eq!(options.ordering_key.as_deref(), Some("9"));
    assert_eq!(options.max_attempts, Some(3));
    assert_eq!(options.timeout, Some(Duration::from_millis(200)));
    assert_eq!((SignedUp::KIND, SignedUp::QUEUE, Mail::KIND), ("signed_up", "users", "mail"));
}

#[tokio::test]
async fn args_of_another_version_say_so() {
    #[derive(Job, Serialize, Deserialize)]
    #[job(kind = "mail")]
    struct OldMail {
        address: String,
    }
    let recorder = Recorder::new();
    let ran = inline(&recorder).run(OldMail { address: "x".into() }).await;
    let error = ran.error().unwrap();
    assert_eq!(error.kind(), "args_unreadable");
    assert!(error.message().contains("missing field `user`"), "{error}");
}
