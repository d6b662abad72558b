//! What lookups of label values compare: a hash, the lengths, and then the bytes. The bytes of short values are compared as
//! the words that were hashed, which a child keeps.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;

/// The hash of label values, and their lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LookupKey {
    pub(super) hash: u64,
    /// A byte for each value, or [`OTHER_LENGTHS`].
    pub(super) lengths: u64,
    /// Of the first values.
    ends: [Ends; MAX_VALUES],
    /// Whether the lengths and `ends` are all of the values.
    is_short: bool,
}

/// The first and the last bytes of a value. With its length, they are all of a value of up to 16 bytes.
pub(super) type Ends = [u64; 2];

/// Stands for more than eight values, and for long ones.
const OTHER_LENGTHS: u64 = u64::MAX;
const MAX_VALUES: usize = 8;

impl LookupKey {
    /// The key of something that is not label values, by a hash of it.
    #[inline]
    pub(super) fn of_hash(hash: u64) -> LookupKey {
        LookupKey { hash, lengths: OTHER_LENGTHS, ends: [[0; 2]; MAX_VALUES], is_short: false }
    }

    /// The same key with another hash.
    #[inline]
    pub(super) fn with_hash(self, hash: u64) -> LookupKey {
        LookupKey { hash, ..self }
    }

    /// What a child keeps of `count` values, so that lookups compare words. Nothing of a single value, whose text is as fast,
    /// and nothing of long ones.
    pub(super) fn kept_ends(&self, count: usize) -> Box<[Ends]> {
        match self.ends.get(..count) {
            Some(ends) if self.is_short && count > 1 => ends.into(),
            _ => Box::default(),
        }
    }

    /// Whether a child with equal lengths, which has kept these words, has these `count` values; `None` if it has not kept
    /// all.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn is_kept(&self, kept: &[Ends], count: usize) -> Option<bool> {
        (count > 1 && kept.len() == count).then(|| {
            let mut differ = 0;
            // A constant number of steps, which the compiler unrolls; there are at least two.
            for (at, own) in self.ends.iter().enumerate() {
                if at > 1 && at == kept.len() {
                    break;
                }
                differ |= (kept[at][0] ^ own[0]) | (kept[at][1] ^ own[1]);
            }
            differ == 0
        })
    }

    /// Whether values with an equal key have the same lengths.
    #[inline]
    pub(super) fn has_lengths(self) -> bool {
        self.lengths != OTHER_LENGTHS
    }
}

/// The key of pairs of name and value, in any order. The hash is the same for every order, so that lookups need not sort.
pub(super) struct PairsKey {
    hash: u64,
    /// Two bytes for each pair.
    lengths: u64,
    /// Of names and values in turn.
    ends: [Ends; MAX_VALUES],
    /// The number of pairs.
    count: usize,
    /// Whether the lengths and `ends` are all of the pairs.
    is_short: bool,
}

impl PairsKey {
    /// The key by which a table finds the pairs.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn of_table(&self) -> LookupKey {
        LookupKey::of_hash(self.hash)
    }

    /// What a child keeps of the pairs, in the order in which it was created: their words, then the lengths.
    pub(super) fn kept_ends(&self) -> Box<[Ends]> {
        match self.ends.get(..2 * self.count) {
            Some(ends) if self.is_short => {
                ends.iter().copied().chain([[self.lengths, 0]]).collect()
            }
            _ => Box::default(),
        }
    }

    /// Whether a child that has kept these words has the pairs; `false` as well if one of them has not kept all.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn is_kept(&self, kept: &[Ends]) -> bool {
        let Some(([lengths, _], kept)) = kept.split_last() else {
            return false;
        };
        if !self.is_short || kept.len() != 2 * self.count {
            return false;
        }
        let differ =
            kept.iter().zip(&self.ends).fold(lengths ^ self.lengths, |differ, (kept, own)| {
                differ | (kept[0] ^ own[0]) | (kept[1] ^ own[1])
            });
        differ == 0 || self.is_permuted(kept, *lengths)
    }

    /// Whether these words are those of the pairs in another order.
    #[inline(never)]
    fn is_permuted(&self, kept: &[Ends], kept_lengths: u64) -> bool {
        let lengths_of = |lengths: u64, at: usize| lengths >> (16 * (self.count - 1 - at)) & 0xffff;
        let own = self.ends[..2 * self.count].chunks(2).enumerate();
        let mut found = own.map(|(own_at, own)| {
            kept.chunks(2).enumerate().position(|(at, kept)| {
                kept == own && lengths_of(kept_lengths, at) == lengths_of(self.lengths, own_at)
            })
        });
        // The kept names differ, so each pair has one place. All places are taken unless a pair is given twice.
        let places = found.try_fold(0, |places, at| Some(places | 1_u32 << at?));
        places == Some((1 << self.count) - 1)
    }
}

