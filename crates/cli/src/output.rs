//! What commands print: lines, tables and JSON on standard output, notes on standard error. It
//! knows nothing of what is printed.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize, Serializer};

use crate::stderr;

/// How answers are shown.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the server's own JSON.
    Json,
}

/// Whoever read our standard output has closed it, as `| head` does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub(crate) struct ReaderGone;

/// Prints a line on standard output.
pub(crate) fn line(text: &str) -> io::Result<()> {
    print(&[text.as_bytes(), b"\n"])
}

/// Prints bytes on standard output as they are.
pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    print(&[bytes])
}

fn print(parts: &[&[u8]]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = parts.iter().try_for_each(|part| stdout.write_all(part));
    printed.and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        // Told apart from a connection that broke.
        io::ErrorKind::BrokenPipe => io::Error::new(error.kind(), ReaderGone),
        _ => error,
    })
}

/// Tells the person something that is not the answer. It fails silently: there is nobody to tell.
pub(crate) fn note(text: &str) {
    stderr::tell(format!("{text}\n").into_bytes());
}

/// Passes bytes on to standard error as they are.
pub(crate) fn raw_note(bytes: &[u8]) {
    stderr::tell(bytes.to_vec());
}

/// Prints a value as indented JSON.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> io::Result<()> {
    line(&serde_json::to_string_pretty(value).map_err(io::Error::other)?)
}

/// A path as a text of JSON, which has no others than UTF-8.
pub(crate) fn shown<S: Serializer>(path: impl AsRef<Path>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.as_ref().display())
}

/// The same for many.
pub(crate) fn all_shown<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.display().to_string()))
}

/// Prints JSON as the server wrote it, indented for a terminal.
pub(crate) fn json_text(text: &[u8]) -> io::Result<()> {
    let value =
        if is_terminal() { serde_json::from_slice::<serde_json::Value>(text).ok() } else { None };
    match value {
        Some(value) => json(&value),
        None => line(&String::from_utf8_lossy(text)),
    }
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Which side the values of a column keep to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows under headings, aligned.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A heading that begins with `>` keeps its column to the right.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        let column = |heading: &&'static str| match heading.strip_prefix('>') {
            Some(heading) => (heading, Side::Right),
            None => (*heading, Side::Left),
        };
        Self { columns: headings.iter().map(column).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text without a line break at its end.
    pub(crate) fn render(&self) -> String {
        let width = |index: usize| {
            let cells = self.rows.iter().map(|row| row[index].chars().count());
            cells.chain([self.columns[index].0.len()]).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        let headings: Vec<_> =
            self.columns.iter().map(|(heading, _)| heading.to_uppercase()).collect();
        let mut text = String::new();
        for row in [&headings].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, side)) in row.iter().zip(&widths).zip(&self.columns) {
                let _ = match side {
                    Side::Left => write!(line, "{cell:<width$}  "),
                    Side::Right => write!(line, "{cell:>width$}  "),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        line(&self.render())
    }
}

/// Names and values below each other; those without a value are left out.
pub(crate) fn facts(facts: &[(&str, Option<String>)]) -> String {
    let known = facts.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let width = known.clone().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in known {
        let value = printable(value);
        let _ = writeln!(text, "{name:<width$}  {value}");
    }
    text.truncate(text.trim_end().len());
    text
}

/// Text from elsewhere without what would move the cursor or colour the screen.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The line of an error that tells most, cut where it is long: of a command's standard error the
/// last one, where programs end with what went wrong; of any other message the first.
pub(crate) fn telling_line(kind: &str, message: &str) -> String {
    let mut lines = message.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let is_of_a_command = kind.starts_with("exit ") || kind.starts_with("signal ");
    let line = if is_of_a_command { lines.next_back() } else { lines.next() };
    let line = line.unwrap_or_default();
    let cut: String = line.chars().take(60).collect();
    if cut.len() < line.len() { format!("{cut}...") } else { cut }
}

/// A count with its noun.
pub(crate) fn count(number: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) if number != 1 => format!("{} {stem}ies", grouped(number)),
        _ => format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" }),
    }
}

/// A number with separators between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size for people.
pub(crate) fn bytes(number: u64) -> String {
    let mut size = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            let digits = usize::from(size < 100.0 && unit != "B");
            return format!("{size:.digits$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let mut table = Table::new(&["name", ">ready", "state"]);
        table.row(&["mail".into(), "12".into(), "paused".into()]);
        table.row(&["a\x1b[31mb".into(), "1,000".into(), String::new()]);
        assert_eq!(table.render(), "NAME     READY  STATE\nmail        12  paused\na [31mb  1,000");
    }

    #[test]
    fn facts_without_a_value_are_left_out() {
        let facts =
            facts(&[("id", Some("7".into())), ("result", None), ("state", Some("x".into()))]);
        assert_eq!(facts, "id     7\nstate  x");
    }

    #[test]
    fn the_line_that_tells_most_is_shown() {
        let trace = "Traceback:\n  File x\nValueError: 7\n\n";
        assert_eq!(telling_line("exit 1", trace), "ValueError: 7");
        assert_eq!(telling_line("SmtpError", "refused\nsee the log"), "refused");
        assert_eq!(telling_line("exit 1", &"x".repeat(100)).len(), 63);
        assert_eq!(telling_line("", ""), "");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!((count(1, "entry"), count(2, "entry")), ("1 entry".into(), "2 entries".into()));
        assert_eq!(count(1200, "file"), "1,200 files");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
    }
}
