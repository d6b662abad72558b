//! Breadth-first search of all reachable states of a model.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Instant;

use crate::state::{PID, PID_AGAIN};

/// More states than the largest model has.
const MAX_STATES: usize = 4_000_000;

/// Processes and files whose steps are interleaved in every way.
pub(crate) trait Model {
    type State: Copy + Eq + Hash;
    type Broken: Copy + fmt::Debug + PartialEq;

    fn first(&self) -> Self::State;

    /// The states that one step of one process leads to.
    fn successors(&self, state: &Self::State, next: &mut Vec<Next<Self::State, Self::Broken>>);

    /// The property that a state violates, and what would have to run for an observer to notice it.
    fn broken(&self, state: &Self::State) -> Option<(Self::Broken, &'static str)>;
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Process {
    Own(u8),
    Python,
    Compactor(u8),
    Reader(u8),
    Other,
}

/// The description of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    process: Process,
    does: &'static str,
    name: Option<u8>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Process::Own(number) => write!(f, "worker {number}")?,
            Process::Python => write!(f, "Python worker with pid p")?,
            Process::Compactor(number) => write!(f, "compactor {number}")?,
            Process::Reader(number) => write!(f, "reader {number}")?,
            Process::Other => write!(f, "another process")?,
        }
        write!(f, " {}", self.does)?;
        match self.name {
            None => Ok(()),
            Some(PID | PID_AGAIN) => write!(f, " `p`"),
            Some(inode) => write!(f, " `{inode}`"),
        }
    }
}

/// A successor of a state.
#[derive(Debug)]
pub(crate) struct Next<S, B> {
    step: Step,
    pub(crate) state: S,
    broken: Option<B>,
}

/// Collects the possible steps of one process in a state.
pub(crate) struct Steps<'a, S, B> {
    pub(crate) process: Process,
    pub(crate) into: &'a mut Vec<Next<S, B>>,
}

impl<S, B> Steps<'_, S, B> {
    pub(crate) fn push(&mut self, does: &'static str, name: Option<u8>, state: S) {
        self.push_checked(does, name, state, None);
    }

    pub(crate) fn push_checked(
        &mut self,
        does: &'static str,
        name: Option<u8>,
        state: S,
        broken: Option<B>,
    ) {
        self.into.push(Next { step: Step { process: self.process, does, name }, state, broken });
    }
}

/// A violated property, and the shortest sequence of steps to it.
#[derive(Debug)]
pub(crate) struct Violation<B> {
    pub(crate) broken: B,
    pub(crate) trace: String,
}

/// Asserts that `model` violates no property.
#[track_caller]
pub(crate) fn holds<M: Model>(name: &str, model: &M) {
    let start = Instant::now();
    match search(model, None) {
        Ok(states) => println!("{name}: {states} states in {:.1?}", start.elapsed()),
        Err(violation) => panic!("{name}: {:?}\n{}", violation.broken, violation.trace),
    }
}

/// Asserts that `model`, which makes `mistake`, violates the property `broken`; prints the shortest sequence of steps to it.
#[track_caller]
pub(crate) fn breaks<M: Model>(mistake: impl fmt::Debug, model: &M, broken: M::Broken) {
    match search(model, Some(broken)) {
        Ok(states) => panic!("{mistake:?} is not found in {states} states"),
        Err(Violation { broken, trace }) => println!("{mistake:?}: {broken:?} after\n{trace}"),
    }
}

/// Visits all states until one violates a property, or the property `only`; returns the number of states.
fn search<M: Model>(model: &M, only: Option<M::Broken>) -> Result<usize, Violation<M::Broken>> {
    let mut states = States::new(model.first());
    let (mut at, mut next) = (0, Vec::new());
    while at < states.list.len() {
        model.successors(&states.list[at], &mut next);
        for Next { state, broken, step } in next.drain(..) {
            let is_new = states.insert(state, at as u32);
            let found = match broken {
                Some(broken) => Some((broken, "")),
                None => is_new.then(|| model.broken(&state)).flatten(),
            };
            if let Some((broken, end)) = found
                && only.is_none_or(|only| only == broken)
            {
                let trace = format!("{}  {step}\n{end}", states.trace(at, model));
                return Err(Violation { broken, trace });
            }
        }
        at += 1;
    }
    Ok(states.list.len())
}

/// States in the order of their discovery, the predecessor of each, and a hash table of them.
struct States<S> {
    list: Vec<S>,
    from: Vec<u32>,
    /// Open addressing; a slot holds the index of a state plus one.
    table: Vec<u32>,
}

impl<S: Copy + Eq + Hash> States<S> {
    fn new(first: S) -> Self {
        let mut states = Self { list: Vec::new(), from: Vec::new(), table: vec![0; 1 << 16] };
        states.insert(first, 0);
        states
    }

    fn insert(&mut self, state: S, from: u32) -> bool {
        if self.table.len() < 2 * self.list.len() {
            self.grow();
        }
        let slot = self.slot(&state);
        if self.table[slot] != 0 {
            return false;
        }
        assert!(self.list.len() < MAX_STATES, "the model is too large");
        self.list.push(state);
        self.from.push(from);
        self.table[slot] = self.list.len() as u32;
        true
    }

    /// The slot of a state, or the slot where it would be inserted.
    fn slot(&self, state: &S) -> usize {
        let mut hasher = WordHasher(0);
        state.hash(&mut hasher);
        let mask = self.table.len() - 1;
        let mut slot = (hasher.finish() >> 20) as usize & mask;
        while let Some(at) = self.table[slot].checked_sub(1) {
            if self.list[at as usize] == *state {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.table = vec![0; 4 * self.table.len()];
        for at in 0..self.list.len() {
            let slot = self.slot(&self.list[at]);
            self.table[slot] = at as u32 + 1;
        }
    }

    /// The steps from the first state to the one with index `last`.
    fn trace<M: Model<State = S>>(&self, last: usize, model: &M) -> String {
        let mut path = vec![last];
        while path[path.len() - 1] != 0 {
            path.push(self.from[path[path.len() - 1]] as usize);
        }
        path.reverse();
        let (mut trace, mut next) = (String::new(), Vec::new());
        for pair in path.windows(2) {
            model.successors(&self.list[pair[0]], &mut next);
            let step = next.iter().find(|next| next.state == self.list[pair[1]]);
            trace += &step.map_or_else(String::new, |next| format!("  {}\n", next.step));
            next.clear();
        }
        trace
    }
}

/// A fast hash for small states that are not chosen by an attacker.
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        (self.0 ^ self.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_usize(word.cast_unsigned());
    }
}
