//! `#[sparse]`: what a struct of serde does not have is left out where it is written.

use proc_macro::TokenStream;
use quote::ToTokens;
use syn::{Data, DeriveInput, Error, Type, parse_macro_input, parse_quote};

pub(crate) fn expand(item: TokenStream) -> TokenStream {
    let mut item = parse_macro_input!(item as DeriveInput);
    let is_derived_next = item.attrs.iter().any(|it| it.path().is_ident("derive"));
    let Data::Struct(of) = &mut item.data else {
        return refused(&item, "`sparse` stands on structs only");
    };
    if !is_derived_next {
        return refused(&item, "`sparse` stands before the `derive` that it is for");
    }
    for field in &mut of.fields {
        let Type::Path(path) = &field.ty else { continue };
        if path.path.segments.last().is_some_and(|last| last.ident == "Option") {
            field.attrs.push(parse_quote!(#[serde(skip_serializing_if = "Option::is_none")]));
        }
    }
    item.into_token_stream().into()
}

/// It would do nothing there, and nobody would notice.
fn refused(item: &DeriveInput, why: &str) -> TokenStream {
    Error::new_spanned(&item.ident, why).into_compile_error().into()
}
