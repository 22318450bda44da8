//! Opens a folder that a crash may have left, and says whether what is there is what it has to be:
//! of each client's jobs the state after its last answered request, or after the one under way.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use longshore_engine::query::{body_of, list_jobs};
use longshore_engine::{Command, EnqueueJobs, JobFilter, JobId, JobView, NewJob, Reader};
use longshore_server::Node;
use longshore_server::api::JobIdText;
use tokio::runtime::Runtime;

use super::client::{Clients, Job, JobState, Jobs};
use super::image::Image;
use super::node;

/// More than any run has.
const JOBS_MAX: usize = 100_000;

/// A queue that no client has.
const PROBE: &str = "probe";

/// What a server finds in a folder: jobs by queue, each queue's in order of their ids.
pub type Found = BTreeMap<String, Vec<Job>>;

/// Opens folders.
#[derive(Debug)]
pub struct Judge {
    runtime: Runtime,
    /// In memory where that is possible: what is judged does not depend on a disk.
    scratch: tempfile::TempDir,
}

impl Judge {
    /// One with a place of its own.
    pub fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        Ok(Self {
            runtime: runtime.worker_threads(1).enable_all().build()?,
            scratch: tempfile::tempdir_in(place)?,
        })
    }

    /// What a server finds in a folder with these contents. It goes on working, and the next one
    /// finds the same and what was added.
    pub fn open(&self, image: &Image) -> Result<Found> {
        let data = self.scratch.path().join("data");
        std::fs::create_dir(&data)?;
        image.write(&data)?;
        let found = self.runtime.block_on(look_twice(&data));
        // A folder in which something is wrong is written anew by who wants to look at it.
        std::fs::remove_dir_all(&data)?;
        found
    }
}

async fn look_twice(data: &Path) -> Result<Found> {
    let node = open(data).await?;
    let found = look(&node).await?;
    let id = JobId([0x50; 16]);
    let probe = NewJob::new(id, "k", "1");
    let command = EnqueueJobs { queue: PROBE.to_owned(), jobs: vec![probe] };
    node.call("default", Command::EnqueueJobs(command)).await.context("it takes no job")?;
    drop(node);
    let node = open(data).await.context("a second start")?;
    let mut again = look(&node).await?;
    node.stop().await;
    let probes = again.remove(PROBE).map_or(0, |jobs| jobs.len());
    if probes != 1 || again != found {
        bail!("a second start finds {probes} of the job that came in between, and {again:?}");
    }
    Ok(found)
}

async fn open(data: &Path) -> Result<Node> {
    let node = Node::open(&node::config(data))?;
    let readiness = node.started().await;
    if !readiness.is_ready() {
        bail!("it is refused: {readiness:?}");
    }
    Ok(node)
}

async fn look(node: &Node) -> Result<Found> {
    let jobs = node.read("default", |reader, now| {
        let all = JobFilter::default();
        let page = list_jobs(reader, "default", &all, None, (JOBS_MAX, JOBS_MAX), now);
        let jobs = page.map(|page| page.jobs).unwrap_or_default();
        jobs.into_iter().map(|view| as_known(reader, view)).collect::<Result<Vec<_>>>()
    });
    let mut found = Found::new();
    for (queue, job) in jobs.await?? {
        found.entry(queue).or_default().push(job);
    }
    Ok(found)
}

/// A job as its client knows it, and its queue.
fn as_known(reader: &dyn Reader, view: JobView) -> Result<(String, Job)> {
    let state = view.state().name();
    let state: JobState = serde_json::from_value(state.into()).context("a job's state")?;
    let id = JobIdText(view.job.id.0).to_string();
    let mut job = Job { id, args_bytes: 0, state };
    if let Some(args) = &view.job.args {
        let args = body_of(reader, args);
        let text: serde_json::Value = serde_json::from_slice(&args)?;
        job.args_bytes = text.as_str().map_or(0, str::len);
        if view.job.queue != PROBE && text != job.args() {
            bail!("job {} has other args: {text}", job.id);
        }
    }
    Ok((view.job.queue, job))
}

/// Says what is wrong with what was found, if anything is.
pub fn judge(found: &Found, clients: &Clients) -> Result<()> {
    for (name, client) in clients {
        let jobs = found.get(name).map(Vec::as_slice).unwrap_or_default();
        let allowed = [Some(&client.sure), client.maybe.as_ref()];
        if !allowed.into_iter().flatten().any(|allowed| as_found(allowed) == jobs) {
            bail!("client {name}: {}", difference(&as_found(&client.sure), jobs));
        }
    }
    match found.keys().find(|name| !clients.contains_key(*name)) {
        Some(queue) => bail!("nobody asked for queue {queue}"),
        None => Ok(()),
    }
}

/// Jobs as a server shows them: those that have ended have no args any more.
fn as_found(jobs: &Jobs) -> Vec<Job> {
    let mut jobs = jobs.0.clone();
    for job in &mut jobs {
        if matches!(job.state, JobState::Succeeded | JobState::Cancelled) {
            job.args_bytes = 0;
        }
    }
    jobs.sort_by(|a, b| a.id.cmp(&b.id));
    jobs
}

fn difference(answered: &[Job], found: &[Job]) -> String {
    let of = |jobs: &[Job], id: &str| jobs.iter().find(|job| job.id == id).cloned();
    let lost = answered.iter().find(|job| of(found, &job.id).as_ref() != Some(job));
    let more = found.iter().find(|job| of(answered, &job.id).as_ref() != Some(job));
    format!(
        "{} jobs are there, {} were answered; answered, but not so: {lost:?}; there, but not \
         answered so: {more:?}",
        found.len(),
        answered.len()
    )
}
