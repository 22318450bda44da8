//! Outputs that take nothing, and signals: neither ends a server or a worker, and none is lost.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::harness::{PATIENCE, Server, is_gone, longshore, run_in, until};

fn serve(folder: &std::path::Path) -> Command {
    let mut command = longshore(folder);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data", "store"]);
    command
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

/// The address that a server tells first on standard output.
fn address_of(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on http://"), "{line:?}");
    line.trim().trim_start_matches("listening on ").to_owned()
}

fn answers(folder: &std::path::Path, url: &str) {
    until(|| run_in(folder, &["enqueue", "greet", "--server", url]).code == 0);
}

fn ends_well(mut child: Child, with: Signal) {
    signal(&child, with);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// It ended with SIGABRT when it wrote its first line.
#[test]
fn a_server_whose_log_is_on_a_full_disk_serves() {
    let folder = tempfile::tempdir().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child = serve(folder.path()).stdout(Stdio::piped()).stderr(full).spawn().unwrap();
    let url = address_of(&mut child);
    answers(folder.path(), &url);
    ends_well(child, Signal::TERM);
}

/// It ended with 101 instead of 0.
#[test]
fn a_server_whose_log_nobody_reads_any_more_stops_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let url = address_of(&mut child);
    answers(folder.path(), &url);
    drop(child.stderr.take());
    ends_well(child, Signal::TERM);
}

/// The pipe stays open, and takes nothing more once it is full.
#[test]
fn a_server_whose_standard_error_nobody_drains_serves_and_counts_what_is_lost() {
    const PINGS: usize = 5000;
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    let command = command.env("LONGSHORE_LOG", "trace");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let url = address_of(&mut child);
    // Several lines are told of each ping over HTTP/2: more than pipe and queue take.
    let mut pings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for _ in 0..PINGS {
        pings.extend(b"\0\0\x08\x06\0\0\0\0\0a ping..");
    }
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut pongs = stream.try_clone().unwrap().take((PINGS * 17) as u64);
    let answered = std::thread::spawn(move || pongs.read_to_end(&mut Vec::new()).unwrap());
    stream.write_all(&pings).unwrap();
    assert_eq!(answered.join().unwrap(), PINGS * 17);
    answers(folder.path(), &url);
    signal(&child, Signal::TERM);
    // Now somebody reads.
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let told = said.lines().find(|line| line.contains("lines were lost"));
    let told = told.unwrap_or_else(|| panic!("nothing was lost of {} bytes", said.len()));
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert!(told["lost"].as_u64() > Some(0), "{told}");
    assert_eq!((&told["level"], &told["target"]), (&"ERROR".into(), &"longshore::stderr".into()));
    assert!(told["timestamp"].is_string(), "{told}");
}

/// It ended at once, with 0 and without a word.
#[test]
fn a_server_whose_standard_output_is_closed_serves() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = serve(folder.path()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let address = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "the server has ended");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        if line["message"] == "listening" {
            break line["address"].as_str().unwrap().to_owned();
        }
    };
    answers(folder.path(), &address);
    ends_well(child, Signal::TERM);
}

/// One job that floods it stopped heartbeats and the other jobs, and SIGTERM did nothing.
#[test]
fn a_worker_whose_standard_error_nobody_drains_works_and_ends() {
    let server = Server::start();
    let mut child = longshore(server.folder.path())
        .args(["work", "--server", &server.url(), "--lease", "3s", "--concurrency", "2"])
        .args(["--exec", "case $LONGSHORE_KIND in flood) yes >&2;; *) echo so >&2; sleep 5;; esac"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let flood = server.enqueue(&["flood", "--max-attempts", "1"]);
    until(|| server.job(&flood)["state"] == "running");
    let other = server.wait(&server.enqueue(&["other"]));
    assert_eq!((&other["state"], &other["attempt"]), (&"succeeded".into(), &1.into()), "{other}");
    // What was lost is told once somebody reads.
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let lost = |line: &str| line.ends_with("lines were lost: standard error did not take them\n");
    let mut line = String::new();
    while !lost(&line) {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    signal(&child, Signal::TERM);
    until(|| {
        signal(&child, Signal::TERM);
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(server.job(&flood)["state"], "ready", "it was given back");
}

/// It died at once and left its children running.
#[test]
fn a_worker_whose_terminal_is_closed_ends_what_it_runs() {
    for with in [Signal::HUP, Signal::QUIT] {
        let server = Server::start();
        let worker = server.worker(&["--exec", "echo $$ > pid; exec sleep 600", "--grace", "0s"]);
        let id = server.enqueue(&["long"]);
        let file = server.folder.path().join("pid");
        until(|| fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')));
        worker.signal(with);
        let (code, said) = worker.wait();
        assert_eq!(code, 0, "{said}");
        assert!(is_gone(&fs::read_to_string(&file).unwrap()));
        assert_eq!(server.job(&id)["state"], "ready");
    }
}

#[test]
fn a_server_stops_in_order_at_a_hang_up_that_comes_twice() {
    for with in [Signal::HUP, Signal::QUIT] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = serve(folder.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let url = address_of(&mut child);
        answers(folder.path(), &url);
        signal(&child, with);
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"stopping\"") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0);
        }
        // Shell and kernel both send it.
        let _ = kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::HUP);
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("all that was answered is on disk"), "{rest}");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_hang_up_that_nohup_ignores_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let serve = format!(
        "trap '' HUP; exec {} serve --listen 127.0.0.1:0 --data store",
        env!("CARGO_BIN_EXE_longshore")
    );
    let mut child = Command::new("sh")
        .args(["-c", &serve])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let url = address_of(&mut child);
    answers(folder.path(), &url);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    assert_eq!(u64::from_str_radix(mask.trim(), 16).unwrap() & 1, 1, "{mask}");
    ends_well(child, Signal::TERM);
}

/// Errors, too, were not logged.
#[test]
fn an_empty_log_filter_is_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    command.env("LONGSHORE_LOG", "").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let url = address_of(&mut child);
    answers(folder.path(), &url);
    signal(&child, Signal::TERM);
    let ended = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert!(log.contains("\"message\":\"listening\""), "{log}");
}
