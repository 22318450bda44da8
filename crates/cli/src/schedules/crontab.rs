//! A crontab: each line is a schedule of a shell command, which a worker runs that was started with
//! `--allow-shell`. Its name is made of the command, so that it stays when lines move.

use std::fs;

use longshore_server::api::{DurationText, NewJob, RawJson, ScheduleBody};

use super::entries::{Entry, Mapping, Read};
use super::yaml::Fault;
use crate::work::{SHELL_KIND, ShellArgs};

/// Characters of a name that is made of a command.
const NAME_CHARS_MAX: usize = 60;

/// Whether lines name a user before the command.
#[derive(Debug)]
pub(super) enum Users {
    /// None does: it is the crontab of one user.
    None,
    /// Each does: it is one of the system.
    Named,
    /// Nobody says. A line whose command begins with one of these names is refused: it would run as
    /// a command of that name.
    Unsaid(Vec<String>),
}

/// The users of this machine.
pub(super) fn users_here() -> Vec<String> {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let names = known.lines().filter_map(|line| line.split(':').next());
    names.chain(["root"]).map(str::to_owned).collect()
}

/// What the lines before say of those that follow.
struct Set {
    zone: Option<String>,
    jitter: Option<DurationText>,
}

/// Reads every line.
pub(super) fn read(text: &str, mapping: &Mapping, users: &Users) -> Vec<Result<Read, Fault>> {
    let mut set = Set { zone: mapping.time_zone.clone(), jitter: None };
    let (mut read, mut names): (Vec<Result<Read, Fault>>, Vec<String>) = (Vec::new(), Vec::new());
    for (index, text) in text.lines().enumerate() {
        let (number, text) = (index + 1, text.trim());
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some((variable, value)) = assignment(text) {
            let value = value.trim_matches(['"', '\'']);
            read.push(
                set.take(variable, value)
                    .map(|why| Read::Passed(number, why))
                    .map_err(|why| Fault { line: number, why }),
            );
            continue;
        }
        read.push(line((number, text), (&set, mapping, users), &mut names));
    }
    read
}

impl Set {
    /// What a variable means for the lines that follow.
    fn take(&mut self, variable: &str, value: &str) -> Result<String, String> {
        match variable {
            "CRON_TZ" | "TZ" => {
                self.zone = Some(value.to_owned());
                Ok(format!("{variable}: the time zone of what follows"))
            }
            "RANDOM_DELAY" => {
                let minutes = value.parse::<u64>().ok().and_then(|it| it.checked_mul(60_000));
                let minutes = minutes.ok_or_else(|| {
                    format!(
                        "{variable} is \"{value}\"; it has \
                    to be a number of minutes"
                    )
                })?;
                self.jitter = (minutes > 0).then_some(DurationText(minutes));
                Ok(format!("{variable}: the jitter of what follows"))
            }
            other => Ok(format!("{other}: the worker's environment holds, not this one")),
        }
    }
}

/// `NAME = value`, as a crontab sets variables.
fn assignment(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (sound && name.chars().all(is_name)).then_some((name, value.trim()))
}

fn line(
    (number, text): (usize, &str),
    (set, mapping, users): (&Set, &Mapping, &Users),
    names: &mut Vec<String>,
) -> Result<Read, Fault> {
    let fault = |why: &str| Fault { line: number, why: why.to_owned() };
    let (cron, command) = split_times(text).map_err(fault)?;
    let (user, command) = split_user(command, users).map_err(|why| fault(&why))?;
    if cron.eq_ignore_ascii_case("@reboot") {
        return Err(fault("@reboot names no time"));
    }
    if command.replace("\\%", "").contains('%') {
        return Err(fault("a `%` that is not escaped: what stands behind it would be the input"));
    }
    let command = command.replace("\\%", "%");
    let name = name_of(&command, names);
    let mut job = NewJob::of(SHELL_KIND);
    job.queue = Some(mapping.queue.clone());
    job.max_attempts = Some(1);
    job.args = RawJson::of(&ShellArgs { command, folder: None }).ok();
    let body = ScheduleBody {
        cron: Some(cron.to_owned()),
        every: None,
        time_zone: set.zone.clone(),
        job,
        jitter: set.jitter,
        starts_at: None,
        ends_at: None,
        missed: None,
        overlap: None,
        description: None,
        source: None,
        paused: None,
    };
    let notes = user.map(|user| format!("of the user {user}: it runs as its worker's"));
    let notes = notes.into_iter().collect();
    Ok(Read::Entry(Box::new(Entry { line: number, name, body, first_in: None, notes })))
}

/// The fields that name the times, and what stands behind them.
fn split_times(text: &str) -> Result<(&str, &str), &'static str> {
    const NEEDED: &str = "five fields or a name such as @daily, then a command";
    let count = if text.starts_with('@') { 1 } else { 5 };
    let mut rest = text;
    for _ in 0..count {
        let end = rest.find(|c: char| c.is_ascii_whitespace()).ok_or(NEEDED)?;
        rest = rest.get(end..).unwrap_or_default().trim_start();
    }
    let (times, command) = text.split_at(text.len() - rest.len());
    if command.is_empty() { Err(NEEDED) } else { Ok((times.trim_end(), command)) }
}

