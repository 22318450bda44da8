//! Entries of a schedule file of resque-scheduler or sidekiq-cron: a map of names to hashes. What
//! is not understood is refused, so that nothing runs otherwise than its owner thinks.

use longshore_server::api::{
    DurationText, InstantText, NewJob, OverlapText, RawJson, ScheduleBody, UniqueText,
};

use super::yaml::{Fault, Node, Value};

/// How names of classes and queues become ours.
#[derive(Debug)]
pub(super) struct Mapping {
    /// The queue of entries that name none.
    pub(super) queue: String,
    /// The kind is the class in snake case: `CancelAbandonedOrders` is `cancel_abandoned_orders`.
    pub(super) snake: bool,
    /// The time zone of expressions that name none.
    pub(super) time_zone: Option<String>,
    /// Which environment the entries are for.
    pub(super) env: Option<String>,
}

/// What one entry of a file means.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) body: ScheduleBody<'static>,
    /// When the first slot comes, where the schedule is new.
    pub(super) first_in: Option<DurationText>,
    /// What else there is to say.
    pub(super) notes: Vec<String>,
}

/// What a line came to.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    Entry(Box<Entry>),
    /// It is not for here, for this reason.
    Passed(usize, String),
}

/// Reads every entry.
pub(super) fn read(root: &Node, mapping: &Mapping) -> Vec<Result<Read, Fault>> {
    match &root.value {
        Value::Map(entries) => {
            entries.iter().map(|(key, node)| named(key, node, mapping)).collect()
        }
        // sidekiq-cron takes a list of hashes with names, too.
        Value::List(items) => items.iter().map(|node| listed(node, mapping)).collect(),
        Value::Scalar(..) => vec![Err(fault(root.line, "a map of names to schedules is needed"))],
    }
}

fn fault(line: usize, why: impl Into<String>) -> Fault {
    Fault { line, why: why.into() }
}

fn named(key: &Node, node: &Node, mapping: &Mapping) -> Result<Read, Fault> {
    let name = key.text().ok_or_else(|| fault(key.line, "the name of a schedule is a text"))?;
    let Value::Map(fields) = &node.value else {
        return Err(fault(key.line, format!("{name}: its settings have to be a map")));
    };
    let read = entry(key.line, name, fields, mapping);
    read.map_err(|found| Fault { why: format!("{name}: {}", found.why), ..found })
}

fn listed(node: &Node, mapping: &Mapping) -> Result<Read, Fault> {
    let Value::Map(fields) = &node.value else {
        return Err(fault(node.line, "an entry of the list has to be a map"));
    };
    let name = fields.iter().find(|(key, _)| key.text() == Some("name"));
    let name = name.and_then(|(_, value)| value.text());
    let name = name.ok_or_else(|| fault(node.line, "an entry of a list needs a `name`"))?;
    let rest: Vec<_> =
        fields.iter().filter(|(key, _)| key.text() != Some("name")).cloned().collect();
    let read = entry(node.line, name, &rest, mapping);
    read.map_err(|found| Fault { why: format!("{name}: {}", found.why), ..found })
}

/// An entry as its fields are read.
#[derive(Default)]
struct Fields {
    cron: Option<String>,
    time_zone: Option<String>,
    every: Option<DurationText>,
    first_in: Option<DurationText>,
    starts_at: Option<InstantText>,
    overlap: Option<OverlapText>,
    class: Option<String>,
    queue: Option<String>,
    args: Option<serde_json::Value>,
    unique: Option<UniqueText>,
    description: Option<String>,
    paused: Option<bool>,
    notes: Vec<String>,
    passed: Option<String>,
}

