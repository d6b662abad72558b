//! The keys of one series.

/// The keys of the samples of one series.
#[derive(Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// A buffer that has grown beyond this is not kept.
const MAX_KEPT_LEN: usize = 64 * 1024;

impl Keys {
    /// Clears the keys, for use as a buffer.
    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > MAX_KEPT_LEN {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a key, which `encode` appends to its argument.
    pub(super) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}
