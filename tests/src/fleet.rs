//! A fleet of worker processes under a server that is restarted: the jobs that they run, which note
//! each start and each end in files of their folder, and what was noted.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use longshore::{Context, Job, JobResult, Outcome, Perform};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::server::binary;

/// How often a worker looks whether jobs may end.
const LOOK: Duration = Duration::from_millis(20);

/// Runs until its wave may end.
#[derive(Debug, Deserialize, Job, Serialize)]
#[job(queue = "fleet")]
pub struct Wait {
    /// Jobs of one wave may end at the same time.
    pub wave: usize,
}

/// What the jobs of one worker process share.
#[derive(Debug)]
pub struct Shore {
    notes: File,
    waves: watch::Receiver<usize>,
}

impl Shore {
    /// Notes in `folder` under the worker's name, and watches there for the waves that may end.
    /// Needs a runtime.
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        let notes = File::options().create(true).append(true).open(folder.join(name))?;
        let (sender, waves) = watch::channel(0);
        let folder = folder.to_owned();
        tokio::spawn(async move {
            let mut wave = 0;
            while !sender.is_closed() {
                if wave_file(&folder, wave).exists() {
                    wave += 1;
                    sender.send_replace(wave);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(Self { notes, waves })
    }

    /// One line, which a kill of the process does not take back.
    fn note(&self, what: &str, ctx: &Context<Self>) -> Result<(), std::io::Error> {
        (&self.notes).write_all(format!("{what} {} {}\n", ctx.id(), ctx.attempt()).as_bytes())
    }
}

impl Perform<Shore> for Wait {
    async fn perform(self, ctx: Context<Shore>) -> JobResult {
        ctx.state().note("start", &ctx)?;
        let mut waves = ctx.state().waves.clone();
        waves.wait_for(|wave| *wave > self.wave).await?;
        ctx.state().note("end", &ctx)?;
        Ok(Outcome::DONE)
    }
}

fn wave_file(folder: &Path, wave: usize) -> PathBuf {
    folder.join(format!("wave-{wave}-may-end"))
}

/// How often each job started and ended.
#[derive(Debug, Default)]
pub struct Noted {
    /// Starts by job.
    pub starts: HashMap<String, u32>,
    /// Ends by job.
    pub ends: HashMap<String, u32>,
    /// The highest attempt that was seen.
    pub attempt_max: u32,
}

/// Worker processes.
#[derive(Debug)]
pub struct Fleet {
    folder: PathBuf,
    workers: Vec<(String, Child)>,
}

impl Fleet {
    /// Starts processes that note in `folder`.
    pub fn start(url: &str, folder: &Path, workers: usize, concurrency: u32) -> Result<Self> {
        let program = binary()?.with_file_name("fleet-worker");
        let mut fleet = Self { folder: folder.to_owned(), workers: Vec::new() };
        for n in 0..workers {
            let name = format!("worker-{n}");
            let child = Command::new(&program)
                .arg(url)
                .arg(folder)
                .args([&name, &concurrency.to_string()])
                .stdout(Stdio::null())
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            fleet.workers.push((name, child));
        }
        Ok(fleet)
    }

    /// Sees that each process that was started is still there.
    pub fn is_whole(&mut self) -> Result<()> {
        for (name, child) in &mut self.workers {
            let ended = child.try_wait()?;
            ensure!(ended.is_none(), "{name} has ended: {ended:?}");
        }
        Ok(())
    }

    /// The processes.
    pub fn pids(&self) -> Vec<u32> {
        self.workers.iter().map(|(_, child)| child.id()).collect()
    }

    /// Lets the jobs of a wave end.
    pub fn let_end(&self, wave: usize) -> Result<()> {
        File::create(wave_file(&self.folder, wave))?;
        Ok(())
    }

    /// What the jobs have noted so far.
    pub fn noted(&self) -> Result<Noted> {
        let mut noted = Noted::default();
        for (name, _) in &self.workers {
            let text = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
            for line in text.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let [what, id, attempt] = words[..] else { continue };
                let of = if what == "start" { &mut noted.starts } else { &mut noted.ends };
                *of.entry(id.to_owned()).or_default() += 1;
                noted.attempt_max = noted.attempt_max.max(attempt.parse()?);
            }
        }
        Ok(noted)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (_, worker) in &mut self.workers {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}
