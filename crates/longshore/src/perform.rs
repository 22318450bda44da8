//! From a delivered job to the code of its type, as a tower service that layers go around.

use std::collections::HashMap;
use std::fmt;
use std::future::{Ready, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::thread;

use futures_util::future::{BoxFuture, Either};
use longshore_proto::v1;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::delivery::Delivery;
use crate::iteration::{self, Iteration};
use crate::outcome::{JobEnd, cut_short};
use crate::panics::{guarded, poll_guarded};
use crate::run::Run;
use crate::{Context, Job, JobError, JobResult, Perform, PerformBlocking};

/// A run that is about to begin: what layers around `perform` are called with.
#[derive(Clone, Debug)]
pub struct JobCall {
    pub(crate) run: Arc<Run>,
}

impl JobCall {
    /// The job as it was delivered.
    pub fn delivery(&self) -> &Delivery {
        &self.run.delivery
    }
}

/// What runs jobs. Layers wrap one into another.
pub type JobService = BoxCloneSyncService<JobCall, JobEnd, JobError>;

type Code = Arc<dyn Fn(Arc<Run>) -> BoxFuture<'static, Result<JobEnd, JobError>> + Send + Sync>;

/// The code of each type of job, by the name of the type.
pub(crate) struct Handlers<S> {
    state: Arc<S>,
    by_kind: HashMap<&'static str, Code>,
    types: HashMap<&'static str, &'static str>,
    /// The versions that the code of each type runs, from and to.
    versions: HashMap<&'static str, (u32, u32)>,
    /// A kind that was added twice, and by which types.
    pub(crate) twice: Option<(&'static str, &'static str, &'static str)>,
}

impl<S> fmt::Debug for Handlers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_kind.keys()).finish()
    }
}

impl<S: Send + Sync + 'static> Handlers<S> {
    pub(crate) fn new(state: Arc<S>) -> Self {
        crate::panics::watch();
        Self {
            state,
            by_kind: HashMap::new(),
            types: HashMap::new(),
            versions: HashMap::new(),
            twice: None,
        }
    }

    /// The kinds of types without versions, and the ranges of the others.
    pub(crate) fn kinds(&self) -> (Vec<String>, Vec<v1::KindVersions>) {
        let mut all: Vec<_> = self.versions.iter().collect();
        all.sort();
        let (without, with): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, range)| **range == (0, 0));
        let kinds = without.into_iter().map(|(kind, _)| (*kind).to_owned()).collect();
        let versions = with.into_iter().map(|(kind, (from, to))| v1::KindVersions {
            kind: (*kind).to_owned(),
            from: *from,
            to: *to,
        });
        (kinds, versions.collect())
    }

    pub(crate) fn perform<J: Perform<S>>(&mut self) {
        self.add::<J, _, _>(|job, ctx| async move { job.perform(ctx).await });
    }

    pub(crate) fn blocking<J: PerformBlocking<S>>(&mut self) {
        self.add::<J, _, _>(|job, ctx| async move {
            let span = tracing::Span::current();
            let runtime = Handle::current();
            let (sender, ended) = oneshot::channel();
            let work = move || {
                let _inside = runtime.enter();
                let end = span.in_scope(|| guarded(|| job.perform(ctx)));
                // Nobody listens any more where the run was dropped.
                let _ = sender.send(end);
            };
            // Not `spawn_blocking`: a runtime waits for those threads when it ends, and a job that
            // does not look whether it is stopped would hold the end of the process up.
            let thread = thread::Builder::new().name(J::KIND.to_owned()).spawn(work);
            thread.map_err(|error| JobError::new("no_thread", format!("no thread: {error}")))?;
            let end = ended.await;
            end.map_err(|_| JobError::new("panic", "the thread of the job has ended"))??
        });
    }

    pub(crate) fn iteration<J: Iteration<S>>(&mut self) {
        self.add::<J, _, _>(|job, ctx| async move { iteration::run(&job, &ctx).await });
    }

    fn add<J, F, R>(&mut self, code: F)
    where
        J: Job,
        F: Fn(J, Context<S>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = JobResult<J::Output>> + Send + 'static,
    {
        let state = Arc::clone(&self.state);
        let handle: Code = Arc::new(move |run| {
            let ctx = Context::new(Arc::clone(&state), Arc::clone(&run));
            let code = code.clone();
            Box::pin(async move {
                let mut work = pin!(async {
                    let args = &run.delivery.args;
                    let job = serde_json::from_slice::<J>(args).map_err(|error| {
                        JobError::new(
                            "args_unreadable",
                            format!(
                                "the args are not those of this version's {}: {error}; give new \
                                 fields a default (#[serde(default)]) while older jobs wait",
                                J::KIND
                            ),
                        )
                    })?;
                    let end = code(job, ctx).await?.encode()?;
                    Ok(with_follow_ups(end, &run))
                });
                poll_fn(|cx| unless_killed(&run, work.as_mut(), cx)).await
            })
        });
        self.by_kind.insert(J::KIND, handle);
        self.versions.insert(J::KIND, (J::RUNS_FROM.min(J::VERSION), J::VERSION));
        let this = std::any::type_name::<J>();
        if let Some(first) = self.types.insert(J::KIND, this) {
            self.twice.get_or_insert((J::KIND, first, this));
        }
    }

    /// The innermost service: it knows the kinds that were added.
    pub(crate) fn into_service(self) -> JobService {
        BoxCloneSyncService::new(Dispatch { by_kind: Arc::new(self.by_kind) })
    }
}

/// Polls the job's code unless its time is over. A run that is killed may still say how it ends,
/// in one poll. Whoever kills a run wakes it.
fn unless_killed(
    run: &Run,
    work: Pin<&mut impl Future<Output = Result<JobEnd, JobError>>>,
    cx: &mut TaskContext<'_>,
) -> Poll<Result<JobEnd, JobError>> {
    if run.has_timed_out() {
        return Poll::Ready(cut_short(run));
    }
    match poll_guarded(work, cx) {
        Poll::Pending if run.kill.is_given() => Poll::Ready(cut_short(run)),
        poll => poll,
    }
}

/// Only success enqueues what follows.
fn with_follow_ups(end: JobEnd, run: &Run) -> JobEnd {
    match end {
        JobEnd::Done { result, location, mut follow_ups, next_slot } => {
            follow_ups.extend(run.take_follow_ups());
            let next_slot = run.take_next_slot().or(next_slot);
            JobEnd::Done { result, location, follow_ups, next_slot }
        }
        other => other,
    }
}

#[derive(Clone)]
struct Dispatch {
    by_kind: Arc<HashMap<&'static str, Code>>,
}

impl Service<JobCall> for Dispatch {
    type Response = JobEnd;
    type Error = JobError;
    type Future =
        Either<BoxFuture<'static, Result<JobEnd, JobError>>, Ready<Result<JobEnd, JobError>>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), JobError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: JobCall) -> Self::Future {
        let kind = call.run.delivery.kind.as_str();
        match self.by_kind.get(kind) {
            Some(handle) => Either::Left(handle(call.run)),
            None => Either::Right(ready(Err(JobError::new(
                "kind_unknown",
                format!("no code for '{kind}' is registered here"),
            )))),
        }
    }
}
