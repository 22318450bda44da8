//! Iterations, driven item by item.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use longshore::testing::{Drive, Step};
use longshore::{
    Context, Enumerator, Iteration, IterationSettings, Job, JobError, JobOptions, JobResult, Line,
    Outcome,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

type Log = Mutex<Vec<String>>;

#[derive(Job, Serialize, Deserialize, Default)]
#[job(output = u64)]
struct Numbers {
    up_to: u64,
    #[serde(default)]
    broken: Vec<u64>,
    #[serde(default)]
    skip: bool,
    #[serde(default)]
    throttle_at: Option<u64>,
    #[serde(default)]
    max_runtime_ms: Option<u64>,
    #[serde(default)]
    panic_at: Option<u64>,
    #[serde(default)]
    hold_up: u32,
}

impl Iteration<Log> for Numbers {
    type Item = u64;
    type Cursor = u64;

    fn settings(&self) -> IterationSettings {
        let mut settings = IterationSettings::new();
        if self.skip {
            settings = settings.skip_after(1, Duration::ZERO);
        }
        if let Some(ms) = self.max_runtime_ms {
            settings = settings.max_runtime(Duration::from_millis(ms));
        }
        settings
    }

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        _: &Context<Log>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        let at = self.throttle_at;
        Ok(Enumerator::range(0..self.up_to, cursor)
            .throttled(move |number| Some(*number) == at, Duration::from_secs(30)))
    }

    async fn each(&self, number: &u64, ctx: &Context<Log>) -> Result<(), JobError> {
        ctx.count("sum", i64::try_from(*number)?);
        log(ctx, &number.to_string());
        assert!(self.panic_at != Some(*number), "it is {number}");
        if self.broken.contains(number) {
            return Err(JobError::new("broken", number));
        }
        Ok(())
    }

    async fn around_each(&self, number: &u64, ctx: &Context<Log>) -> Result<(), JobError> {
        if self.hold_up > 0 {
            log(ctx, "before");
        }
        self.each(number, ctx).await
    }

    async fn throttle(&self, _: &u64, ctx: &Context<Log>) -> Option<Duration> {
        let held = ctx.state().lock().unwrap().iter().filter(|it| *it == "held").count();
        if held >= self.hold_up as usize {
            return None;
        }
        log(ctx, "held");
        Some(Duration::from_millis(1))
    }

    async fn on_start(&self, ctx: &Context<Log>) -> Result<(), JobError> {
        log(ctx, "start");
        Ok(())
    }

    async fn on_resume(&self, ctx: &Context<Log>) -> Result<(), JobError> {
        log(ctx, "resume");
        Ok(())
    }

    async fn on_interrupt(&self, reason: &str, ctx: &Context<Log>) -> Result<(), JobError> {
        log(ctx, &format!("interrupt {reason}"));
        Ok(())
    }

    async fn on_complete(&self, ctx: &Context<Log>) -> JobResult<u64> {
        log(ctx, "complete");
        Ok(Outcome::done(self.up_to))
    }
}

fn log(ctx: &Context<Log>, words: &str) {
    ctx.state().lock().unwrap().push(words.to_owned());
}

fn drive(job: Numbers) -> Drive<Log> {
    Drive::new(job, Log::default())
}

#[tokio::test]
async fn an_interrupted_run_goes_on_where_it_was() {
    let mut drive = drive(Numbers { up_to: 5, ..Numbers::default() });
    assert_eq!(drive.items(2).await, Step::Interrupted("test".into()));
    assert_eq!(drive.cursor(), Some(&json!(1)));
    assert_eq!(drive.interrupted("deploy").await, Step::Interrupted("deploy".into()));
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(drive.last().unwrap().result::<u64>(), 5);
    assert_eq!((drive.counter("items"), drive.counter("sum")), (5, 10));
    let told = drive.state().lock().unwrap().join(",");
    let all = "start,0,1,interrupt test,resume,interrupt deploy,resume,2,3,4,complete";
    assert_eq!(told, all);
    assert_eq!(drive.last().unwrap().progress().last(), Some(&1.0));
}

