//! Schedule files in the shapes in which people publish them: each line of the table is a shape, in
//! words of our own, with what it is understood as, or the line for which it is refused.

use super::entries::{Entry, Mapping, Read, read};
use super::yaml::{Fault, parse};

/// What an entry came to: its line, name, time, zone, job, queue and what else there is.
fn told(entry: &Entry) -> String {
    let Entry { line, name, body, first_in, notes } = entry;
    let when = body.cron.clone().or_else(|| body.every.map(|every| every.to_string()));
    let mut told = format!("{line} {name}: {}", when.unwrap_or_default());
    let zone = body.time_zone.iter().map(|zone| format!(" in {zone}"));
    let args = body.job.args.as_ref().map_or("", |args| args.get());
    let job = format!("; {} {args} to {}", body.job.kind, body.job.queue.as_deref().unwrap());
    let first = first_in.iter().map(|after| format!("; first in {after}"));
    let paused = body.paused.map(|paused| if paused { "; paused" } else { "; not paused" });
    let overlap = body.overlap.map(|overlap| format!("; overlap {overlap:?}"));
    let notes = (!notes.is_empty()).then(|| format!("; {} notes", notes.len()));
    told.extend(zone);
    told.push_str(&job);
    told.extend(first);
    told.extend(paused.map(str::to_owned));
    told.extend(overlap);
    told.extend(notes);
    told
}

fn understood(text: &str) -> Vec<String> {
    let mapping = Mapping { queue: "default".into(), snake: false, time_zone: None, env: None };
    let root = match parse(text) {
        Ok(Some(root)) => root,
        Ok(None) => return Vec::new(),
        Err(fault) => return vec![format!("refused at {}: {}", fault.line, fault.why)],
    };
    let told = |one: Result<Read, Fault>| match one {
        Ok(Read::Entry(entry)) => told(&entry),
        Ok(Read::Passed(line, why)) => format!("{line} passed: {why}"),
        Err(fault) => format!("refused at {}: {}", fault.line, fault.why),
    };
    read(&root, &mapping).into_iter().map(told).collect()
}

/// Each is told as so; a refusal by its beginning.
fn check(shapes: &[(&str, &[&str])]) {
    for (text, expected) in shapes {
        let told = understood(text);
        assert_eq!(told.len(), expected.len(), "{text}\n{told:#?}");
        for (told, expected) in told.iter().zip(*expected) {
            let same =
                told == expected || expected.starts_with("refused") && told.starts_with(expected);
            assert!(same, "{text}\n{told}\n{expected}");
        }
    }
}

#[test]
fn files_of_resque_scheduler() {
    check(&[
        // The name stands for the class.
        (
            "SweepCarts:\n  cron: \"*/5 * * * *\"\n",
            &["1 SweepCarts: */5 * * * *; SweepCarts [] to default; 2 notes"],
        ),
        // Comments, symbols in quotes, an argument that is none of a list.
        (
            concat!(
                "# every night\n",
                "\n",
                "sweep:\n",
                "  cron: '0 3 * * *' # quiet then\n",
                "  class: 'SweepCarts'\n",
                "  queue: low\n",
                "  args: carts\n",
                "  description: 'It sweeps.'\n"
            ),
            &["3 sweep: 0 3 * * *; SweepCarts [\"carts\"] to low"],
        ),
        // Arguments as a list in lines, as a map, as none.
        (
            concat!(
                "a:\n",
                "  cron: '0 * * * *'\n",
                "  class: A\n",
                "  queue: q\n",
                "  args:\n",
                "    - 1\n",
                "    - two\n",
                "    - deep: true\n"
            ),
            &["1 a: 0 * * * *; A [1,\"two\",{\"deep\":true}] to q"],
        ),
        (
            concat!(
                "a:\n",
                "  cron: '0 * * * *'\n",
                "  class: A\n",
                "  queue: q\n",
                "  args:\n",
                "    shop: 7\n",
                "    dry: false\n"
            ),
            &["1 a: 0 * * * *; A [{\"dry\":false,\"shop\":7}] to q"],
        ),
        (
            "a:\n  cron: '0 * * * *'\n  class: A\n  queue: q\n  args:\n",
            &["1 a: 0 * * * *; A [] to q"],
        ),
    ]);
}

#[test]
fn times_and_options_of_resque_scheduler() {
    check(&[
        // A distance, as a text, a number, and with options in both ways of YAML.
        ("a: {every: 30s, class: A, queue: q}\n", &["1 a: 30s; A [] to q"]),
        ("a: {every: 45, class: A, queue: q}\n", &["1 a: 45s; A [] to q"]),
        (
            "a:\n  every: ['1h', {first_in: 3m}]\n  class: A\n  queue: q\n",
            &["1 a: 1h; A [] to q; first in 3m"],
        ),
        (
            "a:\n  every:\n    - 30m\n    - :first_in: 10s\n  class: A\n  queue: q\n",
            &["1 a: 30m; A [] to q; first in 10s"],
        ),
        (
            "a:\n  every:\n    - '1d'\n    - allow_overlapping: false\n  class: A\n  queue: q\n",
            &["1 a: 1d; A [] to q; overlap Skip"],
        ),
        (
            "a:\n  cron:\n    - '*/10 * * * *'\n    - overlap: true\n  class: A\n  queue: q\n",
            &["1 a: */10 * * * *; A [] to q; overlap Allow"],
        ),
        // Six fields, and a time zone behind five.
        ("a: {cron: '*/20 * * * * *', class: A, queue: q}\n", &["1 a: */20 * * * * *; A [] to q"]),
        (
            "a: {cron: '30 6 * * 1 Europe/Stockholm', class: A, queue: q}\n",
            &["1 a: 30 6 * * 1 in Europe/Stockholm; A [] to q"],
        ),
        // What wraps a job, where it runs, and whether it stays.
        (
            concat!(
                "a:\n",
                "  cron: '@daily'\n",
                "  class: A\n",
                "  queue: q\n",
                "  custom_job_class: Wrapper\n",
                "  rails_env: production\n",
                "  persist: true\n"
            ),
            &["1 a: @daily; Wrapper [] to q; 2 notes"],
        ),
    ]);
}

