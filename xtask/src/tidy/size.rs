//! How long files are. What is too long stands in a list that may only shrink.

use std::collections::BTreeMap;

use super::report::Violation;
use super::source::Source;

const LINES_MAX: usize = 800;

/// The list: a path and its number of lines per line.
const RATCHET: &str = "xtask/size-ratchet.txt";

/// Adds the violations of all Rust files, and of the list where it could shrink.
pub(super) fn check(sources: &[Source], found: &mut Vec<Violation>) {
    let mut ratchet = BTreeMap::new();
    if let Some(list) = sources.iter().find(|source| source.path == RATCHET) {
        for (number, line) in list.lines().filter(|(_, line)| !line.starts_with('#')) {
            match entry(line) {
                Some((path, allowed)) => drop(ratchet.insert(path, (number, allowed))),
                None => found.push(Violation::new(RATCHET, number, "not a path and a number")),
            }
        }
    }
    for source in sources.iter().filter(|source| source.is_rust()) {
        let lines = source.lines_without_tests().len();
        match ratchet.remove(source.path.as_str()) {
            None if lines > LINES_MAX => {
                let message = format!("{lines} lines without tests, at most {LINES_MAX}: split it");
                found.push(Violation::new(&source.path, 0, message));
            }
            Some((_, allowed)) if lines > allowed => {
                let message = format!("grew from {allowed} to {lines} lines without tests");
                found.push(Violation::new(&source.path, 0, message));
            }
            Some((number, _)) if lines <= LINES_MAX => {
                let message = format!("{} is short enough: remove its line", source.path);
                found.push(Violation::new(RATCHET, number, message));
            }
            Some((number, allowed)) if lines < allowed => {
                let message = format!("{} has shrunk: write {lines}", source.path);
                found.push(Violation::new(RATCHET, number, message));
            }
            _ => {}
        }
    }
    for (path, (number, _)) in ratchet {
        found.push(Violation::new(RATCHET, number, format!("{path} is gone: remove its line")));
    }
}

fn entry(line: &str) -> Option<(&str, usize)> {
    let (path, lines) = line.split_once(' ')?;
    Some((path, lines.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(ratchet: &str, lines: usize) -> Vec<String> {
        let sources = [Source::new(RATCHET, ratchet), Source::new("a.rs", &"x();\n".repeat(lines))];
        let mut found = Vec::new();
        check(&sources, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_is_short_or_stands_in_the_list() {
        assert!(messages("# A comment.\n", 800).is_empty());
        assert_eq!(messages("", 801), ["a.rs: 801 lines without tests, at most 800: split it"]);
        assert!(messages("a.rs 900\n", 900).is_empty());
    }

    #[test]
    fn the_list_only_shrinks() {
        assert_eq!(messages("a.rs 900\n", 901), ["a.rs: grew from 900 to 901 lines without tests"]);
        assert!(messages("a.rs 900\n", 850)[0].ends_with(":1: a.rs has shrunk: write 850"));
        assert!(messages("a.rs 900\n", 800)[0].contains("a.rs is short enough"));
        assert!(messages("b.rs 900\n", 1)[0].contains("b.rs is gone"));
        assert!(messages("nonsense\n", 1)[0].contains("not a path and a number"));
    }
}
