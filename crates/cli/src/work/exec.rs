//! Runs each job as a command of the user: args on standard input, the rest in the environment,
//! the exit code as the verdict.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_server::api::{ErrorText, RawJson};
use rustix::io::Errno;
use tokio::sync::watch;

use super::child::{self, Ending, Finished, Invocation, Stop};
use super::flags::Flags;
use super::job::{Assignment, News, Next, Runner, Verdict};
use crate::output::{note, printable, telling_line};

/// The largest result that a server takes unless told otherwise.
const RESULT_BYTES_MAX: usize = 1 << 20;
/// The longest text that says when a schedule fires next.
const NEXT_BYTES_MAX: u64 = 64;
/// How much of the end of standard error is told as an error's message.
const STDERR_BYTES_MAX: usize = 8 << 10;

/// `EX_DATAERR` of sysexits.h: no attempt will ever succeed.
const EXIT_DISCARD: i32 = 65;
/// The first code behind those of sysexits.h: another run goes on.
const EXIT_INTERRUPTED: i32 = 79;

/// Runs one command for every job.
#[derive(Clone, Debug)]
pub(crate) struct Exec {
    /// For `sh -c`.
    pub(crate) command: String,
    pub(crate) way: Way,
    pub(crate) quiet: bool,
    /// Where commands hear that they are to be interrupted.
    pub(crate) flags: Option<Arc<Flags>>,
}

/// Told to a command, so that it can enqueue jobs of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    pub(crate) server: String,
    pub(crate) namespace: String,
    /// The authorities of the server's certificate, where the system's are not those.
    pub(crate) ca: Option<PathBuf>,
}

impl Runner for Exec {
    async fn run(&self, job: Assignment, stop: watch::Receiver<Stop>) -> Verdict {
        let flag = self.flags.as_ref().and_then(|flags| flags.path_of(&job));
        let mut environment = environment(&job, &self.way);
        environment.extend(flag.clone().map(|path| (child::FLAG, path.into())));
        let name = format!("{} {}", job.id, printable(&job.kind));
        let next = self.flags.as_ref().and_then(|flags| {
            let made = flags.next_of(&job);
            let tell = |error: &io::Error| note(&format!("{name} can move no schedule: {error}"));
            made.inspect_err(tell).ok()
        });
        environment.extend(next.as_ref().map(|file| (child::NEXT, file.path().into())));
        let invocation = Invocation {
            command: self.command.clone(),
            environment,
            flag,
            input: job.args.into_bytes(),
            stdout_bytes_max: RESULT_BYTES_MAX,
            stderr_bytes_max: STDERR_BYTES_MAX,
            pass_stderr: true,
        };
        let finished = child::run(invocation, stop).await;
        match finished {
            Ok(finished) => {
                // How others end has nothing to do with it.
                let says = next.filter(|_| finished.ending == Ending::Exited(0));
                let next = says.and_then(|file| {
                    // Its work is done, whatever it says of the next time.
                    next_in(file.path()).unwrap_or_else(|why| {
                        note(&format!("{name} moves no schedule: LONGSHORE_NEXT {why}"));
                        None
                    })
                });
                verdict_of(&finished, next)
            }
            Err(error) => not_run(&error),
        }
    }

    fn hear(&self, news: &News<'_>) {
        tell(news, self.quiet);
    }
}

/// What a command finds in its environment.
pub(super) fn environment(
    job: &Assignment,
    Way { server, namespace, ca }: &Way,
) -> Vec<(&'static str, OsString)> {
    let texts = vec![
        ("LONGSHORE_JOB_ID", job.id.to_string()),
        ("LONGSHORE_QUEUE", job.queue.clone()),
        ("LONGSHORE_KIND", job.kind.clone()),
        ("LONGSHORE_ATTEMPT", job.attempt.to_string()),
        ("LONGSHORE_MAX_ATTEMPTS", job.max_attempts.to_string()),
        ("LONGSHORE_LEASE_TOKEN", job.token.to_string()),
        ("LONGSHORE_SERVER", server.to_owned()),
        ("LONGSHORE_NAMESPACE", namespace.to_owned()),
    ];
    let mut environment: Vec<_> =
        texts.into_iter().map(|(name, value)| (name, OsString::from(value))).collect();
    let version = job.version.map(|version| version.to_string());
    environment.extend(version.map(|version| ("LONGSHORE_KIND_VERSION", version.into())));
    environment.extend(job.traceparent.clone().map(|parent| ("TRACEPARENT", parent.into())));
    environment.extend(job.cursor.clone().map(|cursor| (child::CURSOR, cursor.into())));
    environment.extend(ca.clone().map(|ca| ("LONGSHORE_CA", ca.into())));
    environment
}

