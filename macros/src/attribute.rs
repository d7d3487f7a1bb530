//! Attributes: lists of `word`, `word = value` and `word(value, …)`.

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Ident, Result, Token, parenthesized};

/// One word of an attribute, with what follows it.
pub(crate) struct Word {
    pub(crate) name: Ident,
    pub(crate) arg: Arg,
}

/// What follows a word.
pub(crate) enum Arg {
    /// Nothing.
    None,
    /// `= value`.
    Value(TokenStream),
    /// `(value, …)`.
    List(TokenStream),
}

impl Parse for Word {
    fn parse(input: ParseStream<'_>) -> Result<Word> {
        let name = input.call(Ident::parse_any)?;
        if input.peek(syn::token::Paren) {
            let content;
            parenthesized!(content in input);
            return Ok(Word { name, arg: Arg::List(content.parse()?) });
        }
        if !input.peek(Token![=]) {
            return Ok(Word { name, arg: Arg::None });
        }
        input.parse::<Token![=]>()?;
        let mut value = TokenStream::new();
        while !input.is_empty() && !input.peek(Token![,]) {
            value.extend([input.parse::<TokenTree>()?]);
        }
        if value.is_empty() {
            return Err(Error::new(name.span(), format!("`{name} =` needs a value")));
        }
        Ok(Word { name, arg: Arg::Value(value) })
    }
}

/// The words of all attributes of this name.
pub(crate) fn words(attributes: &[Attribute], name: &str) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        let list = attribute.parse_args_with(Punctuated::<Word, Token![,]>::parse_terminated)?;
        words.extend(list);
    }
    Ok(words)
}

/// The doc comment, its lines joined.
pub(crate) fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let lines = lines.filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(syn::MetaNameValue {
            value: syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }),
            ..
        }) => Some(text.value().trim().to_owned()),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// How a word is written.
