//! What every face asks of the node: commands, and jobs looked up on a snapshot. Refusals are the
//! same whoever asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::ask::{Ask, AwaitJob, UnservedKinds};
use longshore_engine::query::{self, Lookup, Page};
use longshore_engine::{
    Answer, AttemptNote, AuditedCommand, BlockedBy, Command, JobFilter, JobId, JobState, JobView,
    KindInQueue, Phase, Reader, Role, SkippedItem,
};
use longshore_node::{Cause, Publishing, wall_now};

use super::app::App;
use super::code::Code;
use super::keyed;
use super::parse::is_made_here;
use super::refusal::Refusal;
use super::text::{quoted, shorten};
use super::view;
use crate::access::{FOLLOW, Need, READ, WORK, Wanted, needs_of, unauthenticated};
use crate::api::{JobIdText, JobRecord};
use crate::workers::{NotFound, Worker};

/// Jobs in a page, at most.
pub(crate) const PAGE_MAX: usize = 1000;
pub(crate) const PAGE_DEFAULT: usize = 100;
/// How long a change of a job that is watched may go unnoticed; its end is told at once.
const LOOK_EVERY_MS: u64 = 500;
/// Jobs that one page looks at, at most.
const EXAMINED_MAX: usize = 10_000;

/// Asks the node; what it or the engine refuses becomes a refusal. A worker whose run is cancelled,
/// paused or ended by force hears it at once.
pub(crate) async fn ask<C: Ask>(app: &App, ns: &str, command: C) -> Result<C::Answer, Refusal> {
    told::<C>(carry_out(app, ns, command.into()).await?)
}

async fn carry_out(app: &App, ns: &str, command: Command) -> Result<Answer, Refusal> {
    let stops = matches!(command, Command::CancelJob { .. } | Command::PauseJob { .. });
    let is_heard = !keyed::is_written_down(app);
    let answer = answer_to(app, ns, command).await?;
    match &answer {
        Answer::Job(view) if stops && is_heard => app.workers.tell_run(ns, view),
        Answer::RunEnded { view, lease } if is_heard => {
            app.workers.tell_ended(ns, view.job.id, lease);
        }
        _ => {}
    }
    Ok(answer)
}

/// Asks the node, as [`ask`], and leaves to the caller what the engine refuses.
pub(crate) async fn answer_to(app: &App, ns: &str, command: Command) -> Result<Answer, Refusal> {
    if let Some(answer) = keyed::at_hand(app) {
        return answer;
    }
    let command = check(app, ns, command).await?;
    keyed::send(app, ns, command).await
}

/// The answer by its type, or the rejection as a refusal.
pub(crate) fn told<C: Ask>(answer: Answer) -> Result<C::Answer, Refusal> {
    match answer {
        Answer::Rejected(rejection) => Err(rejection.into()),
        answer => C::told(answer).map_err(|other| unexpected(&other)),
    }
}

/// The one answer to a command about one thing.
pub(crate) fn only<T>(answers: Vec<T>) -> Result<T, Refusal> {
    let mut answers = answers.into_iter();
    match (answers.next(), answers.next()) {
        (Some(answer), None) => Ok(answer),
        _ => Err(Refusal::new(Code::Internal, "one thing was asked, and not answered once")),
    }
}

/// Asks, as [`ask`], what may wait. Whoever may not ask any more gets nothing of what it waited
/// for: it goes back where it came from.
pub(crate) async fn ask_waiting<C: Ask>(
    app: &App,
    ns: &str,
    command: C,
) -> Result<C::Answer, Refusal> {
    tokio::select! {
        biased;
        () = app.who.ended() => Err(unauthenticated()),
        answer = ask(app, ns, command) => answer,
    }
}

/// Refuses a command that whoever asks may not send. What an administrator changes is to go into
/// the trail.
pub(crate) async fn check(app: &App, ns: &str, command: Command) -> Result<Command, Refusal> {
    check_needs(app, ns, &command).await?;
    // What was let in a while ago, and has waited for its body since, may be somebody's no longer.
    if !app.who.is_in() {
        return Err(unauthenticated());
    }
    if !command.is_audited() {
        return Ok(command);
    }
    let by = app.who.name().to_owned();
    Ok(Command::Audited(Box::new(AuditedCommand { by, command })))
}

