//! Encodes base64.
//!
//! See: RFC 4648, sections 4 and 5.

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The standard alphabet, padded.
pub(super) fn standard(bytes: &[u8]) -> String {
    let mut text = encode(bytes, ['+', '/']);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// The alphabet for URLs, without padding.
pub(super) fn url_safe(bytes: &[u8]) -> String {
    encode(bytes, ['-', '_'])
}

fn encode(bytes: &[u8], last: [char; 2]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        // Each byte begins a character, and the last one ends another.
        for at in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * at) & 63) as usize;
            let letter = LETTERS.get(index).map(|letter| char::from(*letter));
            text.push(letter.unwrap_or(last[index.saturating_sub(LETTERS.len())]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648, section 10.
    #[test]
    fn the_vectors_of_the_standard_are_encoded() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(standard(text.as_bytes()), encoded);
            assert_eq!(url_safe(text.as_bytes()), encoded.trim_end_matches('='));
        }
        assert_eq!(
            (standard(&[0xfb, 0xff]), url_safe(&[0xfb, 0xff])),
            ("+/8=".into(), "-_8".into())
        );
    }
}