#[derive(Clone, Copy)]
enum Shape {
    /// `word`.
    Plain,
    /// `word` or `word = true`, `word = false`.
    Flag(&'static str),
    /// `word = value`.
    Value,
    /// `word = value`, the value as JSON.
    Json,
    /// `word(a, b)`, given one by one.
    Args,
    /// `word(a, b)`, given as an array.
    Array,
    /// `word(…)`, words again.
    Nested,
}

/// The words of `#[field(…)]` that become methods, but for those that [`crate::derive`] reads.
const FIELD: [(&str, Shape); 36] = [
    ("required", Shape::Flag("Required")),
    ("auto", Shape::Flag("Auto")),
    ("unique", Shape::Flag("Unique")),
    ("unique_across_ws", Shape::Flag("UniqueAcrossWs")),
    ("immutable", Shape::Flag("Immutable")),
    ("referenceable", Shape::Flag("Referenceable")),
    ("encrypted", Shape::Flag("Encrypted")),
    ("indexed", Shape::Flag("Indexed")),
    ("transient", Shape::Flag("Transient")),
    ("default", Shape::Json),
    ("default_of_fields", Shape::Plain),
    ("deprecation", Shape::Value),
    ("err", Shape::Value),
    ("on_delete", Shape::Value),
    ("eq", Shape::Json),
    ("ne", Shape::Json),
    ("gt", Shape::Value),
    ("between", Shape::Args),
    ("one_of", Shape::Array),
    ("not_one_of", Shape::Array),
    ("len_eq", Shape::Value),
    ("len_min", Shape::Value),
    ("len_max", Shape::Value),
    ("starts_with", Shape::Value),
    ("match", Shape::Value),
    ("not_match", Shape::Value),
    ("match_any", Shape::Args),
    ("match_all", Shape::Array),
    ("match_none", Shape::Array),
    ("contains", Shape::Json),
    ("mutually_exclusive_subsets", Shape::Json),
    ("custom", Shape::Value),
    ("check", Shape::Value),
    ("uuid", Shape::Plain),
    ("timestamp", Shape::Plain),
    ("is_regex", Shape::Plain),
];

/// Words whose argument is words for what is inside of a list or map.
const NESTED: [(&str, Shape); 3] =
    [("elements", Shape::Nested), ("keys", Shape::Nested), ("values", Shape::Nested)];

/// The words of `#[entity(…)]`.
pub(crate) const ENTITY: [&str; 13] = [
    "name",
    "primary_key",
    "endpoint_key",
    "cache_key",
    "ttl",
    "workspaceable",
    "admin_api_name",
    "admin_api_nested_name",
    "generate_admin_api",
    "db_export",
    "table_name",
    "subschema_key",
    "subschema_error",
];

/// The words of `#[plugin(…)]`.
pub(crate) const PLUGIN: [&str; 7] = [
    "name",
    "no_consumer",
    "no_service",
    "no_route",
    "protocols",
    "protocols_http",
    "protocols_default",
];

/// The words of `#[entity(…)]`, `#[plugin(…)]` and `#[record(…)]` alike.
const WHOLE: [&str; 6] = [
    "at_least_one_of",
    "only_one_of",
    "distinct",
    "mutually_required",
    "mutually_exclusive",
    "with",
];

/// The error for a word that is not known: it names those that are.
fn unknown(name: &Ident, allowed: &[&str]) -> Error {
    let mut allowed = allowed.to_vec();
    allowed.sort_unstable();
    let text = format!("unknown word `{name}`; allowed are: {}", allowed.join(", "));
    Error::new(name.span(), text)
}

fn misshaped(name: &Ident, shape: Shape) -> Error {
    let form = match shape {
        Shape::Plain => format!("`{name}`"),
        Shape::Flag(_) => format!("`{name}`, `{name} = true` or `{name} = false`"),
        Shape::Value | Shape::Json => format!("`{name} = …`"),
        Shape::Args | Shape::Array | Shape::Nested => format!("`{name}(…)`"),
    };
    Error::new(name.span(), format!("`{name}` is written {form}"))
}

/// Words that [`crate::derive`] reads itself.
pub(crate) const READ: [&str; 4] = ["typedef", "nullable", "skip", "name"];

fn field_method(field: &TokenStream, word: &Word) -> Result<TokenStream> {
    let name = &word.name;
    let text = name.to_string();
    let Some((_, shape)) = FIELD.iter().chain(&NESTED).find(|(known, _)| *known == text) else {
        let known = FIELD.iter().chain(&NESTED).map(|(known, _)| *known);
        let known: Vec<&str> = known.chain(READ).collect();
        return Err(unknown(name, &known));
    };
    let method = match text.as_str() {
        "match" => Ident::new("matches", name.span()),
        "check" => Ident::new("custom_value", name.span()),
        _ => name.clone(),
    };
    Ok(match (shape, &word.arg) {
        (Shape::Plain, Arg::None) => quote!(#field.#method()),
        (Shape::Flag(flag), arg) => {
            let flag = Ident::new(flag, name.span());
            let yes = match arg {
                Arg::None => quote!(true),
                Arg::Value(value) => value.clone(),
                Arg::List(_) => return Err(misshaped(name, *shape)),
            };
            quote!(#field.with(::silverback_model::schema::Flag::#flag, #yes))
        }
        (Shape::Value, Arg::Value(value)) => quote!(#field.#method(#value)),
        (Shape::Json, Arg::Value(value)) => {
            quote!(#field.#method(::silverback_model::schema::json_value!(#value)))
        }
        (Shape::Args, Arg::List(list)) => quote!(#field.#method(#list)),
        (Shape::Array, Arg::List(list)) if list.is_empty() => {
            quote!(#field.#method(<[&str; 0]>::default()))
        }
        (Shape::Array, Arg::List(list)) => quote!(#field.#method([#list])),
        (Shape::Nested, Arg::List(list)) => {
            let method = Ident::new(&format!("{text}_with"), name.span());
            let parser = Punctuated::<Word, Token![,]>::parse_terminated;
            let words: Vec<Word> =
                syn::parse::Parser::parse2(parser, list.clone())?.into_iter().collect();
            let inner = typed(&words, quote!(inner))?;
            // A typedef takes the place of what was there.
            if words.iter().any(|word| word.name == "typedef") {
                quote!(#field.#method(|_| #inner))
            } else {
                quote!(#field.#method(|inner| #inner))
            }
        }
        (shape, _) => return Err(misshaped(name, *shape)),
    })
}

/// A field as its `typedef` has it, or as its type does, changed as the other words say.
pub(crate) fn typed(words: &[Word], by_type: TokenStream) -> Result<TokenStream> {
    let mut field = by_type;
    for word in words.iter().filter(|word| word.name == "typedef") {
        let Arg::Value(name) = &word.arg else {
            return Err(misshaped(&word.name, Shape::Value));
        };
        field = quote!(::silverback_model::schema::typedefs::#name());
    }
    for word in words.iter().filter(|word| !READ.contains(&word.name.to_string().as_str())) {
        field = field_method(&field, word)?;
    }
    Ok(field)
}

/// The schema `schema`, changed as the words of a struct's attribute say.
pub(crate) fn schema_methods(
    schema: TokenStream,
    words: &[Word],
    special: &[&str],
) -> Result<TokenStream> {
    let mut schema = schema;
    for Word { name, arg } in words {
        let text = name.to_string();
        if !special.contains(&text.as_str()) && !WHOLE.contains(&text.as_str()) {
            let known: Vec<&str> = special.iter().chain(&WHOLE).copied().collect();
            return Err(unknown(name, &known));
        }
        schema = match (text.as_str(), arg) {
            ("with", Arg::Value(function)) => quote!(#function(#schema)),
            ("ttl" | "workspaceable", Arg::None) => quote!(#schema.#name(true)),
            (_, Arg::None) => quote!(#schema.#name()),
            (_, Arg::Value(value)) => quote!(#schema.#name(#value)),
            (_, Arg::List(list)) => quote!(#schema.#name([#list])),
        };
    }
    Ok(schema)
}
