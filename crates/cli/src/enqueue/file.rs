//! `longshore enqueue --file`: one job per line, in requests that are atomic each. A file is
//! checked as a whole before the first one, and the ids of its jobs are made from the lines, so
//! whoever enqueues it once more after a failure enqueues nothing twice.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use longshore_server::api::{EnqueueBulk, EnqueueBulkAnswer, JobIdText, NewJob};
use sha2::{Digest, Sha256};

use super::EnqueueArgs;
use crate::client::{Client, Fault, Refusal, read, segment, to_json};
use crate::failure::{Failure, Kind};
use crate::output::{self, Format, count, note};

/// Jobs per request: what a server takes in one atomic call.
const BULK_JOBS_MAX: usize = 10_000;
/// Bytes per request, below what a server takes at once.
const BULK_BYTES_MAX: usize = 8 << 20;
/// Lines at fault that are told.
const TOLD_MAX: usize = 5;

/// Lines with their numbers.
type Lines = Vec<(u64, String)>;

/// Enqueues the lines of a file in as few requests as bounds allow.
pub(super) async fn enqueue(
    client: &Client,
    path: &Path,
    args: &EnqueueArgs,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let is_stdin = path == Path::new("-");
    let shown = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let named = || format!("cannot read {shown}");
    let mut file = if is_stdin {
        File::from(io::stdin().as_fd().try_clone_to_owned().with_context(named)?)
    } else {
        File::open(path).with_context(named)?
    };
    // A pipe can be read only once.
    let is_file = file.metadata().with_context(named)?.is_file();
    if is_file {
        let start = file.stream_position().with_context(named)?;
        check(&mut BufReader::new(&file), &shown).with_context(named)??;
        file.seek(SeekFrom::Start(start)).with_context(named)?;
    }
    let ids = (is_file && !args.anew).then(|| Ids::new(client.namespace(), &args.queue));
    let mut sent = Sent { client, args, shown: &shown, ids, format, total: 0, replayed: 0 };
    sent.all(&mut BufReader::new(file)).await?;
    if format == Format::Table {
        output::line(&outcome(sent.total, sent.replayed))?;
    }
    if sent.replayed > 0 && sent.ids.is_some() {
        note(
            "a line that was enqueued before makes no new job while the server knows the old one; \
             with --anew it does",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// How many jobs are new, and how many were there.
fn outcome(total: u64, before: u64) -> String {
    match (total - before, before) {
        (new, 0) => format!("{} enqueued", count(new, "job")),
        (0, _) => format!("no new jobs: {} had been enqueued before", count(before, "line")),
        (new, _) => {
            let lines = count(before, "line");
            format!("{} enqueued; {lines} had been enqueued before", count(new, "job"))
        }
    }
}

/// Reads every line, so that a mistake in any of them is told before a job is enqueued.
fn check(input: &mut dyn BufRead, shown: &str) -> io::Result<Result<(), Failure>> {
    let (mut line, mut number, mut faults, mut told) = (String::new(), 0, 0, Vec::new());
    while input.read_line(&mut line)? > 0 {
        number += 1;
        if !line.trim().is_empty()
            && let Err(failure) = parse(&line, number, shown)
        {
            faults += 1;
            if told.len() < TOLD_MAX {
                told.push(failure.message);
            }
        }
        line.clear();
    }
    if faults == 0 {
        return Ok(Ok(()));
    }
    if faults > told.len() {
        told.push(format!("... and {} more", faults - told.len()));
    }
    Ok(Err(Failure::usage(format!("{}; nothing was enqueued", told.join("\n  ")))))
}

fn parse<'a>(line: &'a str, number: u64, shown: &str) -> Result<NewJob<'a>, Failure> {
    serde_json::from_str(line)
        .map_err(|error| Failure::usage(format!("{shown}: line {number}: {}", within_line(&error))))
}

/// What was sent so far.
struct Sent<'a> {
    client: &'a Client,
    args: &'a EnqueueArgs,
    shown: &'a str,
    ids: Option<Ids>,
    format: Format,
    total: u64,
    replayed: u64,
}

impl Sent<'_> {
    async fn all(&mut self, input: &mut dyn BufRead) -> anyhow::Result<()> {
        let mut number = 0;
        loop {
            let next = number + 1;
            let lines = next_lines(input, &mut number).map_err(|error| {
                let message = format!("cannot read {}: {error}", self.shown);
                self.so_far(Failure::new(Kind::Other, message), next)
            })?;
            if lines.is_empty() {
                return Ok(());
            }
            let body = self.some(&lines).await?;
            if self.format == Format::Json {
                output::json_text(&body)?;
            }
        }
    }

    /// Sends one request, and answers with what the server said.
    async fn some(&mut self, lines: &Lines) -> Result<Vec<u8>, Failure> {
        let first = lines.first().map_or(0, |(number, _)| *number);
        let mut jobs = Vec::with_capacity(lines.len());
        for (number, line) in lines {
            let parsed = parse(line, *number, self.shown);
            let mut job = parsed.map_err(|failure| self.so_far(failure, first))?;
            self.args.options.apply(&mut job);
            if let Some(ids) = self.ids.as_mut().filter(|_| job.id.is_none()) {
                job.id = Some(ids.id_of(&to_json(&job)));
            }
            jobs.push(job);
        }
        let path = self.client.path(&format!("/queues/{}/jobs", segment(&self.args.queue)));
        let body = to_json(&EnqueueBulk { jobs });
        match self.client.ask("POST", &path, Some(&body)).await {
            Ok(reply) => {
                let answer: EnqueueBulkAnswer = read(&reply.body)?;
                self.total += answer.ids.len() as u64;
                self.replayed += answer.replayed;
                Ok(reply.body)
            }
            Err(Fault::Refused(refusal)) if !refusal.faults.is_empty() => {
                let message = lines_at_fault(&refusal, self.shown, lines);
                Err(self.so_far(Failure::new(Kind::Refused, message), first))
            }
            Err(fault) => {
                let is_away = match &fault {
                    Fault::Away(_) => true,
                    // What was under way when the disk filled up is done once there is space.
                    Fault::Refused(refusal) => refusal.code == "disk_low",
                };
                let mut failure = self.client.failure(fault);
                if is_away {
                    let last = lines.last().map_or(first, |(number, _)| *number);
                    let message = &failure.message;
                    failure.message = format!("{message}; lines {first} to {last} may be enqueued");
                }
                Err(self.so_far(failure, first))
            }
        }
    }

    /// The failure, with what was enqueued before the line at which the failed request began.
    fn so_far(&self, mut failure: Failure, line: u64) -> Failure {
        if self.total == 0 {
            return failure;
        }
        let jobs = count(self.total, "job");
        let message = &failure.message;
        failure.message = format!("{message}; the {jobs} before line {line} are enqueued");
        failure.hint(match self.ids {
            Some(_) => "run the same command again: what is enqueued is not enqueued twice".into(),
            None => format!("go on with line {line}"),
        })
    }
}

