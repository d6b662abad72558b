//! The derive macro `LabelSet`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Field, Fields, GenericParam, Ident, Result};

use crate::case::{Case, Display, Item, check_unique};

/// The implementation for a struct with named fields.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let fields = named_fields(input)?;
    let case = Case::of_type(&input.attrs)?;
    let mut labels: Vec<(&Ident, &Field, Item)> = Vec::new();
    for field in fields {
        if let Some(ident) = &field.ident {
            labels.push((ident, field, Item::new(ident, &field.attrs, case, Display::Allowed)?));
        }
    }
    check_unique(labels.iter().map(|(ident, _, item)| (*ident, item)))?;

    let ident = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let arguments = input.generics.params.iter().map(|parameter| match parameter {
        GenericParam::Lifetime(_) => quote!('static),
        GenericParam::Type(parameter) => {
            let ident = &parameter.ident;
            quote!(#ident)
        }
        GenericParam::Const(parameter) => {
            let ident = &parameter.ident;
            quote!(#ident)
        }
    });
    let names = labels.iter().map(|(_, _, item)| &item.text);
    let values = labels.iter().map(|(_, field, item)| {
        let field_type = &field.ty;
        if item.is_displayed {
            quote!(&[])
        } else {
            quote!(<#field_type as ::multiprom::LabelValue>::ALL)
        }
    });
    let buffers = labels.iter().enumerate().map(|(at, (_, field, item))| {
        let (buffer, field_type) = (format_ident!("buffer_{at}"), &field.ty);
        if item.is_displayed {
            quote!(let mut #buffer = ::multiprom::labels::TextBuffer::default();)
        } else {
            quote! {
                let mut #buffer =
                    <<#field_type as ::multiprom::LabelValue>::Buffer as ::core::default::Default>::default();
            }
        }
    });
    let texts = labels.iter().enumerate().map(|(at, (ident, _, item))| {
        let buffer = format_ident!("buffer_{at}");
        if item.is_displayed {
            quote!(#buffer.format(&self.#ident))
        } else {
            quote!(::multiprom::LabelValue::text(&self.#ident, &mut #buffer))
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::multiprom::LabelSet for #ident #type_generics #where_clause {
            type Static = #ident<#(#arguments),*>;

            const NAMES: &'static [&'static str] = &[#(#names),*];

            const VALUES: &'static [&'static [&'static str]] = &[#(#values),*];

            #[inline]
            fn with_texts<__R>(
                &self,
                use_texts: impl ::core::ops::FnOnce(&[&str]) -> __R,
            ) -> __R {
                #(#buffers)*
                use_texts(&[#(#texts),*])
            }
        }
    })
}

fn named_fields(input: &DeriveInput) -> Result<impl Iterator<Item = &Field>> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => return Ok(fields.named.iter()),
            Fields::Unnamed(_) | Fields::Unit => {}
        },
        Data::Enum(_) | Data::Union(_) => {}
    }
    let message =
        "a label set is a struct with named fields; an enum is a value: derive `LabelValue`";
    Err(syn::Error::new(input.ident.span(), message))
}
