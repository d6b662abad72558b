//! Keys: the JSON text that names a sample inside a file.
//!
//! Keys are written as the Python client writes them since 0.16.0: `[family, sample, {labels}, help]` with the
//! spacing, escapes and label order of its `json.dumps(..., sort_keys=True)`. That form is read, those
//! of all earlier releases, and equivalent JSON texts. Decoding never panics: any bytes yield a
//! key or a [`KeyError`], and memory is bounded by the bytes read.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used))]

use std::borrow::Cow;
use std::fmt;

use crate::model::name::MAX_LABELS;

/// Label names and values in the order of the text.
type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A decoded key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key<'a> {
    pub(crate) family: Cow<'a, str>,
    pub(crate) sample: Cow<'a, str>,
    pub(crate) labels: Pairs<'a>,
    /// `None` in layouts without help.
    pub(crate) help: Option<Cow<'a, str>>,
}

/// The shape of the array of a key, which distinguishes releases of the Python client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arity {
    /// `[family, sample, [names], [values]]`
    Lists,
    /// `[family, sample, {labels}]`
    Three,
    /// `[family, sample, {labels}, help]`
    Four,
}

/// Why a key cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    NotUtf8,
    /// Not a JSON array of a supported shape. The position is a byte offset in the key.
    Malformed {
        at: usize,
    },
    /// The lists of label names and label values differ in length.
    LabelsUneven,
    TooManyLabels,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::NotUtf8 => f.write_str("key is not UTF-8"),
            KeyError::Malformed { at } => write!(f, "key is malformed at byte {at}"),
            KeyError::LabelsUneven => {
                f.write_str("key has unequal numbers of label names and values")
            }
            KeyError::TooManyLabels => write!(f, "key has more than {MAX_LABELS} labels"),
        }
    }
}

impl std::error::Error for KeyError {}

/// The name of a sample: that of its family with a suffix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SampleName<'a> {
    pub(crate) family: &'a str,
    pub(crate) suffix: &'a str,
}

impl SampleName<'_> {
    /// Appends the start of a key, up to the labels.
    pub(super) fn push_head(self, out: &mut Vec<u8>) {
        let SampleName { family, suffix } = self;
        out.extend_from_slice(b"[\"");
        let name = out.len();
        push_text(out, family);
        let name = name..out.len();
        out.extend_from_slice(b"\", \"");
        out.extend_from_within(name);
        push_text(out, suffix);
        out.extend_from_slice(b"\", {");
    }
}

/// Appends a key to `out`, padded with spaces to a multiple of 8 bytes. `labels` are sorted by name.
pub(crate) fn encode<'a>(
    out: &mut Vec<u8>,
    family: &str,
    sample: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    help: &str,
) {
    let start = out.len();
    out.push(b'[');
    push_string(out, family);
    out.extend_from_slice(b", ");
    push_string(out, sample);
    out.extend_from_slice(b", {");
    push_rest(out, start, labels, help);
}

/// The same for a sample whose name is that of the family with a suffix.
pub(crate) fn encode_sample<'a>(
    out: &mut Vec<u8>,
    name: SampleName<'_>,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    help: &str,
) {
    let start = out.len();
    name.push_head(out);
    push_rest(out, start, labels, help);
}

/// Appends the labels and the rest of a key that begins at `start`.
fn push_rest<'a>(
    out: &mut Vec<u8>,
    start: usize,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    help: &str,
) {
    for (at, label) in labels.enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        push_label(out, label);
    }
    push_tail(out, help);
    pad(out, start);
}

pub(super) fn push_label(out: &mut Vec<u8>, (name, value): (&str, &str)) {
    push_string(out, name);
    out.extend_from_slice(b": ");
    push_string(out, value);
}

/// Appends what follows the labels.
pub(super) fn push_tail(out: &mut Vec<u8>, help: &str) {
    out.extend_from_slice(b"}, ");
    push_string(out, help);
    out.push(b']');
}

/// The lengths of keys are multiples of this.
pub(super) const PADDED: usize = 8;

/// Pads a key that begins at `start`.
fn pad(out: &mut Vec<u8>, start: usize) {
    let len = (out.len() - start).next_multiple_of(PADDED);
    out.resize(start + len, b' ');
}