async fn check_needs(app: &App, ns: &str, command: &Command) -> Result<(), Refusal> {
    // It may do less by now than when it came in.
    let Some(who) = app.who.now() else { return Err(unauthenticated()) };
    if who.is_local() {
        return Ok(());
    }
    let mut jobs: Vec<(JobId, &'static [Role])> = Vec::new();
    for need in needs_of(command) {
        jobs.extend(who.demand(ns, &need)?.map(|id| (id, need.roles)));
    }
    if jobs.is_empty() {
        return Ok(());
    }
    // It may only do this to jobs of some queues: those have to be looked up.
    let (namespace, ids) = (ns.to_owned(), jobs.clone());
    let look = move |reader: &dyn Reader, now| {
        let queue = |(id, _): &(JobId, _)| match query::find_job(reader, &namespace, *id, now) {
            Lookup::Found(view) => Ok(view.job.queue.clone()),
            other => Err(other),
        };
        ids.iter().map(queue).collect::<Vec<Result<String, Lookup>>>()
    };
    let queues = app.node.read(ns, look).await?;
    for ((id, roles), queue) in jobs.iter().zip(queues) {
        let queue = match queue {
            Ok(queue) => queue,
            // With a lease one says what became of its job, each for itself: a worker has one only
            // of a job that was there.
            Err(_) if *roles == WORK => continue,
            // The shard may know it already, and of which queue it is nobody knows here.
            Err(lookup) => return Err(missing(app, ns, *id, &lookup)),
        };
        let of = Wanted::Name(&queue);
        if !who.may(ns, roles, &of) {
            return Err(who.denied(ns, roles, &Wanted::Job(*id)).into());
        }
    }
    Ok(())
}

/// Refuses to tell of a job of a queue that whoever asks may not follow.
fn check_follows(app: &App, ns: &str, view: &JobView) -> Result<(), Refusal> {
    app.who.demand(ns, &Need::named(FOLLOW, &view.job.queue))?;
    Ok(())
}

/// A job that is watched, a moment later: at its end, or when it is time to look again.
pub(crate) async fn later(app: &App, ns: &str, id: JobId) -> Result<Box<JobView>, Refusal> {
    ask(app, ns, AwaitJob { id, wait_ms: LOOK_EVERY_MS }).await
}

/// The engine answered something else than what the command is answered with: a bug.
fn unexpected(answer: &Answer) -> Refusal {
    // Without its contents, which may be what nobody shall read in a log.
    let kind = format!("{answer:?}");
    let kind = kind.split(|it: char| !it.is_alphanumeric()).next().unwrap_or_default();
    tracing::error!(kind, "the engine's answer does not fit the command");
    Refusal::new(Code::Internal, "the engine's answer does not fit the command")
}

/// Why a job that is not there is not there: past its retention, or in another namespace, where its
/// id tells that a server made it, or its age; or never known.
pub(crate) fn missing(app: &App, ns: &str, id: JobId, lookup: &Lookup) -> Refusal {
    let text = JobIdText(id.0).to_string();
    let gone = || Refusal::job_gone(id);
    match lookup {
        Lookup::NamespaceUnknown => {
            let detail = format!("namespace {} does not exist", quoted(ns));
            let allowed = "a namespace that exists".to_owned();
            let refusal = Refusal::new(Code::NamespaceUnknown, detail);
            refusal.about("namespace", quoted(ns), allowed)
        }
        Lookup::Gone => gone(),
        Lookup::Found(_) | Lookup::Unknown => {
            let retain_ms = app.limits.retain_ms_default;
            let now = wall_now();
            match id.made_at() {
                Some(made_at) if is_made_here(id) || made_at.plus(retain_ms) < now => gone(),
                _ => {
                    let detail = format!("job {text} does not exist");
                    Refusal::new(Code::JobUnknown, detail).of_job(id)
                }
            }
        }
    }
}

/// A job at this moment.
pub(crate) async fn find(app: &App, ns: &str, id: JobId) -> Result<Box<JobView>, Refusal> {
    let namespace = ns.to_owned();
    let look = move |reader: &dyn Reader, now| query::find_job(reader, &namespace, id, now);
    match app.node.read(ns, look).await? {
        Lookup::Found(view) => {
            check_follows(app, ns, &view)?;
            Ok(view)
        }
        other => Err(missing(app, ns, id, &other)),
    }
}

/// A job with all that is stored apart.
#[derive(Debug)]
pub(crate) struct WholeJob {
    pub(crate) view: Box<JobView>,
    args: Option<Bytes>,
    pub(crate) result: Option<Bytes>,
    attempts: Vec<AttemptNote>,
    skipped: Vec<SkippedItem>,
}

impl WholeJob {
    /// The record of the API.
    pub(crate) fn record(&self, app: &App, ns: &str) -> JobRecord<'static> {
        let (args, result) = (self.args.as_ref(), self.result.as_ref());
        let whole = view::with_bodies(&self.view, args, result, &self.attempts, &self.skipped);
        with_stream(app, ns, &self.view, whole)
    }
}

/// The record of a job, without what is stored apart.
pub(crate) fn record(app: &App, ns: &str, of: &JobView) -> JobRecord<'static> {
    with_stream(app, ns, of, view::job(of))
}

/// Adds what only the stream of a job's worker tells.
fn with_stream(
    app: &App,
    ns: &str,
    of: &JobView,
    mut record: JobRecord<'static>,
) -> JobRecord<'static> {
    if let Some(lease) = &mut record.running {
        lease.held = app.workers.holds(ns, of);
    }
    record
}