/// The user that a line names, and its command.
fn split_user<'a>(command: &'a str, users: &Users) -> Result<(Option<&'a str>, &'a str), String> {
    let split = command.split_once(|c: char| c.is_ascii_whitespace());
    let (first, rest) = split.map_or((command, ""), |(user, rest)| (user, rest.trim_start()));
    match users {
        Users::Unsaid(known) if !rest.is_empty() && known.iter().any(|name| name == first) => {
            Err(format!(
                "\"{first}\" is a user here: it is read as one with --as system-crontab, and as \
                 the command with --as crontab"
            ))
        }
        Users::None | Users::Unsaid(_) => Ok((None, command)),
        Users::Named => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if !first.chars().all(is_name) || first.starts_with('-') {
                return Err(format!("\"{first}\" is no user: one stands before the command"));
            }
            if rest.is_empty() {
                return Err(format!("a command is needed behind the user {first}"));
            }
            Ok((Some(first), rest))
        }
    }
}

/// The words of the command; where two lines have the same, the second has a number.
fn name_of(command: &str, names: &mut Vec<String>) -> String {
    let words = command.split(|c: char| !c.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    let mut name: String = words.collect::<Vec<_>>().join("-");
    name.truncate(NAME_CHARS_MAX);
    if name.is_empty() {
        "command".clone_into(&mut name);
    }
    let alike = |known: &&String| {
        **known == name || known.rsplit_once('.').is_some_and(|(before, _)| before == name)
    };
    let earlier = names.iter().filter(alike).count();
    if earlier > 0 {
        name = format!("{name}.{}", earlier + 1);
    }
    names.push(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        Mapping { queue: "cron".into(), snake: false, time_zone: None, env: None }
    }

    #[test]
    fn lines_become_schedules_of_commands() {
        let text = "# nightly\nSHELL=/bin/bash\nCRON_TZ=Europe/Berlin\n\
                    30 2 * * *  /usr/bin/backup --all\n@hourly date +\\%s >> /tmp/x\n\
                    0 4 * * * /usr/bin/backup --all\n";
        let read = read(text, &mapping(), &Users::None);
        let entry = |index: usize| match &read[index] {
            Ok(Read::Entry(entry)) => entry,
            other => panic!("{other:?}"),
        };
        assert!(matches!(read[0], Ok(Read::Passed(2, _))));
        assert_eq!((entry(2).line, entry(2).name.as_str()), (4, "usr-bin-backup-all"));
        assert_eq!(entry(2).body.cron.as_deref(), Some("30 2 * * *"));
        assert_eq!(entry(2).body.time_zone.as_deref(), Some("Europe/Berlin"));
        assert!(entry(3).body.job.args.as_ref().unwrap().get().contains("date +%s >> /tmp/x"));
        assert_eq!(entry(4).name, "usr-bin-backup-all.2");
    }

    /// The user was taken for the beginning of the command.
    #[test]
    fn lines_of_the_system_name_a_user() {
        let text = "17 *  * * *  root\tcd / && run-parts --report /etc/cron.hourly\n\
                    @daily www-data /bin/x -a\n0 4 * * * /bin/backup --all\n0 4 * * * root\n";
        let read = read(text, &mapping(), &Users::Named);
        let command = |index: usize| match &read[index] {
            Ok(Read::Entry(entry)) => {
                let args = entry.body.job.args.as_ref().unwrap().get();
                let args: ShellArgs = serde_json::from_str(args).unwrap();
                (args.command, entry.notes.concat())
            }
            other => panic!("{other:?}"),
        };
        let (hourly, notes) = command(0);
        assert_eq!(hourly, "cd / && run-parts --report /etc/cron.hourly");
        assert!(notes.contains("of the user root"), "{notes}");
        assert_eq!(command(1).0, "/bin/x -a");
        let refused = |index: usize| read[index].as_ref().unwrap_err();
        assert!(refused(2).why.contains("is no user"), "{:?}", refused(2));
        assert_eq!((refused(2).line, refused(3).line), (3, 4));
    }

    #[test]
    fn what_may_be_a_user_is_asked_about() {
        let users = Users::Unsaid(vec!["root".into(), "backup".into()]);
        let text = "0 4 * * * root /bin/x\n0 4 * * * backup\n0 4 * * * backups --all\n";
        let read = read(text, &mapping(), &users);
        let refused = read[0].as_ref().unwrap_err();
        assert!(refused.why.contains("--as system-crontab"), "{refused:?}");
        assert!(read[1].is_ok() && read[2].is_ok(), "{read:?}");
    }

    #[test]
    fn a_random_delay_is_a_jitter() {
        let jitter = |text: &str| match read(text, &mapping(), &Users::None).pop().unwrap() {
            Ok(Read::Entry(entry)) => entry.body.jitter,
            other => panic!("{other:?}"),
        };
        assert_eq!(jitter("RANDOM_DELAY=45\n@daily x\n"), Some(DurationText(2_700_000)));
        assert_eq!(jitter("RANDOM_DELAY=45\nRANDOM_DELAY=0\n@daily x\n"), None);
        let odd = read("RANDOM_DELAY=soon\n", &mapping(), &Users::None).remove(0);
        assert_eq!(odd.unwrap_err().line, 1);
    }

    #[test]
    fn odd_lines_are_refused() {
        for text in ["@reboot /bin/x", "* * * * *", "* * * /bin/x", "0 0 * * * mail a%hello"] {
            let found = read(text, &mapping(), &Users::None).remove(0).unwrap_err();
            assert_eq!(found.line, 1, "{text}");
        }
    }
}
