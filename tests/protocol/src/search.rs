//! Breadth-first search of all reachable states.

use std::hash::{Hash, Hasher};

use crate::state::{Broken, Config, Mistake, Next, Process, State, Steps};
use crate::worker::Python;
use crate::{compactor, reader, worker};

/// Twice the number of states of the largest model.
const MAX_STATES: usize = 4_000_000;

/// A violated property, and the shortest sequence of steps to it.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) broken: Broken,
    pub(crate) trace: String,
}

/// Visits all states; returns their number.
pub(crate) fn search(config: &Config) -> Result<usize, Violation> {
    let python = Python::None { to_come: config.pythons };
    let first = State { python, ..State::default() };
    let mut states = States::new(first);
    let (mut at, mut next) = (0, Vec::new());
    while at < states.list.len() {
        successors(&states.list[at], config, &mut next);
        for Next { state, broken, step } in next.drain(..) {
            let is_new = states.insert(state, at as u32);
            let broken = broken.or_else(|| is_new.then(|| state.broken(config)).flatten());
            let at_end = || is_new.then(|| compactor::broken_at_the_end(&state, config)).flatten();
            let (broken, end) = match broken {
                Some(broken) => (Some(broken), ""),
                None => (at_end(), "  one more compaction runs\n"),
            };
            if let Some(broken) = broken {
                let trace = format!("{}  {step}\n{end}", states.trace(at, config));
                return Err(Violation { broken, trace });
            }
        }
        at += 1;
    }
    Ok(states.list.len())
}

fn successors(state: &State, config: &Config, next: &mut Vec<Next>) {
    let mut steps = Steps { process: Process::Other, into: next };
    for number in 0..config.own {
        worker::own_steps(number, state, config, &mut steps);
    }
    worker::python_steps(state, config, &mut steps);
    for number in 0..config.compactors {
        compactor::steps(number, state, config, &mut steps);
    }
    for number in 0..config.readers {
        reader::steps(number, state, config, &mut steps);
    }
    let verified = state.compactors.iter().any(|compactor| compactor.has_verified());
    let may_remove = !verified || config.makes(Mistake::LockRemovedAfterVerification);
    if config.lock_removed && state.lock_file == 0 && may_remove {
        steps.process = Process::Other;
        let state = State { lock_file: 1, ..*state };
        steps.push("replaces the lock file", None, state);
    }
}

/// States in the order of their discovery, the predecessor of each, and a hash table of them.
struct States {
    list: Vec<State>,
    from: Vec<u32>,
    /// Open addressing; a slot holds the index of a state plus one.
    table: Vec<u32>,
}

impl States {
    fn new(first: State) -> Self {
        let mut states = Self { list: Vec::new(), from: Vec::new(), table: vec![0; 1 << 16] };
        states.insert(first, 0);
        states
    }

    fn insert(&mut self, state: State, from: u32) -> bool {
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
    fn slot(&self, state: &State) -> usize {
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
    fn trace(&self, last: usize, config: &Config) -> String {
        let mut path = vec![last];
        while path[path.len() - 1] != 0 {
            path.push(self.from[path[path.len() - 1]] as usize);
        }
        path.reverse();
        let (mut trace, mut next) = (String::new(), Vec::new());
        for pair in path.windows(2) {
            successors(&self.list[pair[0]], config, &mut next);
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