/// Appends a JSON string in ASCII, with the escapes that Python chooses.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_text(out, text);
    out.push(b'"');
}

/// Appends the text of such a string without its quotes.
fn push_text(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_escaped(out, text);
    }
}

/// Whether a JSON string has these bytes as they are. Most names and values are short.
fn is_plain(bytes: &[u8]) -> bool {
    let special = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        special_bytes(word) | is_byte(word, 0x7f) | word
    };
    // The last 8 bytes overlap those before them.
    let last = bytes.last_chunk().copied().unwrap_or_else(|| {
        let mut word = [b' '; 8];
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        word
    });
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(special(&last), |found, word| found | special(word)) & HIGH_BITS == 0
}

#[cold]
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for char in text.chars() {
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            ' '..='~' => out.push(char as u8),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let hex = |shift: u32| {
                        char::from_digit(u32::from(*unit >> shift) & 0xf, 16)
                            .map_or(b'0', |c| c as u8)
                    };
                    out.extend_from_slice(b"\\u");
                    out.extend([hex(12), hex(8), hex(4), hex(0)]);
                }
            }
        }
    }
}

/// Decodes a key, which spaces may follow.
pub(crate) fn decode(key: &[u8]) -> Result<Key<'_>, KeyError> {
    let text = std::str::from_utf8(key).map_err(|_| KeyError::NotUtf8)?;
    let mut parser = Parser { text, at: 0 };
    let key = parser.key()?;
    parser.skip_space();
    if parser.at == text.len() { Ok(key) } else { Err(parser.malformed()) }
}

/// Returns the shape of a key; `None` if it cannot be decoded.
pub(crate) fn arity(key: &[u8]) -> Option<Arity> {
    let text = std::str::from_utf8(key).ok()?;
    let mut parser = Parser { text, at: 0 };
    let key = parser.key().ok()?;
    let lists = {
        // After the two strings, a bracket or a brace opens the labels.
        let mut parser = Parser { text, at: 0 };
        parser.expect(b'[').ok()?;
        parser.string().ok()?;
        parser.expect(b',').ok()?;
        parser.string().ok()?;
        parser.expect(b',').ok()?;
        parser.skip_space();
        parser.peek() == Some(b'[')
    };
    Some(match (lists, key.help.is_some()) {
        (true, _) => Arity::Lists,
        (false, false) => Arity::Three,
        (false, true) => Arity::Four,
    })
}

/// A parser of the shapes of JSON that keys have.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// The value 1 in each byte.
const EACH: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = EACH << 7;

/// Sets the highest bit of the first byte below `limit`, and perhaps of bytes behind it. Other bits are arbitrary.
fn below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(EACH * limit) & !word
}

/// The same for the first byte that is `byte`.
fn is_byte(word: u64, byte: u8) -> u64 {
    below(word ^ (EACH * u64::from(byte)), 1)
}

/// The same for the first quote, backslash or control character.
fn special_bytes(word: u64) -> u64 {
    is_byte(word, b'"') | is_byte(word, b'\\') | below(word, 0x20)
}

/// Returns how many bytes precede the first quote, backslash or control character. Compares 8 bytes at a time, as
/// strings in keys are long.
fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let found = special_bytes(u64::from_le_bytes(*word)) & HIGH_BITS;
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    bytes.len() - rest.len() + stop.unwrap_or(rest.len())
}

