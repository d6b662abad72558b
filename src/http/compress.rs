//! Compressed answers.
//!
//! The exposition is compressed while it is encoded, so the whole is never held: a part of it, the
//! compressed bytes, and the compressor's window (gzip 32 KiB, zstd 512 KiB).
//!
//! See: RFC 9110, section 12.5.3.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::exposition::{Exposition, Negotiated};
use crate::model::Gatherer;

/// What is smaller, in bytes, fits into a packet anyway.
const MIN_COMPRESSED_LEN: usize = 1024;
/// What is read of a header, in clauses; the rest is ignored.
const MAX_CLAUSES: usize = 64;
/// Levels at which compressing costs about as much as encoding.
const GZIP_LEVEL: Compression = Compression::fast();
const ZSTD_LEVEL: i32 = 1;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Zstd,
    Gzip,
}

impl Coding {
    /// The value of the HTTP header `Content-Encoding`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }
}

/// What an `Accept-Encoding` header is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// `None`: not compressed.
    coding: Option<Coding>,
    /// Whether a small body may stay as it is.
    spares_small: bool,
}

/// The coding with the highest `q`, of equal ones zstd. What is not compressed is the last choice, but for an
/// `identity` with the highest `q`; it is given although it is refused where nothing else is accepted.
pub(super) fn choose(accept_encoding: &str) -> Choice {
    let (mut zstd, mut gzip, mut identity, mut any) = (None, None, None, None);
    for clause in accept_encoding.split(',').take(MAX_CLAUSES) {
        let mut parts = clause.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut quality = Some(1.0);
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                quality = value.trim().parse().ok().filter(|q: &f64| (0.0..=1.0).contains(q));
            }
        }
        let Some(quality) = quality else {
            continue;
        };
        let known = match coding.as_str() {
            "zstd" => &mut zstd,
            "gzip" | "x-gzip" => &mut gzip,
            "identity" => &mut identity,
            "*" => &mut any,
            _ => continue,
        };
        known.get_or_insert(quality);
    }
    let quality = |coding: Option<f64>| coding.or(any).unwrap_or(0.0);
    let (zstd, gzip) = (quality(zstd), quality(gzip));
    let best = if gzip > zstd { (gzip, Coding::Gzip) } else { (zstd, Coding::Zstd) };
    let is_best = best.0 > 0.0 && identity.is_none_or(|identity| best.0 >= identity);
    let is_identity_refused = identity.or(any) == Some(0.0);
    Choice { coding: is_best.then_some(best.1), spares_small: !is_identity_refused }
}

/// A body, and how it was compressed.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) coding: Option<Coding>,
}

/// Gathers everything, compressed where that was chosen and is worth it.
pub(super) fn encode(source: &dyn Gatherer, format: Negotiated, choice: Choice) -> Body {
    if let Some(coding) = choice.coding {
        let min_len = if choice.spares_small { MIN_COMPRESSED_LEN } else { 0 };
        let mut compressor = Compressor { coding, min_len, state: State::Plain(Vec::new()) };
        // OK because writing to memory cannot fail; a compressor that fails has no memory, and what is not
        // compressed is answered.
        let written = Exposition::write(source, format, &mut compressor);
        if let Ok(body) = written.and_then(|()| compressor.finish()) {
            return body;
        }
    }
    Body { bytes: Exposition::encode(source, format).body, coding: None }
}

struct Compressor {
    coding: Coding,
    min_len: usize,
    state: State,
}

enum State {
    /// Nothing is written yet, or less than is worth compressing.
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    fn start(&mut self, plain: &[u8]) -> io::Result<()> {
        self.state = match self.coding {
            Coding::Gzip => State::Gzip(GzEncoder::new(Vec::new(), GZIP_LEVEL)),
            Coding::Zstd => State::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
        };
        self.write_all(plain)
    }

    fn finish(mut self) -> io::Result<Body> {
        if let State::Plain(plain) = &mut self.state
            && self.min_len == 0
        {
            let plain = std::mem::take(plain);
            self.start(&plain)?;
        }
        let coding = Some(self.coding);
        Ok(match self.state {
            State::Plain(bytes) => Body { bytes, coding: None },
            State::Gzip(encoder) => Body { bytes: encoder.finish()?, coding },
            State::Zstd(encoder) => Body { bytes: encoder.finish()?, coding },
        })
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Gzip(encoder) => return encoder.write(bytes),
            State::Zstd(encoder) => return encoder.write(bytes),
            State::Plain(plain) if plain.len() + bytes.len() < self.min_len => {
                plain.extend_from_slice(bytes);
            }
            State::Plain(plain) => {
                let plain = std::mem::take(plain);
                self.start(&plain)?;
                self.write_all(bytes)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Format;
    use crate::model::FamilySink;
    use proptest::prelude::*;

    #[test]
    fn the_header_picks_the_coding() {
        let (gzip, zstd) = (Some(Coding::Gzip), Some(Coding::Zstd));
        for (accept, coding, spares_small) in [
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
            assert_eq!(choose(accept), Choice { coding, spares_small }, "{accept}");
        }
    }

    /// Gauges under long names.
    struct Gauges(usize);

    impl Gatherer for Gauges {
        fn gather(&self, out: &mut dyn FamilySink) {
            for number in 0..self.0 {
                out.gauge(&format!("gauge_{number}_with_a_name_of_some_length"), "")
                    .sample(&[], 1.0);
            }
        }
    }

    fn unpack(body: &Body) -> Vec<u8> {
        let mut plain = Vec::new();
        match body.coding {
            None => return body.bytes.clone(),
            Some(Coding::Gzip) => {
                io::copy(&mut flate2::read::GzDecoder::new(&*body.bytes), &mut plain)
            }
            Some(Coding::Zstd) => {
                io::copy(&mut zstd::stream::read::Decoder::new(&*body.bytes).unwrap(), &mut plain)
            }
        }
        .unwrap();
        plain
    }

    #[test]
    fn what_is_unpacked_is_what_would_have_been_sent() {
        for count in [0, 1, 9, 20, 5000] {
            let plain = Exposition::encode(&Gauges(count), Format::OpenMetrics).body;
            for accept in ["gzip", "zstd"] {
                let body = encode(&Gauges(count), Format::OpenMetrics.into(), choose(accept));
                assert_eq!(unpack(&body), plain);
                assert_eq!(body.coding.is_some(), plain.len() >= MIN_COMPRESSED_LEN, "{count}");
                let wanted = [accept, ", identity;q=0"].concat();
                let body = encode(&Gauges(count), Format::OpenMetrics.into(), choose(&wanted));
                assert_eq!(unpack(&body), plain);
                assert_eq!(body.coding.map(Coding::as_str), Some(accept));
            }
        }
    }

    proptest! {
        #[test]
        fn any_header_is_answered(accept: String) {
            choose(&accept);
        }
    }
}
