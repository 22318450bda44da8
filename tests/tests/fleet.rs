//! The server is restarted under a thousand running jobs of four worker processes, with default
//! settings: none of the jobs runs twice, none is lost, none uses another attempt, and the workers
//! come back by themselves. Some jobs end while the server is away.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore::{Client, JobHandle};
use longshore_tests::fleet::{Fleet, Wait};
use longshore_tests::server::{self, Server};
use longshore_tests::{tier, wait};

const WORKERS: usize = 4;
const CONCURRENCY: u32 = 250;
const JOBS: usize = 1000;
/// Jobs of the wave that ends while the server is away, those of the one after, and those that
/// have not started by then.
const WAVES: [usize; 3] = [200, 800, 20];

/// The server, and who works for it.
struct Scene {
    folder: tempfile::TempDir,
    server: Server,
    fleet: Fleet,
    jobs: Vec<JobHandle<Wait>>,
}

impl Scene {
    /// Has a thousand jobs run.
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = Server::start_ready(&folder.path().join("data"))?;
        let url = format!("http://{}", server.address);
        let notes = folder.path().join("notes");
        std::fs::create_dir(&notes)?;
        let fleet = Fleet::start(&url, &notes, WORKERS, CONCURRENCY)?;
        let client = Client::new(url)?;
        let mut jobs = Vec::new();
        for (wave, count) in WAVES.into_iter().enumerate() {
            jobs.extend(client.enqueue_all((0..count).map(|_| Wait { wave })).await?);
        }
        let scene = Self { folder, server, fleet, jobs };
        scene.until("all slots run", |scene| Ok(scene.fleet.noted()?.starts.len() >= JOBS))?;
        Ok(scene)
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        wait::until(what, || Ok(is_so(self)?.then_some(())))
    }

    /// Starts the server again where it was.
    fn start_again(&mut self) -> Result<()> {
        let data = self.folder.path().join("data");
        let command = server::serve_at(&data, &self.server.address)?;
        self.server = Server::start_as(command, &data.with_extension("log"))?;
        self.server.wait_ready()
    }

    /// Whether all workers have a stream, and how many jobs they run as the server sees it.
    fn seen(&self) -> Result<(bool, usize)> {
        let list = self.server.client().get("/v1/workers")?.body;
        let list = list["workers"].as_array().context("no workers")?;
        let pids = self.fleet.pids();
        let connected = list.iter().filter(|it| it["connected"] == true);
        let here = connected.filter(|it| pids.iter().any(|pid| it["pid"] == *pid)).count();
        let running = list.iter().filter_map(|it| it["running"].as_array()).map(Vec::len).sum();
        Ok((here == WORKERS && list.len() == WORKERS, running))
    }

    /// Waits for the end of every job and sees that it ran once.
    async fn judge(mut self) -> Result<()> {
        for job in &self.jobs {
            job.result(Duration::from_secs(60)).await?;
            let record = job.record().await?.document();
            ensure!(record["attempt"] == 1, "an attempt was used up: {record}");
        }
        let noted = self.fleet.noted()?;
        for (what, counts) in [("starts", &noted.starts), ("ends", &noted.ends)] {
            let times: u32 = counts.values().sum();
            ensure!(counts.len() == self.jobs.len(), "{} jobs have {what}", counts.len());
            ensure!(times as usize == self.jobs.len(), "{times} {what}");
        }
        ensure!(noted.attempt_max == 1, "attempt {} was delivered", noted.attempt_max);
        self.fleet.is_whole()
    }
}

async fn restarted_by(stop: impl FnOnce(&mut Server) -> Result<()>) -> Result<()> {
    let mut scene = Scene::start().await?;
    stop(&mut scene.server)?;
    scene.fleet.let_end(0)?;
    scene.until("a wave ends while the server is away", |scene| {
        Ok(scene.fleet.noted()?.ends.len() == WAVES[0])
    })?;
    let start = Instant::now();
    scene.start_again()?;
    scene.until("the workers come back", |scene| Ok(scene.seen()?.0))?;
    let back = start.elapsed();
    // What ended meanwhile is settled, and what waited takes its place.
    let running = WAVES[1] + WAVES[2];
    scene.until("the rest runs", |scene| Ok(scene.fleet.noted()?.starts.len() == JOBS + 20))?;
    scene.until("the server knows it", |scene| Ok(scene.seen()? == (true, running)))?;
    // Longer than workers have to come back; in the full tier longer than leases are.
    let outlives = Duration::from_secs(tier::pick(12, 45));
    scene.until("what is not held would be lost by now", |scene| {
        ensure!(scene.fleet.noted()?.starts.len() == JOBS + 20);
        Ok(start.elapsed() > outlives)
    })?;
    ensure!(scene.seen()? == (true, running), "{:?}", scene.seen()?);
    scene.fleet.let_end(1)?;
    scene.fleet.let_end(2)?;
    scene.judge().await?;
    eprintln!("{WORKERS} workers were back {back:?} after the server was started again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_running_jobs_outlive_a_kill_of_the_server() {
    restarted_by(Server::kill).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_running_jobs_outlive_a_deploy_of_the_server() {
    restarted_by(|server| {
        let status = server.terminate()?;
        ensure!(status.code() == Some(0), "{}", server.log_text());
        Ok(())
    })
    .await
    .unwrap();
}
