//! Schedules from the command line, and from files.

use std::fs;

use super::harness::{Server, until};

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
    server.run(&["schedules", "import", path, "--source", "shop"]).good();
    let list = server.run(&["schedules", "list", "-o", "json"]).json();
    assert_eq!(list["schedules"][0]["settings"]["source"], "shop");
    server.run(&["schedules", "put", "own", "--every", "1h", "--kind", "k"]).good();

    fs::write(&file, FILE.replace("CancelAbandonedOrders", "CancelOrders")).unwrap();
    let prune = ["schedules", "import", path, "--source", "shop", "--prune", "--snake"];
    let said = server.run(&[&prune[..], &["--dry-run"]].concat());
    assert!(said.err.contains("CancelAbandonedOrders: would be removed: it came from shop"));
    assert!(server.run(&["schedules", "list"]).good().contains("Abandoned"));
    let said = server.run(&prune);
    assert!(said.err.contains("CancelAbandonedOrders: will be removed"), "{}", said.err);
    assert!(said.good().contains("2 schedules put, 1 removed"));
    let list = server.run(&["schedules", "list"]).good();
    assert!(list.contains("cancel_orders") && list.contains("own"), "{list}");
    assert!(!list.contains("Abandoned"), "{list}");

    fs::write(&file, "a:\n  cron: \"61 * * * *\"\nb:\n  cron: \"@daily\"\n  retry: 3\n").unwrap();
    let refused = server.run(&prune);
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