impl<'a> Parser<'a> {
    fn malformed(&self) -> KeyError {
        KeyError::Malformed { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Consumes `byte` if it is next, after spaces. Returns whether it was.
    fn accept(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), KeyError> {
        if self.accept(byte) { Ok(()) } else { Err(self.malformed()) }
    }

    fn key(&mut self) -> Result<Key<'a>, KeyError> {
        self.expect(b'[')?;
        let family = self.string()?;
        self.expect(b',')?;
        let sample = self.string()?;
        self.expect(b',')?;
        let (labels, help) = if self.accept(b'[') {
            let names = self.list()?;
            self.expect(b',')?;
            self.expect(b'[')?;
            let values = self.list()?;
            if names.len() != values.len() {
                return Err(KeyError::LabelsUneven);
            }
            (names.into_iter().zip(values).collect(), None)
        } else {
            self.expect(b'{')?;
            let labels = self.object()?;
            let help = if self.accept(b',') { Some(self.string()?) } else { None };
            (labels, help)
        };
        self.expect(b']')?;
        Ok(Key { family, sample, labels, help })
    }

    /// Parses an array of strings after its opening bracket.
    fn list(&mut self) -> Result<Vec<Cow<'a, str>>, KeyError> {
        let mut items = Vec::new();
        if self.accept(b']') {
            return Ok(items);
        }
        loop {
            if items.len() == MAX_LABELS {
                return Err(KeyError::TooManyLabels);
            }
            items.push(self.string()?);
            if self.accept(b']') {
                return Ok(items);
            }
            self.expect(b',')?;
        }
    }

