//! Checks of the sources that no compiler makes. Each check is a function from plain text to
//! violations and sees one in a small sample in its own test.

mod layering;
mod links;
mod owners;
mod report;
mod shape;
mod size;
mod source;
mod words;

pub(crate) use report::run;
