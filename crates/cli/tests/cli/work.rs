//! Workers: verdicts by exit code, cancelling, losing the server, stopping.

use std::fs;

use rustix::process::Signal;

use super::harness::{Process, Server, is_gone, until};

#[test]
fn standard_output_is_the_result_and_args_are_standard_input() {
    let server = Server::start();
    let _worker = server.worker(&["--queue", "mail", "--exec", "cat"]);
    let id = server.enqueue(&["greet", r#"{"name":"Ada","n":1.10}"#, "--queue", "mail"]);
    let job = server.wait(&id);
    assert_eq!(job["state"], "succeeded");
    assert_eq!(job["result"]["name"], "Ada");
}

#[test]
fn the_environment_tells_the_job() {
    let server = Server::start();
    let command = "echo $LONGSHORE_JOB_ID $LONGSHORE_KIND $LONGSHORE_ATTEMPT $LONGSHORE_LEASE_TOKEN \
        $LONGSHORE_QUEUE $LONGSHORE_SERVER";
    let _worker = server.worker(&["--exec", command]);
    let id = server.enqueue(&["greet"]);
    let said = server.wait(&id)["result"].as_str().unwrap().to_owned();
    let words: Vec<_> = said.split(' ').collect();
    assert_eq!(words[..3], [id.as_str(), "greet", "1"]);
    assert!(words[3].contains('.'), "{said}");
    assert_eq!(words[4..], ["default", server.url().as_str()]);
}

#[test]
fn exit_codes_are_verdicts() {
    let server = Server::start();
    let _worker = server.worker(&["--exec", "echo why >&2; exit $(cat)", "--concurrency", "4"]);
    let end_of = |code: &str| {
        let id = server.enqueue(&["end", code, "--max-attempts", "1"]);
        server.wait(&id)
    };
    assert_eq!(end_of("0")["state"], "succeeded");
    let discarded = end_of("65");
    assert_eq!(
        (&discarded["state"], &discarded["reason"]),
        (&"cancelled".into(), &"discarded".into())
    );
    for code in ["1", "75", "127"] {
        let dead = end_of(code);
        assert_eq!(dead["state"], "dead", "{dead}");
        assert_eq!(dead["error"]["message"], "why");
        assert_eq!(dead["error"]["type"], format!("exit {code}"));
    }
}

#[test]
fn exit_75_is_tried_again() {
    let server = Server::start();
    let _worker = server.worker(&["--exec", "[ $LONGSHORE_ATTEMPT = 2 ] || exit 75"]);
    let id = server.enqueue(&["flaky", "--retry-in", "10ms"]);
    let job = server.wait(&id);
    assert_eq!((job["state"].as_str(), job["attempt"].as_u64()), (Some("succeeded"), Some(2)));
    let attempts = job["attempts"].as_array().unwrap().iter();
    let outcomes: Vec<_> = attempts.map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["failed", "succeeded"]);
}

#[test]
fn cancelling_kills_the_whole_process_group() {
    let server = Server::start();
    let _worker = server.worker(&["--exec", "sleep 600 & echo $! > pid; wait", "--lease", "3s"]);
    let id = server.enqueue(&["long"]);
    let file = server.folder.path().join("pid");
    until(|| fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')));
    let said = server.run(&["jobs", "cancel", &id]).good();
    assert!(said.contains("its worker will be told to stop"), "{said}");
    assert_eq!(server.wait(&id)["state"], "cancelled");
    let pid = fs::read_to_string(&file).unwrap();
    until(|| is_gone(&pid));
}

/// It said that such a run ends here and does not count, and then that it was given back.
#[test]
fn a_worker_says_one_thing_about_a_cancel_and_a_timeout() {
    let server = Server::start();
    let worker = server.worker(&["--exec", "echo > started; exec sleep 600", "--lease", "3s"]);
    let id = server.enqueue(&["long"]);
    until(|| server.folder.path().join("started").exists());
    server.run(&["jobs", "cancel", &id]).good();
    assert_eq!(server.wait(&id)["state"], "cancelled");
    let late = server.enqueue(&["late", "--timeout", "1s", "--max-attempts", "1"]);
    assert_eq!(server.wait(&late)["state"], "dead");
    worker.signal(Signal::TERM);
    let (code, said) = worker.wait();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{id} was cancelled: stopping it")), "{said}");
    assert!(said.contains(&format!("{late} late failed after")), "{said}");
    assert!(said.contains("(timeout): the run took longer than 1s"), "{said}");
    assert!(!said.contains("does not count") && !said.contains("given back"), "{said}");
}

#[test]
fn a_lost_lease_kills_the_child() {
    let server = Server::start();
    let command = "[ $LONGSHORE_ATTEMPT = 2 ] && exit 0; sleep 600 & echo $! > pid; wait";
    let worker = server.worker(&["--exec", command, "--lease", "1s"]);
    let id = server.enqueue(&["long"]);
    let file = server.folder.path().join("pid");
    until(|| fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')));
    // While the worker is stopped, its lease runs out and another one gets the job.
    worker.signal(Signal::STOP);
    let _other = server.worker(&["--exec", command]);
    assert_eq!(server.wait(&id)["state"], "succeeded");
    worker.signal(Signal::CONT);
    let pid = fs::read_to_string(&file).unwrap();
    until(|| is_gone(&pid));
}

#[test]
fn a_crash_of_the_server_loses_no_run() {
    let mut server = Server::start();
    let mut worker = server.worker(&["--exec", "echo $LONGSHORE_JOB_ID >> runs; cat go; echo 7"]);
    let go = server.folder.path().join("go");
    rustix::fs::mknodat(rustix::fs::CWD, &go, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let id = server.enqueue(&["slow"]);
    let runs = server.folder.path().join("runs");
    until(|| runs.exists());
    server.crash_and_restart();
    fs::write(&go, "").unwrap();
    let job = server.wait(&id);
    assert_eq!((job["state"].as_str(), job["result"].as_u64()), (Some("succeeded"), Some(7)));
    assert_eq!(fs::read_to_string(&runs).unwrap().lines().count(), 1);
    worker.note_with("succeeded");
}

#[test]
fn sigterm_waits_and_then_gives_back() {
    let server = Server::start();
    let worker = server.worker(&["--exec", "echo > started; sleep 600", "--grace", "0s"]);
    let id = server.enqueue(&["long"]);
    until(|| server.folder.path().join("started").exists());
    worker.signal(Signal::TERM);
    let (code, said) = worker.wait();
    assert_eq!(code, 0, "{said}");
    let job = server.job(&id);
    assert_eq!((job["state"].as_str(), job["attempt"].as_u64()), (Some("ready"), Some(0)), "{job}");
}

/// Its worker gave it back in the middle of its run, so it ran again elsewhere.
#[test]
fn a_run_that_is_the_only_one_is_not_given_back_once_it_began() {
    let server = Server::start();
    let worker = server.worker(&["--exec", "echo > started; sleep 600", "--grace", "0s"]);
    let id = server.enqueue(&["pay", "--at-most-once"]);
    until(|| server.folder.path().join("started").exists());
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().0, 0);
    let job = server.job(&id);
    assert_eq!((&job["state"], &job["reason"]), (&"dead".into(), &"at_most_once".into()), "{job}");
    assert_eq!(job["error"]["type"], "stopped");
}

/// 87 of 100 jobs failed with "Too many open files", and those that run at most once were dead.
#[test]
fn a_worker_that_runs_out_of_descriptors_uses_up_no_attempt() {
    let server = Server::start();
    let enqueue = |_| server.enqueue(&["pay", "--at-most-once"]);
    let ids: Vec<_> = (0..24).map(enqueue).collect();
    let args = ["--exec", "sleep 0.5", "--concurrency", "24"];
    let mut worker = server.worker_with_descriptors(48, &args);
    worker.note_with("no run can be begun now");
    for id in ids {
        let job = server.wait(&id);
        assert_eq!((&job["state"], &job["attempt"]), (&"succeeded".into(), &1.into()), "{job}");
    }
}

#[test]
fn sigterm_lets_running_jobs_end() {
    let server = Server::start();
    let worker = server.worker(&["--exec", "echo > started; cat go; echo 7"]);
    let go = server.folder.path().join("go");
    rustix::fs::mknodat(rustix::fs::CWD, &go, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let (first, second) = (server.enqueue(&["slow"]), server.enqueue(&["slow"]));
    until(|| server.folder.path().join("started").exists());
    worker.signal(Signal::TERM);
    fs::write(&go, "").unwrap();
    assert_eq!(worker.wait().0, 0);
    assert_eq!(server.job(&first)["state"], "succeeded");
    assert_eq!(server.job(&second)["state"], "ready");
}

#[test]
fn workers_take_only_the_kinds_that_they_name() {
    let server = Server::start();
    let other = server.enqueue(&["other"]);
    let _worker = server.worker(&["--exec", "cat", "--kind", "greet"]);
    let id = server.enqueue(&["greet"]);
    assert_eq!(server.wait(&id)["state"], "succeeded");
    assert_eq!(server.job(&other)["state"], "ready");
}

#[test]
fn shell_commands_run_only_where_they_are_allowed() {
    let server = Server::start();
    let _plain = server.worker(&["--exec", "cat"]);
    let id = server.run(&["run", "echo hi", "--detach"]).good();
    let plain = server.enqueue(&["greet"]);
    assert_eq!(server.wait(&plain)["state"], "succeeded");
    assert_eq!(server.job(id.trim())["state"], "ready");
    let _both = server.worker(&["--exec", "cat", "--allow-shell"]);
    assert_eq!(server.wait(id.trim())["result"]["stdout"], "hi\n");
}

#[test]
fn a_result_that_is_too_large_is_cut() {
    let server = Server::start();
    let _worker = server.worker(&["--exec", "head -c 3000000 /dev/zero | tr '\\0' x"]);
    let id = server.enqueue(&["big"]);
    let job = server.wait(&id);
    assert_eq!(job["state"], "succeeded");
    assert!(job["result"].as_str().unwrap().ends_with("more bytes were not kept]"));
}

#[test]
fn a_job_is_watched_paused_and_resumed() {
    let server = Server::start();
    let id = server.enqueue(&["import", "--queue", "imports"]);
    let paused = server.run(&["jobs", "pause", &id]).good();
    assert!(paused.contains("held back until it is resumed"), "{paused}");
    let url = server.url();
    let mut watch = Process::start(server.folder.path(), &["jobs", "watch", &id, "--server", &url]);
    watch.line_with("ready, paused");
    let _worker = server.worker(&["--queue", "imports", "--exec", "cat"]);
    server.run(&["jobs", "resume", &id]).good();
    watch.line_with("succeeded");
    assert_eq!(watch.wait().0, 0);
}

/// It ended with 5, as if nobody had ever answered.
#[test]
fn a_watch_outlives_a_restart_of_the_server() {
    let mut server = Server::start();
    let id = server.enqueue(&["import"]);
    let url = server.url();
    let mut watch = Process::start(server.folder.path(), &["jobs", "watch", &id, "--server", &url]);
    watch.line_with("ready");
    // Only once it was noticed: a start takes less time than a watcher waits before it asks again.
    server.crash();
    watch.note_with("the server does not answer");
    server.restart();
    watch.note_with("the server answers again");
    let _worker = server.worker(&["--exec", "cat"]);
    watch.line_with("succeeded");
    assert_eq!(watch.wait().0, 0);
}

/// Counts as long as nobody interrupts it, and says where it was.
const COUNT: &str = "n=${LONGSHORE_CURSOR:-0}; echo \"$n $LONGSHORE_ATTEMPT\" >> runs
    while [ ! -e \"$LONGSHORE_INTERRUPT\" ]; do
      n=$((n + 1)); [ -e enough ] && { echo $n; exit 0; }; sleep 0.01
    done
    echo $n; exit 79";

/// The runs of `COUNT`: where each began, and which attempt it was.
fn runs_of(server: &Server) -> Vec<(u64, u64)> {
    let runs = fs::read_to_string(server.folder.path().join("runs")).unwrap_or_default();
    let numbers = |line: &str| line.split_once(' ').map(|(n, at)| (n.parse(), at.parse()));
    runs.lines().filter_map(numbers).map(|(n, at)| (n.unwrap(), at.unwrap())).collect()
}

/// It heard of `cancel` alone: a closed gate went unheard, and the command ran to its end.
#[test]
fn a_gate_that_closes_interrupts_a_command_and_it_goes_on_from_its_cursor() {
    let server = Server::start();
    let worker = server.worker(&["--exec", COUNT, "--lease", "1s"]);
    let id = server.enqueue(&["count", "--gate", "bank", "--max-attempts", "1"]);
    until(|| runs_of(&server).len() == 1);
    server.run(&["gates", "close", "bank", "--reason", "the bank is down"]).good();
    until(|| server.job(&id)["state"] == "ready");
    let job = server.job(&id);
    let cursor = job["checkpoint"]["cursor"].as_u64().unwrap();
    assert!(cursor > 0, "{job}");
    assert_eq!(job["checkpoint"]["interrupted_for"], "gate", "{job}");
    assert_eq!(runs_of(&server).len(), 1, "nothing starts behind a closed gate");
    server.run(&["gates", "open", "bank"]).good();
    until(|| runs_of(&server).len() == 2);
    fs::write(server.folder.path().join("enough"), "").unwrap();
    let job = server.wait(&id);
    assert_eq!((&job["state"], &job["attempt"]), (&"succeeded".into(), &1.into()), "{job}");
    assert_eq!(runs_of(&server), [(0, 1), (cursor, 1)], "from its cursor, with its first attempt");
    assert!(job["result"].as_u64() > Some(cursor), "{job}");
    worker.signal(Signal::TERM);
    let (code, said) = worker.wait();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{id} is to be interrupted: gate")), "{said}");
    assert!(said.contains("was interrupted after"), "{said}");
}

#[test]
fn a_worker_that_is_to_stop_interrupts_what_can_go_on_elsewhere() {
    let server = Server::start();
    let worker = server.worker(&["--exec", COUNT]);
    let id = server.enqueue(&["count"]);
    until(|| runs_of(&server).len() == 1);
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().0, 0);
    let job = server.job(&id);
    assert_eq!((&job["state"], &job["attempt"]), (&"ready".into(), &0.into()), "{job}");
    assert_eq!(job["checkpoint"]["interrupted_for"], "deploy", "{job}");
    assert!(job["checkpoint"]["cursor"].as_u64().is_some(), "{job}");
}

#[test]
fn a_cursor_that_is_too_large_fails_the_run() {
    let server = Server::start();
    let _worker = server.worker(&["--exec", "head -c 70000 /dev/zero | tr '\\0' x; exit 79"]);
    let id = server.enqueue(&["big", "--max-attempts", "1"]);
    let job = server.wait(&id);
    assert_eq!((&job["state"], &job["error"]["type"]), (&"dead".into(), &"cursor_refused".into()));
}
