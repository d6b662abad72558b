//! Compressed answers.
//!
//! The exposition is compressed while it is encoded, and sent while it is compressed. A compressor has some 250 KiB
//! (gzip) or 450 KiB (zstd).
//!
//! See: RFC 9110, section 12.5.3.

use std::io::{self, Write};
use std::mem;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::body::BodyWriter;
use crate::exposition::{Exposition, Negotiated};
use crate::model::Gatherer;

/// What is smaller, in bytes, fits into a packet anyway.
const MIN_COMPRESSED_LEN: usize = 1024;
/// What is read of a header, in clauses; the rest is ignored.
const MAX_CLAUSES: usize = 64;
/// Levels at which compressing costs about as much as encoding.
const GZIP_LEVEL: Compression = Compression::fast();
const ZSTD_LEVEL: i32 = 1;
/// How far back repetitions are found, as a power of two: that of the level, 19, takes 400 KiB more and compresses no
/// exposition better.
const ZSTD_WINDOW_LOG: u32 = 17;

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

/// Gathers everything into a body, compressed where that was chosen and is worth it.
///
/// Fails when nobody takes the body any more, or when the compressor cannot be had.
pub(super) fn write(
    source: &dyn Gatherer,
    format: Negotiated,
    choice: Choice,
    body: BodyWriter,
) -> io::Result<()> {
    let state = match choice.coding {
        Some(coding) => State::Held(coding, Vec::new(), body),
        None => State::Plain(body),
    };
    let min_len = if choice.spares_small { MIN_COMPRESSED_LEN } else { 0 };
    let mut compressor = Compressor { min_len, state };
    Exposition::write(source, format, &mut compressor)?;
    compressor.finish()
}

struct Compressor {
    min_len: usize,
    state: State,
}

enum State {
    Plain(BodyWriter),
    /// Nothing is written yet, or less than is worth compressing.
    Held(Coding, Vec<u8>, BodyWriter),
    Gzip(GzEncoder<BodyWriter>),
    Zstd(zstd::stream::write::Encoder<'static, BodyWriter>),
    /// Compressing could not begin.
    Failed,
}

impl Compressor {
    /// Begins to compress, with what was held back.
    fn start(&mut self) -> io::Result<()> {
        let (coding, plain, body) = match mem::replace(&mut self.state, State::Failed) {
            State::Held(coding, plain, body) => (coding, plain, body.coding(coding)),
            state => {
                self.state = state;
                return Ok(());
            }
        };
        self.state = match coding {
            Coding::Gzip => State::Gzip(GzEncoder::new(body, GZIP_LEVEL)),
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(body, ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW_LOG)?;
                State::Zstd(encoder)
            }
        };
        self.write_all(&plain)
    }

    fn finish(mut self) -> io::Result<()> {
        if self.min_len == 0 {
            self.start()?;
        }
        match self.state {
            State::Plain(body) => body.finish(),
            State::Held(_, plain, mut body) => {
                body.write_all(&plain)?;
                body.finish()
            }
            State::Gzip(encoder) => encoder.finish()?.finish(),
            State::Zstd(encoder) => encoder.finish()?.finish(),
            State::Failed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Plain(body) => body.write(bytes),
            State::Gzip(encoder) => encoder.write(bytes),
            State::Zstd(encoder) => encoder.write(bytes),
            State::Held(_, plain, _) if plain.len() + bytes.len() < self.min_len => {
                plain.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            State::Held(..) => {
                self.start()?;
                self.write(bytes)
            }
            State::Failed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::MAX_WHOLE_LEN;
    use super::super::body::tests::{begin, collect, head};
    use super::super::wanted::Framing;
    use super::*;
    use crate::exposition::Format;
    use crate::model::FamilySink;
    use proptest::prelude::*;
    use std::thread;

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

    struct Sent {
        bytes: Vec<u8>,
        coding: Option<Coding>,
    }

    fn send(count: usize, accept: &str) -> Sent {
        let (running, body, receiver) = begin(Framing::Chunked);
        let choice = choose(accept);
        let writing = thread::spawn(move || {
            let result = write(&Gauges(count), Format::OpenMetrics.into(), choice, body);
            drop(running);
            result
        });
        let head = head(&receiver).unwrap();
        let bytes = collect(receiver, head).unwrap();
        writing.join().unwrap().unwrap();
        Sent { bytes, coding: head.coding }
    }

    fn unpack(sent: &Sent) -> Vec<u8> {
        let mut plain = Vec::new();
        match sent.coding {
            None => return sent.bytes.clone(),
            Some(Coding::Gzip) => {
                io::copy(&mut flate2::read::GzDecoder::new(&*sent.bytes), &mut plain)
            }
            Some(Coding::Zstd) => {
                io::copy(&mut zstd::stream::read::Decoder::new(&*sent.bytes).unwrap(), &mut plain)
            }
        }
        .unwrap();
        plain
    }

    #[test]
    fn what_is_unpacked_is_what_would_have_been_sent() {
        for count in [0, 1, 9, 20, 5000, 50_000] {
            let plain = Exposition::encode(&Gauges(count), Format::OpenMetrics).body;
            assert!(send(count, "").bytes == plain, "{count}");
            for accept in ["gzip", "zstd"] {
                let sent = send(count, accept);
                assert!(unpack(&sent) == plain, "{accept}, {count}");
                assert_eq!(sent.coding.is_some(), plain.len() >= MIN_COMPRESSED_LEN, "{count}");
                let sent = send(count, &[accept, ", identity;q=0"].concat());
                assert!(unpack(&sent) == plain, "{accept}, {count}");
                assert_eq!(sent.coding.map(Coding::as_str), Some(accept));
            }
        }
    }

    /// Chunks of a body begin no blocks of the compressor.
    #[test]
    fn what_is_sent_in_chunks_is_compressed_as_one() {
        let plain = Exposition::encode(&Gauges(150_000), Format::OpenMetrics).body;
        let mut whole = GzEncoder::new(Vec::new(), GZIP_LEVEL);
        whole.write_all(&plain).unwrap();
        let sent = send(150_000, "gzip");
        assert!(sent.bytes.len() > MAX_WHOLE_LEN);
        assert!(sent.bytes == whole.finish().unwrap());
    }

    proptest! {
        #[test]
        fn any_header_is_answered(accept: String) {
            choose(&accept);
        }
    }
}
