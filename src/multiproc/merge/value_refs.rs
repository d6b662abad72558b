//! Where values are and what they are added to, in 4 to 6 bytes for each: there may be very many.

use super::catalog::Number;

/// The values of a file in the order in which they are there, and the sum or gauge that each belongs to.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(crate) struct Slots {
    /// How many words each value is behind the one before. Values that are farther have [`NOBODY`] in between.
    steps: Vec<u16>,
    numbers: Numbers,
    /// Where the last value is, in words of 8 bytes from the start of the file.
    last: u32,
}

/// Of which most collectors need 2 bytes only.
#[derive(Clone, Debug, PartialEq, Hash)]
enum Numbers {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

/// The number that belongs to nothing.
pub(crate) const NOBODY: usize = 0;

/// How many values ahead of the current one are fetched.
const AHEAD: usize = 16;

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers::Narrow(Vec::new())
    }
}

impl Slots {
    /// Empties them, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.steps.clear();
        self.last = 0;
        match &mut self.numbers {
            Numbers::Narrow(numbers) => numbers.clear(),
            Numbers::Wide(_) => self.numbers = Numbers::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Gives back the memory that is not used.
    pub(crate) fn shrink(&mut self) {
        self.steps.shrink_to_fit();
        match &mut self.numbers {
            Numbers::Narrow(numbers) => numbers.shrink_to_fit(),
            Numbers::Wide(numbers) => numbers.shrink_to_fit(),
        }
    }

    /// Appends a value, which is behind all others.
    pub(crate) fn push(&mut self, word: u32, number: Number) {
        while word - self.last > u32::from(u16::MAX) {
            self.push_step(u16::MAX, NOBODY as u32);
        }
        self.push_step((word - self.last) as u16, number.get());
    }

    fn push_step(&mut self, step: u16, number: u32) {
        self.last += u32::from(step);
        self.steps.push(step);
        match (&mut self.numbers, u16::try_from(number)) {
            (Numbers::Wide(numbers), _) => numbers.push(number),
            (Numbers::Narrow(numbers), Ok(number)) => numbers.push(number),
            (Numbers::Narrow(numbers), Err(_)) => {
                let mut wide: Vec<u32> = numbers.iter().map(|number| u32::from(*number)).collect();
                wide.push(number);
                self.numbers = Numbers::Wide(wide);
            }
        }
    }

    /// Shows all to a visitor, from one on.
    pub(crate) fn visit(&self, from: usize, visitor: &mut impl Visitor) {
        match &self.numbers {
            Numbers::Narrow(numbers) => visit(&self.steps, numbers, from, visitor),
            Numbers::Wide(numbers) => visit(&self.steps, numbers, from, visitor),
        }
    }
}

/// What is done with each value. Its methods are to be inlined: they run for every value of every scrape.
pub(crate) trait Visitor {
    /// Has a word brought near, which will be visited soon.
    #[inline]
    fn fetch(&self, word: u32) {
        let _ = word;
    }

    fn visit(&mut self, word: u32, number: usize);
}

#[inline]
fn visit<N: Copy + Into<u32>>(
    steps: &[u16],
    numbers: &[N],
    from: usize,
    visitor: &mut impl Visitor,
) {
    let sum = |steps: &[u16]| steps.iter().map(|step| u32::from(*step)).sum::<u32>();
    let (before, steps) = steps.split_at(from);
    let numbers = &numbers[from..];
    let mut word = sum(before);
    let (now, later) = steps.split_at(AHEAD.min(steps.len()));
    let mut ahead = word + sum(now);
    for ((step, number), step_ahead) in steps.iter().zip(numbers).zip(later) {
        ahead += u32::from(*step_ahead);
        visitor.fetch(ahead);
        word += u32::from(*step);
        visitor.visit(word, (*number).into() as usize);
    }
    for (step, number) in steps.iter().zip(numbers).skip(later.len()) {
        word += u32::from(*step);
        visitor.visit(word, (*number).into() as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Seen {
        fetched: RefCell<Vec<u32>>,
        visited: Vec<(u32, usize)>,
    }

    impl Visitor for Seen {
        fn fetch(&self, word: u32) {
            self.fetched.borrow_mut().push(word);
        }

        fn visit(&mut self, word: u32, number: usize) {
            self.visited.push((word, number));
        }
    }

    fn seen(slots: &Slots, from: usize) -> Seen {
        let mut seen = Seen::default();
        slots.visit(from, &mut seen);
        seen
    }

    fn given(slots: &Slots, from: usize) -> Vec<(u32, usize)> {
        seen(slots, from).visited
    }

    proptest! {
        #[test]
        fn slots_give_what_was_pushed(
            pushed in proptest::collection::vec((1u32..200_000, 1u32..70_000), 0..100),
        ) {
            let (mut slots, mut word) = (Slots::default(), 0);
            let mut expected = Vec::new();
            for (step, number) in pushed {
                word += step;
                slots.push(word, Number::new(number).unwrap());
                expected.push((word, number as usize));
            }
            let somebody = |slots: Vec<(u32, usize)>| -> Vec<_> {
                slots.into_iter().filter(|(_, number)| *number != NOBODY).collect()
            };
            prop_assert_eq!(&somebody(given(&slots, 0)), &expected);
            let half = slots.len() / 2;
            prop_assert_eq!(given(&slots, half), given(&slots, 0).split_off(half));
            let mut again = slots.clone();
            again.shrink();
            prop_assert!(again == slots);
            again.clear();
            prop_assert_eq!(given(&again, 0), []);
        }
    }

    #[test]
    fn all_words_but_the_first_are_fetched_once() {
        let mut slots = Slots::default();
        (1..100u32).for_each(|at| slots.push(at * 3, Number::MIN));
        let Seen { fetched, visited } = seen(&slots, 0);
        let words: Vec<u32> = visited.into_iter().map(|(word, _)| word).collect();
        assert_eq!(fetched.into_inner(), words[AHEAD..]);
    }
}
