//! `#[sparse]`: what a struct of serde does not have is left out where it is written.

use proc_macro::TokenStream;
use quote::ToTokens;
use syn::{Data, DeriveInput, Type, parse_macro_input, parse_quote};

pub(crate) fn expand(item: TokenStream) -> TokenStream {
    let mut item = parse_macro_input!(item as DeriveInput);
    if let Data::Struct(of) = &mut item.data {
        for field in &mut of.fields {
            let Type::Path(path) = &field.ty else { continue };
            if path.path.segments.last().is_some_and(|last| last.ident == "Option") {
                field.attrs.push(parse_quote!(#[serde(skip_serializing_if = "Option::is_none")]));
            }
        }
    }
    item.into_token_stream().into()
}
