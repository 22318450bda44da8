//! A disk that takes no more: publishing is refused or the process ends, and whatever was answered
//! is there after a restart.

use std::process::Command;

use longshore_tests::faults::{EXIT_JOURNAL_FAILED, check_nothing_is_lost, enqueue_until_trouble};
use longshore_tests::server::{Server, add_arguments, binary};

#[test]
fn a_disk_that_takes_no_more_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Server::start_ready(&data).unwrap().terminate().unwrap();
    // No file may get longer than 8 or 16 MB (the shells' blocks differ): the journal's first
    // segments fit, a later one does not. The signal is ignored, so that writes and allocations
    // fail with EFBIG instead of killing the process.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 16000; exec \"$0\" \"$@\""]);
    command.arg(binary().unwrap());
    add_arguments(&mut command, &data);
    let mut server = Server::start_as(command, &folder.path().join("log")).unwrap();
    server.wait_ready().unwrap();
    let answers = enqueue_until_trouble(&server, 8000);
    assert!(answers.broke || answers.refused > 0, "it never ran into the limit");
    assert!(!answers.accepted.is_empty());
    if answers.broke {
        let code = server.wait_end().unwrap().code();
        assert_eq!(code, Some(EXIT_JOURNAL_FAILED), "{}", server.log_text());
    } else {
        server.kill().unwrap();
    }
    check_nothing_is_lost(&data, &answers.accepted).unwrap();
}
