//! What `#[job(...)]` says, read and checked.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Expr, LitFloat, LitInt, LitStr, Result, Type};

use crate::duration::parse_ms;

/// What was said of a type.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) kind: Option<String>,
    pub(crate) queue: Option<String>,
    pub(crate) output: Option<Type>,
    pub(crate) version: Option<u32>,
    pub(crate) runs_from: Option<u32>,
    /// Fields of `JobOptions` and their values.
    pub(crate) options: Vec<(&'static str, TokenStream)>,
}

const KNOWN: &str = "kind, queue, output, priority, max_attempts, timeout, lease, ttl, max_age, \
                     retain, retry, at_most_once, ordering_key, tags, version, runs_from";

/// Reads all `#[job(...)]` of a type.
pub(crate) fn read(attributes: &[Attribute]) -> Result<Attributes> {
    let mut read = Attributes::default();
    for attribute in attributes.iter().filter(|it| it.path().is_ident("job")) {
        attribute.parse_nested_meta(|meta| read.take(&meta))?;
    }
    Ok(read)
}

impl Attributes {
    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let Some(name) = meta.path.get_ident().map(ToString::to_string) else {
            return Err(meta.error(format!("not known here; there are {KNOWN}")));
        };
        match name.as_str() {
            "kind" => self.kind = Some(name_of(meta)?),
            "queue" => self.queue = Some(name_of(meta)?),
            "output" => self.output = Some(meta.value()?.parse()?),
            "version" => {
                let literal: LitInt = meta.value()?.parse()?;
                let version: u32 = literal.base10_parse()?;
                if version == 0 {
                    return Err(Error::new(literal.span(), "versions begin with 1"));
                }
                self.version = Some(version);
            }
            "runs_from" => {
                self.runs_from = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
            }
            "priority" => {
                let literal: LitInt = meta.value()?.parse()?;
                let priority: u8 = literal.base10_parse()?;
                if priority > 9 {
                    return Err(Error::new(literal.span(), "a priority is 0 to 9, 9 first"));
                }
                self.set("priority", &quote!(#priority));
            }
            "max_attempts" => {
                let literal: LitInt = meta.value()?.parse()?;
                let attempts: u32 = literal.base10_parse()?;
                if attempts == 0 {
                    return Err(Error::new(literal.span(), "at least 1: the first run counts"));
                }
                self.set("max_attempts", &quote!(#attempts));
            }
            "timeout" => self.set("timeout", &span(meta)?),
            "lease" => self.set("lease", &span(meta)?),
            "ttl" => self.set("ttl", &span(meta)?),
            "max_age" => self.set("max_age", &span(meta)?),
            "retain" => self.set("retain", &span(meta)?),
            "retry" => {
                let policy = retry(meta)?;
                self.set("retry", &policy);
            }
            "at_most_once" => self.set("at_most_once", &quote!(true)),
            "ordering_key" => {
                let key: Expr = meta.value()?.parse()?;
                self.set("ordering_key", &quote!(::std::string::ToString::to_string(&(#key))));
            }
            "tags" => {
                let mut tags = Vec::new();
                let content;
                syn::parenthesized!(content in meta.input);
                for tag in content
                    .parse_terminated(<LitStr as syn::parse::Parse>::parse, syn::Token![,])?
                {
                    tags.push(tag);
                }
                self.options
                    .push(("tags", quote!(::std::vec![#(::std::string::String::from(#tags)),*])));
            }
            _ => return Err(meta.error(format!("'{name}' is not known here; there are {KNOWN}"))),
        }
        Ok(())
    }

    fn set(&mut self, field: &'static str, value: &TokenStream) {
        self.options.push((field, quote!(::std::option::Option::Some(#value))));
    }
}

/// A name of a kind or queue: 1 to 255 bytes without control characters.
fn name_of(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let literal: LitStr = meta.value()?.parse()?;
    let name = literal.value();
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err(Error::new(
            literal.span(),
            "a name has 1 to 255 bytes and no control characters",
        ));
    }
    Ok(name)
}

fn span(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let literal: LitStr = meta.value()?.parse()?;
    let ms = parse_ms(&literal.value()).map_err(|text| Error::new(literal.span(), text))?;
    Ok(quote!(::std::time::Duration::from_millis(#ms)))
}

fn number(meta: &ParseNestedMeta<'_>) -> Result<f64> {
    let value = meta.value()?;
    if value.peek(LitInt) {
        return value.parse::<LitInt>()?.base10_parse();
    }
    value.parse::<LitFloat>()?.base10_parse()
}

/// `retry(sidekiq)`, `retry(constant = "30s")` or `retry(base = "1s", ...)`.
fn retry(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let (mut fixed, mut base) = (None, None);
    let mut cap = quote!(::std::time::Duration::from_secs(86_400));
    let (mut factor, mut jitter) = (2.0, 0.0);
    meta.parse_nested_meta(|inner| {
        if inner.path.is_ident("sidekiq") {
            fixed = Some(quote!(::longshore::RetryPolicy::Sidekiq));
        } else if inner.path.is_ident("constant") {
            let delay = span(&inner)?;
            fixed = Some(quote!(::longshore::RetryPolicy::Constant(#delay)));
        } else if inner.path.is_ident("base") {
            base = Some(span(&inner)?);
        } else if inner.path.is_ident("cap") {
            cap = span(&inner)?;
        } else if inner.path.is_ident("factor") {
            factor = number(&inner)?;
        } else if inner.path.is_ident("jitter") {
            jitter = number(&inner)?;
        } else {
            return Err(inner.error("there are sidekiq, constant, base, factor, cap and jitter"));
        }
        Ok(())
    })?;
    match (fixed, base) {
        (Some(policy), None) => Ok(policy),
        (None, Some(base)) => Ok(quote!(::longshore::RetryPolicy::Exponential {
            base: #base,
            factor: #factor,
            cap: #cap,
            jitter: #jitter,
        })),
        _ => Err(meta.error("say one of sidekiq, constant = \"30s\" or base = \"1s\"")),
    }
}
