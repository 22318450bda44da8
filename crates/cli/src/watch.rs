//! `longshore jobs watch`: how far a job is, live: a bar on a terminal, lines elsewhere.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use longshore_server::Pace;
use longshore_server::api::{JobIdText, JobRecord, StateText};

use crate::client::{Client, read};
use crate::jobs::state;
use crate::output::{self, Format, grouped, printable};
use crate::patient::Patient;

/// How often the job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a line is printed where there is no terminal, unless the state changes.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Over how much of the past the speed is taken at most.
const SPEED_OVER: Duration = Duration::from_secs(60);
/// The bar's length, in steps of progress.
const STEPS: u64 = 10_000;

/// Shows a job until it has ended, restarts of the server included: exit code 0 if it succeeded.
pub(crate) async fn watch(
    client: &Client,
    id: JobIdText,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let path = client.path(&format!("/jobs/{id}"));
    let mut display = Display::new(format);
    let mut server = Patient::new(client);
    loop {
        let body = server.get(&path, None).await?.body;
        let job: JobRecord<'_> = read(&body)?;
        display.show(&job, &body)?;
        if job.state.has_ended() {
            let succeeded = job.state == StateText::Succeeded;
            return Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct Display {
    format: Format,
    bar: Option<ProgressBar>,
    pace: Pace,
    /// The line that was printed last, and when.
    last: Option<(String, Instant)>,
    last_body: Vec<u8>,
}

impl Display {
    fn new(format: Format) -> Self {
        let bar = (output::is_terminal() && format == Format::Table).then(|| {
            let target = ProgressDrawTarget::stdout();
            let bar = ProgressBar::with_draw_target(Some(STEPS), target);
            let style = ProgressStyle::with_template("[{wide_bar}] {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("#>-"));
            bar
        });
        Self { format, bar, pace: Pace::over(SPEED_OVER), last: None, last_body: Vec::new() }
    }

    fn show(&mut self, job: &JobRecord<'_>, body: &[u8]) -> std::io::Result<()> {
        if self.format == Format::Json {
            if self.last_body != body {
                output::json_text(body)?;
                self.last_body = body.to_vec();
            }
            return Ok(());
        }
        let now = Instant::now();
        let speed = self.pace.at(job.progress, now);
        let line = describe(job, speed);
        let ended = job.state.has_ended();
        if let Some(bar) = &self.bar {
            let position = job.progress.unwrap_or(0.0).clamp(0.0, 1.0) * STEPS as f64;
            bar.set_position((position as i64).cast_unsigned());
            bar.set_message(line.clone());
            if ended {
                bar.finish_and_clear();
                return output::line(&line);
            }
            return Ok(());
        }
        let due = match &self.last {
            None => true,
            Some((last, at)) => *last != line && (ended || now.duration_since(*at) >= LINE_EVERY),
        };
        if due {
            output::line(&line)?;
            self.last = Some((line, now));
        }
        Ok(())
    }
}

/// A job in one line.
fn describe(job: &JobRecord<'_>, speed: Option<(f64, Duration)>) -> String {
    let mut line = state(job);
    if let Some(progress) = job.progress {
        let _ = write!(line, " {:.1} %", progress * 100.0);
    }
    if let Some((per_second, left)) = speed.filter(|_| !job.state.has_ended()) {
        let _ = write!(line, ", {:.1} %/s, {} left", per_second * 100.0, in_words(left));
    }
    if let Some(text) = &job.progress_text {
        let _ = write!(line, ", {}", printable(text));
    }
    if let Some(checkpoint) = &job.checkpoint {
        for (name, value) in &checkpoint.counters.0 {
            let shown = u64::try_from(*value).map_or_else(|_| value.to_string(), grouped);
            let _ = write!(line, ", {} {shown}", printable(name));
        }
        if checkpoint.interruptions > 0 {
            let _ = write!(line, ", interrupted {} times", checkpoint.interruptions);
        }
        if checkpoint.skipped_total > 0 {
            let _ = write!(line, ", {} skipped", grouped(checkpoint.skipped_total));
        }
    }
    if let Some(error) = &job.error {
        let told = output::telling_line(&error.kind, &error.message);
        let _ = write!(line, ", {}: {}", printable(&error.kind), printable(&told));
    }
    line
}

fn in_words(left: Duration) -> String {
    match left.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
