//! The shape of a Rust file: how it opens, how wide it is, which characters it holds, and that
//! `lib.rs` and `mod.rs` hold no logic.

use super::report::Violation;
use super::source::Source;

const WIDTH_MAX: usize = 100;

/// Columns of a line with a string literal.
const TEXT_WIDTH_MAX: usize = 120;

/// Lines between the braces of a function in `mod.rs`: a constructor or an accessor, no logic.
const MOD_BODY_LINES_MAX: usize = 10;

/// Adds the violations of one Rust file.
pub(super) fn check(source: &Source, found: &mut Vec<Violation>) {
    if !source.text.starts_with("//!") {
        found.push(Violation::new(&source.path, 1, "a file opens with `//!` lines: what it owns"));
    }
    for (number, line) in source.lines() {
        let width = line.chars().count();
        // rustfmt cannot break a text; breaking it by hand may read worse.
        let is_text = line.contains('"') && width <= TEXT_WIDTH_MAX;
        if width > WIDTH_MAX && !is_text && !line.contains("https://") {
            let message = format!("{width} columns, at most {WIDTH_MAX}");
            found.push(Violation::new(&source.path, number, message));
        }
        if let Some(c) = line.chars().find(|c| !c.is_ascii()) {
            let message = format!("'{c}' is not ASCII; write {}", c.escape_unicode());
            found.push(Violation::new(&source.path, number, message));
        }
        let is_shipped = source.path.starts_with("crates/") && source.path.contains("/src/");
        if is_shipped && line.trim_start().starts_with("#[path") {
            let message = "`#[path]` is for tests and benches: here a module has one place";
            found.push(Violation::new(&source.path, number, message));
        }
    }
    check_bodies(source, found);
}

fn check_bodies(source: &Source, found: &mut Vec<Violation>) {
    let limit = match source.file_name() {
        // The compiler wants the entry of a macro at the root of its crate.
        "lib.rs" if source.text.contains("#[proc_macro") => MOD_BODY_LINES_MAX,
        "lib.rs" => 0,
        "mod.rs" => MOD_BODY_LINES_MAX,
        _ => return,
    };
    let lines = source.lines_without_tests();
    for (index, (number, line)) in lines.iter().enumerate() {
        if !is_function(line) {
            continue;
        }
        let rest = lines[index..].iter().map(|(_, line)| *line);
        if let Some(body) = body_lines(rest).filter(|body| *body > limit) {
            let message = format!(
                "{} holds docs, `mod` and `pub use`; a function of {body} lines goes to a file \
                 of its own",
                source.file_name()
            );
            found.push(Violation::new(&source.path, *number, message));
        }
    }
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub") || ["const", "async", "unsafe", "extern", "\"C\""].contains(word)
    });
    words.next() == Some("fn")
}

/// The lines of the body of the function that `lines` begin with, at least one; nothing where it
/// has no body. It relies on rustfmt: the closing brace stands under the first character.
fn body_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Option<usize> {
    let mut lines = lines.peekable();
    let first = *lines.peek()?;
    let indent = &first[..first.len() - first.trim_start().len()];
    let closing = format!("{indent}}}");
    loop {
        let line = lines.next()?;
        if line.ends_with(';') {
            return None;
        }
        if line.ends_with('}') {
            return Some(1);
        }
        if line.ends_with('{') {
            return Some(lines.take_while(|line| *line != closing).count().max(1));
        }
    }
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
    fn a_file_in_order() {
        assert!(messages("a.rs", "//! Owns nothing.\n\nfn a() {}\n").is_empty());
    }

    #[test]
    fn a_file_without_a_header() {
        let found = messages("a.rs", "fn a() {}\n");
        assert!(found[0].starts_with("a.rs:1: a file opens with"), "{found:?}");
    }

    #[test]
    fn a_wide_line() {
        let line = "x".repeat(101);
        let found = messages("a.rs", &format!("//! A.\n{line}\n"));
        assert_eq!(found, ["a.rs:2: 101 columns, at most 100"]);
        assert!(messages("a.rs", &format!("//! A.\n// https://{line}\n")).is_empty());
    }

    #[test]
    fn a_module_from_elsewhere() {
        let text = "//! A.\n#[path = \"../b.rs\"]\nmod b;\n";
        assert_eq!(messages("crates/a/src/a.rs", text).len(), 1);
        assert!(messages("crates/a/tests/a.rs", text).is_empty());
        assert!(messages("benches/src/a.rs", text).is_empty());
    }

    #[test]
    fn a_letter_outside_ascii() {
        let found = messages("a.rs", "//! A.\n// \u{2192}\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("write \\u{2192}"), "{found:?}");
    }

    #[test]
    fn logic_in_lib_and_mod() {
        let long = format!("    pub fn a() {{\n{}    }}\n", "        b();\n".repeat(11));
        let cases = [
            ("src/lib.rs", "fn a() {}\n", 1),
            ("src/lib.rs", "pub const fn a(\n    b: u8,\n) -> u8 {\n    b\n}\n", 1),
            ("src/lib.rs", "#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n", 0),
            ("src/lib.rs", "pub trait A {\n    fn a(&self);\n}\n", 0),
            ("src/mod.rs", "    fn a() {\n        b()\n    }\n", 0),
            ("src/mod.rs", long.as_str(), 1),
            ("src/other.rs", long.as_str(), 0),
        ];
        for (path, text, expected) in cases {
            let found = messages(path, &format!("//! A.\n{text}"));
            assert_eq!(found.len(), expected, "{path} {text}: {found:?}");
        }
    }
}
