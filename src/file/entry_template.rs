//! Entries that differ in one label value only, such as those of the buckets of a histogram.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]

use super::entry_kind::{self, CHECKSUM_LEN, EntryKind};
use super::key::{PADDED, SampleName, push_label, push_string, push_tail};
use super::layout::KEY_LEN_LEN;

/// The common bytes of entries, and what their checksums have in common: the common bytes are hashed once.
///
/// A checksum is that of the bytes before the text, of the text, and of those behind it. CRC-32 is linear: the state after
/// the bytes behind the text is the state before them, advanced by as many zeros, combined by exclusive or with what these
/// bytes yield from the state 0.
pub(crate) struct EntryTemplate {
    /// The place of the length of the key, and the key up to the text.
    head: Vec<u8>,
    /// The key behind the text, and the most spaces that pad a key.
    tail: Vec<u8>,
    /// The length of a key and the state after its head, for four lengths, chosen by the length.
    starts: [Option<(usize, u32)>; 4],
    /// The bytes of the tail, from the state 0, without the spaces.
    tail_state: u32,
    over_tail: Zeros,
}

impl EntryTemplate {
    /// A template for the values of the label `name`, which is not among `labels`. These are sorted by name.
    pub(crate) fn new(
        sample: SampleName<'_>,
        labels: &[(&str, &str)],
        name: &str,
        help: &str,
    ) -> EntryTemplate {
        let (mut head, mut tail) = (Vec::with_capacity(128), Vec::with_capacity(128));
        head.extend_from_slice(&[0; KEY_LEN_LEN]);
        sample.push_head(&mut head);
        let (before, after) = labels.split_at(labels.partition_point(|(other, _)| *other < name));
        for label in before {
            push_label(&mut head, *label);
            head.extend_from_slice(b", ");
        }
        push_string(&mut head, name);
        head.extend_from_slice(b": \"");
        tail.push(b'"');
        for label in after {
            tail.extend_from_slice(b", ");
            push_label(&mut tail, *label);
        }
        push_tail(&mut tail, help);
        let (tail_state, over_tail) = (entry_kind::crc_state(0, &tail), Zeros::new(tail.len()));
        tail.extend_from_slice(&[b' '; PADDED - 1]);
        EntryTemplate { head, tail, starts: [None; 4], tail_state, over_tail }
    }

    /// The length of a key with this text without the spaces.
    fn text_len(&self, text: &[u8]) -> usize {
        self.head.len() - KEY_LEN_LEN + text.len() + self.tail.len() - (PADDED - 1)
    }

    fn padding(&self, text: &[u8]) -> usize {
        self.key_len(text) - self.text_len(text)
    }

    /// The length of the key with this text, which is ASCII text that needs no escapes.
    pub(crate) fn key_len(&self, text: &[u8]) -> usize {
        self.text_len(text).next_multiple_of(PADDED)
    }

    /// The place of the length of the key, and the key up to the text.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The key behind this text.
    pub(crate) fn tail(&self, text: &[u8]) -> &[u8] {
        &self.tail[..self.tail.len() - (PADDED - 1) + self.padding(text)]
    }

    /// The checksum of the entry with this text. `head` is that of the template, with the length of the key.
    pub(crate) fn checksum(&mut self, head: &[u8], text: &[u8]) -> [u8; CHECKSUM_LEN] {
        let key_len = self.key_len(text);
        let start = &mut self.starts[key_len / PADDED % 4];
        let mut state = match *start {
            Some((len, state)) if len == key_len => state,
            _ => {
                let state = entry_kind::crc_state(u32::MAX, head);
                *start = Some((key_len, state));
                state
            }
        };
        state = text.iter().fold(state, |state, byte| next_state(state, *byte));
        state = self.over_tail.advance(state) ^ self.tail_state;
        state = (0..self.padding(text)).fold(state, |state, _| next_state(state, b' '));
        entry_kind::of_crc(EntryKind::Value, !state)
    }
}

/// The polynomial of CRC-32, reflected.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// The state after a bit 0.
const fn next_bit(state: u32) -> u32 {
    (state >> 1) ^ (POLYNOMIAL & (state & 1).wrapping_neg())
}

/// The state after one byte, from the state 0.
const BYTES: [u32; 256] = {
    let mut states = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut state, mut bit) = (byte as u32, 0);
        while bit < 8 {
            state = next_bit(state);
            bit += 1;
        }
        states[byte] = state;
        byte += 1;
    }
    states
};

fn next_state(state: u32, byte: u8) -> u32 {
    (state >> 8) ^ BYTES[usize::from(state as u8 ^ byte)]
}

/// Advances a state by a fixed number of bytes 0. This is linear, so a state is advanced four bits at a time.
struct Zeros([[u32; 16]; 8]);

impl Zeros {
    fn new(mut len: usize) -> Zeros {
        const SOME: [u8; 64] = [0; 64];
        let mut state = 1 << 31;
        while len > 0 {
            let now = len.min(SOME.len());
            state = entry_kind::crc_state(state, &SOME[..now]);
            len -= now;
        }
        // The state with only the next lower bit is the same one after a bit 0.
        let mut tables = [[0; 16]; 8];
        for table in tables.iter_mut().rev() {
            for bit in (0..4).rev() {
                table[1 << bit] = state;
                state = next_bit(state);
            }
            for nibble in 3usize..16 {
                table[nibble] =
                    table[nibble & (nibble - 1)] ^ table[nibble & nibble.wrapping_neg()];
            }
        }
        Zeros(tables)
    }

    fn advance(&self, state: u32) -> u32 {
        let nibbles = self.0.iter().enumerate();
        nibbles.fold(0, |sum, (at, table)| sum ^ table[(state >> (4 * at)) as usize % 16])
    }
}
