//! One run of this program: what is measured, where it stores, which peers are there, and the
//! alternating pairs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::args::{Args, Sides};
use crate::peers::{self, Peer};
use crate::report::{Figure, Report, Side, say};
use crate::{host, longshore};

/// What the build is called that `--against` names.
const AGAINST: &str = "other build";

/// One run of one side.
pub(crate) type Run<'a> = dyn Fn(&Bench) -> Result<Vec<Figure>> + 'a;

/// Says what is measured next, and with which settings on both sides.
pub(crate) fn begin(title: &str, settings: &[&str]) {
    say(&format!("\n{title}"));
    for line in settings {
        say(&format!("  {line}"));
    }
}

/// The run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) args: Args,
    /// The server's binary; in turns with `against` while that is measured.
    pub(crate) program: PathBuf,
    /// The other build that takes the peers' place.
    against: Option<PathBuf>,
    report: Report,
    skipped: Vec<String>,
}

impl Bench {
    /// Builds what is needed, installs what was asked for, and says what will be measured.
    pub(crate) fn prepare(args: Args) -> Result<Self> {
        if args.install {
            peers::install()?;
        }
        ensure!(
            !host::is_memory(&args.dir),
            "{} is in memory: name a folder on a disk with --dir",
            args.dir.display()
        );
        let program = match &args.longshore {
            Some(program) => program.canonicalize().context("no binary at --longshore")?,
            None => longshore::build()?,
        };
        let version = longshore::version(&program)?;
        let against = args.against.as_deref().map(Path::canonicalize).transpose();
        let against = against.context("no binary at --against")?;
        let machine = host::describe(&args.dir);
        say(&format!("machine: {machine}\nLongshore: {version}, as `longshore serve` starts it"));
        let mut versions = serde_json::Map::new();
        if let Some(before) = &against {
            let before = longshore::version(before)?;
            say(&format!("{AGAINST}: {before}, started in the same way"));
            versions.insert(AGAINST.to_owned(), before.into());
        }
        for peer in Peer::ALL.into_iter().filter(|peer| peer.is_installed()) {
            say(&format!("{}: {}", peer.name(), peer.version()));
            versions.insert(peer.name().to_owned(), peer.version().into());
        }
        let settings = json!({
            "machine": machine,
            "longshore": version,
            "peers": versions,
            "pairs": args.pairs,
            "arguments": std::env::args().skip(1).collect::<Vec<_>>(),
        });
        let report = Report::create(&settings)?;
        Ok(Self { args, program, against, report, skipped: Vec::new() })
    }

    /// Whether a peer can be measured; where not, it is remembered what is skipped.
    pub(crate) fn has(&mut self, peer: Peer) -> bool {
        if self.args.sides == Sides::Ours || self.against.is_some() {
            return false;
        }
        let installed = peer.is_installed();
        if !installed {
            let line = format!("skipped {}: not installed; {}", peer.name(), peer.remedy());
            say(&format!("  {line}"));
            if !self.skipped.contains(&line) {
                self.skipped.push(line);
            }
        }
        installed
    }

    /// A folder on the disk that is measured, gone when dropped.
    pub(crate) fn folder(&self) -> Result<TempDir> {
        let folder = tempfile::Builder::new().prefix("longshore-bench-").tempdir_in(&self.args.dir);
        folder.with_context(|| format!("cannot make a folder in {}", self.args.dir.display()))
    }

    /// Measures both sides in alternating pairs; every second pair begins with the peer.
    pub(crate) fn pairs(
        &mut self,
        ours: impl Fn(&Self) -> Result<Vec<Figure>>,
        peer: Option<(&'static str, &Run)>,
    ) -> Result<()> {
        self.rounds(ours, peer.as_slice())
    }

    /// Measures all sides in turns; every second round goes the other way.
    pub(crate) fn rounds(
        &mut self,
        ours: impl Fn(&Self) -> Result<Vec<Figure>>,
        peers: &[(&'static str, &Run)],
    ) -> Result<()> {
        let ours: &Run = &ours;
        if self.against.is_some() {
            return self.against(ours);
        }
        let mut sides: Vec<(Side, &Run)> = Vec::new();
        if self.args.sides != Sides::Peers {
            sides.push((None, ours));
        }
        sides.extend(peers.iter().map(|(name, run)| (Some(*name), *run)));
        for round in 1..=self.args.pairs {
            for (side, run) in &sides {
                let figures = run(self)?;
                self.add(*side, round, figures)?;
            }
            sides.reverse();
        }
        Ok(())
    }

    /// Measures both builds in alternating pairs.
    fn against(&mut self, run: &Run) -> Result<()> {
        let programs = [Some(self.program.clone()), self.against.clone()].into_iter().flatten();
        let mut sides: Vec<(Side, PathBuf)> =
            [None, Some(AGAINST)].into_iter().zip(programs).collect();
        for round in 1..=self.args.pairs {
            for (side, program) in &sides {
                self.program.clone_from(program);
                let figures = run(self)?;
                self.add(*side, round, figures)?;
            }
            sides.reverse();
        }
        Ok(())
    }

    /// Keeps what one side showed.
    pub(crate) fn add(&mut self, side: Side, pair: u32, figures: Vec<Figure>) -> Result<()> {
        // What one run left to be written shall not weigh on the next.
        let _ = Command::new("sync").status();
        self.report.add(side, pair, figures)
    }

    /// Prints the table and what was skipped.
    pub(crate) fn finish(&self) -> Result<()> {
        self.report.finish(self.args.record)?;
        for line in &self.skipped {
            say(line);
        }
        Ok(())
    }
}
