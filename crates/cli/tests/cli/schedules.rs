//! Schedules from the command line, and from files.

use std::fs;

use super::harness::Server;

const FILE: &str = r#"
CancelAbandonedOrders:
  cron: "*/5 * * * *"

clear_leaderboards_contributors:
  cron: "30 6 * * 1"
  class: "ClearLeaderboards"
  queue: low
  args: contributors
  description: "This job resets the weekly leaderboard for contributions"
"#;

#[test]
fn schedules_are_put_listed_shown_run_and_removed() {
    let server = Server::start();
    let put = ["schedules", "put", "nightly", "--cron", "30 2 * * *", "--time-zone"];
    let more = ["Europe/Berlin", "--kind", "report", "--args", "{\"n\":1}", "--overlap", "skip"];
    let said = server.run(&[&put[..], &more[..]].concat()).good();
    assert!(said.starts_with("nightly: next 20"), "{said}");
    let list = server.run(&["schedules", "list"]).good();
    assert!(list.contains("30 2 * * *") && list.contains("Europe/Berlin"), "{list}");
    let next = server.run(&["schedules", "next", "nightly", "--limit", "2"]).good();
    assert_eq!(next.lines().count(), 3, "{next}");
    let job = server.run(&["schedules", "run", "nightly"]).good();
    let shown = server.run(&["jobs", "show", job.trim(), "-o", "json"]).json();
    assert_eq!(shown["schedule"]["name"], "nightly");
    server.run(&["schedules", "run", "nightly"]).bad(4);
    server.run(&["schedules", "pause", "nightly"]).good();
    let shown = server.run(&["schedules", "show", "nightly"]).good();
    assert!(shown.contains("paused") && shown.contains("by hand"), "{shown}");
    server.run(&["schedules", "resume", "nightly"]).good();
    let moved = server.run(&["schedules", "next", "nightly", "--in", "2h"]).good();
    assert!(moved.contains("next"), "{moved}");
    server.run(&["schedules", "delete", "nightly"]).good();
    server.run(&["schedules", "show", "nightly"]).bad(3);
    let wrong = ["schedules", "put", "x", "--cron", "99 * * * *", "--kind", "k"];
    let refused = server.run(&wrong).bad(4);
    assert!(refused.contains("field 1 (minute, character 1)"), "{refused}");
}

#[test]
fn a_file_is_understood_line_by_line_and_can_be_the_truth() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schedule.yml");
    fs::write(&file, FILE).unwrap();
    let path = file.to_str().unwrap();
    let dry = server.run(&["schedules", "import", path, "--dry-run"]);
    assert!(dry.err.contains("line 2: CancelAbandonedOrders: */5 * * * *"), "{}", dry.err);
    assert!(dry.err.contains("line 5: clear_leaderboards_contributors"), "{}", dry.err);
    assert!(dry.err.contains("ClearLeaderboards [\"contributors\"] in low"), "{}", dry.err);
    assert!(server.run(&["schedules", "list"]).good().is_empty());
    server.run(&["schedules", "import", path]).good();
    let list = server.run(&["schedules", "list", "-o", "json"]).json();
    assert_eq!(list["schedules"][0]["settings"]["source"], "schedule.yml");
    server.run(&["schedules", "put", "own", "--every", "1h", "--kind", "k"]).good();

    fs::write(&file, FILE.replace("CancelAbandonedOrders", "CancelOrders")).unwrap();
    let said = server.run(&["schedules", "import", path, "--prune", "--snake"]).good();
    assert!(said.contains("2 schedules put, 1 removed"), "{said}");
    let list = server.run(&["schedules", "list"]).good();
    assert!(list.contains("cancel_orders") && list.contains("own"), "{list}");
    assert!(!list.contains("Abandoned"), "{list}");

    fs::write(&file, "a:\n  cron: \"61 * * * *\"\nb:\n  cron: \"@daily\"\n  retry: 3\n").unwrap();
    let refused = server.run(&["schedules", "import", path, "--prune"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("line 1: refused: a: cron is"), "{}", refused.err);
    assert!(refused.err.contains("line 5: refused: b: `retry`"), "{}", refused.err);
    assert!(server.run(&["schedules", "list"]).good().contains("cancel_orders"));

    let crontab = folder.path().join("crontab");
    fs::write(&crontab, "CRON_TZ=Asia/Tokyo\n0 4 * * * /bin/backup --all\n").unwrap();
    server.run(&["schedules", "import", crontab.to_str().unwrap()]).good();
    let list = server.run(&["schedules", "list"]).good();
    assert!(list.contains("bin-backup-all") && list.contains("Asia/Tokyo"), "{list}");
}
