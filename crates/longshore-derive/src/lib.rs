//! `#[derive(Job)]`: the name, queue and defaults of a job's type. It knows nothing of servers;
//! the crate `longshore` documents and re-exports it.

mod attributes;
mod duration;
mod expand;

use proc_macro::TokenStream;

/// Implements `longshore::Job` for a serde type: see that trait for the attributes.
#[proc_macro_derive(Job, attributes(job))]
pub fn derive_job(input: TokenStream) -> TokenStream {
    expand::expand(input)
}
