//! Where the values of a file are and what each is added to, in 4 to 6 bytes per value.

use std::ops::Range;

use super::catalog::ValueId;
use super::source::WordSource;
use crate::prefetch::prefetch;

/// The values of a file in their order, each with the sum or gauge that it is added to.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(crate) struct ValueRefs {
    /// The distance in words from each value to the one before. Longer distances have [`FILLER`]s in between.
    steps: Vec<u16>,
    ids: Ids,
    /// The position of the last value, in words of 8 bytes from the start of the file.
    last: u32,
}

/// Ids of sums or gauges. Two bytes suffice in most collectors.
#[derive(Clone, Debug, PartialEq, Hash)]
enum Ids {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

/// The id of an element that stands for no value.
pub(super) const FILLER: usize = 0;

/// How many values ahead of the current one are prefetched.
pub(super) const PREFETCH_DISTANCE: usize = 16;

impl Default for Ids {
    fn default() -> Ids {
        Ids::Narrow(Vec::new())
    }
}

impl ValueRefs {
    /// Empties the list and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.steps.clear();
        self.last = 0;
        match &mut self.ids {
            Ids::Narrow(ids) => ids.clear(),
            Ids::Wide(_) => self.ids = Ids::default(),
        }
    }

    /// The number of elements, fillers included.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The position of the last value, in words.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        self.steps.shrink_to_fit();
        match &mut self.ids {
            Ids::Narrow(ids) => ids.shrink_to_fit(),
            Ids::Wide(ids) => ids.shrink_to_fit(),
        }
    }

    /// Appends a value, which must be behind all others in the file.
    #[inline]
    pub(super) fn push(&mut self, word: u32, id: ValueId) {
        while word - self.last > u32::from(u16::MAX) {
            self.push_step(u16::MAX, FILLER as u32);
        }
        self.push_step((word - self.last) as u16, id.get());
    }

    #[inline]
    fn push_step(&mut self, step: u16, id: u32) {
        self.last += u32::from(step);
        self.steps.push(step);
        match (&mut self.ids, u16::try_from(id)) {
            (Ids::Wide(ids), _) => ids.push(id),
            (Ids::Narrow(ids), Ok(id)) => ids.push(id),
            (Ids::Narrow(ids), Err(_)) => {
                let mut wide: Vec<u32> = ids.iter().map(|id| u32::from(*id)).collect();
                wide.push(id);
                self.ids = Ids::Wide(wide);
            }
        }
    }

    /// Appends the first `count` elements of other values to an empty list.
    pub(super) fn extend_from_start(&mut self, other: &ValueRefs, count: usize) {
        debug_assert!(self.steps.is_empty());
        let steps = &other.steps[..count];
        self.steps.extend_from_slice(steps);
        self.last = steps.iter().map(|step| u32::from(*step)).sum();
        match (&mut self.ids, &other.ids) {
            (Ids::Narrow(ids), Ids::Narrow(others)) => ids.extend_from_slice(&others[..count]),
            (ids, Ids::Narrow(others)) => *ids = Ids::Narrow(others[..count].to_vec()),
            (ids, Ids::Wide(others)) => *ids = Ids::Wide(others[..count].to_vec()),
        }
    }

    /// How many values have this id.
    pub(super) fn count(&self, id: ValueId) -> u32 {
        let id = id.get();
        let count = match &self.ids {
            Ids::Narrow(ids) => ids.iter().filter(|other| u32::from(**other) == id).count(),
            Ids::Wide(ids) => ids.iter().filter(|other| **other == id).count(),
        };
        count as u32
    }

    /// Prefetches the beginning of the list.
    pub(super) fn prefetch(&self) {
        prefetch_lines(&self.steps);
        match &self.ids {
            Ids::Narrow(ids) => prefetch_lines(ids),
            Ids::Wide(ids) => prefetch_lines(ids),
        }
    }

    /// Prefetches the first values, which [`visit`](Self::visit) does not prefetch.
    #[inline]
    pub(super) fn prefetch_first(&self, words: &impl WordSource) {
        let mut word = 0;
        for step in self.steps.iter().take(PREFETCH_DISTANCE) {
            word += u32::from(*step);
            words.prefetch(word);
        }
    }

    /// Passes all elements from an index on to a visitor.
    pub(super) fn visit(&self, from: usize, visitor: &mut impl Visitor) {
        self.part_from(from).visit(visitor);
    }

    /// All elements from an index on.
    pub(super) fn part_from(&self, from: usize) -> Part<'_> {
        let word = self.steps[..from].iter().map(|step| u32::from(*step)).sum();
        self.part(from..self.len(), word)
    }

    /// A range of elements. `word` is the position of the value before them.
    pub(super) fn part(&self, range: Range<usize>, word: u32) -> Part<'_> {
        Part { values: self, range, word }
    }

    /// How many elements at the beginning are those of another list too.
    pub(super) fn common_len(&self, other: &ValueRefs) -> usize {
        let ids = match (&self.ids, &other.ids) {
            (Ids::Narrow(one), Ids::Narrow(other)) => common_len(one, other),
            (Ids::Wide(one), Ids::Wide(other)) => common_len(one, other),
            _ => 0,
        };
        common_len(&self.steps, &other.steps).min(ids)
    }

    /// Whether no sum or gauge has several values.
    pub(super) fn is_distinct(&self) -> bool {
        match &self.ids {
            Ids::Narrow(ids) => is_distinct(ids.clone()),
            Ids::Wide(ids) => is_distinct(ids.clone()),
        }
    }
}

