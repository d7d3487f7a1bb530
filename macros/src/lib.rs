//! Derives that make a schema of a struct and its doc comments.

use proc_macro::TokenStream;

/// Makes an entity's schema of a struct: its fields, their constraints and its doc comments.
#[proc_macro_derive(Entity, attributes(entity, field))]
pub fn derive_entity(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}

/// Makes a record's schema of a struct: a plugin's configuration, or a record nested in one.
#[proc_macro_derive(Config, attributes(plugin, record, field))]
pub fn derive_config(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}
