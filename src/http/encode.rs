//! Encodes the exposition of one response into its body, and compresses it where that was negotiated.
//!
//! Gathering, encoding, compressing and sending overlap. A compressor takes about 250 KiB (gzip) or 450 KiB (zstd) of
//! memory.

use std::io::{self, Write};
use std::mem;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::body::BodyWriter;
use super::coding::{Coding, CodingChoice};
use crate::exposition::{Exposition, Negotiated};
use crate::model::Gatherer;

/// Shorter expositions, in bytes, are not compressed: they fit into one packet.
const MIN_COMPRESSED_LEN: usize = 1024;
/// At this level compressing takes about as long as encoding.
const GZIP_LEVEL: Compression = Compression::fast();
/// At this level compressing takes about as long as encoding.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;
/// The logarithm of the window size. The default of the level, 19, takes 400 KiB more memory and compresses no
/// exposition better.
#[cfg(feature = "zstd")]
const ZSTD_WINDOW_LOG: u32 = 17;

/// Gathers the source and writes its exposition to a body.
///
/// # Errors
///
/// If no client is left, the source fails, or the compressor cannot be created.
pub(super) fn encode(
    source: &dyn Gatherer,
    format: Negotiated,
    choice: CodingChoice,
    body: BodyWriter,
) -> io::Result<()> {
    let stage = match choice.coding {
        Some(coding) => EncodingStage::Buffering(coding, Vec::new(), body),
        None => EncodingStage::Uncompressed(body),
    };
    let min_len = if choice.is_identity_accepted { MIN_COMPRESSED_LEN } else { 0 };
    let mut encoder = BodyEncoder { min_len, stage };
    Exposition::write(source, format, &mut encoder)?;
    encoder.finish()
}

/// Compresses a whole body.
///
/// # Errors
///
/// If the compressor cannot be created.
pub(super) fn compress(coding: Coding, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), GZIP_LEVEL);
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        #[cfg(feature = "zstd")]
        Coding::Zstd => zstd::stream::encode_all(bytes, ZSTD_LEVEL),
    }
}

/// Compresses what is written to it, from [`min_len`](BodyEncoder::min_len) bytes on.
struct BodyEncoder {
    min_len: usize,
    stage: EncodingStage,
}

enum EncodingStage {
    Uncompressed(BodyWriter),
    /// The first bytes, fewer than `min_len`; the body is still empty.
    Buffering(Coding, Vec<u8>, BodyWriter),
    Gzip(GzEncoder<BodyWriter>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::stream::write::Encoder<'static, BodyWriter>),
    /// The compressor could not be created.
    Failed,
}

impl BodyEncoder {
    /// Creates the compressor and writes the buffered bytes to it.
    fn start_compressor(&mut self) -> io::Result<()> {
        let (coding, buffered, body) = match mem::replace(&mut self.stage, EncodingStage::Failed) {
            EncodingStage::Buffering(coding, buffered, body) => {
                (coding, buffered, body.coding(coding))
            }
            stage => {
                self.stage = stage;
                return Ok(());
            }
        };
        self.stage = match coding {
            Coding::Gzip => EncodingStage::Gzip(GzEncoder::new(body, GZIP_LEVEL)),
            #[cfg(feature = "zstd")]
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(body, ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW_LOG)?;
                EncodingStage::Zstd(encoder)
            }
        };
        self.write_all(&buffered)
    }

    fn finish(mut self) -> io::Result<()> {
        if self.min_len == 0 {
            self.start_compressor()?;
        }
        match self.stage {
            EncodingStage::Uncompressed(body) => body.finish(),
            EncodingStage::Buffering(_, buffered, mut body) => {
                body.write_all(&buffered)?;
                body.finish()
            }
            EncodingStage::Gzip(encoder) => encoder.finish()?.finish(),
            #[cfg(feature = "zstd")]
            EncodingStage::Zstd(encoder) => encoder.finish()?.finish(),
            EncodingStage::Failed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for BodyEncoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stage {
            EncodingStage::Uncompressed(body) => body.write(bytes),
            EncodingStage::Gzip(encoder) => encoder.write(bytes),
            #[cfg(feature = "zstd")]
            EncodingStage::Zstd(encoder) => encoder.write(bytes),
            EncodingStage::Buffering(_, buffered, _)
                if buffered.len() + bytes.len() < self.min_len =>
            {
                buffered.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            EncodingStage::Buffering(..) => {
                self.start_compressor()?;
                self.write(bytes)
            }
            EncodingStage::Failed => Err(io::ErrorKind::BrokenPipe.into()),
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
    use super::super::request::Framing;
    use super::*;
    use crate::exposition::Format;
    use crate::model::FamilySink;
    use std::thread;

    /// So many gauges with long names.
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
        let choice = CodingChoice::new(accept);
        let writing = thread::spawn(move || {
            let result = encode(&Gauges(count), Format::OpenMetrics.into(), choice, body);
            drop(running);
            result
        });
        let head = head(&receiver).unwrap();
        let bytes = collect(receiver, head).unwrap();
        writing.join().unwrap().unwrap();
        Sent { bytes, coding: head.coding }
    }

    fn decompressed(sent: &Sent) -> Vec<u8> {
        let mut plain = Vec::new();
        match sent.coding {
            None => return sent.bytes.clone(),
            Some(Coding::Gzip) => {
                io::copy(&mut flate2::read::GzDecoder::new(&*sent.bytes), &mut plain)
            }
            #[cfg(feature = "zstd")]
            Some(Coding::Zstd) => {
                io::copy(&mut zstd::stream::read::Decoder::new(&*sent.bytes).unwrap(), &mut plain)
            }
        }
        .unwrap();
        plain
    }

    #[test]
    fn a_decompressed_body_equals_the_uncompressed_one() {
        for count in [0, 1, 9, 20, 5000, 50_000] {
            let plain = Exposition::encode(&Gauges(count), Format::OpenMetrics).body;
            assert!(send(count, "").bytes == plain, "{count}");
            for coding in Coding::ALL {
                let accept = coding.as_str();
                let sent = send(count, accept);
                assert!(decompressed(&sent) == plain, "{accept}, {count}");
                assert_eq!(sent.coding.is_some(), plain.len() >= MIN_COMPRESSED_LEN, "{count}");
                let sent = send(count, &[accept, ", identity;q=0"].concat());
                assert!(decompressed(&sent) == plain, "{accept}, {count}");
                assert_eq!(sent.coding.map(Coding::as_str), Some(accept));
            }
        }
    }

    /// The chunks of a body do not flush the compressor.
    #[test]
    fn a_chunked_body_is_one_compressed_stream() {
        let plain = Exposition::encode(&Gauges(150_000), Format::OpenMetrics).body;
        let mut whole = GzEncoder::new(Vec::new(), GZIP_LEVEL);
        whole.write_all(&plain).unwrap();
        let sent = send(150_000, "gzip");
        assert!(sent.bytes.len() > MAX_WHOLE_LEN);
        assert!(sent.bytes == whole.finish().unwrap());
    }
}