    /// Parses an object of strings after its opening brace.
    fn object(&mut self) -> Result<Pairs<'a>, KeyError> {
        let mut items = Vec::new();
        if self.accept(b'}') {
            return Ok(items);
        }
        loop {
            if items.len() == MAX_LABELS {
                return Err(KeyError::TooManyLabels);
            }
            let name = self.string()?;
            self.expect(b':')?;
            items.push((name, self.string()?));
            if self.accept(b'}') {
                return Ok(items);
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, KeyError> {
        self.expect(b'"')?;
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let plain = rest.get(..plain_len(rest.as_bytes())).unwrap_or_default();
        self.at += plain.len();
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Cow::Borrowed(plain))
            }
            Some(b'\\') => self.escaped(plain.to_owned()).map(Cow::Owned),
            _ => Err(self.malformed()),
        }
    }

    /// Parses the rest of a string with escapes. `text` is the part before the first escape.
    fn escaped(&mut self, mut text: String) -> Result<String, KeyError> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(char) = rest.chars().next() else {
                return Err(self.malformed());
            };
            match char {
                '"' => {
                    self.at += 1;
                    return Ok(text);
                }
                '\\' => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                '\0'..' ' => return Err(self.malformed()),
                _ => {
                    self.at += char.len_utf8();
                    text.push(char);
                }
            }
        }
    }

    /// Parses an escape after its backslash. A lone surrogate becomes U+FFFD.
    fn escape(&mut self) -> Result<char, KeyError> {
        let letter = self.peek().ok_or_else(|| self.malformed())?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => letter as char,
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let unit = self.hex4()?;
                let rest = self.text.get(self.at..).unwrap_or_default();
                if (0xd800..0xdc00).contains(&unit) && rest.starts_with("\\u") {
                    let before = self.at;
                    self.at += 2;
                    let low = self.hex4()?;
                    if (0xdc00..0xe000).contains(&low) {
                        let char = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        return Ok(char::from_u32(char).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = before;
                }
                char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.malformed()),
        })
    }

    fn hex4(&mut self) -> Result<u32, KeyError> {
        let digits =
            self.text.as_bytes().get(self.at..self.at + 4).ok_or_else(|| self.malformed())?;
        let mut unit = 0;
        for &digit in digits {
            let digit = (digit as char).to_digit(16).ok_or_else(|| self.malformed())?;
            unit = unit * 16 + digit;
        }
        self.at += 4;
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_text_ends_at_the_first_special_byte(
            bytes in proptest::collection::vec(
                prop_oneof![4 => any::<u8>(), 1 => Just(0x20), 1 => Just(0x1f), 1 => Just(b'#')],
                0..40,
            ),
        ) {
            for start in 0..bytes.len() {
                let bytes = &bytes[start..];
                let stop = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
                prop_assert_eq!(plain_len(bytes), stop.unwrap_or(bytes.len()));
            }
        }
    }

    fn encoded(family: &str, sample: &str, labels: &[(&str, &str)], help: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, family, sample, labels.iter().copied(), help);
        out
    }

    #[test]
    fn a_key_of_a_sample_name_is_that_of_the_whole_name() {
        let (mut from_name, name) = (vec![7], SampleName { family: "size", suffix: "_bucket" });
        encode_sample(&mut from_name, name, [("a", "\u{e9}")].into_iter(), "Help \"x\".");
        assert_eq!(
            from_name[1..],
            encoded("size", "size_bucket", &[("a", "\u{e9}")], "Help \"x\".")
        );
    }

    #[test]
    fn text_is_plain_without_special_bytes_wherever_they_are() {
        for byte in 0..=255 {
            let is_special = !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\');
            for at in 0..19 {
                let mut text = [b'a'; 19];
                text[at] = byte;
                assert_eq!(is_plain(&text), !is_special, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn a_key_is_written_byte_for_byte_as_the_python_client_writes_it() {
        let key = encoded(
            "c",
            "c_total",
            &[("a", "y"), ("b", "x\"\n\\\u{e9}\u{1f600}\u{7f}/")],
            "help c",
        );
        let python =
            br#"["c", "c_total", {"a": "y", "b": "x\"\n\\\u00e9\ud83d\ude00\u007f/"}, "help c"]"#;
        assert_eq!(&key[..python.len()], python);
        assert!(key[python.len()..].iter().all(|&byte| byte == b' '));
        assert_eq!(key.len() % 8, 0);
    }

    #[test]
    fn keys_of_every_shape_are_decoded() {
        for (text, shape) in [
            (r#"["f", "s", ["a", "b"], ["1", "2"]]"#, Arity::Lists),
            (r#"["f", "s", {"a": "1", "b": "2"}]"#, Arity::Three),
            (r#"["f","s",{"a":"1","b":"2"},"h"]  "#, Arity::Four),
        ] {
            let key = decode(text.as_bytes()).unwrap();
            assert_eq!((&*key.family, &*key.sample), ("f", "s"));
            assert_eq!(key.labels, [("a".into(), "1".into()), ("b".into(), "2".into())]);
            assert_eq!(key.help.as_deref(), (shape == Arity::Four).then_some("h"));
            assert_eq!(arity(text.as_bytes()), Some(shape));
        }
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        let key = decode(br#"["\ud800", "\udc00\ud83d\ude00", {}, "\ud800x"]"#).unwrap();
        assert_eq!((&*key.family, &*key.sample), ("\u{fffd}", "\u{fffd}\u{1f600}"));
        assert_eq!(key.help.as_deref(), Some("\u{fffd}x"));
    }

    #[test]
    fn malformed_keys_are_refused_with_their_position() {
        for (text, error) in [
            (&b"\xff"[..], KeyError::NotUtf8),
            (b"", KeyError::Malformed { at: 0 }),
            (b"{}", KeyError::Malformed { at: 0 }),
            (b"[1]", KeyError::Malformed { at: 1 }),
            (br#"["a", "b", {"c": 1}]"#, KeyError::Malformed { at: 17 }),
            (br#"["a", "b", {}, "h"] x"#, KeyError::Malformed { at: 20 }),
            (br#"["a", "b", ["x"], []]"#, KeyError::LabelsUneven),
            (br#"["a", "b\u00"#, KeyError::Malformed { at: 10 }),
        ] {
            assert_eq!(decode(text), Err(error), "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn an_encoded_key_decodes_to_the_same_key(
            family: String, sample: String, help: String,
            labels: std::collections::BTreeMap<String, String>,
        ) {
            let pairs: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            prop_assume!(pairs.len() <= MAX_LABELS);
            let text = encoded(&family, &sample, &pairs, &help);
            let key = decode(&text).unwrap();
            prop_assert_eq!((&*key.family, &*key.sample), (&*family, &*sample));
            prop_assert_eq!(key.help.as_deref(), Some(&*help));
            let read: Vec<_> = key.labels.iter().map(|(n, v)| (&**n, &**v)).collect();
            prop_assert_eq!(read, pairs);
            let python: serde_json::Value = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(python[3].as_str(), Some(&*help));
        }

        #[test]
        fn any_bytes_yield_a_key_or_an_error(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn any_text_in_brackets_yields_an_arity_or_none(text in r#"\[("[a-z\\u"]{0,6}",? ?|[\[\]{}:,]){0,8}\]"#) {
            let _ = arity(text.as_bytes());
        }
    }
}
