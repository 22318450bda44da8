//! What happened in a run, in words. The same seed gives the same bytes.

use std::fmt::{Arguments, Write as _};

#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) step: u64,
    text: String,
}

impl Trace {
    pub(crate) fn note(&mut self, what: Arguments<'_>) {
        let step = self.step;
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{step:>5} {what}");
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}
