//! Text of another client, family by family.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::logging::log_line;
use crate::model::{FamilySink, Gatherer as _};
use crate::parse::{Families, OwnedFamily, ParseError, Parser, Syntax};

/// Reads the text of single families, and reports the first one that cannot be read.
#[derive(Debug)]
pub(super) struct FamilyReader {
    /// The name of the other client.
    client: &'static str,
    syntax: Syntax,
    has_reported: AtomicBool,
}

impl FamilyReader {
    pub(super) const fn new(client: &'static str, syntax: Syntax) -> FamilyReader {
        FamilyReader { client, syntax, has_reported: AtomicBool::new(false) }
    }

    /// Writes the families in some texts, each of which has one. Families of equal name and type become one: another client
    /// may show them one after the other, with different labels. One that cannot be read is left out.
    pub(super) fn write<'t>(&self, texts: impl Iterator<Item = &'t str>, out: &mut dyn FamilySink) {
        let mut families = Vec::new();
        for text in texts {
            let parsed: Result<Vec<OwnedFamily>, ParseError> =
                Parser::new(self.syntax, text.as_bytes()).collect();
            match parsed {
                Ok(parsed) => families.extend(parsed),
                Err(error) => {
                    let first = text.lines().next().unwrap_or_default();
                    self.report(&format_args!("a family is left out: {error}: `{first}`"));
                }
            }
        }
        Families(families).joined().gather(out);
    }

    /// Logs the first problem.
    pub(super) fn report(&self, problem: &dyn Display) {
        // ORDERING: relaxed, it only limits the number of lines.
        if !self.has_reported.swap(true, Ordering::Relaxed) {
            log_line(&format!("registry of `{}`: {problem}", self.client));
        }
    }
}