#[test]
fn files_of_sidekiq_cron() {
    check(&[
        (
            concat!(
                "nightly_sync:\n",
                "  cron: \"15 1 * * *\"\n",
                "  class: \"Sync::NightlyWorker\"\n",
                "  queue: cron\n"
            ),
            &["1 nightly_sync: 15 1 * * *; Sync::NightlyWorker [] to cron"],
        ),
        // Two words as a name, and a state.
        (
            concat!(
                "Nightly sync:\n",
                "  cron: '15 1 * * *'\n",
                "  class: Sync\n",
                "  queue: cron\n",
                "  status: enabled\n",
                "\n",
                "Weekly:\n",
                "  cron: '15 1 * * 0'\n",
                "  class: Sync\n",
                "  queue: cron\n",
                "  status: disabled\n"
            ),
            &[
                "1 Nightly sync: 15 1 * * *; Sync [] to cron; not paused",
                "7 Weekly: 15 1 * * 0; Sync [] to cron; paused",
            ],
        ),
        // A list of hashes with names, as it is given to the library as JSON.
        (
            "[{\"name\": \"sync\", \"cron\": \"15 1 * * *\", \"class\": \"Sync\", \"queue\": \"q\", \"args\": [1]}]",
            &["1 sync: 15 1 * * *; Sync [1] to q"],
        ),
        (
            "- name: sync\n  cron: '15 1 * * *'\n  class: Sync\n  queue: q\n  source: schedule\n",
            &["1 sync: 15 1 * * *; Sync [] to q; 1 notes"],
        ),
        (
            concat!(
                "a:\n",
                "  cron: '0 0 1 * *'\n",
                "  class: Bill\n",
                "  queue: q\n",
                "  active_job: true\n",
                "  args: [{month: last}]\n"
            ),
            &["1 a: 0 0 1 * *; Bill [{\"month\":\"last\"}] to q; 1 notes"],
        ),
        ("a: {cron: '@hourly', klass: A, queue: q}\n", &["1 a: @hourly; A [] to q"]),
        (
            "a: {cron: '0 9 * * mon-fri UTC', class: A, queue: q}\n",
            &["1 a: 0 9 * * mon-fri in UTC; A [] to q"],
        ),
    ]);
}

#[test]
fn odd_files_are_refused_by_their_line() {
    check(&[
        // What has a meaning there that it would not have here.
        (
            "a:\n  cron: '@daily'\n  class: A\n  date_as_argument: true\n",
            &["refused at 4: a: `date_as_argument`"],
        ),
        ("a:\n  cron: '@daily'\n  class: A\n  retry: 3\n", &["refused at 4: a: `retry`"]),
        (
            "a:\n  cron: '@daily'\n  class: A\n  queue_name_prefix: live\n",
            &["refused at 4: a: `queue_name_prefix`"],
        ),
        ("a:\n  in: 1h\n  class: A\n", &["refused at 2: a: `in`"]),
        (
            "a:\n  cron: '@daily'\n  status: paused\n",
            &["refused at 3: a: `status` has to be enabled or disabled"],
        ),
        // Two times, or none.
        ("a:\n  cron: '@daily'\n  every: 1h\n", &["refused at 1: a: one of `cron` and `every`"]),
        ("a:\n  class: A\n  queue: q\n", &["refused at 1: a: one of `cron` and `every`"]),
        ("a:\n  every: 1M\n  class: A\n", &["refused at 2: a: \"1M\" is no duration"]),
        ("a:\n  every: [1h, {times: 3}]\n", &["refused at 2: a: the option `times`"]),
        // One at fault leaves the others to be told of.
        (
            concat!(
                "a:\n",
                "  cron: '@daily'\n",
                "  class: A\n",
                "  queue: q\n",
                "b: '@daily'\n",
                "c:\n",
                "  cron: '@daily'\n",
                "  class: C\n",
                "  queue: q\n"
            ),
            &["1 a: @daily; A [] to q", "refused at 5: b: its settings", "6 c: @daily; C [] to q"],
        ),
        // Defaults that are merged, a template that was not rendered, several documents.
        (
            "base: &base\n  queue: q\na:\n  <<: *base\n  cron: '@daily'\n",
            &["refused at 1: anchors"],
        ),
        ("a:\n  cron: <%= ENV['AT'] %>\n\tclass: A\n", &["refused at 2: this is no YAML"]),
        ("a: {cron: '@daily'}\n---\nb: {cron: '@daily'}\n", &["refused at 2: a second document"]),
        ("just words\n", &["refused at 1: a map of names to schedules"]),
    ]);
    assert!(understood("# nothing yet\n").is_empty());
}
