//! From a type with its attributes to the implementation.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DeriveInput, Result};

use crate::attributes;

pub(crate) fn expand(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    implementation(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn implementation(input: &DeriveInput) -> Result<TokenStream> {
    let said = attributes::read(&input.attrs)?;
    let name = &input.ident;
    let kind = said.kind.unwrap_or_else(|| snake_case(&name.to_string()));
    let queue = said.queue.unwrap_or_else(|| "default".to_owned());
    let output = said.output.map_or_else(|| quote!(()), |it| quote!(#it));
    let version = said.version.unwrap_or(0);
    let runs_from = said.runs_from.unwrap_or(version);
    if runs_from > version {
        let text = "runs_from is the oldest version that is run, and later than version";
        return Err(syn::Error::new_spanned(name, text));
    }
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let settings = said.options.iter().map(|(field, value)| {
        let field = format_ident!("{field}");
        quote!(options.#field = #value;)
    });
    let changed = (!said.options.is_empty()).then(|| quote!(mut));
    Ok(quote! {
        impl #generics ::longshore::Job for #name #arguments #bounds {
            type Output = #output;
            const KIND: &'static str = #kind;
            const QUEUE: &'static str = #queue;
            const VERSION: u32 = #version;
            const RUNS_FROM: u32 = #runs_from;
            fn options(&self) -> ::longshore::JobOptions {
                let #changed options = ::longshore::JobOptions::new();
                #(#settings)*
                options
            }
        }
    })
}

/// `WelcomeEmail` becomes `welcome_email`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut before_is_small = false;
    let letters: Vec<char> = name.chars().collect();
    for (at, letter) in letters.iter().enumerate() {
        let after_is_small = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && at > 0 && (before_is_small || after_is_small) {
            snake.push('_');
        }
        before_is_small = letter.is_lowercase() || letter.is_ascii_digit();
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_kinds() {
        for (name, kind) in [
            ("WelcomeEmail", "welcome_email"),
            ("Sum", "sum"),
            ("HTTPFetch", "http_fetch"),
            ("Resize2Thumb", "resize2_thumb"),
        ] {
            assert_eq!(snake_case(name), kind);
        }
    }

    fn expanded(text: &str) -> String {
        implementation(&syn::parse_str(text).unwrap())
            .map_or_else(|error| format!("error: {error}"), |tokens| tokens.to_string())
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("#[job(colour = \"red\")] struct A;", "'colour' is not known here; there are kind"),
            ("#[job(priority = 10)] struct A;", "0 to 9"),
            ("#[job(max_attempts = 0)] struct A;", "at least 1"),
            ("#[job(timeout = \"5 parsecs\")] struct A;", "\"5 parsecs\" is no span"),
            ("#[job(kind = \"\")] struct A;", "1 to 255 bytes"),
            ("#[job(retry(cap = \"1s\"))] struct A;", "say one of sidekiq"),
            ("#[job(retry(shape = 2))] struct A;", "there are sidekiq, constant"),
        ] {
            let said = expanded(text);
            assert!(said.starts_with("error: ") && said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn a_bare_type_gets_its_defaults() {
        let said = expanded("struct WelcomeEmail;");
        assert!(said.contains("\"welcome_email\"") && said.contains("\"default\""), "{said}");
    }
}