fn common_len<T: PartialEq>(one: &[T], other: &[T]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn is_distinct<I: Copy + Ord + Into<u32>>(mut ids: Vec<I>) -> bool {
    ids.sort_unstable();
    ids.windows(2).all(|pair| pair[0] != pair[1] || pair[0].into() as usize == FILLER)
}

/// A part of the values of a file.
pub(super) struct Part<'a> {
    values: &'a ValueRefs,
    range: Range<usize>,
    /// The position of the value before the part, in words.
    word: u32,
}

impl Part<'_> {
    /// Passes all elements to a visitor. Returns the position of the last one.
    pub(super) fn visit(self, visitor: &mut impl Visitor) -> u32 {
        let Part { values, range, word } = self;
        let steps = &values.steps[range.clone()];
        match &values.ids {
            Ids::Narrow(ids) => visit(steps, &ids[range], word, visitor),
            Ids::Wide(ids) => visit(steps, &ids[range], word, visitor),
        }
    }
}

/// How many cache lines of a list are prefetched. The processor prefetches those behind them itself.
const PREFETCHED_LINES: usize = 3;

fn prefetch_lines<T>(items: &[T]) {
    let per_line = 64 / size_of::<T>();
    items.iter().step_by(per_line).take(PREFETCHED_LINES).for_each(|item| prefetch(item));
}

/// Processes values. The methods should be inlined, as they run for every value of every scrape.
pub(super) trait Visitor {
    /// How many values ahead of the current one are prefetched.
    const DISTANCE: usize = PREFETCH_DISTANCE;

    /// Prefetches a word that will be visited soon.
    #[inline]
    fn prefetch(&self, word: u32) {
        let _ = word;
    }

    fn visit(&mut self, word: u32, id: usize);
}

#[inline]
fn visit<I: Copy + Into<u32>, V: Visitor>(
    steps: &[u16],
    ids: &[I],
    mut word: u32,
    visitor: &mut V,
) -> u32 {
    let (now, later) = steps.split_at(V::DISTANCE.min(steps.len()));
    let mut ahead = word + now.iter().map(|step| u32::from(*step)).sum::<u32>();
    for ((step, id), step_ahead) in steps.iter().zip(ids).zip(later) {
        ahead += u32::from(*step_ahead);
        visitor.prefetch(ahead);
        word += u32::from(*step);
        visitor.visit(word, (*id).into() as usize);
    }
    for (step, id) in steps.iter().zip(ids).skip(later.len()) {
        word += u32::from(*step);
        visitor.visit(word, (*id).into() as usize);
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Recorder {
        prefetched: RefCell<Vec<u32>>,
        visited: Vec<(u32, usize)>,
    }

    impl Visitor for Recorder {
        fn prefetch(&self, word: u32) {
            self.prefetched.borrow_mut().push(word);
        }

        fn visit(&mut self, word: u32, id: usize) {
            self.visited.push((word, id));
        }
    }

    fn recorded(values: &ValueRefs, from: usize) -> Recorder {
        let mut recorder = Recorder::default();
        values.visit(from, &mut recorder);
        recorder
    }

    fn visited(values: &ValueRefs, from: usize) -> Vec<(u32, usize)> {
        recorded(values, from).visited
    }

    proptest! {
        #[test]
        fn a_visit_returns_what_was_pushed(
            pushed in proptest::collection::vec((1u32..200_000, 1u32..70_000), 0..100),
        ) {
            let (mut values, mut word) = (ValueRefs::default(), 0);
            let mut expected = Vec::new();
            for (step, id) in pushed {
                word += step;
                values.push(word, ValueId::new(id).unwrap());
                expected.push((word, id as usize));
            }
            let without_fillers = |all: Vec<(u32, usize)>| -> Vec<_> {
                all.into_iter().filter(|(_, id)| *id != FILLER).collect()
            };
            prop_assert_eq!(&without_fillers(visited(&values, 0)), &expected);
            let half = values.len() / 2;
            prop_assert_eq!(visited(&values, half), visited(&values, 0).split_off(half));
            let mut again = values.clone();
            again.shrink();
            prop_assert!(again == values);
            again.clear();
            prop_assert_eq!(visited(&again, 0), []);
            again.extend_from_start(&values, half);
            prop_assert_eq!(visited(&again, 0), visited(&values, 0)[..half].to_vec());
            prop_assert_eq!(again.last(), visited(&again, 0).last().map_or(0, |(word, _)| *word));
        }
    }

    #[test]
    fn all_words_but_the_first_are_prefetched_once() {
        let mut values = ValueRefs::default();
        (1..100u32).for_each(|at| values.push(at * 3, ValueId::MIN));
        let Recorder { prefetched, visited } = recorded(&values, 0);
        let words: Vec<u32> = visited.into_iter().map(|(word, _)| word).collect();
        assert_eq!(prefetched.into_inner(), words[PREFETCH_DISTANCE..]);
    }
}
