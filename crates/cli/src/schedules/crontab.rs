//! A crontab: each line is a schedule of a shell command, which a worker runs that was started with
//! `--allow-shell`. Its name is made of the command, so that it stays when lines move.

use longshore_server::api::{NewJob, RawJson, ScheduleBody};

use super::entries::{Entry, Mapping, Read};
use super::yaml::Fault;
use crate::work::{SHELL_KIND, ShellArgs};

/// Characters of a name that is made of a command.
const NAME_CHARS_MAX: usize = 60;

/// Reads every line.
pub(super) fn read(text: &str, mapping: &Mapping) -> Vec<Result<Read, Fault>> {
    let mut zone = mapping.time_zone.clone();
    let (mut read, mut names): (Vec<Result<Read, Fault>>, Vec<String>) = (Vec::new(), Vec::new());
    for (index, text) in text.lines().enumerate() {
        let (number, text) = (index + 1, text.trim());
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some((variable, value)) = assignment(text) {
            let why = match variable {
                "CRON_TZ" | "TZ" => {
                    zone = Some(value.trim_matches(['"', '\'']).to_owned());
                    format!("{variable}: the time zone of what follows")
                }
                other => format!("{other}: the worker's environment holds, not this one"),
            };
            read.push(Ok(Read::Passed(number, why)));
            continue;
        }
        read.push(line(number, text, (zone.as_deref(), mapping), &mut names));
    }
    read
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
    number: usize,
    text: &str,
    (zone, mapping): (Option<&str>, &Mapping),
    names: &mut Vec<String>,
) -> Result<Read, Fault> {
    let fault = |why: &str| Fault { line: number, why: why.to_owned() };
    let count = if text.starts_with('@') { 1 } else { 5 };
    let mut rest = text;
    for _ in 0..count {
        let end = rest.find(|c: char| c.is_ascii_whitespace());
        let end =
            end.ok_or_else(|| fault("five fields or a name such as @daily, then a command"))?;
        rest = rest.get(end..).unwrap_or_default().trim_start();
    }
    let (cron, command) = text.split_at(text.len() - rest.len());
    if command.is_empty() {
        return Err(fault("five fields or a name such as @daily, then a command"));
    }
    if cron.trim().eq_ignore_ascii_case("@reboot") {
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
        cron: Some(cron.trim().to_owned()),
        every: None,
        time_zone: zone.map(str::to_owned),
        job,
        jitter: None,
        starts_at: None,
        ends_at: None,
        missed: None,
        overlap: None,
        description: None,
        source: None,
        paused: None,
    };
    let notes = Vec::new();
    Ok(Read::Entry(Box::new(Entry { line: number, name, body, first_in: None, notes })))
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
        let read = read(text, &mapping());
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

    #[test]
    fn odd_lines_are_refused() {
        for text in ["@reboot /bin/x", "* * * * *", "* * * /bin/x", "0 0 * * * mail a%hello"] {
            let found = read(text, &mapping()).remove(0).unwrap_err();
            assert_eq!(found.line, 1, "{text}");
        }
    }
}
