//! Reads lines and delimited messages of bounded length.

use std::io::{self, BufRead, Read as _};

use super::error::Fault;

/// Reads one line or message at a time into a reused buffer.
pub(super) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    max_len: usize,
    number: u64,
    is_terminated: bool,
}

/// An error, and the index of the byte of the line or message where it is.
pub(super) type FaultAt = (usize, Fault);

impl<R: BufRead> Lines<R> {
    pub(super) fn new(source: R, max_len: usize) -> Lines<R> {
        Lines { source, buffer: Vec::new(), max_len, number: 0, is_terminated: true }
    }

    pub(super) fn set_max_len(&mut self, max_len: usize) {
        self.max_len = max_len;
    }

    /// The number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the line that was read last ended with a line feed.
    pub(super) fn is_terminated(&self) -> bool {
        self.is_terminated
    }

    /// Reads the next line. Returns `false` at the end of the source.
    pub(super) fn advance(&mut self) -> Result<bool, FaultAt> {
        self.buffer.clear();
        self.number += 1;
        // One byte for the line feed, and one more to detect that the line is too long.
        let most = (self.max_len as u64).saturating_add(2);
        let mut bounded = (&mut self.source).take(most);
        let read: io::Result<usize> = bounded.read_until(b'\n', &mut self.buffer);
        let count = read.map_err(|error| (0, Fault::Io(error)))?;
        if count == 0 {
            return Ok(false);
        }
        self.is_terminated = self.buffer.last() == Some(&b'\n');
        if self.is_terminated {
            self.buffer.pop();
        }
        if self.buffer.len() > self.max_len {
            return Err((0, Fault::Limit("the length of a line", self.max_len)));
        }
        Ok(true)
    }

    /// Reads the next length-delimited message. Returns `false` at the end of the source.
    #[cfg(feature = "protobuf")]
    pub(super) fn advance_message(&mut self) -> Result<bool, FaultAt> {
        self.number += 1;
        self.buffer.clear();
        let mut len = 0u64;
        let mut shift = 0;
        loop {
            let mut byte = [0u8];
            match self.source.by_ref().take(1).read(&mut byte) {
                Ok(0) if shift == 0 => return Ok(false),
                Ok(0) => return Err((0, Fault::Expected("the rest of the length of a message"))),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err((0, Fault::Io(error))),
            }
            len |= u64::from(byte[0] & 0x7F) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift > 28 {
                return Err((0, Fault::Limit("the length of a message", self.max_len)));
            }
        }
        if len > self.max_len as u64 {
            return Err((0, Fault::Limit("the length of a message", self.max_len)));
        }
        let mut bounded = self.source.by_ref().take(len);
        let count = bounded.read_to_end(&mut self.buffer).map_err(|e| (0, Fault::Io(e)))?;
        if (count as u64) < len {
            return Err((count, Fault::Expected("the rest of the message")));
        }
        Ok(true)
    }

    /// The message that was read last.
    #[cfg(feature = "protobuf")]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The length in bytes of the line or message that was read last.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// The line that was read last, without its line feed.
    pub(super) fn line(&self) -> Result<&str, FaultAt> {
        std::str::from_utf8(&self.buffer).map_err(|error| (error.valid_up_to(), Fault::NotUtf8))
    }

    /// The column, in characters from 1, of a byte of the line that was read last.
    pub(super) fn column(&self, at: usize) -> u64 {
        let before = &self.buffer[..at.min(self.buffer.len())];
        // Counts the bytes that are not UTF-8 continuation bytes.
        before.iter().filter(|byte| **byte & 0xC0 != 0x80).count() as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_a_line_feed_or_with_the_source() {
        let mut lines = Lines::new(&b"a\n\n\xc3\xa9b"[..], 3);
        assert!(lines.advance().unwrap());
        assert_eq!(lines.line().unwrap(), "a");
        assert!(lines.advance().unwrap());
        assert_eq!(lines.line().unwrap(), "");
        assert!(lines.advance().unwrap());
        assert_eq!(lines.line().unwrap(), "\u{e9}b");
        assert_eq!((lines.number(), lines.is_terminated()), (3, false));
        assert_eq!([0, 2, 3, 9].map(|at| lines.column(at)), [1, 2, 3, 3]);
        assert!(!lines.advance().unwrap());
    }

    #[test]
    fn a_line_above_the_limit_is_an_error_and_is_not_read_to_its_end() {
        let mut lines = Lines::new(io::BufReader::new(io::repeat(b'x')), 4);
        let (at, fault) = lines.advance().unwrap_err();
        assert_eq!(at, 0);
        assert_eq!(fault.to_string(), "the length of a line is above the limit of 4");
        for page in [&b"12345"[..], b"12345\n"] {
            assert!(Lines::new(page, 5).advance().unwrap());
            assert!(Lines::new(page, 4).advance().is_err());
        }
    }
}
