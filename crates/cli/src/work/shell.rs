//! Jobs of the kind `longshore.shell`: the job itself says which command to run. Only for
//! workers that were told to allow it.

use longshore_server::api::{ErrorText, RawJson};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::child::{self, Ending, Invocation, Stop};
use super::exec::{Way, environment, error_of, not_run, tell};
use super::job::{Assignment, News, Runner, Verdict};

/// The kind that such workers name.
pub(crate) const SHELL_KIND: &str = "longshore.shell";

/// How much of either output is kept.
const OUTPUT_BYTES_MAX: usize = 128 << 10;
/// How much of an error's message a server keeps, and a little less.
const ERROR_BYTES_MAX: usize = 8 << 10;

/// The args of such a job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShellArgs {
    /// For `sh -c`.
    pub(crate) command: String,
    /// The folder to run it in; where left out, the worker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<String>,
}

/// The result of a command that ended with 0.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct ShellResult {
    pub(crate) exit_code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// How much of standard output was not kept.
    #[serde(default)]
    pub(crate) stdout_bytes_lost: u64,
}

/// Runs what jobs say.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    pub(crate) way: Way,
    pub(crate) quiet: bool,
}

impl Runner for Shell {
    async fn run(&self, job: Assignment, stop: watch::Receiver<Stop>) -> Verdict {
        let args: ShellArgs = match serde_json::from_str(&job.args) {
            Ok(args) => args,
            Err(error) => {
                let message = format!("args have to be {{\"command\": \"...\"}}: {error}");
                return Verdict::failed("args", message);
            }
        };
        let invocation = Invocation {
            command: in_folder(&args),
            environment: environment(&job, &self.way),
            // What a job says itself comes to its end.
            flag: None,
            input: Vec::new(),
            stdout_bytes_max: OUTPUT_BYTES_MAX,
            stderr_bytes_max: OUTPUT_BYTES_MAX,
            pass_stderr: false,
        };
        let finished = match child::run(invocation, stop).await {
            Ok(finished) => finished,
            Err(error) => return not_run(&error),
        };
        match finished.ending {
            Ending::Stopped(_) => Verdict::Release,
            Ending::Exited(0) => {
                let result = ShellResult {
                    exit_code: 0,
                    stdout: String::from_utf8_lossy(&finished.stdout).into_owned(),
                    stderr: String::from_utf8_lossy(&finished.stderr).into_owned(),
                    stdout_bytes_lost: finished.stdout_bytes_lost,
                };
                Verdict::Ack(RawJson::of(&result).ok(), None)
            }
            Ending::Exited(_) | Ending::Signalled(_) => {
                let error = error_of(&finished);
                let message = said(&String::from_utf8_lossy(&finished.stdout), &error.message);
                Verdict::Fail(ErrorText { kind: error.kind, message, backtrace: String::new() })
            }
        }
    }

    fn hear(&self, news: &News<'_>) {
        tell(news, self.quiet);
    }
}

fn in_folder(args: &ShellArgs) -> String {
    match &args.folder {
        Some(folder) => {
            let quoted = folder.replace('\'', r"'\''");
            format!("cd '{quoted}' || exit 126\n{}", args.command)
        }
        None => args.command.clone(),
    }
}

/// Stand before what a command that failed said, where it said anything on standard output.
const STDOUT_MARK: &str = "[standard output]\n";
const STDERR_MARK: &str = "\n[standard error]\n";

/// The message of a command that failed: the ends of both its outputs, told apart.
fn said(stdout: &str, stderr: &str) -> String {
    match stdout.trim_end() {
        "" => tail(stderr, ERROR_BYTES_MAX).to_owned(),
        stdout => {
            let half = ERROR_BYTES_MAX / 2;
            let (stdout, stderr) = (tail(stdout, half), tail(stderr, half));
            format!("{STDOUT_MARK}{stdout}{STDERR_MARK}{stderr}")
        }
    }
}

/// Both outputs of a command that failed, from the message that holds them.
pub(crate) fn outputs_of(error: &ErrorText) -> (&str, &str) {
    let both = error.message.strip_prefix(STDOUT_MARK);
    both.and_then(|both| both.split_once(STDERR_MARK)).unwrap_or(("", &error.message))
}

fn tail(text: &str, bytes_max: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes_max);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// The exit code that an error of such a job tells, as a shell would tell it.
pub(crate) fn exit_code_of(error: &ErrorText) -> Option<u8> {
    let (how, number) = error.kind.split_once(' ')?;
    let number: u8 = number.parse().ok()?;
    match how {
        "exit" => Some(number),
        "signal" => number.checked_add(128),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use longshore_server::api::{JobIdText, TokenText};
    use std::time::Duration;

    use super::*;

    async fn run(args: &str) -> Verdict {
        let job = Assignment {
            id: JobIdText::default(),
            token: TokenText::default(),
            queue: "shell".into(),
            kind: SHELL_KIND.into(),
            version: None,
            args: args.into(),
            attempt: 1,
            max_attempts: 1,
            lease: Duration::from_secs(30),
            timeout: None,
            at_most_once: false,
            traceparent: None,
            cursor: None,
        };
        let shell = Shell { way: Way::default(), quiet: true };
        let (_keep, stop) = watch::channel(Stop::No);
        shell.run(job, stop).await
    }

    #[tokio::test]
    async fn output_comes_back() {
        let Verdict::Ack(Some(json), None) = run(r#"{"command":"echo hi; echo so >&2"}"#).await
        else {
            panic!("no result");
        };
        let result: ShellResult = serde_json::from_str(json.get()).unwrap();
        assert_eq!((result.stdout.as_str(), result.stderr.as_str()), ("hi\n", "so\n"));
    }

    #[tokio::test]
    async fn a_failing_command_tells_its_code() {
        let silent = "the command ended with exit 7";
        for (command, said) in [
            ("echo hi; exit 7", ("hi", silent)),
            ("echo so >&2; exit 7", ("", "so")),
            ("echo hi; echo so >&2; exit 7", ("hi", "so")),
            ("exit 7", ("", silent)),
        ] {
            let Verdict::Fail(error) = run(&format!("{{\"command\":\"{command}\"}}")).await else {
                panic!("no failure");
            };
            assert_eq!((exit_code_of(&error), outputs_of(&error)), (Some(7), said));
            assert_eq!(error.backtrace, "", "output is no backtrace");
        }
    }

    #[tokio::test]
    async fn a_folder_of_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("it's odd");
        std::fs::create_dir(&odd).unwrap();
        let args =
            ShellArgs { command: "pwd".into(), folder: Some(odd.to_string_lossy().into_owned()) };
        let Verdict::Ack(Some(json), None) = run(&serde_json::to_string(&args).unwrap()).await
        else {
            panic!("no result");
        };
        assert!(json.get().contains("it's odd"), "{}", json.get());
    }

    #[tokio::test]
    async fn other_args_are_refused() {
        for args in ["{}", "[]", r#"{"command":"x","also":1}"#] {
            assert!(matches!(run(args).await, Verdict::Fail(error) if error.kind == "args"));
        }
    }
}