/// Makes ids from jobs: an equal job gets an equal id, the second of two equal ones in a file
/// another one than the first. So a line that is corrected leaves all others as they are.
struct Ids {
    /// Of namespace and queue.
    begun: Sha256,
    /// How often each job came, by the beginning of its hash; two that share it by chance only
    /// count together.
    times: HashMap<u64, u64>,
}

impl Ids {
    fn new(namespace: &str, queue: &str) -> Self {
        let mut begun = Sha256::new();
        for part in ["longshore enqueue", namespace, queue] {
            begun.update((part.len() as u64).to_be_bytes());
            begun.update(part);
        }
        Self { begun, times: HashMap::new() }
    }

    fn id_of(&mut self, job: &[u8]) -> JobIdText {
        let mut digest = self.begun.clone();
        digest.update(job);
        let digest = digest.finalize();
        let beginning = digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte));
        let times = self.times.entry(beginning).or_default();
        *times += 1;
        let mut bytes = [0; 16];
        let numbered = Sha256::new().chain_update(digest).chain_update(times.to_be_bytes());
        for (byte, digested) in bytes.iter_mut().zip(numbered.finalize()) {
            *byte = digested;
        }
        // A UUID of version 8: the meaning of the bits is the maker's.
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        JobIdText(bytes)
    }
}

/// What is wrong with a line, without the line that the parser counts: it saw only this one.
fn within_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(text) if error.column() > 0 => format!("{text} (column {})", error.column()),
        _ => text,
    }
}

/// The lines of the file that a server refuses, and why.
fn lines_at_fault(refusal: &Refusal, file: &str, texts: &Lines) -> String {
    let line = |index: usize| texts.get(index).map_or(0, |(number, _)| *number);
    let faults = refusal.faults.iter().take(TOLD_MAX);
    let mut told: Vec<_> = faults
        .map(|it| format!("{file}: line {}: {} ({})", line(it.index), it.detail, it.code))
        .collect();
    if refusal.faults.len() > TOLD_MAX {
        told.push(format!("... and {} more", refusal.faults.len() - TOLD_MAX));
    }
    told.join("\n  ")
}

/// The next lines that are not empty, with their numbers, as many as one request takes.
fn next_lines(input: &mut dyn BufRead, lines: &mut u64) -> io::Result<Lines> {
    let (mut texts, mut bytes) = (Vec::new(), 0);
    while texts.len() < BULK_JOBS_MAX && bytes < BULK_BYTES_MAX {
        let mut text = String::new();
        if input.read_line(&mut text)? == 0 {
            break;
        }
        *lines += 1;
        bytes += text.len();
        if !text.trim().is_empty() {
            texts.push((*lines, text));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_portions() {
        let text = "a\n\n  \nb\n".repeat(BULK_JOBS_MAX);
        let (mut input, mut lines) = (text.as_bytes(), 0);
        assert_eq!(next_lines(&mut input, &mut lines).unwrap().len(), BULK_JOBS_MAX);
        let second = next_lines(&mut input, &mut lines).unwrap();
        assert_eq!(second.len(), BULK_JOBS_MAX);
        assert_eq!(second.last().map(|(number, _)| *number), Some(4 * BULK_JOBS_MAX as u64));
        assert!(next_lines(&mut input, &mut lines).unwrap().is_empty());
    }

    #[test]
    fn jobs_that_were_there_are_not_said_to_be_enqueued() {
        for (total, before, said) in [
            (1, 0, "1 job enqueued"),
            (12_000, 10_000, "2,000 jobs enqueued; 10,000 lines had been enqueued before"),
            (12_000, 12_000, "no new jobs: 12,000 lines had been enqueued before"),
            (0, 0, "0 jobs enqueued"),
        ] {
            assert_eq!(outcome(total, before), said);
        }
    }

    #[test]
    fn ids_follow_the_jobs_and_tell_equal_ones_apart() {
        let ids_of = |queue: &str, jobs: &[&str]| {
            let mut ids = Ids::new("default", queue);
            jobs.iter().map(|job| ids.id_of(job.as_bytes())).collect::<Vec<_>>()
        };
        let before = ids_of("q", &["a", "b", "a", "wrong"]);
        let after = ids_of("q", &["a", "b", "a", "right"]);
        assert_eq!(before[..3], after[..3]);
        assert!(before[3] != after[3] && before[0] != before[2]);
        assert_ne!(ids_of("other", &["a"])[0], before[0]);
    }
}
