//! Derives that make a schema of a struct and its doc comments.
//!
//! A field's attributes are words of the schema language: each becomes the method of
//! `silverback_model::schema::Field` of that name, so a schema says in Rust what it says in Kong.

mod attribute;
mod derive;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes an entity's schema of a struct: its fields, their constraints and its doc comments.
///
/// `#[entity(name = "services", endpoint_key = "name", workspaceable, …)]` says what holds for
/// the whole, `#[field(default = 80, between(0, 65535), …)]` what holds for one field. Fields are
/// required unless they are an `Option`, or say `nullable` or `required = false`.
#[proc_macro_derive(Entity, attributes(entity, field))]
pub fn derive_entity(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    derive::entity(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a record's schema of a struct: a plugin's configuration, or a record nested in one.
///
/// With `#[plugin(name = "key-auth", no_consumer, protocols_http, …)]` it is the schema of a
/// plugin; `#[record(at_least_one_of("a", "b"), …)]` adds checks to a nested record.
#[proc_macro_derive(Config, attributes(plugin, record, field))]
pub fn derive_config(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    derive::config(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