fn entry(
    line: usize,
    name: &str,
    fields: &[(Node, Node)],
    mapping: &Mapping,
) -> Result<Read, Fault> {
    let mut read = Fields::default();
    for (key, value) in fields {
        read.take(key, value, mapping)?;
    }
    if let Some(why) = read.passed {
        return Ok(Read::Passed(line, format!("{name}: {why}")));
    }
    if read.cron.is_some() == read.every.is_some() {
        return Err(fault(line, "one of `cron` and `every` is needed"));
    }
    let class = read.class.unwrap_or_else(|| {
        read.notes.push("no `class`: the name stands for it".to_owned());
        name.to_owned()
    });
    let mut job = NewJob::of(if mapping.snake { snake(&class) } else { class });
    let queue = read.queue.or_else(|| {
        read.notes.push(format!("no `queue`: {}", mapping.queue));
        Some(mapping.queue.clone())
    });
    job.queue = queue;
    // `perform(*args)`: what is no list is its only argument.
    let args = match read.args {
        None | Some(serde_json::Value::Null) => serde_json::Value::Array(Vec::new()),
        Some(list @ serde_json::Value::Array(_)) => list,
        Some(other) => serde_json::Value::Array(vec![other]),
    };
    job.args = RawJson::of(&args).ok();
    job.unique = read.unique;
    let time_zone = read.time_zone.or_else(|| mapping.time_zone.clone());
    let body = ScheduleBody {
        time_zone: time_zone.filter(|_| read.cron.is_some()),
        cron: read.cron,
        every: read.every,
        job,
        jitter: None,
        starts_at: read.starts_at,
        ends_at: None,
        missed: None,
        overlap: read.overlap,
        description: read.description,
        source: None,
        paused: read.paused,
    };
    let (name, first_in, notes) = (name.to_owned(), read.first_in, read.notes);
    Ok(Read::Entry(Box::new(Entry { line, name, body, first_in, notes })))
}

impl Fields {
    fn take(&mut self, key: &Node, value: &Node, mapping: &Mapping) -> Result<(), Fault> {
        let name = key.text().unwrap_or_default();
        let needed = |what: &str| fault(value.line, format!("`{name}` has to be {what}"));
        let text = || value.text().map(str::to_owned).ok_or_else(|| needed("a text"));
        match name {
            "cron" | "every" => self.take_when(name, value)?,
            "class" | "klass" | "custom_job_class" => self.class = Some(text()?),
            "queue" => self.queue = Some(text()?),
            "args" | "arguments" => self.args = Some(value.json()),
            "unique" => self.take_unique(value)?,
            "description" => self.description = value.text().map(str::to_owned),
            "rails_env" | "env" => self.take_env(&text()?, mapping),
            "status" => match &*text()? {
                "enabled" => self.paused = Some(false),
                "disabled" => self.paused = Some(true),
                _ => return Err(needed("enabled or disabled")),
            },
            "active_job" | "persist" | "source" => {
                self.notes.push(format!("`{name}` has no meaning here"));
            }
            _ => return Err(fault(key.line, format!("`{name}` is not understood"))),
        }
        Ok(())
    }

    /// Not of those libraries, whose jobs are made unique elsewhere: as the HTTP API takes it, or
    /// `true` for jobs that agree in kind, queue and args.
    fn take_unique(&mut self, value: &Node) -> Result<(), Fault> {
        self.unique = match value.json() {
            serde_json::Value::Bool(is_unique) => is_unique.then(UniqueText::default),
            json => serde_json::from_value(json)
                .map(Some)
                .map_err(|error| fault(value.line, format!("`unique`: {error}")))?,
        };
        Ok(())
    }

    /// `rails_env: "production,staging"` names where the entry is for.
    fn take_env(&mut self, names: &str, mapping: &Mapping) {
        let listed = || names.split(',').map(str::trim);
        match &mapping.env {
            Some(env) if listed().any(|name| name == env) => {}
            Some(env) => self.passed = Some(format!("it is for {names}, not for {env}")),
            None => self.notes.push(format!("it is for {names}: --env chooses")),
        }
    }

    /// An expression or a duration, by itself or with options: `["1h", {first_in: 30s}]`.
    fn take_when(&mut self, name: &str, value: &Node) -> Result<(), Fault> {
        let (first, options): (&Node, &[Node]) = match &value.value {
            Value::List(items) => match items.split_first() {
                Some((first, rest)) if rest.len() <= 1 => (first, rest),
                _ => return Err(fault(value.line, format!("`{name}` is one value and options"))),
            },
            _ => (value, &[]),
        };
        let text =
            first.text().ok_or_else(|| fault(value.line, format!("`{name}` has to be a text")))?;
        if name == "cron" {
            let (cron, zone) = split_zone(text);
            self.time_zone = zone.or_else(|| self.time_zone.take());
            self.cron = Some(cron);
        } else {
            let every = span(text).ok_or_else(|| {
                fault(first.line, format!("\"{text}\" is no duration such as 30s, 5m or 1h30m"))
            })?;
            self.every = Some(every);
        }
        let Some(options) = options.first() else { return Ok(()) };
        let Value::Map(options) = &options.value else {
            return Err(fault(options.line, format!("the options of `{name}` are a map")));
        };
        options.iter().try_for_each(|(key, value)| self.take_option(key, value))
    }