/// The secret numbers of a hash function.
pub(super) struct LookupHasher {
    seed: u64,
    multiplier: u64,
}

impl LookupHasher {
    pub(super) fn new() -> LookupHasher {
        let random = RandomState::default();
        // OK because a multiplier of 0 would make all hashes equal.
        let multiplier = random.hash_one(1_u8) | 1 << 32;
        LookupHasher { seed: random.hash_one(0_u8), multiplier }
    }

    /// The key of label values; the hash depends on their lengths too.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn key<'a>(&self, values: impl Iterator<Item = &'a str>) -> LookupKey {
        let (mut hash, mut lengths, mut all, mut count) = (self.seed, 0, 0, 0);
        let mut kept = [[0; 2]; MAX_VALUES];
        for value in values {
            let (added, ends) = self.add(hash, value.as_bytes());
            let len = value.len();
            hash = added;
            lengths = lengths << 8 | len as u64;
            all |= len;
            if let Some(kept) = kept.get_mut(count) {
                *kept = ends;
            }
            count += 1;
        }
        // OK because each length is at most `all`, the union of their bits.
        let is_packed = count <= MAX_VALUES && all < 0xff;
        let hash = mix(hash ^ lengths, self.multiplier);
        let lengths = if is_packed { lengths } else { OTHER_LENGTHS };
        LookupKey { hash, lengths, ends: kept, is_short: is_packed && all <= 16 }
    }

    /// The key of pairs of name and value. Those with an empty value are left out.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn pairs_key(&self, pairs: &[(&str, &str)]) -> PairsKey {
        let (mut hash, mut lengths, mut all, mut count) = (self.seed, 0, 0, 0);
        let mut kept = [[0; 2]; MAX_VALUES];
        for (name, value) in pairs {
            if value.is_empty() {
                continue;
            }
            let (of_name, name_ends) = self.add(self.seed, name.as_bytes());
            let (of_pair, value_ends) = self.add(of_name, value.as_bytes());
            let pair_lengths = (name.len() as u64) << 8 ^ value.len() as u64;
            // A sum does not depend on the order of the pairs.
            hash = mix(of_pair ^ pair_lengths, self.multiplier).wrapping_add(hash);
            lengths = lengths << 16 ^ pair_lengths;
            all |= name.len() | value.len();
            if let Some(kept) = kept.get_mut(2 * count..2 * count + 2) {
                kept.copy_from_slice(&[name_ends, value_ends]);
            }
            count += 1;
        }
        let is_short = count <= MAX_VALUES / 2 && all <= 16;
        PairsKey { hash, lengths, ends: kept, count, is_short }
    }

    /// Adds a text to a hash, without its length.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    fn add(&self, mut hash: u64, text: &[u8]) -> (u64, Ends) {
        if text.len() > 16 {
            hash = self.add_start(hash, text);
        }
        let [first, last] = ends(text);
        (mix(hash ^ first, self.multiplier ^ last), [first, last])
    }

    /// Adds all bytes of a long value, except some of the last 16.
    #[inline(never)]
    fn add_start(&self, hash: u64, value: &[u8]) -> u64 {
        value.chunks(16).fold(hash, |hash, chunk| {
            let [first, last] = ends(chunk);
            mix(hash ^ first, self.multiplier ^ last)
        })
    }
}

/// The first and the last bytes of a text: all of them if it has up to 16.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
fn ends(text: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return [u64::from_le_bytes(*first), u64::from_le_bytes(*last)];
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return [first, last].map(|bytes| u32::from_le_bytes(*bytes).into());
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        return [first, last].map(|bytes| u16::from_le_bytes(*bytes).into());
    }
    [text.first().copied().map_or(0, u64::from), 0]
}

