//! What the demo shows while it goes on: bars on a terminal, lines elsewhere.

use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::line::Line;
use crate::output::{self, Format, bytes, grouped, printable};

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// The display.
#[derive(Debug)]
pub(super) struct Board {
    bars: Option<Bars>,
    format: Format,
    total: u64,
    started: Instant,
    last_line: Instant,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    jobs: ProgressBar,
    bytes: ProgressBar,
    workers: Vec<ProgressBar>,
}

impl Board {
    /// A board for `total` jobs with `total_bytes`, where that is known.
    pub(super) fn new(
        total: u64,
        total_bytes: Option<u64>,
        workers: usize,
        format: Format,
    ) -> Self {
        let now = Instant::now();
        let shows_bars = output::is_terminal() && format == Format::Table;
        let bars = shows_bars.then(|| Bars::new(total, total_bytes, workers));
        Self { bars, format, total, started: now, last_line: now }
    }

    /// Something happened that is worth a line of its own.
    pub(super) fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.all.println(text);
            }
            None if self.format == Format::Json => output::note(text),
            None => {
                let _ = output::line(text);
            }
        }
    }

    /// So much is done.
    pub(super) fn advance(&mut self, done: u64, done_bytes: u64) {
        if let Some(bars) = &self.bars {
            bars.jobs.set_position(done.min(self.total));
            bars.bytes.set_position(done_bytes);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let rate = done as f64 / self.started.elapsed().as_secs_f64();
            self.say(&format!(
                "  {} of {} files, {rate:.0} files/s, {}",
                grouped(done),
                grouped(self.total),
                bytes(done_bytes)
            ));
        }
    }

    /// What a worker does now.
    pub(super) fn show_worker(&self, worker: usize, line: &Line) {
        let bar = self.bars.as_ref().and_then(|bars| bars.workers.get(worker));
        if let (Some(bar), Line::Archiving { path, .. }) = (bar, line) {
            bar.set_message(printable(path));
            bar.tick();
        }
    }

    /// What became of a worker.
    pub(super) fn mark_worker(&self, worker: usize, what: &str) {
        if let Some(bar) = self.bars.as_ref().and_then(|bars| bars.workers.get(worker)) {
            bar.set_message(what.to_owned());
            bar.tick();
        }
    }

    /// Takes the bars away; what was said stays.
    pub(super) fn close(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.all.clear();
        }
    }
}

impl Bars {
    fn new(total: u64, total_bytes: Option<u64>, workers: usize) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style = |template: &str| {
            let style = ProgressStyle::with_template(template);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            style.progress_chars("#>-").with_key(
                "rate",
                |state: &ProgressState, out: &mut dyn Write| {
                    let _ = write!(out, "{:.0}/s", state.per_sec());
                },
            )
        };
        let jobs = all.add(ProgressBar::new(total));
        jobs.set_style(style("  files    [{wide_bar}] {human_pos}/{human_len}  {rate:>12}"));
        let bytes = match total_bytes {
            Some(total) => all.add(ProgressBar::new(total)),
            None => ProgressBar::hidden(),
        };
        bytes.set_style(style(
            "  bytes    [{wide_bar}] {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec:>12}",
        ));
        let workers = (1..=workers).map(|number| {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(style(&format!("  worker {number} {{spinner}} {{wide_msg}}")));
            bar.set_message("starts");
            bar
        });
        let workers = workers.collect();
        jobs.enable_steady_tick(Duration::from_millis(100));
        Self { all, jobs, bytes, workers }
    }
}
