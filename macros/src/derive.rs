//! The code that a derive adds.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, LitStr, Result};

use crate::attribute::{Arg, ENTITY, PLUGIN, Word, doc, schema_methods, typed, words};

/// `derive(Entity)`.
pub(crate) fn entity(input: &DeriveInput) -> Result<TokenStream> {
    let ident = &input.ident;
    let words = words(&input.attrs, "entity")?;
    let name = name_of(&words)
        .ok_or_else(|| Error::new(ident.span(), "an entity needs `#[entity(name = \"…\")]`"))?;
    let schema = schema_methods(record(input)?, &words, &ENTITY)?;
    Ok(quote! {
        impl ::silverback_model::schema::EntityName for #ident {
            const NAME: &'static str = #name;
        }

        impl ::silverback_model::schema::HasSchema for #ident {
            fn schema() -> ::silverback_model::schema::Schema {
                #schema
            }
        }
    })
}

/// `derive(Config)`.
pub(crate) fn config(input: &DeriveInput) -> Result<TokenStream> {
    let ident = &input.ident;
    let schema = schema_methods(record(input)?, &words(&input.attrs, "record")?, &[])?;
    let plugin = words(&input.attrs, "plugin")?;
    let plugin = if plugin.is_empty() { None } else { Some(plugin_schema(input, &plugin)?) };
    Ok(quote! {
        impl ::silverback_model::schema::FieldType for #ident {
            fn field() -> ::silverback_model::schema::Field {
                ::silverback_model::schema::Field::record(#schema)
            }
        }

        #plugin
    })
}

fn plugin_schema(input: &DeriveInput, words: &[Word]) -> Result<TokenStream> {
    let ident = &input.ident;
    let name = name_of(words)
        .ok_or_else(|| Error::new(ident.span(), "a plugin needs `#[plugin(name = \"…\")]`"))?;
    let description = doc(&input.attrs);
    let schema = quote! {
        ::silverback_model::schema::Schema::plugin(
            #name,
            <#ident as ::silverback_model::schema::FieldType>::field(),
        )
        .description(#description)
    };
    let schema = schema_methods(schema, words, &PLUGIN)?;
    Ok(quote! {
        impl ::silverback_model::schema::HasSchema for #ident {
            fn schema() -> ::silverback_model::schema::Schema {
                #schema
            }
        }
    })
}

fn name_of(words: &[Word]) -> Option<&TokenStream> {
    words.iter().find(|word| word.name == "name").and_then(|word| match &word.arg {
        Arg::Value(value) => Some(value),
        _ => None,
    })
}

/// The schema with the struct's doc comment and fields.
fn record(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "only a struct has a schema"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(input.ident.span(), "only a struct with named fields has a schema"));
    };
    let description = doc(&input.attrs);
    let mut schema = quote! {
        <::silverback_model::schema::Schema as ::std::default::Default>::default()
            .description(#description)
    };
    let mut errors: Option<Error> = None;
    for item in &fields.named {
        match field(item) {
            Ok(Some((name, field))) => schema = quote!(#schema.with_field(#name, #field)),
            Ok(None) => {}
            // Every wrong attribute is reported, not the first alone.
            Err(error) => match &mut errors {
                Some(errors) => errors.combine(error),
                None => errors = Some(error),
            },
        }
    }
    errors.map_or(Ok(schema), Err)
}

/// The name of a field and the field; `None` for one that is skipped.
fn field(item: &Field) -> Result<Option<(String, TokenStream)>> {
    let words = words(&item.attrs, "field")?;
    let has = |name: &str| words.iter().any(|word| word.name == name);
    if has("skip") {
        return Ok(None);
    }
    let ty = &item.ty;
    let by_type = quote!(<#ty as ::silverback_model::schema::FieldType>::field());
    let mut field = typed(&words, by_type)?;
    if !has("nullable") {
        field = quote! {{
            let field = #field;
            if <#ty as ::silverback_model::schema::FieldType>::OPTIONAL {
                field
            } else {
                field.required_unless_said()
            }
        }};
    }
    let description = doc(&item.attrs);
    let field = quote!(#field.description(#description));
    let name = match name_of(&words) {
        Some(name) => syn::parse2::<LitStr>(name.clone())?.value(),
        None => match renamed(&item.attrs)? {
            Some(name) => name,
            None => item.ident.as_ref().map(|ident| ident.unraw().to_string()).unwrap_or_default(),
        },
    };
    Ok(Some((name, field)))
}

/// The name that serde reads the field by.
fn renamed(attributes: &[Attribute]) -> Result<Option<String>> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        for word in words(std::slice::from_ref(attribute), "serde")? {
            if let (true, Arg::Value(value)) = (word.name == "rename", word.arg) {
                return Ok(Some(syn::parse2::<LitStr>(value)?.value()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    /// The error for a struct with this field.
    fn error(field: &Field) -> String {
        let input: DeriveInput = parse_quote!(
            struct Plugin {
                #field
            }
        );
        config(&input).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn wrong_words_are_refused() {
        let unknown = error(&parse_quote!(#[field(defualt = 5)] port: u16));
        assert!(unknown.starts_with("unknown word `defualt`; allowed are: auto, between, check"));
        assert!(unknown.contains(", default, "), "{unknown}");
        let text = error(&parse_quote!(#[field(between = 5)] port: u16));
        assert_eq!(text, "`between` is written `between(…)`");
        let text = error(&parse_quote!(#[field(default(5))] port: u16));
        assert_eq!(text, "`default` is written `default = …`");
        let text = error(&parse_quote!(#[field(uuid = true)] port: u16));
        assert_eq!(text, "`uuid` is written `uuid`");
        let text = error(&parse_quote!(#[field(default =)] port: u16));
        assert_eq!(text, "`default =` needs a value");
        let nested = error(&parse_quote!(#[field(elements(len = 5))] ports: Vec<u16>));
        assert!(nested.starts_with("unknown word `len`"), "{nested}");
        assert_eq!(error(&parse_quote!(#[field(default = 5, required)] port: u16)), "");
    }

    #[test]
    fn wrong_structs_are_refused() {
        let error = |input: DeriveInput| entity(&input).err().map(|error| error.to_string());
        assert_eq!(
            error(parse_quote!(
                struct Thing {}
            ))
            .as_deref(),
            Some("an entity needs `#[entity(name = \"…\")]`")
        );
        assert_eq!(
            error(parse_quote!(
                #[entity(name = "a")]
                enum Thing {}
            ))
            .as_deref(),
            Some("only a struct has a schema")
        );
        let text = error(parse_quote!(
            #[entity(name = "a", nmae = "b")]
            struct Thing {}
        ));
        assert!(text.is_some_and(|text| text.starts_with("unknown word `nmae`")));
    }
}