/// A job with all that is stored apart, read from one snapshot.
pub(crate) async fn whole(app: &App, ns: &str, id: JobId) -> Result<WholeJob, Refusal> {
    let namespace = ns.to_owned();
    let look = move |reader: &dyn Reader, now| {
        let view = match query::find_job(reader, &namespace, id, now) {
            Lookup::Found(view) => view,
            other => return Err(other),
        };
        let args = view.job.args.as_ref().map(|args| query::body_of(reader, args));
        let result = match &view.job.phase {
            Phase::Succeeded { result: Some(result), .. } => Some(query::body_of(reader, result)),
            _ => None,
        };
        let attempts = query::attempts_of(reader, &namespace, id);
        let skipped = match view.checkpoint {
            Some(_) => query::skipped_of(reader, &namespace, id),
            None => Vec::new(),
        };
        Ok(WholeJob { view, args, result, attempts, skipped })
    };
    let whole = app.node.read(ns, look).await?;
    let mut whole = whole.map_err(|lookup| missing(app, ns, id, &lookup))?;
    check_follows(app, ns, &whole.view)?;
    mark_unserved(app, ns, std::slice::from_mut(&mut *whole.view)).await;
    Ok(whole)
}

/// Notes of jobs that are ready and that nothing else blocks where no worker runs their version.
/// Who asks for what is known to the shard alone: it is asked once for all of them.
async fn mark_unserved(app: &App, ns: &str, views: &mut [JobView]) {
    // Other tenants come before it, and yet nobody may run it.
    let alone = |by: &BlockedBy| matches!(by, BlockedBy::TenantTurn { .. });
    let waits =
        |view: &&mut JobView| view.state() == JobState::Ready && view.blocked_by.iter().all(alone);
    let of = |view: &JobView| KindInQueue {
        queue: view.job.queue.clone(),
        kind: view.job.kind.clone(),
        version: view.job.options.version,
    };
    let mut ready: Vec<_> = views.iter_mut().filter(waits).collect();
    let asked: BTreeSet<_> = ready.iter().map(|view| of(view)).collect();
    if asked.is_empty() {
        return;
    }
    let asked: Vec<_> = asked.into_iter().collect();
    // Whoever may see a job may see what it waits for. On a full disk the shard answers nothing,
    // and jobs are read all the same.
    let Ok(answer) = app.node.call(ns, UnservedKinds { of: asked.clone() }.into()).await else {
        return;
    };
    let Ok(unserved) = UnservedKinds::told(answer) else { return };
    let unserved = asked.into_iter().zip(unserved).filter(|(_, unserved)| *unserved);
    let unserved: BTreeSet<_> = unserved.map(|(of, _)| of).collect();
    for view in &mut ready {
        let KindInQueue { kind, version, .. } = of(view);
        if unserved.contains(&of(view)) {
            view.blocked_by.push(BlockedBy::NoWorker { kind, version });
        }
    }
}

/// The one worker of that name or session.
pub(crate) fn worker_named(app: &App, ns: &str, named: &str) -> Result<Arc<Worker>, Refusal> {
    app.workers.find(ns, named).map_err(|why| match why {
        NotFound::Unknown => {
            let named = quoted(named);
            let detail =
                format!("no worker {named} is connected; a worker is there while its stream is");
            Refusal::new(Code::WorkerUnknown, detail)
        }
        NotFound::Several(sessions) => {
            let allowed =
                format!("one of the sessions that share the name: {}", sessions.join(", "));
            Refusal::value("worker", quoted(named), shorten(&allowed))
        }
    })
}

/// How long a worker shall wait with its next checkpoint: while the disk is low, what is written
/// takes room from settlements.
pub(crate) fn slow_down_ms(app: &App) -> Option<u64> {
    const SLOW_DOWN_MS: u64 = 1000;
    let low = matches!(app.node.publishing(), Publishing::Refused { cause: Cause::DiskLow, .. });
    low.then_some(SLOW_DOWN_MS)
}

/// A page of jobs. `held`: only those that a stream has and has not started, or only others.
pub(crate) async fn page(
    app: &App,
    ns: &str,
    (mut filter, held): (JobFilter, Option<bool>),
    cursor: Option<Bytes>,
    limit: usize,
) -> Result<Page, Refusal> {
    let of = filter.queue.as_deref().map_or(Wanted::Everything, Wanted::Name);
    app.who.demand(ns, &Need::new(READ, of))?;
    if held == Some(true) {
        // Leases are fewer than jobs.
        filter.state.get_or_insert(JobState::Running);
    }
    let namespace = ns.to_owned();
    let look = move |reader: &dyn Reader, now| {
        let bounds = (limit, EXAMINED_MAX);
        query::list_jobs(reader, &namespace, &filter, cursor.as_ref(), bounds, now)
    };
    let page = app.node.read(ns, look).await?;
    let page = page.ok_or_else(|| missing(app, ns, JobId::default(), &Lookup::NamespaceUnknown));
    let mut page = page?;
    if let Some(held) = held {
        page.jobs.retain(|view| app.workers.holds(ns, view) == held);
    }
    mark_unserved(app, ns, &mut page.jobs).await;
    Ok(page)
}
