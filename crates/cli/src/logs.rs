//! Where the server's log goes: standard error, for people on a terminal, as JSON elsewhere.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Starts logging; `LONGSHORE_LOG` says what (such as `debug` or `longshore_server=trace`).
pub(crate) fn start(default: &str) -> Result<(), Failure> {
    let filter = match std::env::var("LONGSHORE_LOG") {
        Ok(filter) => EnvFilter::try_new(&filter)
            .map_err(|error| Failure::usage(format!("LONGSHORE_LOG is \"{filter}\": {error}")))?,
        // What the tree below says of its files is of use to nobody but its authors.
        Err(_) => EnvFilter::new(format!("{default},lsm_tree=warn")),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if io::stderr().is_terminal() {
        builder.compact().with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
    Ok(())
}