/// The upper and the lower half of a product, which each bit of the factors changes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Whether texts of the same length are equal. Most label values are so short that a call of `memcmp` would take longer.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
pub(super) fn is_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() > 16 { a == b } else { a.len() == b.len() && ends(a) == ends(b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn keys_of_many_values_differ() {
        let hasher = LookupHasher::new();
        let mut hashes = HashSet::new();
        let mut low_bits = HashSet::new();
        for at in 0..20_000_u32 {
            for len in [0, 3, 30] {
                let value = format!("{at}{}", "x".repeat(len));
                let hash = hasher.key([&*value, "GET"].into_iter()).hash;
                assert!(hashes.insert(hash));
                low_bits.insert(hash & 0xffff);
            }
        }
        // 60,000 random numbers hit 39,300 of 65,536.
        assert!(low_bits.len() > 37_000, "{}", low_bits.len());
    }

    #[test]
    fn values_that_join_to_the_same_text_differ() {
        let hasher = LookupHasher::new();
        let key = |values: [&'static str; 2]| {
            let LookupKey { hash, lengths, .. } = hasher.key(values.into_iter());
            (hash, lengths)
        };
        assert_ne!(key(["ab", "c"]), key(["a", "bc"]));
        assert_ne!(key(["", "a"]), key(["a", ""]));
    }

    proptest! {
        #[test]
        fn equal_keys_with_lengths_are_of_values_with_equal_lengths(
            one in proptest::collection::vec("[a]{0,4}|[a]{120,270}", 0..10),
            other in proptest::collection::vec("[a]{0,4}|[a]{120,270}", 0..10),
        ) {
            let hasher = LookupHasher::new();
            let [a, b] = [&one, &other].map(|values| hasher.key(values.iter().map(String::as_str)));
            if one.len() == other.len() && a.has_lengths() && a.lengths == b.lengths {
                prop_assert!(one.iter().zip(&other).all(|(a, b)| a.len() == b.len()));
            }
            prop_assert!(one.iter().all(|value| value.len() < 255) || !a.has_lengths());
        }

        /// Few characters and lengths, so that values are often equal.
        #[test]
        fn kept_words_are_equal_if_all_values_are(
            one in proptest::collection::vec("[ab]{0,2}|a{7,9}|[ab]a{14}|a{15}[ab]{1,2}", 0..10),
            other in proptest::collection::vec("[ab]{0,2}|a{7,9}|[ab]a{14}|a{15}[ab]{1,2}", 0..10),
        ) {
            let hasher = LookupHasher::new();
            let key = |values: &[String]| hasher.key(values.iter().map(String::as_str));
            for other in [&one, &other] {
                let (a, b) = (key(&one), key(other));
                let kept = a.kept_ends(one.len());
                prop_assert_eq!(
                    !kept.is_empty(),
                    (2..=8).contains(&one.len()) && one.iter().fold(0, |all, it| all | it.len()) <= 16
                );
                if a.lengths == b.lengths && let Some(is_kept) = b.is_kept(&kept, other.len()) {
                    prop_assert_eq!(is_kept, one == *other);
                }
            }
        }

        /// Few names, values and lengths, so that sets are often equal. Names do not repeat in a set, as in those that exist.
        #[test]
        fn keys_of_pairs_are_equal_in_any_order_and_differ_for_other_pairs(
            one in proptest::collection::btree_map("[ab]{1,2}|a{16,17}", "[ab]{0,2}|a{7,9}|a{16,17}", 0..6),
            other in proptest::collection::vec(("[ab]{1,2}|a{16,17}", "[ab]{0,2}|a{7,9}|a{16,17}"), 0..6),
            shuffled in any::<proptest::sample::Index>(),
        ) {
            let hasher = LookupHasher::new();
            let one: Vec<(&str, &str)> = one.iter().map(|(n, v)| (&**n, &**v)).collect();
            let kept = hasher.pairs_key(&one).kept_ends();
            let sorted = |pairs: &[(&str, &str)]| {
                let present = pairs.iter().filter(|(_, value)| !value.is_empty());
                let mut pairs: Vec<_> = present.map(|(n, v)| (n.to_string(), v.to_string())).collect();
                pairs.sort_unstable();
                pairs
            };
            let lengths = sorted(&one).iter().fold(0, |all, (n, v)| all | n.len() | v.len());
            let is_short = sorted(&one).len() <= 4 && lengths <= 16;
            prop_assert_eq!(!kept.is_empty(), is_short);
            let mut rotated = one.clone();
            if !rotated.is_empty() {
                rotated.rotate_left(shuffled.index(one.len()));
                rotated.swap(0, shuffled.index(one.len()));
            }
            let other: Vec<(&str, &str)> = other.iter().map(|(n, v)| (&**n, &**v)).collect();
            for pairs in [&one, &rotated, &other] {
                let key = hasher.pairs_key(pairs);
                let is_same = sorted(pairs) == sorted(&one);
                prop_assert_eq!(key.hash == hasher.pairs_key(&one).hash, is_same);
                prop_assert_eq!(key.is_kept(&kept), is_same && is_short);
            }
            let twice: Vec<_> = one.iter().map(|_| one[0]).collect();
            prop_assert!(sorted(&twice) == sorted(&one) || !hasher.pairs_key(&twice).is_kept(&kept));
        }

        #[test]
        fn texts_are_equal_if_all_bytes_are(len in 0_usize..40, at in 0_usize..40, bit in 0_u32..8) {
            let text = vec![b'y'; len];
            prop_assert!(is_equal(&text, &text.clone()));
            let mut other = text.clone();
            if let Some(byte) = other.get_mut(at) {
                *byte ^= 1_u8 << bit;
                prop_assert!(!is_equal(&text, &other));
            }
        }
    }
}