#[tokio::test]
async fn a_retry_begins_with_the_item_that_failed_and_counts_nothing_twice() {
    let mut drive = drive(Numbers { up_to: 4, broken: vec![2], ..Numbers::default() });
    for _ in 0..2 {
        let Step::Failed(error) = drive.to_the_end().await else { panic!("it did not fail") };
        assert_eq!(error.message(), "2");
        assert_eq!(drive.cursor(), Some(&json!(1)));
        assert_eq!((drive.counter("items"), drive.counter("sum")), (2, 1));
    }
    assert_eq!(drive.state().lock().unwrap().join(","), "start,0,1,2,resume,2");
}

#[tokio::test]
async fn an_item_that_fails_again_is_skipped_and_told() {
    let mut drive =
        drive(Numbers { up_to: 4, broken: vec![0, 2], skip: true, ..Numbers::default() });
    assert_eq!(drive.to_the_end().await, Step::Done);
    let skipped: Vec<_> = drive.skipped().iter().map(JobError::message).collect();
    assert_eq!(skipped, ["0", "2"]);
    assert_eq!(drive.counter("skipped"), 2);
    assert_eq!((drive.counter("items"), drive.counter("sum")), (2, 4));
    assert_eq!(drive.state().lock().unwrap().join(","), "start,0,0,1,2,2,3,complete");
}

#[tokio::test]
async fn skipped_items_run_again_alone() {
    let job = || Numbers { up_to: 4, ..Numbers::default() };
    let items = json!({"longshore.items": [{"after": null, "at": 0}, {"after": 1, "at": 2}]});
    let mut drive = Drive::with(job(), Log::default(), JobOptions::new().metadata(items));
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(drive.state().lock().unwrap().join(","), "0,2,complete");
    assert_eq!(drive.counter("items"), 2);
}

#[tokio::test]
async fn a_skipped_item_that_is_still_bad_or_gone_holds_up_no_other() {
    let job = Numbers { up_to: 4, broken: vec![0], skip: true, ..Numbers::default() };
    let at = |at: u64| json!({"after": at.checked_sub(1), "at": at});
    let items = json!({"longshore.items": [at(0), at(9), at(2)]});
    let mut drive = Drive::with(job, Log::default(), JobOptions::new().metadata(items));
    assert_eq!(drive.items(2).await, Step::Interrupted("test".into()));
    assert_eq!(drive.cursor(), Some(&json!({"done": 2})));
    let skipped: Vec<_> = drive.skipped().iter().map(JobError::kind).collect();
    assert_eq!(skipped, ["broken", "item_missing"]);
    assert_eq!(drive.to_the_end().await, Step::Done);
    let told = drive.state().lock().unwrap().join(",");
    assert_eq!(told, "0,0,interrupt test,2,complete");
    let counted = ["items", "skipped", "missing", "sum"].map(|name| drive.counter(name));
    assert_eq!(counted, [1, 2, 1, 2]);
}

#[tokio::test]
async fn a_skipped_item_that_is_run_again_waits_for_its_throttle() {
    let job = Numbers { up_to: 4, throttle_at: Some(2), ..Numbers::default() };
    let items = json!({"longshore.items": [{"after": 1, "at": 2}]});
    let mut drive = Drive::with(job, Log::default(), JobOptions::new().metadata(items));
    assert_eq!(drive.to_the_end().await, Step::Interrupted("throttle".into()));
    assert_eq!(drive.counter("items"), 0);
}

#[tokio::test]
async fn a_throttle_makes_room_and_uses_no_item() {
    let mut drive = drive(Numbers { up_to: 4, throttle_at: Some(2), ..Numbers::default() });
    assert_eq!(drive.to_the_end().await, Step::Interrupted("throttle".into()));
    assert_eq!(drive.cursor(), Some(&json!(1)));
}

