//! The derive macro `LabelValue`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Fields, Ident, Result};

use crate::case::{Case, Display, Item, check_unique};

/// The implementation for an enum, or for a struct with one unnamed field.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    match &input.data {
        Data::Enum(data) => of_enum(input, data),
        Data::Struct(data) => of_struct(input, &data.fields),
        Data::Union(_) => {
            Err(syn::Error::new(input.ident.span(), "`LabelValue` cannot be derived for a union"))
        }
    }
}

fn of_enum(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let case = Case::of_type(&input.attrs)?;
    let mut variants: Vec<(&Ident, Item)> = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            let message = "a variant with fields has no fixed text; implement `LabelValue` by hand";
            return Err(syn::Error::new(variant.ident.span(), message));
        }
        let item = Item::new(&variant.ident, &variant.attrs, case, Display::Forbidden)?;
        variants.push((&variant.ident, item));
    }
    if variants.is_empty() {
        return Err(syn::Error::new(input.ident.span(), "an enum without variants has no values"));
    }
    check_unique(variants.iter().map(|(ident, item)| (*ident, item)))?;

    let ident = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let texts: Vec<&String> = variants.iter().map(|(_, item)| &item.text).collect();
    let names = variants.iter().map(|(ident, _)| ident);
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::multiprom::LabelValue for #ident #type_generics #where_clause {
            type Buffer = ();

            const ALL: &'static [&'static str] = &[#(#texts),*];

            #[inline]
            fn text<'__label>(&'__label self, _: &'__label mut ()) -> &'__label str {
                match self {
                    #(Self::#names => #texts,)*
                }
            }
        }
    })
}

fn of_struct(input: &DeriveInput, fields: &Fields) -> Result<TokenStream> {
    let field = match fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => &fields.unnamed[0].ty,
        _ => {
            let message = "a label value is an enum, or a struct with one unnamed field; \
                           for a struct with named fields derive `LabelSet`";
            return Err(syn::Error::new(input.ident.span(), message));
        }
    };
    let ident = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::multiprom::LabelValue for #ident #type_generics #where_clause {
            type Buffer = <#field as ::multiprom::LabelValue>::Buffer;

            const ALL: &'static [&'static str] = <#field as ::multiprom::LabelValue>::ALL;

            #[inline]
            fn text<'__label>(&'__label self, buffer: &'__label mut Self::Buffer) -> &'__label str {
                ::multiprom::LabelValue::text(&self.0, buffer)
            }
        }
    })
}
