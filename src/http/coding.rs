//! Content codings, and which of them an `Accept-Encoding` header selects.
//!
//! See: RFC 9110, section 12.5.3.

/// The number of clauses of a header that are parsed; the rest is ignored.
const MAX_CLAUSES: usize = 64;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    #[cfg(feature = "zstd")]
    Zstd,
    Gzip,
}

impl Coding {
    /// All codings of this build. Of codings with equal `q` the first is preferred.
    pub(super) const ALL: &[Coding] = &[
        #[cfg(feature = "zstd")]
        Coding::Zstd,
        Coding::Gzip,
    ];

    /// The value of the header `Content-Encoding`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            #[cfg(feature = "zstd")]
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// The coding of a name in lower case, as an index into [`Coding::ALL`].
    fn position(name: &str) -> Option<usize> {
        let name = if name == "x-gzip" { "gzip" } else { name };
        Coding::ALL.iter().position(|coding| coding.as_str() == name)
    }
}

/// The coding of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodingChoice {
    /// `None`: the body is not compressed.
    pub(super) coding: Option<Coding>,
    /// Whether a small body may be sent uncompressed.
    pub(super) is_identity_accepted: bool,
}

impl CodingChoice {
    /// Selects the coding with the highest `q`.
    ///
    /// A body is sent uncompressed if the header accepts no other coding, even if it refuses `identity`, or if
    /// `identity` has the highest `q`.
    pub(super) fn new(accept_encoding: &str) -> CodingChoice {
        let (mut qualities, mut identity, mut any) = ([None; Coding::ALL.len()], None, None);
        for clause in accept_encoding.split(',').take(MAX_CLAUSES) {
            let mut parts = clause.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let Some(quality) = quality(parts) else {
                continue;
            };
            let slot = match name.as_str() {
                "identity" => &mut identity,
                "*" => &mut any,
                name => match Coding::position(name) {
                    Some(at) => &mut qualities[at],
                    None => continue,
                },
            };
            slot.get_or_insert(quality);
        }
        let mut best = (None, 0.0);
        for (coding, quality) in Coding::ALL.iter().zip(qualities) {
            let quality = quality.or(any).unwrap_or(0.0);
            if quality > best.1 {
                best = (Some(*coding), quality);
            }
        }
        let coding = best.0.filter(|_| identity.is_none_or(|identity| best.1 >= identity));
        CodingChoice { coding, is_identity_accepted: identity.or(any) != Some(0.0) }
    }
}

/// The `q` among the parameters of a clause, 1 if there is none; `None` if it is invalid.
fn quality<'a>(parameters: impl Iterator<Item = &'a str>) -> Option<f64> {
    let mut quality = Some(1.0);
    for parameter in parameters {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("q")
        {
            quality = value.trim().parse().ok().filter(|q: &f64| (0.0..=1.0).contains(q));
        }
    }
    quality
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_header_selects_the_coding() {
        let gzip = Some(Coding::Gzip);
        #[cfg(feature = "zstd")]
        let zstd = Some(Coding::Zstd);
        // A build without zstd ignores its name like that of any other unknown coding.
        #[cfg(not(feature = "zstd"))]
        let zstd = gzip;
        for (accept, coding, is_identity_accepted) in [
            ("", None, true),
            ("gzip", gzip, true),
            ("GZIP;Q=0.5", gzip, true),
            ("x-gzip", gzip, true),
            ("gzip, deflate, br, zstd", zstd, true),
            ("gzip;q=1.0, zstd;q=0.9", gzip, true),
            ("identity", None, true),
            ("identity, gzip", gzip, true),
            ("identity, gzip;q=0.5", None, true),
            ("gzip;q=0", None, true),
            ("gzip;q=7, br", None, true),
            ("*", zstd, true),
            ("*, zstd;q=0", gzip, true),
            ("*;q=0", None, false),
            ("identity;q=0", None, false),
            ("identity;q=0, gzip;q=0.1", gzip, false),
            ("*;q=0, gzip", gzip, false),
            (";q=,,=", None, true),
        ] {
            let choice = CodingChoice { coding, is_identity_accepted };
            assert_eq!(CodingChoice::new(accept), choice, "{accept}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(accept: String) {
            CodingChoice::new(&accept);
        }
    }
}
