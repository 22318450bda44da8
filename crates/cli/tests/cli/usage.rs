//! Mistakes, and what a person is told about them: exit codes and messages.

use super::harness::{Server, longshore, run_in, until};

#[test]
fn no_server_is_unavailable_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago; nobody listens at it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for command in [&["run", "echo hi"][..], &["jobs", "list"], &["enqueue", "greet"]] {
        let args: Vec<_> = command.iter().chain(&["--server", &server]).copied().collect();
        let said = run_in(folder.path(), &args).bad(5);
        assert!(said.contains("no answer from the server at"), "{said}");
        assert!(said.contains("longshore dev"), "{said}");
    }
}

#[test]
fn usage_is_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["jobs", "show", "not-a-uuid"][..],
        &["jobs", "lst"],
        &["enqueue", "greet", "{no json}"],
        &["enqueue", "greet", "--delay", "soon"],
        &["work", "--queue", "mail"],
        &["jobs", "list", "--server", "ftp://example.com"],
        &["serve", "--listen", "0.0.0.0:0"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--set", "http.body_byte_max=5"],
        &["demo", "no-such-folder"],
        &["bench", "--connections", "0"],
        &["work", "--exec", "cat", "-c", "0"],
        &["queues", "show", ""],
    ] {
        let ended = run_in(folder.path(), args);
        assert_eq!(ended.code, 2, "{args:?}: {ended:?}");
    }
}

#[test]
fn other_addresses_than_loopback_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_in(folder.path(), &["serve", "--listen", "0.0.0.0:0"]).bad(2);
    assert!(said.contains("asks nobody who it is"), "{said}");
    assert!(!folder.path().join(".longshore").exists());
}

#[test]
fn the_configuration_file_is_read_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("longshore.toml"), text).unwrap();
    write("[client]\nserver = 'http://127.0.0.1:1'\n");
    let said = run_in(folder.path(), &["jobs", "list"]).bad(5);
    assert!(said.contains("http://127.0.0.1:1"), "{said}");
    write("[client]\nsever = 'http://127.0.0.1:1'\n");
    let said = run_in(folder.path(), &["jobs", "list"]).bad(2);
    assert!(said.contains("client.sever") && said.contains("did you mean \"server\"?"), "{said}");
    write("[http]\nbody_byte_max = 5\n");
    let said = run_in(folder.path(), &["jobs", "list"]).bad(2);
    assert!(said.contains("did you mean \"http.body_bytes_max\"?"), "{said}");
}

#[test]
fn names_that_no_server_takes_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let said = run_in(folder.path(), &["enqueue", "greet", "-q", ""]).bad(2);
    assert!(said.contains("the name of a queue is empty"), "{said}");
    let said = run_in(folder.path(), &["enqueue", "greet", "-q", "a*b"]).bad(2);
    assert!(said.contains("patterns are for `longshore work`"), "{said}");
    let said = run_in(folder.path(), &["work", "--exec", "cat", "-q", "a*b"]).bad(2);
    assert!(said.contains("prefix*"), "{said}");
    let said = run_in(folder.path(), &["work", "--exec", "cat", "-c", "0"]).bad(2);
    assert!(said.contains("1 to 1000"), "{said}");
}

#[test]
fn a_variable_that_means_nothing_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = longshore(folder.path());
    command.env("LONGSHORE_LISEN", "127.0.0.1:0").arg("serve");
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("did you mean LONGSHORE_LISTEN?"), "{said}");
    assert!(!folder.path().join(".longshore").exists(), "nothing was started");
}