/// What becomes of a job whose command does not run. What this machine lacks for the moment
/// (descriptors, memory, processes) says nothing of the job, and nothing of it has begun.
pub(super) fn not_run(error: &io::Error) -> Verdict {
    const PASSING: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    if Errno::from_io_error(error).is_some_and(|errno| PASSING.contains(&errno)) {
        return Verdict::NotBegun(error.to_string());
    }
    Verdict::failed("worker", format!("cannot run the command: {error}"))
}

/// What a run has left of when its schedule is to fire next; none where it said nothing.
fn next_in(path: &Path) -> Result<Option<Next>, String> {
    // Nothing else is opened: a pipe there would hold up the worker.
    let is_file = |it: fs::Metadata| it.is_file();
    match path.symlink_metadata().map(is_file) {
        Ok(true) => {}
        Ok(false) => return Err("is no file any more".to_owned()),
        Err(_) => return Ok(None),
    }
    let mut said = Vec::new();
    // One more shows that there is more.
    let read =
        File::open(path).and_then(|file| file.take(NEXT_BYTES_MAX + 1).read_to_end(&mut said));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let fits = said.len() as u64 <= NEXT_BYTES_MAX;
    // It may be no text, or be cut in a character.
    let said = String::from_utf8_lossy(&said);
    let said = said.trim();
    if fits && said.is_empty() {
        return Ok(None);
    }
    let allowed = "a span, as in 90s, or an instant, as in 2030-01-01T00:00:00Z";
    let wrong = || format!("says \"{}\": it has to be {allowed}", printable(said));
    Next::read(said).filter(|_| fits).map(Some).ok_or_else(wrong)
}

fn verdict_of(finished: &Finished, next: Option<Next>) -> Verdict {
    match finished.ending {
        Ending::Exited(0) => {
            Verdict::Ack(result_of(&finished.stdout, finished.stdout_bytes_lost), next)
        }
        Ending::Exited(EXIT_DISCARD) => Verdict::Discard(Some(error_of(finished))),
        Ending::Exited(EXIT_INTERRUPTED) | Ending::Stopped(Some(EXIT_INTERRUPTED)) => {
            let cursor = result_of(&finished.stdout, finished.stdout_bytes_lost);
            Verdict::Interrupt(cursor.filter(|json| json.get() != "null"))
        }
        Ending::Stopped(_) => Verdict::Release,
        Ending::Exited(_) | Ending::Signalled(_) => Verdict::Fail(error_of(finished)),
    }
}

/// The error of a command that failed: how it ended, and the end of what it said.
pub(super) fn error_of(finished: &Finished) -> ErrorText {
    let kind = match finished.ending {
        Ending::Exited(code) => format!("exit {code}"),
        Ending::Signalled(signal) => format!("signal {signal}"),
        Ending::Stopped(_) => "stopped".to_owned(),
    };
    let said = String::from_utf8_lossy(&finished.stderr).trim_end().to_owned();
    let message = if said.is_empty() { format!("the command ended with {kind}") } else { said };
    ErrorText { kind, message, backtrace: String::new() }
}

/// Standard output as a result: the JSON that it is, else a JSON string; nothing for nothing.
fn result_of(stdout: &[u8], lost: u64) -> Option<RawJson<'static>> {
    let text = String::from_utf8_lossy(stdout);
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return None;
    }
    if lost == 0
        && let Ok(json) = RawJson::from_text(text.trim().to_owned())
        && json.get().len() <= RESULT_BYTES_MAX
    {
        return Some(json);
    }
    bounded_string(text, lost, RESULT_BYTES_MAX)
}