    /// An option of rufus-scheduler.
    fn take_option(&mut self, key: &Node, value: &Node) -> Result<(), Fault> {
        let name = key.text().unwrap_or_default().trim_start_matches(':');
        let text = value.text().unwrap_or_default();
        let odd = |what: &str| {
            Err(fault(value.line, format!("`{name}` is \"{text}\"; it has to be {what}")))
        };
        match (name, text) {
            ("first_in", text) => match span(text) {
                Some(span) => self.first_in = Some(span),
                None => return odd("a duration such as 30s"),
            },
            ("first_at", text) => match text.parse() {
                Ok(at) => self.starts_at = Some(at),
                Err(_) => return odd("an instant such as 2026-01-31T12:00:00Z"),
            },
            ("overlap" | "allow_overlapping", "false") => self.overlap = Some(OverlapText::Skip),
            ("overlap" | "allow_overlapping", "true") => self.overlap = Some(OverlapText::Allow),
            ("overlap" | "allow_overlapping", _) => return odd("true or false"),
            _ => return Err(fault(key.line, format!("the option `{name}` is not understood"))),
        }
        Ok(())
    }
}

/// An expression, and the time zone that may stand behind it.
pub(super) fn split_zone(text: &str) -> (String, Option<String>) {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if let Some((last, rest)) = fields.split_last()
        && rest.len() >= 5
        && (last.contains('/') || last.eq_ignore_ascii_case("utc"))
        && last.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        return (rest.join(" "), Some((*last).to_owned()));
    }
    (text.trim().to_owned(), None)
}

/// A duration as rufus-scheduler writes it: `1h30m`, or a number of seconds.
fn span(text: &str) -> Option<DurationText> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(DurationText(seconds.checked_mul(1000)?));
    }
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let unit = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(unit)?;
        // A month and a year (`M`, `y`) are no spans of time.
        let ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(ms)?)?;
        rest = after;
    }
    (total > 0).then_some(DurationText(total))
}