#[tokio::test]
async fn a_short_throttle_is_waited_for_in_place() {
    let mut drive = drive(Numbers { up_to: 1, hold_up: 2, ..Numbers::default() });
    assert_eq!(drive.to_the_end().await, Step::Done);
    let told = drive.state().lock().unwrap().join(",");
    assert_eq!(told, "start,held,held,before,0,complete");
}

#[tokio::test]
async fn a_panic_loses_nothing_of_what_was_done_before_it() {
    let mut drive = drive(Numbers { up_to: 9, panic_at: Some(5), ..Numbers::default() });
    let Step::Failed(error) = drive.to_the_end().await else { panic!("it did not fail") };
    assert_eq!((error.kind(), error.message()), ("panic", "it is 5"));
    assert_eq!(drive.cursor(), Some(&json!(4)));
    assert_eq!(drive.counter("sum"), 10);
}

#[tokio::test]
async fn each_run_has_its_time_and_gets_on() {
    let mut drive = drive(Numbers { up_to: 3, max_runtime_ms: Some(0), ..Numbers::default() });
    for cursor in [0, 1] {
        assert_eq!(drive.to_the_end().await, Step::Interrupted("max_runtime".into()));
        assert_eq!(drive.cursor(), Some(&json!(cursor)));
    }
    assert_eq!(drive.to_the_end().await, Step::Done);
}

#[tokio::test]
async fn a_job_can_begin_at_a_given_cursor() {
    let options = JobOptions::new().cursor(json!(2));
    let job = Numbers { up_to: 5, ..Numbers::default() };
    let mut drive = Drive::with(job, Log::default(), options);
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(drive.state().lock().unwrap().join(","), "resume,3,4,complete");
    assert_eq!(drive.last().unwrap().progress(), [0.8, 1.0]);
}

#[tokio::test]
async fn a_job_that_begins_anew_tells_its_progress_anew() {
    let mut drive = drive(Numbers { up_to: 4, ..Numbers::default() });
    assert_eq!(drive.items(2).await, Step::Interrupted("test".into()));
    drive.set_cursor(None);
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(drive.last().unwrap().progress(), [0.25, 0.5, 0.75, 1.0]);
}

#[derive(Job, Serialize, Deserialize)]
struct Letters;

impl Iteration<Log> for Letters {
    type Item = char;
    type Cursor = char;

    async fn enumerate(
        &self,
        cursor: Option<char>,
        _: &Context<Log>,
    ) -> Result<Enumerator<char, char>, JobError> {
        let rest = ('a'..='d').filter(move |letter| cursor.is_none_or(|last| *letter > last));
        Ok(Enumerator::from_pairs(rest.map(|letter| (letter, letter))).total(4))
    }

    async fn each(&self, _: &char, _: &Context<Log>) -> Result<(), JobError> {
        Ok(())
    }
}

#[tokio::test]
async fn items_that_are_counted_are_counted_anew_from_the_beginning() {
    let mut drive = Drive::new(Letters, Log::default());
    assert_eq!(drive.items(3).await, Step::Interrupted("test".into()));
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(drive.last().unwrap().progress(), [1.0]);
    drive.set_cursor(None);
    assert_eq!(drive.items(1).await, Step::Interrupted("test".into()));
    assert_eq!(drive.last().unwrap().progress(), [0.25]);
}

#[derive(Job, Serialize, Deserialize)]
struct Lines {
    path: PathBuf,
    #[serde(default)]
    skip: bool,
}

impl Iteration<Log> for Lines {
    type Item = Line;
    type Cursor = u64;