#[test]
fn a_bad_line_of_a_file_is_named_with_the_file() {
    let server = Server::start();
    let path = server.folder.path().join("jobs.jsonl");
    std::fs::write(&path, "{\"kind\":\"a\"}\n\n{\"kind\":\"b\",}\n").unwrap();
    let said = server.run(&["enqueue", "--file", "jobs.jsonl"]).bad(2);
    assert!(said.contains("jobs.jsonl: line 3: ") && !said.contains("line 1"), "{said}");
    std::fs::write(&path, "{\"kind\":\"a\"}\n\n{\"kind\":\"b\",\"lease\":\"1ms\"}\n").unwrap();
    let said = server.run(&["enqueue", "--file", "jobs.jsonl"]).bad(4);
    assert!(said.contains("jobs.jsonl: line 3: lease is 1ms; allowed: 1s to 12h"), "{said}");
}

/// How many jobs wait in the queue `default`.
fn ready(server: &Server) -> u64 {
    let shown = server.run(&["queues", "list", "-o", "json"]).json();
    let queues = shown["queues"].as_array().unwrap().iter();
    queues.map(|queue| queue["ready"].as_u64().unwrap()).sum()
}

fn file_of(lines: usize, at: usize, other: &str) -> String {
    let line = |number: usize| match number {
        number if number == at => format!("{other}\n"),
        number => format!("{{\"kind\":\"a\",\"args\":{}}}\n", number / 2),
    };
    (1..=lines).map(line).collect()
}

/// It enqueued the 10,000 before it, said nothing of them, and all of them again the next time.
#[test]
fn a_file_with_a_fault_far_down_is_enqueued_once() {
    let server = Server::start();
    let path = server.folder.path().join("jobs.jsonl");
    std::fs::write(&path, file_of(12_000, 11_001, "{\"kind\":\"a\",}")).unwrap();
    let said = server.run(&["enqueue", "--file", "jobs.jsonl"]).bad(2);
    assert!(said.contains("line 11001: ") && said.contains("nothing was enqueued"), "{said}");
    assert_eq!(ready(&server), 0);
    // Only the server knows that this is wrong.
    let refused = "{\"kind\":\"a\",\"lease\":\"1ms\"}";
    std::fs::write(&path, file_of(12_000, 11_001, refused)).unwrap();
    let said = server.run(&["enqueue", "--file", "jobs.jsonl"]).bad(4);
    assert!(said.contains("the 10,000 jobs before line 10001 are enqueued"), "{said}");
    assert_eq!(ready(&server), 10_000);
    std::fs::write(&path, file_of(12_000, 11_001, "{\"kind\":\"b\"}")).unwrap();
    let said = server.run(&["enqueue", "--file", "jobs.jsonl"]).good();
    assert!(said.contains("2,000 jobs enqueued; 10,000 lines had been enqueued before"), "{said}");
    assert_eq!(ready(&server), 12_000);
    // On the next day, say.
    let said = server.run(&["enqueue", "--file", "jobs.jsonl"]).good();
    assert!(said.contains("no new jobs: 12,000 lines had been enqueued before"), "{said}");
    assert_eq!(ready(&server), 12_000);
    server.run(&["enqueue", "--file", "jobs.jsonl", "--anew"]).good();
    assert_eq!(ready(&server), 24_000);
}

#[test]
fn a_fault_far_down_standard_input_says_what_is_enqueued() {
    let server = Server::start();
    let input = file_of(12_000, 11_001, "{\"kind\":\"a\",}");
    let said = server.run_with(&["enqueue", "--file", "-"], &input).bad(2);
    assert!(said.contains("the 10,000 jobs before line 10001 are enqueued"), "{said}");
    assert!(said.contains("go on with line 10001"), "{said}");
    assert_eq!(ready(&server), 10_000);
}

