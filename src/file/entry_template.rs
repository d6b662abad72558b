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
    /// The head before the last change of the template.
    former: Vec<u8>,
    /// The key behind the text, and the most spaces that pad a key.
    tail: Vec<u8>,
    /// The length of a key and the state after its head, for four lengths, chosen by the length.
    starts: [Option<(usize, u32)>; 4],
    /// The bytes of the tail, from the state 0, without the spaces.
    tail_state: u32,
    over_tail: Zeros,
}

/// The lengths of the key of an entry.
#[derive(Clone, Copy)]
pub(crate) struct KeyLen {
    /// A multiple of [`PADDED`].
    pub(crate) padded: usize,
    spaces: usize,
}

impl EntryTemplate {
    pub(crate) fn new() -> EntryTemplate {
        EntryTemplate {
            head: Vec::new(),
            former: Vec::new(),
            tail: Vec::new(),
            starts: [None; 4],
            tail_state: 0,
            over_tail: Zeros::new(0),
        }
    }

    /// Makes it a template for the values of the label `name`, which is not among `labels`. These are sorted by name.
    ///
    /// What it has in common with the former content is not computed again: series of one family follow each other.
    pub(crate) fn set(
        &mut self,
        sample: SampleName<'_>,
        labels: &[(&str, &str)],
        name: &str,
        help: &str,
    ) {
        std::mem::swap(&mut self.head, &mut self.former);
        let (head, tail) = (&mut self.head, &mut self.tail);
        head.clear();
        head.extend_from_slice(&[0; KEY_LEN_LEN]);
        sample.push_head(head);
        let (before, after) = labels.split_at(labels.partition_point(|(other, _)| *other < name));
        for label in before {
            push_label(head, *label);
            head.extend_from_slice(b", ");
        }
        push_string(head, name);
        head.extend_from_slice(b": \"");
        tail.clear();
        tail.push(b'"');
        for label in after {
            tail.extend_from_slice(b", ");
            push_label(tail, *label);
        }
        push_tail(tail, help);
        if *head != self.former {
            self.starts = [None; 4];
        }
        self.tail_state = entry_kind::crc_state(0, tail);
        if tail.len() != self.over_tail.len {
            self.over_tail = Zeros::new(tail.len());
        }
        tail.extend_from_slice(&[b' '; PADDED - 1]);
    }

    /// The lengths of the key with this text, which is ASCII text that needs no escapes.
    pub(crate) fn key_len(&self, text: &[u8]) -> KeyLen {
        let len = self.head.len() - KEY_LEN_LEN + text.len() + self.over_tail.len;
        let padded = len.next_multiple_of(PADDED);
        KeyLen { padded, spaces: padded - len }
    }

    /// The place of the length of the key, and the key up to the text.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The key behind the text.
    pub(crate) fn tail(&self, key_len: KeyLen) -> &[u8] {
        &self.tail[..self.over_tail.len + key_len.spaces]
    }

    /// The checksum of the entry with this text. `entry` begins with the head, with the length of the key.
    pub(crate) fn checksum(
        &mut self,
        entry: &[u8],
        text: &[u8],
        key_len: KeyLen,
    ) -> [u8; CHECKSUM_LEN] {
        let start = &mut self.starts[key_len.padded / PADDED % 4];
        let mut state = match *start {
            Some((len, state)) if len == key_len.padded => state,
            _ => {
                let state = entry_kind::crc_state(u32::MAX, &entry[..self.head.len()]);
                *start = Some((key_len.padded, state));
                state
            }
        };
        state = text.iter().fold(state, |state, byte| next_state(state, *byte));
        state = self.over_tail.advance(state) ^ self.tail_state;
        state = (0..key_len.spaces).fold(state, |state, _| next_state(state, b' '));
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
struct Zeros {
    len: usize,
    /// For each nibble of a state, what it becomes.
    tables: [[u32; 16]; 8],
}

impl Zeros {
    fn new(len: usize) -> Zeros {
        const SOME: [u8; 64] = [0; 64];
        let (mut state, mut left) = (1 << 31, len);
        while left > 0 {
            let now = left.min(SOME.len());
            state = entry_kind::crc_state(state, &SOME[..now]);
            left -= now;
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
        Zeros { len, tables }
    }

    fn advance(&self, state: u32) -> u32 {
        let nibbles = self.tables.iter().enumerate();
        nibbles.fold(0, |sum, (at, table)| sum ^ table[(state >> (4 * at)) as usize % 16])
    }
}
