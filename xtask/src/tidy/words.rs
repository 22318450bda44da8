//! Words and names that do not stand in the repository, each with what stands there instead.

use super::report::Violation;
use super::source::Source;

/// Endings and parts of type names, and why not.
const TYPE_NAMES: &[(&str, &str)] = &[
    ("Manager", "name the type after what it is or does"),
    ("Helper", "name the type after what it is or does"),
];

/// What no line of Rust holds, tests included.
const IN_RUST: &[(&str, &str)] = &[
    (concat!("todo", "!("), "write it, or leave the way to it out"),
    (concat!("unimplemented", "!("), "write it, or leave the way to it out"),
    (concat!("dbg", "!("), "use tracing, or nothing"),
    (concat!("#[", "ignore"), "repair the test, or run it in the full tier (LONGSHORE_FULL)"),
];

/// What no file of the repository holds.
const ANYWHERE: &[(&str, &str)] = &[
    (concat!("fj", "all"), "the store is built on `lsm-tree`; name that"),
    (concat!("/ro", "ot/"), "no paths of one machine"),
    (concat!("/wo", "rk/"), "no paths of one machine"),
];

/// Adds the violations of one file.
pub(super) fn check(source: &Source, found: &mut Vec<Violation>) {
    let mut say = |line: usize, message: String| {
        found.push(Violation::new(&source.path, line, message));
    };
    for (number, line) in source.lines() {
        for (banned, instead) in ANYWHERE {
            if stands_in(line, banned) {
                say(number, format!("'{banned}': {instead}"));
            }
        }
        if !source.is_rust() {
            continue;
        }
        for (banned, instead) in IN_RUST {
            if stands_in(line, banned) {
                say(number, format!("'{banned}': {instead}"));
            }
        }
        let in_server = source.path.starts_with("crates/server/src/");
        if in_server && !source.path.contains("/tests/") && uses_plain_timeout(line) {
            let instead = "a stop of the server is nobody's time; use `crate::running::timeout`";
            say(number, format!("'tokio::time::timeout': {instead}"));
        }
        for (banned, instead) in TYPE_NAMES {
            if let Some(name) = type_name(line).filter(|name| name.contains(banned)) {
                say(number, format!("type '{name}': {instead}"));
            }
        }
    }
}

/// Whether `word` stands in `line` other than as the end of something longer: `crates/a/` does not
/// hold the path `/a/`.
fn stands_in(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.}$*".contains(c))
    })
}

/// Whether a line takes the timeout that counts the time in which the process was stopped.
fn uses_plain_timeout(line: &str) -> bool {
    let path = line.split_once("tokio::time::").map(|(_, path)| path);
    let mut words = path.into_iter().flat_map(|path| path.split(|c: char| !c.is_alphanumeric()));
    words.any(|word| word == "timeout")
}

/// The name of the type or trait that a line declares.
fn type_name(line: &str) -> Option<&str> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.find(|word| ["struct", "enum", "trait", "type", "union"].contains(word))?;
    words.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(&Source::new(path, text), &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_of_types() {
        for (part, _) in TYPE_NAMES {
            let found = messages("a.rs", &format!("pub(crate) struct Queue{part}<T> {{\n"));
            assert_eq!(found.len(), 1, "{part}");
            assert!(found[0].starts_with(&format!("a.rs:1: type 'Queue{part}'")), "{found:?}");
            assert_eq!(messages("a.rs", &format!("enum {part}Kind {{\n")).len(), 1, "{part}");
            assert!(messages("a.rs", &format!("// The {part} of old.\n")).is_empty(), "{part}");
        }
    }

    #[test]
    fn words_in_rust() {
        for (word, _) in IN_RUST {
            let line = format!("    {word}\n");
            assert_eq!(messages("a.rs", &line).len(), 1, "{word}");
            assert!(messages("a.md", &line).is_empty(), "{word}");
        }
    }

    #[test]
    fn timeouts_of_the_server_count_only_time_in_which_it_ran() {
        for line in ["use tokio::time::{sleep, timeout};\n", "tokio::time::timeout(a, b).await\n"] {
            assert_eq!(messages("crates/server/src/a.rs", line).len(), 1, "{line}");
            assert!(messages("crates/server/src/tests/a.rs", line).is_empty(), "{line}");
            assert!(messages("crates/cli/src/a.rs", line).is_empty(), "{line}");
        }
        assert!(messages("crates/server/src/a.rs", "use tokio::time::sleep;\n").is_empty());
    }

    #[test]
    fn words_anywhere() {
        for (word, _) in ANYWHERE {
            assert_eq!(messages("docs/a.md", &format!("see `{word}x`\n")).len(), 1, "{word}");
            assert!(messages("docs/a.md", &format!("see crates{word}x\n")).is_empty(), "{word}");
        }
    }
}