/// `Reports::NightlyJob` as `reports_nightly_job`.
fn snake(class: &str) -> String {
    let mut kind = String::with_capacity(class.len() + 8);
    let mut before = '_';
    let flat = class.replace("::", "_");
    let mut rest = flat.chars().peekable();
    while let Some(here) = rest.next() {
        let begins = here.is_ascii_uppercase()
            && before != '_'
            && (!before.is_ascii_uppercase() || rest.peek().is_some_and(char::is_ascii_lowercase));
        if begins {
            kind.push('_');
        }
        kind.push(here.to_ascii_lowercase());
        before = here;
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        Mapping { queue: "default".into(), snake: false, time_zone: None, env: None }
    }

    fn read_text(text: &str) -> Vec<Result<Read, Fault>> {
        read(&super::super::yaml::parse(text).unwrap().unwrap(), &mapping())
    }

    fn entry_of(read: &Result<Read, Fault>) -> &Entry {
        match read {
            Ok(Read::Entry(entry)) => entry,
            other => panic!("{other:?}"),
        }
    }

    /// The two entries of the talk, as they stand there.
    #[test]
    fn the_entries_of_the_talk_are_understood() {
        let text = r#"
CancelAbandonedOrders:
  cron: "*/5 * * * *"

clear_leaderboards_contributors:
  cron: "30 6 * * 1"
  class: "ClearLeaderboards"
  queue: low
  args: contributors
  description: "This job resets the weekly leaderboard for contributions"
"#;
        let read = read_text(text);
        let first = entry_of(&read[0]);
        assert_eq!((first.line, first.name.as_str()), (2, "CancelAbandonedOrders"));
        assert_eq!(first.body.cron.as_deref(), Some("*/5 * * * *"));
        assert_eq!(first.body.job.kind, "CancelAbandonedOrders");
        assert_eq!(first.body.job.args.as_ref().unwrap().get(), "[]");
        let second = entry_of(&read[1]);
        assert_eq!(second.body.job.kind, "ClearLeaderboards");
        assert_eq!(second.body.job.queue.as_deref(), Some("low"));
        assert_eq!(second.body.job.args.as_ref().unwrap().get(), r#"["contributors"]"#);
        assert!(second.body.description.as_ref().unwrap().starts_with("This job"));
    }

    #[test]
    fn options_zones_and_states_are_understood() {
        let text = r#"
poll: { every: ["1h30m", { first_in: 10s, overlap: false }], class: Poll }
tokyo: { cron: "0 9 * * mon-fri Asia/Tokyo", class: "A::Bee", queue: q, args: [1, {x: 2}] }
off: { cron: "@daily", class: Off, queue: q, status: disabled, active_job: true }
"#;
        let read = read_text(text);
        let poll = entry_of(&read[0]);
        assert_eq!(poll.body.every, Some(DurationText(5_400_000)));
        assert_eq!(poll.first_in, Some(DurationText(10_000)));
        assert_eq!(poll.body.overlap, Some(OverlapText::Skip));
        let tokyo = entry_of(&read[1]);
        assert_eq!(tokyo.body.time_zone.as_deref(), Some("Asia/Tokyo"));
        assert_eq!(tokyo.body.cron.as_deref(), Some("0 9 * * mon-fri"));
        assert_eq!(tokyo.body.job.args.as_ref().unwrap().get(), r#"[1,{"x":2}]"#);
        let off = entry_of(&read[2]);
        assert_eq!((off.body.paused, off.notes.len()), (Some(true), 1));
    }

    #[test]
    fn entries_may_be_unique() {
        let text = "a: {cron: '@daily', unique: true}\nb: {cron: '@daily', unique: false}\n\
            c: {cron: '@daily', unique: {by: [kind, /0], on_conflict: existing, period: 1h}}\n";
        let read = read_text(text);
        let unique = |index: usize| entry_of(&read[index]).body.job.unique.clone();
        assert_eq!((unique(0), unique(1)), (Some(UniqueText::default()), None));
        let unique = unique(2).unwrap();
        assert_eq!(unique.by.unwrap(), ["kind", "/0"]);
        assert_eq!(unique.period, Some(DurationText(3_600_000)));
    }

    #[test]
    fn what_is_odd_is_refused_by_its_line() {
        for (text, line, words) in [
            ("a:\n  cron: '* * * * *'\n  retry: 3\n", 3, "`retry` is not understood"),
            ("a:\n  class: A\n", 1, "one of `cron` and `every`"),
            ("a:\n  every: 1M\n", 2, "no duration"),
            ("a:\n  every: [1h, {times: 3}]\n", 2, "the option `times`"),
            ("a: 7\n", 1, "a map"),
            ("a:\n  cron: '@daily'\n  unique: {on: kind}\n", 3, "`unique`: unknown field `on`"),
            ("a:\n  cron: '@daily'\n  date_as_argument: true\n", 3, "`date_as_argument`"),
            ("- cron: '@daily'\n", 1, "needs a `name`"),
        ] {
            let found = read_text(text).remove(0).unwrap_err();
            assert_eq!(found.line, line, "{text}");
            assert!(found.why.contains(words), "{}", found.why);
        }
    }

    #[test]
    fn classes_become_kinds_in_snake_case() {
        for (class, kind) in [
            ("CancelAbandonedOrders", "cancel_abandoned_orders"),
            ("Reports::NightlyJob", "reports_nightly_job"),
            ("HTTPPing", "http_ping"),
            ("already_snake", "already_snake"),
        ] {
            assert_eq!(snake(class), kind);
        }
    }

    #[test]
    fn entries_of_other_environments_pass() {
        let text = "a: { cron: '@daily', rails_env: 'production, staging' }\n";
        let root = super::super::yaml::parse(text).unwrap().unwrap();
        let read = |env: &str| read(&root, &Mapping { env: Some(env.into()), ..mapping() });
        assert!(matches!(read("test")[0], Ok(Read::Passed(1, _))));
        assert!(matches!(read("staging")[0], Ok(Read::Entry(_))));
    }
}
