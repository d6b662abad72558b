//! Encodes the wire format of protobuf.
//!
//! See: <https://protobuf.dev/programming-guides/encoding/>

/// The wire type of a field.
#[derive(Clone, Copy)]
pub(super) enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
}

pub(super) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_tag(out: &mut Vec<u8>, field: u32, wire_type: WireType) {
    push_varint(out, u64::from(field << 3 | wire_type as u32));
}

/// Appends a field of type `uint64`, `uint32`, `bool`, an enum, or a non-negative `int64`.
pub(super) fn push_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    push_tag(out, field, WireType::Varint);
    push_varint(out, value);
}

/// Appends a field of type `int64` or `int32`.
pub(super) fn push_int(out: &mut Vec<u8>, field: u32, value: i64) {
    push_uint(out, field, value as u64);
}

/// Appends a field of type `sint64` or `sint32`.
pub(super) fn push_sint(out: &mut Vec<u8>, field: u32, value: i64) {
    push_uint(out, field, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a field of type `double`.
pub(super) fn push_double(out: &mut Vec<u8>, field: u32, value: f64) {
    push_tag(out, field, WireType::Fixed64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of type `string`, the concatenation of `text` and `suffix`.
pub(super) fn push_text(out: &mut Vec<u8>, field: u32, text: &str, suffix: &str) {
    push_tag(out, field, WireType::Bytes);
    push_varint(out, (text.len() + suffix.len()) as u64);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
}

/// Appends a message whose fields `write` appends. One byte is reserved for the length, which suffices for most
/// messages; the fields of longer ones are moved.
pub(super) fn push_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    push_tag(out, field, WireType::Bytes);
    let at = out.len();
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    if len < 0x80 {
        out[at] = len as u8;
        return;
    }
    let start = out.len();
    push_varint(out, len as u64);
    let width = out.len() - start;
    // Moves the length from behind the fields to their front, and removes the reserved byte.
    out[at..].rotate_right(width);
    out.remove(at + width);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_encoding_guide_shows() {
        let mut out = Vec::new();
        push_uint(&mut out, 1, 150);
        push_text(&mut out, 2, "test", "ing");
        push_sint(&mut out, 3, -2);
        push_double(&mut out, 4, 1.0);
        push_int(&mut out, 5, -1);
        let wanted = b"\x08\x96\x01\x12\x07testing\x18\x03\x21\0\0\0\0\0\0\xf0\x3f\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(out, wanted);
    }

    #[test]
    fn messages_of_any_length_are_length_prefixed() {
        for len in [0, 1, 127, 128, 300, 20_000] {
            let text = vec![b'x'; len];
            let (mut nested, mut flat) = (vec![7], vec![7]);
            push_message(&mut nested, 3, |out| out.extend_from_slice(&text));
            push_text(&mut flat, 3, std::str::from_utf8(&text).unwrap(), "");
            assert_eq!(nested, flat);
        }
    }
}
