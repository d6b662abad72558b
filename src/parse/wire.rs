//! Decodes the wire format of protobuf in place.
//!
//! Groups, which are deprecated, are refused. Callers decode nested messages one level at a time, so the code
//! bounds the depth.
//!
//! See: <https://protobuf.dev/programming-guides/encoding/>

use super::error::Fault;
use super::lines::FaultAt;

/// The value of a field.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(WireMessage<'a>),
}

/// The bytes of a message, string or packed field, and their offset in the outermost message.
#[derive(Clone, Copy)]
pub(super) struct WireMessage<'a> {
    bytes: &'a [u8],
    offset: usize,
}

const MAX_VARINT_LEN: usize = 10;

impl<'a> WireMessage<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> WireMessage<'a> {
        WireMessage { bytes, offset: 0 }
    }

    pub(super) fn fail<T>(self, what: &str) -> Result<T, FaultAt> {
        Err((self.offset, Fault::Syntax(what.to_owned())))
    }

    /// The bytes as a string.
    pub(super) fn text(self) -> Result<&'a str, FaultAt> {
        std::str::from_utf8(self.bytes)
            .map_err(|error| (self.offset + error.valid_up_to(), Fault::NotUtf8))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], FaultAt> {
        let Some((taken, rest)) = self.bytes.split_at_checked(len) else {
            return self.fail("the message is truncated");
        };
        self.bytes = rest;
        self.offset += len;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, FaultAt> {
        let mut value = 0u64;
        for at in 0..MAX_VARINT_LEN {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.fail("a varint has more than 10 bytes")
    }

    /// The next varint of a packed field, or `None` at its end.
    pub(super) fn packed_varint(&mut self) -> Result<Option<u64>, FaultAt> {
        if self.bytes.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    /// The next 8-byte number of a packed field, or `None` at its end.
    pub(super) fn packed_fixed64(&mut self) -> Result<Option<u64>, FaultAt> {
        if self.bytes.is_empty() { Ok(None) } else { self.fixed64().map(Some) }
    }

    fn fixed64(&mut self) -> Result<u64, FaultAt> {
        let bytes = self.take(8)?;
        // OK because `take` returned 8 bytes.
        Ok(u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    /// The number and the value of the next field, or `None` at the end of the message.
    pub(super) fn field(&mut self) -> Result<Option<(u64, Value<'a>)>, FaultAt> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed64()?),
            2 => {
                let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let offset = self.offset;
                Value::Bytes(WireMessage { bytes: self.take(len)?, offset })
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return self.fail("unsupported wire type"),
        };
        Ok(Some((tag >> 3, value)))
    }
}

impl<'a> Value<'a> {
    /// The value of a `double`.
    pub(super) fn double(self) -> Option<f64> {
        match self {
            Value::Fixed64(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    /// The bits of an integer of any varint type.
    pub(super) fn integer(self) -> Option<u64> {
        match self {
            Value::Varint(value) => Some(value),
            _ => None,
        }
    }

    /// The bytes of a string or a nested message.
    pub(super) fn message(self) -> Option<WireMessage<'a>> {
        match self {
            Value::Bytes(message) => Some(message),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_truncated_messages_are_errors() {
        let mut message =
            WireMessage::new(b"\x08\x96\x01\x12\x02hi\x19\0\0\0\0\0\0\xf0\x3f\x25abcd");
        let (number, value) = message.field().unwrap().unwrap();
        assert_eq!((number, value.integer()), (1, Some(150)));
        let (number, value) = message.field().unwrap().unwrap();
        assert_eq!((number, value.message().unwrap().text().unwrap()), (2, "hi"));
        let (number, value) = message.field().unwrap().unwrap();
        assert_eq!((number, value.double()), (3, Some(1.0)));
        assert!(matches!(message.field().unwrap(), Some((4, Value::Fixed32))));
        assert!(message.field().unwrap().is_none());

        let too_long = [0xFF; 11];
        for bytes in [&b"\x08"[..], b"\x12\x05hi", b"\x19\0", b"\x25a", b"\x0b", &too_long] {
            assert!(WireMessage::new(bytes).field().is_err(), "{bytes:?}");
        }
    }
}