#[test]
fn what_does_not_exist_is_code_3_and_what_is_refused_code_4() {
    let server = Server::start();
    let unknown = "00000000-0000-4000-8000-000000000000";
    for args in [
        &["jobs", "show", unknown][..],
        &["jobs", "wait", unknown],
        &["jobs", "cancel", unknown],
        &["queues", "show", "nowhere"],
        &["operations", "show", "77"],
        &["jobs", "list", "-n", "nowhere"],
        &["work", "--exec", "cat", "-n", "nowhere"],
    ] {
        let ended = server.run(args);
        assert_eq!(ended.code, 3, "{args:?}: {ended:?}");
        assert!(ended.err.contains("error: "), "{ended:?}");
    }
    server.enqueue(&["greet", "--id", unknown]);
    let said = server.run(&["enqueue", "greet", "1", "--id", unknown]).bad(4);
    assert!(said.contains("job_id_taken"), "{said}");
    let said = server.run(&["enqueue", "greet", "--priority", "10"]).bad(4);
    assert!(said.contains("priority"), "{said}");
    let said = server.run(&["queues", "delete", "default"]).bad(4);
    assert!(said.contains("--force"), "{said}");
}

#[test]
fn completions_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let script = run_in(folder.path(), &["completions", "bash"]).good();
    assert!(script.contains("longshore") && !script.contains("LONGSHORE_PARENT"));
}

/// The variable was ignored in silence, and the flag made a folder with U+FFFD.
#[test]
fn a_folder_of_any_name_is_the_store() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;
    let odd = OsStr::from_bytes(b"store-\xff");
    let serve = |folder: &std::path::Path| {
        let mut command = longshore(folder);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command
    };
    let mut set = OsString::from("serve.data=");
    set.push(odd);
    for how in ["variable", "flag", "setting"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = serve(folder.path());
        match how {
            "variable" => command.env("LONGSHORE_DATA", odd),
            "flag" => command.arg("--data").arg(odd),
            _ => command.arg("--set").arg(&set),
        };
        let mut process = super::harness::Process::of(&mut command);
        let line = process.line_with("listening on http://");
        let url = line.trim().trim_start_matches("listening on ").to_owned();
        until(|| run_in(folder.path(), &["enqueue", "greet", "--server", &url]).code == 0);
        process.signal(rustix::process::Signal::TERM);
        assert_eq!(process.wait().0, 0);
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        let names: Vec<_> = names.into_iter().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [odd], "{how}");
        let mut verify = longshore(folder.path());
        let verified = verify.arg("verify").arg(odd).args(["-o", "json"]).output().unwrap();
        assert_eq!(super::harness::Ended::of(&verified).json()["sound"], true);
    }
}

#[test]
fn another_variable_that_is_not_utf_8_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"x\xff");
    for (name, args) in [
        ("LONGSHORE_LISTEN", &["serve"][..]),
        ("LONGSHORE_HTTP_IDLE_TIMEOUT", &["serve"]),
        ("LONGSHORE_LOG", &["serve"]),
        ("LONGSHORE_SERVER", &["jobs", "list"]),
        ("LONGSHORE_OUTPUT", &["jobs", "list"]),
        ("LONGSHORE_QUEUES", &["work", "--exec", "cat"]),
    ] {
        let ended = longshore(folder.path()).env(name, odd).args(args).output().unwrap();
        let said = super::harness::Ended::of(&ended).bad(2);
        assert!(
            said.contains(&format!("the variable {name} is \"x\u{fffd}\": not UTF-8")),
            "{said}"
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was started");
}

/// It ran where the worker was.
#[test]
fn a_command_does_not_run_elsewhere_because_its_folder_cannot_be_named() {
    use std::os::unix::ffi::OsStrExt;
    let server = Server::start();
    let odd = server.folder.path().join(std::ffi::OsStr::from_bytes(b"here-\xff"));
    std::fs::create_dir(&odd).unwrap();
    let mut command = longshore(&odd);
    command.args(["run", "pwd", "--detach", "--server", &server.url()]);
    let said = super::harness::Ended::of(&command.output().unwrap()).bad(2);
    assert!(said.contains("is not UTF-8, so that no job can name it"), "{said}");
    assert!(
        server.run(&["jobs", "list", "-o", "json"]).json()["jobs"].as_array().unwrap().is_empty()
    );
}
