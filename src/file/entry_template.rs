//! Entries that differ in one label value only, such as those of the buckets of a histogram.

use super::entry_kind::{self, CHECKSUM_LEN, EntryKind};
use super::key::{PADDED, SampleName, push_label, push_string, push_tail};
use super::layout::{KEY_LEN_LEN, entry_len};
use crate::model::Labels;

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
    kept: Kept,
}

/// The entries from the template, for the next series: if its head is the same and its tail has the same length, they
/// differ from these in the bytes of the tail, the checksums and the times.
#[derive(Default)]
struct Kept {
    entries: Vec<KeptEntry>,
    bytes: Vec<u8>,
    /// The index of the entry that follows.
    next: usize,
    /// What the tail adds to the state of an entry by exclusive or, for each number of spaces.
    of_tail: [u32; PADDED],
}

/// One of the kept entries.
#[derive(Clone, Copy)]
struct KeptEntry {
    /// The number whose text it has, as bits.
    number: u64,
    start: usize,
    /// The offset of the tail in the entry.
    tail: usize,
    key_len: KeyLen,
    /// The last state without what the tail adds.
    state: u32,
}

/// An entry with another tail than that of the series from which it was kept.
pub(crate) struct Repeated<'a> {
    /// The bytes of the kept entry.
    pub(crate) entry: &'a [u8],
    /// The offset of the tail.
    pub(crate) at: usize,
    pub(crate) tail: &'a [u8],
    pub(crate) key_len: usize,
    pub(crate) checksum: [u8; CHECKSUM_LEN],
}

/// Entries beyond this are not kept.
const MAX_KEPT_LEN: usize = 64 * 1024;

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
            kept: Kept::default(),
        }
    }

    /// Makes it a template for the values of the label `name`, which is not among `labels`. These are sorted by name.
    ///
    /// What it has in common with the former content is not computed again: series of one family follow each other.
    pub(crate) fn set(
        &mut self,
        sample: SampleName<'_>,
        labels: Labels<'_>,
        name: &str,
        help: &str,
    ) {
        std::mem::swap(&mut self.head, &mut self.former);
        let (head, tail) = (&mut self.head, &mut self.tail);
        head.clear();
        head.extend_from_slice(&[0; KEY_LEN_LEN]);
        sample.push_head(head);
        tail.clear();
        tail.push(b'"');
        for label in labels.iter() {
            if label.0 < name {
                push_label(head, label);
                head.extend_from_slice(b", ");
            } else {
                tail.extend_from_slice(b", ");
                push_label(tail, label);
            }
        }
        push_string(head, name);
        head.extend_from_slice(b": \"");
        push_tail(tail, help);
        self.kept.next = 0;
        if *head != self.former {
            self.starts = [None; 4];
            self.kept.cut();
        }
        self.tail_state = entry_kind::crc_state(0, tail);
        if tail.len() != self.over_tail.len {
            self.over_tail = Zeros::new(tail.len());
            self.kept.cut();
        }
        let mut state = self.tail_state;
        for of_tail in &mut self.kept.of_tail {
            *of_tail = state;
            state = next_state(state, 0);
        }
        tail.extend_from_slice(&[b' '; PADDED - 1]);
    }

    /// The entry with the text of this number, if it is kept from another series.
    pub(crate) fn repeated(&mut self, number: f64) -> Option<Repeated<'_>> {
        let Kept { entries, bytes, next, of_tail } = &mut self.kept;
        let kept = entries.get(*next).filter(|kept| kept.number == number.to_bits())?;
        *next += 1;
        let key_len = kept.key_len.padded;
        let entry = &bytes[kept.start..][..entry_len(key_len)];
        let state = kept.state ^ of_tail[kept.key_len.spaces];
        let checksum = entry_kind::of_crc(EntryKind::Value, !state);
        let tail = &self.tail[..self.over_tail.len];
        Some(Repeated { entry, at: kept.tail, tail, key_len, checksum })
    }

    /// Keeps an entry with the text of this number, which was not [`repeated`](EntryTemplate::repeated).
    pub(crate) fn keep(&mut self, number: f64, key_len: KeyLen, state: u32, entry: &[u8]) {
        self.kept.cut();
        if self.kept.bytes.len() + entry.len() > MAX_KEPT_LEN {
            return;
        }
        self.kept.entries.push(KeptEntry {
            number: number.to_bits(),
            start: self.kept.bytes.len(),
            tail: KEY_LEN_LEN + key_len.padded - key_len.spaces - self.over_tail.len,
            key_len,
            state: state ^ self.kept.of_tail[key_len.spaces],
        });
        self.kept.bytes.extend_from_slice(entry);
        self.kept.next += 1;
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

    /// The last state of the entry with this text, which is the complement of CRC-32. `entry` begins with the head, with
    /// the length of the key.
    pub(crate) fn state(&mut self, entry: &[u8], text: &[u8], key_len: KeyLen) -> u32 {
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
        (0..key_len.spaces).fold(state, |state, _| next_state(state, b' '))
    }
}

impl Kept {
    /// Removes the next entry and those behind it.
    fn cut(&mut self) {
        if let Some(entry) = self.entries.get(self.next) {
            self.bytes.truncate(entry.start);
            self.entries.truncate(self.next);
        }
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
