//! `#[derive(Job)]`: the name, queue and defaults of a job's type. It knows nothing of servers;
//! the crate `longshore` documents and re-exports it. And what bodies of the API are written with.

mod attributes;
mod duration;
mod expand;
mod sparse;

use proc_macro::TokenStream;

/// Implements `longshore::Job` for a serde type: see that trait for the attributes.
#[proc_macro_derive(Job, attributes(job))]
pub fn derive_job(input: TokenStream) -> TokenStream {
    expand::expand(input)
}

/// Leaves out each field that is `None` where the struct is serialised. Stands before `derive`.
#[proc_macro_attribute]
pub fn sparse(_: TokenStream, item: TokenStream) -> TokenStream {
    sparse::expand(item)
}
