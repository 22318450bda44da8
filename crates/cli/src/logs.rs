//! Where the server's log goes: standard error, for people on a terminal, as JSON elsewhere. What
//! cannot be written is lost and counted; it ends and blocks nothing.

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::failure::{Failure, Kind};
use crate::stderr::{self, Form};

/// Starts logging; `LONGSHORE_LOG` says what (such as `debug` or `longshore_node=trace`).
pub(crate) fn start(default: &str) -> Result<(), Failure> {
    let filter = filter(default)?;
    let is_terminal = io::stderr().is_terminal();
    stderr::start(if is_terminal { Form::Plain } else { Form::Json })
        .map_err(|error| Failure::new(Kind::Other, format!("cannot start the log: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines)
        .log_internal_errors(false);
    if is_terminal {
        builder.compact().with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
    Ok(())
}

/// Empty is as good as not set: what starts the server may pass on a variable that nobody set.
fn filter(default: &str) -> Result<EnvFilter, Failure> {
    let variable = std::env::var_os("LONGSHORE_LOG").unwrap_or_default();
    let refused = |why: &str| {
        let given = variable.to_string_lossy();
        Failure::usage(format!("LONGSHORE_LOG is \"{given}\": {why}"))
    };
    match variable.to_str() {
        None => Err(refused("not UTF-8")),
        // What the tree below says of its files is of use to nobody but its authors.
        Some(text) if text.trim().is_empty() => {
            Ok(EnvFilter::new(format!("{default},lsm_tree=warn")))
        }
        Some(text) => EnvFilter::try_new(text).map_err(|error| refused(&error.to_string())),
    }
}

/// Makes a writer for each event.
struct Lines;

/// The writer of one event, which is written as a whole.
struct Line {
    /// The process may end after an error, so it is waited for.
    is_error: bool,
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { is_error: false }
    }

    fn make_writer_for(&self, event: &Metadata<'_>) -> Line {
        Line { is_error: *event.level() == Level::ERROR }
    }
}

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let tell = if self.is_error { stderr::tell_and_wait } else { stderr::tell };
        tell(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