    fn settings(&self) -> IterationSettings {
        let settings = IterationSettings::new();
        if self.skip { settings.skip_after(3, Duration::from_secs(60)) } else { settings }
    }

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        _: &Context<Log>,
    ) -> Result<Enumerator<Line, u64>, JobError> {
        Enumerator::lines(&self.path, cursor).await
    }

    async fn each(&self, line: &Line, ctx: &Context<Log>) -> Result<(), JobError> {
        log(ctx, &line.text);
        Ok(())
    }
}

#[tokio::test]
async fn lines_are_read_on_from_their_offset() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all("one\r\ntwo\n\nf\u{fc}nf".as_bytes()).unwrap();
    let job = Lines { path: file.path().into(), skip: false };
    let mut drive = Drive::new(job, Log::default());
    assert_eq!(drive.items(2).await, Step::Interrupted("test".into()));
    assert_eq!(drive.cursor(), Some(&json!(9)));
    // What lies before the cursor is not read again: it may even be gone.
    let text = std::fs::read(file.path()).unwrap();
    let blanked = [vec![0xff; 9], text[9..].to_vec()].concat();
    std::fs::write(file.path(), blanked).unwrap();
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(drive.state().lock().unwrap().join(","), "one,two,,f\u{fc}nf");
    assert_eq!(drive.last().unwrap().progress().last(), Some(&1.0));
}

#[tokio::test]
async fn a_line_that_is_none_is_skipped_where_items_are() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"one\n\xff\ntwo\n").unwrap();
    file.write_all(&vec![b'x'; (16 << 20) + 1]).unwrap();
    file.write_all(b"\nthree\n").unwrap();
    let job = |skip| Lines { path: file.path().into(), skip };
    let mut drive = Drive::new(job(true), Log::default());
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(drive.state().lock().unwrap().join(","), "one,two,three");
    let skipped: Vec<_> = drive.skipped().iter().map(JobError::message).collect();
    assert!(
        skipped[0].contains(" at 4: ") && skipped[1].contains("16777218 bytes with its end"),
        "{skipped:?}"
    );
    assert_eq!((drive.counter("items"), drive.counter("skipped")), (3, 2));
    let mut drive = Drive::new(job(false), Log::default());
    let Step::Failed(error) = drive.to_the_end().await else { panic!("it did not fail") };
    assert!(error.message().contains(" at 4: "), "{error}");
    assert_eq!(drive.cursor(), Some(&json!(4)));
}

#[derive(Job, Serialize, Deserialize)]
struct Files {
    folder: PathBuf,
}

impl Iteration<Log> for Files {
    type Item = PathBuf;
    type Cursor = String;

    async fn enumerate(
        &self,
        cursor: Option<String>,
        _: &Context<Log>,
    ) -> Result<Enumerator<PathBuf, String>, JobError> {
        Enumerator::files(&self.folder, cursor).await
    }

    async fn each(&self, path: &PathBuf, ctx: &Context<Log>) -> Result<(), JobError> {
        log(ctx, &path.file_name().unwrap().to_string_lossy());
        Ok(())
    }
}

#[tokio::test]
async fn files_come_in_order_and_may_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
    for name in ["d", "b", "c"] {
        write(name);
    }
    std::fs::create_dir(folder.path().join("inner")).unwrap();
    let mut drive = Drive::new(Files { folder: folder.path().into() }, Log::default());
    assert_eq!(drive.items(1).await, Step::Interrupted("test".into()));
    write("a");
    write("e");
    std::fs::remove_file(folder.path().join("b")).unwrap();
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(drive.state().lock().unwrap().join(","), "b,c,d,e");
    assert_eq!(drive.last().unwrap().progress(), [0.5, 0.75, 1.0]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_whose_name_is_no_text_fails_in_its_turn() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    for name in [&b"a"[..], b"b\xff", b"c"] {
        std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    }
    let mut drive = Drive::new(Files { folder: folder.path().into() }, Log::default());
    let Step::Failed(error) = drive.to_the_end().await else { panic!("it did not fail") };
    assert_eq!((error.kind(), drive.cursor()), ("file_name", Some(&json!("a"))));
}
