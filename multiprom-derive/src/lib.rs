//! The derive macros of `multiprom`, which exports them under its feature `derive`.
//!
//! The generated code names the crate as `::multiprom`.

mod case;
mod set;
mod value;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `multiprom::LabelSet` for a struct with named fields: each field is a label, in the order of declaration.
///
/// A field is a `LabelValue`: text, an integer, a `bool`, a `char`, an `Option`, a reference to one of them, or a type that
/// derives `LabelValue`. Attributes of a field:
///
/// - `#[label(name = "type")]`: the name of the label, if it is not that of the field.
/// - `#[label(display)]`: the value is the `Display` form of the field.
///
/// An attribute of the struct, `#[label(rename_all = "camelCase")]`, renames all fields that have no `name`.
#[proc_macro_derive(LabelSet, attributes(label))]
pub fn derive_label_set(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    set::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Implements `multiprom::LabelValue` for an enum of variants without fields, or for a struct with one unnamed field.
///
/// The text of a variant is its name. `#[label(name = "get")]` at a variant sets another one, and
/// `#[label(rename_all = "snake_case")]` at the enum converts all names: `lowercase`, `UPPERCASE`, `snake_case`,
/// `SCREAMING_SNAKE_CASE`, `kebab-case`, `camelCase` and `PascalCase` are known. The list of all texts is the constant `ALL`.
///
/// A struct has the value of its field.
#[proc_macro_derive(LabelValue, attributes(label))]
pub fn derive_label_value(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    value::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