/// The two entries come at the times that they say, and their jobs are what they say.
#[test]
fn the_entries_of_the_talk_run_as_written() {
    let server = Server::start();
    fs::write(server.folder.path().join("schedule.yml"), FILE).unwrap();
    server.run(&["schedules", "import", "schedule.yml"]).good();
    let slots = |name: &str| {
        let list = server.run(&["schedules", "next", name, "--limit", "4", "-o", "json"]).json();
        let slots = list["slots"].as_array().unwrap_or_else(|| panic!("{list}")).clone();
        slots.iter().map(|slot| slot["at"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for at in slots("CancelAbandonedOrders") {
        assert!(matches!(&at[15..19], "0:00" | "5:00"), "{at}");
    }
    for at in slots("clear_leaderboards_contributors") {
        assert_eq!(&at[11..19], "06:30:00");
    }
    let _worker = server.worker(&["--queue", "default", "--queue", "low", "--exec", "cat"]);
    let said = [
        ("CancelAbandonedOrders", "CancelAbandonedOrders", "default", "[]"),
        ("clear_leaderboards_contributors", "ClearLeaderboards", "low", "[\"contributors\"]"),
    ];
    for (name, kind, queue, args) in said {
        // Nobody waits for a Monday.
        server.run(&["schedules", "next", name, "--in", "1ms"]).good();
        let of = format!("/v1/jobs?kind={kind}&state=succeeded");
        let ended = || server.ask("GET", &of, "").1["jobs"].as_array().unwrap().clone();
        until(|| !ended().is_empty());
        let job = server.job(ended()[0]["id"].as_str().unwrap());
        assert_eq!((&job["queue"], &job["schedule"]["name"]), (&queue.into(), &name.into()));
        assert_eq!(job["result"].to_string(), args, "it was given what the entry says");
    }
}

/// A schedule file of another application, which has the same name, lost its schedules.
#[test]
fn what_another_source_put_is_not_pruned() {
    let server = Server::start();
    let import = |application: &str, text: &str, more: &[&str]| {
        let folder = server.folder.path().join(application);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("schedule.yml");
        fs::write(&file, text).unwrap();
        server.run(&[&["schedules", "import", file.to_str().unwrap()][..], more].concat())
    };
    import("shop", "cancel_orders: {cron: '@daily'}\n", &["--source", "shop"]).good();
    let said = import("mail", "digest: {cron: '@daily'}\n", &["--prune"]).bad(2);
    assert!(said.contains("--source"), "{said}");
    let mail = ["--source", "mail", "--prune"];
    import("mail", "digest: {cron: '@daily'}\n", &mail).good();
    // From another checkout, where the file lies elsewhere.
    let taken =
        import("mail-2", "cancel_orders: {every: 1h}\n", &[&mail[..], &["--dry-run"]].concat());
    assert!(taken.err.contains("it was put from shop, and is replaced"), "{}", taken.err);
    let said = import("mail-2", "report: {cron: '@daily'}\n", &mail).good();
    assert!(said.contains("1 schedule put, 1 removed"), "{said}");
    let list = server.run(&["schedules", "list"]).good();
    assert!(list.contains("cancel_orders") && !list.contains("digest"), "{list}");
    let empty = import("mail-2", "# to be filled in\n", &mail).bad(4);
    assert!(
        empty.contains("nothing is changed") && empty.contains("the 1 schedule of mail"),
        "{empty}"
    );
    assert!(server.run(&["schedules", "list"]).good().contains("report"));
}

#[test]
fn a_file_may_name_a_first_slot_and_what_is_unique() {
    let server = Server::start();
    let file = server.folder.path().join("schedule.yml");
    let text = "poll:\n  every: [\"1h\", {first_in: 5m}]\n  unique: {by: [kind]}\n  queue: feeds\n";
    fs::write(&file, text).unwrap();
    let import = ["schedules", "import", "schedule.yml"];
    let dry = server.run(&[&import[..], &["--dry-run"]].concat());
    assert!(dry.err.contains(", in 5m: poll [] in feeds, unique"), "{}", dry.err);
    let minutes_to_go = || {
        let shown = server.run(&["schedules", "show", "poll", "-o", "json"]).json();
        let next = shown["next"]["at"].as_str().unwrap().to_owned();
        assert_eq!(shown["settings"]["job"]["unique"]["by"][0], "kind", "{shown}");
        let put = shown["created_at"].as_str().unwrap().to_owned();
        let minute = |text: &str| {
            text[11..13].parse::<u64>().unwrap() * 60 + text[14..16].parse::<u64>().unwrap()
        };
        (minute(&next) + 24 * 60 - minute(&put)) % (24 * 60)
    };
    server.run(&import).good();
    assert!((4..=6).contains(&minutes_to_go()));
    // It is there: its first slot is not put off again.
    let again = server.run(&[&import[..], &["--dry-run"]].concat());
    assert!(!again.err.contains(", in 5m"), "{}", again.err);
}

#[test]
fn a_crontab_of_the_system_names_users() {
    let server = Server::start();
    fs::write(server.folder.path().join("crontab"), "0 4 * * * root /bin/backup --all\n").unwrap();
    let import = ["schedules", "import", "crontab"];
    let said = server.run(&import).bad(4);
    assert!(said.contains("line 1: refused: \"root\" is a user here"), "{said}");
    let said = server.run(&[&import[..], &["--as", "system-crontab"]].concat());
    assert!(said.err.contains("of the user root"), "{}", said.err);
    let shown = server.run(&["schedules", "show", "bin-backup-all", "-o", "json"]).json();
    assert_eq!(shown["settings"]["job"]["args"]["command"], "/bin/backup --all", "{shown}");
}

/// A run says when its schedule fires next; one that nobody scheduled, or that says nonsense, has
/// done its work all the same.
#[test]
fn a_command_says_when_its_schedule_fires_next() {
    let server = Server::start();
    let command = "tr -d '\"' > \"$LONGSHORE_NEXT\"; echo done";
    let mut worker = server.worker(&["--exec", command]);
    let next = || {
        let shown = server.run(&["schedules", "show", "poll", "-o", "json"]).json();
        shown["next"]["at"].as_str().unwrap().to_owned()
    };
    let run = |says: &str| {
        let says = format!("{says:?}");
        let put = ["schedules", "put", "poll", "--every", "1h", "--kind", "k", "--args", &says];
        server.run(&put).good();
        let before = next();
        let id = server.run(&["schedules", "run", "poll"]).good().trim().to_owned();
        let job = server.wait(&id);
        assert_eq!((&job["state"], &job["result"]), (&"succeeded".into(), &"done".into()), "{job}");
        (before, next())
    };
    let (first, _) = run("");
    let in_two_years = first[..4].parse::<u32>().unwrap() + 2;
    let then = format!("{in_two_years}-01-01T00:00:00.000Z");
    let (before, at) = run(&then);
    assert!(before < at && at == then, "{before}, {at}");
    let (before, after) = run("30d");
    assert!(after < before, "it goes by the span: {before}, {after}");
    let (before, after) = run("soon");
    assert_eq!(before, after, "it stays as it was");
    worker.note_with("moves no schedule: LONGSHORE_NEXT says \"soon\"");
    // Nobody scheduled it.
    let id = server.enqueue(&["k", "\"5s\""]);
    let job = server.wait(&id);
    assert_eq!((&job["state"], &job["attempt"]), (&"succeeded".into(), &1.into()), "{job}");
    worker.note_with(&format!("{id} moves no schedule"));
}

/// A deploy that set `status: enabled` again left the schedule paused for good.
#[test]
fn a_schedule_that_an_import_paused_goes_on_when_the_file_says_so() {
    let server = Server::start();
    let import = |status: &str| {
        let text = format!("poll:\n  cron: '*/5 * * * *'\n  class: Poll\n{status}");
        fs::write(server.folder.path().join("schedule.yml"), text).unwrap();
        let said = server.run(&["schedules", "import", "schedule.yml", "--source", "shop"]).err;
        let shown = server.run(&["schedules", "show", "poll", "-o", "json"]).json();
        (shown["paused"] == true, shown["next"]["at"].is_string(), said)
    };
    let (paused, comes, said) = import("  status: disabled\n");
    assert!(paused && !comes && said.contains(", paused"), "{said}");
    // A file that says nothing of it leaves it as it is.
    let (paused, comes, said) = import("");
    assert!(paused && !comes && said.contains("it stays paused"), "{said}");
    let (paused, comes, said) = import("  status: enabled\n");
    assert!(!paused && comes && said.contains("it is paused, and goes on"), "{said}");
    let (paused, comes, said) = import("  status: enabled\n");
    assert!(!paused && comes && !said.contains("goes on"), "{said}");
}