/// `text` as a JSON string of at most `bytes_max`, cut at its end where it is longer.
fn bounded_string(text: &str, lost: u64, bytes_max: usize) -> Option<RawJson<'static>> {
    let mut keep = text.len();
    loop {
        let cut = text.len() - keep;
        let json = if cut == 0 && lost == 0 {
            RawJson::of(text)
        } else {
            let lost = lost + cut as u64;
            RawJson::of(&format!("{} [{lost} more bytes were not kept]", &text[..keep]))
        };
        let json = json.ok()?;
        if json.get().len() <= bytes_max {
            return Some(json);
        }
        // Control characters take six bytes in JSON.
        keep =
            floor_char_boundary(text, keep.saturating_sub((json.get().len() - bytes_max) / 6 + 64));
        if keep == 0 {
            return None;
        }
    }
}

fn floor_char_boundary(text: &str, mut index: usize) -> usize {
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Tells a person what a worker does.
pub(super) fn tell(news: &News<'_>, quiet: bool) {
    match news {
        News::Ended(job, verdict, after) if !quiet => {
            note(&format!("{} {} {}", job.id, printable(&job.kind), words_for(verdict, *after)));
        }
        News::Short(why) => note(&format!(
            "no run can be begun now ({why}): what could not goes back, and fewer jobs are taken \
             until runs begin again"
        )),
        News::Cancelled(id) => note(&format!("{id} was cancelled: stopping it")),
        News::Interrupted(id, why) => {
            note(&format!("{id} is to be interrupted: {}", printable(why)));
        }
        News::Lost(id, why) => note(&format!("{id} ends here and does not count: {why}")),
        News::NotMoved(id, why) => note(&format!("{id} moves no schedule: {}", printable(why))),
        News::Away(why) => note(&format!("the server does not answer ({why}); trying again")),
        News::Back => note("the server answers again"),
        News::Stopping(0) => note("stopping: nothing is running"),
        News::Stopping(running) => {
            note(&format!("stopping: taking no more, waiting for {running} running"));
        }
        News::Ended(..) => {}
    }
}

fn words_for(verdict: &Verdict, after: Duration) -> String {
    let took = format!("after {:.2} s", after.as_secs_f64());
    match verdict {
        Verdict::Ack(..) => format!("succeeded {took}"),
        Verdict::Fail(error) => {
            let line = telling_line(&error.kind, &error.message);
            format!("failed {took} ({}): {}", printable(&error.kind), printable(&line))
        }
        Verdict::Interrupt(_) => format!("was interrupted {took}"),
        Verdict::Release => format!("stopped {took}"),
        Verdict::NotBegun(why) => format!("was not begun: {why}"),
        Verdict::Discard(_) => format!("discarded {took}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::flags::RunFile;
    use super::*;

    fn finished(ending: Ending, stdout: &str, stderr: &str) -> Finished {
        Finished {
            ending,
            stdout: stdout.as_bytes().to_vec(),
            stdout_bytes_lost: 0,
            stderr: stderr.as_bytes().to_vec(),
        }
    }

    fn result(stdout: &str) -> Option<String> {
        match verdict_of(&finished(Ending::Exited(0), stdout, ""), None) {
            Verdict::Ack(result, None) => result.map(|json| json.get().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn standard_output_is_the_result() {
        assert_eq!(result(""), None);
        assert_eq!(result("\n"), None);
        assert_eq!(result("{\"a\": 1.10}\n").as_deref(), Some("{\"a\": 1.10}"));
        assert_eq!(result("42\n").as_deref(), Some("42"));
        assert_eq!(result("hi there\n").as_deref(), Some("\"hi there\""));
        assert_eq!(result("{\"a\": }").as_deref(), Some("\"{\\\"a\\\": }\""));
    }

    #[test]
    fn a_result_is_bounded() {
        for text in ["\u{1}".repeat(5000), "\u{e4}".repeat(5000), "x".repeat(5000)] {
            let json = bounded_string(&text, 0, 1000).unwrap();
            assert!(json.get().len() <= 1000);
            assert!(json.get().ends_with(" more bytes were not kept]\""), "{}", json.get());
        }
        let json = bounded_string("abc", 7, 1000).unwrap();
        assert_eq!(json.get(), "\"abc [7 more bytes were not kept]\"");
    }

    #[test]
    fn what_the_machine_lacks_fails_no_job() {
        for lack in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM] {
            let verdict = not_run(&lack.into());
            assert!(matches!(verdict, Verdict::NotBegun(_)), "{verdict:?}");
        }
        // As many args as that will never fit.
        let verdict = not_run(&Errno::TOOBIG.into());
        assert!(matches!(&verdict, Verdict::Fail(error) if error.kind == "worker"), "{verdict:?}");
    }

    #[test]
    fn standard_output_of_who_is_interrupted_is_the_cursor() {
        for ending in [Ending::Exited(79), Ending::Stopped(Some(79))] {
            for (stdout, cursor) in
                [("", None), ("null\n", None), ("7\n", Some("7")), ("id 7\n", Some("\"id 7\""))]
            {
                let verdict = verdict_of(&finished(ending.clone(), stdout, ""), None);
                let Verdict::Interrupt(json) = verdict else { panic!("{verdict:?}") };
                assert_eq!(json.as_ref().map(RawJson::get), cursor, "{stdout:?}");
            }
        }
    }

    #[test]
    fn a_run_that_succeeds_says_when_its_schedule_fires_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("next");
        assert_eq!(next_in(&path), Ok(None), "it said nothing");
        let in_5s = Next::In("5s".parse().unwrap());
        let at = Next::At("2030-01-01T00:00:00Z".parse().unwrap());
        for (said, next) in
            [("", None), ("\n", None), ("5s\n", Some(in_5s)), ("2030-01-01T00:00:00Z", Some(at))]
        {
            fs::write(&path, said).unwrap();
            assert_eq!(next_in(&path), Ok(next), "{said:?}");
        }
        // Of the last ones more is there than is read, in the middle of a character.
        let long = ["5".repeat(100_000), format!("5s{}s", " ".repeat(63)), "\u{20ac}".repeat(99)];
        let texts = ["soon", "-5s", "5s 5s"].into_iter().chain(long.iter().map(String::as_str));
        for said in texts.map(str::as_bytes).chain([&b"\xff"[..]]) {
            fs::write(&path, said).unwrap();
            let why = next_in(&path).unwrap_err();
            assert!(why.contains("it has to be a span") && why.len() < 400, "{why}");
        }
        drop(RunFile::at(path.clone()));
        assert!(!path.exists(), "the file outlives the run");
        fs::create_dir(&path).unwrap();
        assert!(next_in(&path).unwrap_err().starts_with("is no file"));
        let ended = |ending| verdict_of(&finished(ending, "", ""), Some(in_5s));
        assert_eq!(ended(Ending::Exited(0)), Verdict::Ack(None, Some(in_5s)));
        // How others end has nothing to do with it.
        assert!(matches!(ended(Ending::Exited(1)), Verdict::Fail(_)));
    }

    #[test]
    fn exit_codes_are_verdicts() {
        let discarded = verdict_of(&finished(Ending::Exited(65), "x", "y"), None);
        let Verdict::Discard(Some(error)) = discarded else { panic!("{discarded:?}") };
        assert_eq!((error.kind.as_str(), error.message.as_str()), ("exit 65", "y"));
        for code in [None, Some(1), Some(143)] {
            let stopped = verdict_of(&finished(Ending::Stopped(code), "", ""), None);
            assert_eq!(stopped, Verdict::Release, "{code:?}");
        }
        let failed = |ending, stderr| match verdict_of(&finished(ending, "", stderr), None) {
            Verdict::Fail(error) => (error.kind, error.message),
            other => panic!("{other:?}"),
        };
        assert_eq!(failed(Ending::Exited(75), "busy\n"), ("exit 75".into(), "busy".into()));
        let silent = failed(Ending::Signalled(11), "");
        assert_eq!(silent, ("signal 11".into(), "the command ended with signal 11".into()));
    }
}
