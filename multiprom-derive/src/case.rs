//! Attributes, and the conversion of names.

use std::collections::HashSet;

use syn::{Attribute, Ident, LitStr, Result, ext::IdentExt as _};

/// A rule of `rename_all`.
#[derive(Clone, Copy)]
pub(crate) enum Case {
    AsDeclared,
    Lower,
    Upper,
    Snake,
    ScreamingSnake,
    Kebab,
    Camel,
    Pascal,
}

/// The rules by name.
const CASES: [(&str, Case); 7] = [
    ("lowercase", Case::Lower),
    ("UPPERCASE", Case::Upper),
    ("snake_case", Case::Snake),
    ("SCREAMING_SNAKE_CASE", Case::ScreamingSnake),
    ("kebab-case", Case::Kebab),
    ("camelCase", Case::Camel),
    ("PascalCase", Case::Pascal),
];

impl Case {
    /// The rule that `#[label(rename_all = "...")]` of a type names.
    pub(crate) fn of_type(attributes: &[Attribute]) -> Result<Case> {
        let mut case = Case::AsDeclared;
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("label")) {
            attribute.parse_nested_meta(|meta| {
                if !meta.path.is_ident("rename_all") {
                    return Err(meta.error("expected `rename_all = \"...\"`"));
                }
                let rule: LitStr = meta.value()?.parse()?;
                let found = CASES.iter().find(|(name, _)| *name == rule.value());
                let names = CASES.map(|(name, _)| format!("`{name}`")).join(", ");
                let unknown = || syn::Error::new(rule.span(), format!("expected one of {names}"));
                case = found.ok_or_else(unknown)?.1;
                Ok(())
            })?;
        }
        Ok(case)
    }

    /// Converts the name of a field or of a variant.
    fn apply(self, name: &str) -> String {
        let words = words(name);
        let capitalized = |word: &String| {
            let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            first.to_uppercase() + rest
        };
        match self {
            Case::AsDeclared => name.to_owned(),
            Case::Lower => words.concat(),
            Case::Upper => words.concat().to_uppercase(),
            Case::Snake => words.join("_"),
            Case::ScreamingSnake => words.join("_").to_uppercase(),
            Case::Kebab => words.join("-"),
            Case::Pascal => words.iter().map(capitalized).collect(),
            Case::Camel => {
                let (first, rest) = words.split_first().map_or(("", &[][..]), |(f, r)| (f, r));
                first.to_owned() + &rest.iter().map(capitalized).collect::<String>()
            }
        }
    }
}

/// The words of a name, in lower case. A word begins after `_` and at each upper-case letter.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut begins = true;
    for letter in name.chars() {
        if letter == '_' {
            begins = true;
            continue;
        }
        if begins || letter.is_uppercase() {
            words.push(String::new());
        }
        begins = false;
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// What the attributes of a field or of a variant say.
pub(crate) struct Item {
    /// The name of a label, or the text of a value.
    pub(crate) text: String,
    /// Whether the value is the `Display` form.
    pub(crate) is_displayed: bool,
}

/// Whether `#[label(display)]` is allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Display {
    Allowed,
    Forbidden,
}

impl Item {
    /// Reads the attributes of one field or variant.
    pub(crate) fn new(
        ident: &Ident,
        attributes: &[Attribute],
        case: Case,
        display: Display,
    ) -> Result<Item> {
        let mut item = Item { text: case.apply(&ident.unraw().to_string()), is_displayed: false };
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("label")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    item.text = meta.value()?.parse::<LitStr>()?.value();
                    Ok(())
                } else if meta.path.is_ident("display") && display == Display::Allowed {
                    item.is_displayed = true;
                    Ok(())
                } else if display == Display::Allowed {
                    Err(meta.error("expected `name = \"...\"` or `display`"))
                } else {
                    Err(meta.error("expected `name = \"...\"`"))
                }
            })?;
        }
        Ok(item)
    }
}

/// Checks that no two items have the same text.
pub(crate) fn check_unique<'a>(items: impl Iterator<Item = (&'a Ident, &'a Item)>) -> Result<()> {
    let mut seen = HashSet::new();
    for (ident, item) in items {
        if !seen.insert(&item.text) {
            let message = format!("the name `{}` is used twice", item.text);
            return Err(syn::Error::new(ident.span(), message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_converted_word_by_word() {
        let converted = |name| CASES.map(|(_, case)| case.apply(name));
        assert_eq!(
            converted("NotFound"),
            ["notfound", "NOTFOUND", "not_found", "NOT_FOUND", "not-found", "notFound", "NotFound"]
        );
        assert_eq!(
            converted("status_code"),
            [
                "statuscode",
                "STATUSCODE",
                "status_code",
                "STATUS_CODE",
                "status-code",
                "statusCode",
                "StatusCode"
            ]
        );
        assert_eq!(Case::AsDeclared.apply("Get"), "Get");
    }
}
