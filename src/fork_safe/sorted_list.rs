//! A sorted list that only grows, and is read without a lock.
#![expect(unsafe_code, reason = "addresses that are published between threads")]

use std::cmp::Ordering as Order;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Lists of up to `2^LEVELS` values are searched in logarithmic time.
const LEVELS: usize = 20;

/// A skip list of values by text keys. A key may have several values, in the order of their insertion.
///
/// Readers need no lock; insertions are serialized by the caller. The link of the lowest level decides whether a value is in
/// the list, and the others only shorten the search, so a child that is forked during an insertion finds a whole list.
pub(crate) struct SortedList<T> {
    first: [AtomicPtr<Node<T>>; LEVELS],
    compare: fn(&str, &str) -> Order,
    marker: PhantomData<T>,
}

struct Node<T> {
    key: Box<str>,
    value: T,
    /// The next node of each level.
    next: Box<[AtomicPtr<Node<T>>]>,
}

fn empty<T>() -> AtomicPtr<T> {
    AtomicPtr::new(ptr::null_mut())
}

impl<T: Send + Sync> SortedList<T> {
    /// A list whose keys have this order.
    pub(crate) fn new(compare: fn(&str, &str) -> Order) -> SortedList<T> {
        SortedList { first: [(); LEVELS].map(|()| empty()), compare, marker: PhantomData }
    }

    /// Inserts a value after those with the same key, and returns a reference to it. Two threads must not insert at once.
    pub(crate) fn insert(&self, key: &str, value: T) -> &T {
        self.insert_on(key, value, LEVELS)
    }

    /// As `insert`, but links the node on at most `levels` levels, as an insertion that a fork interrupts does.
    fn insert_on(&self, key: &str, value: T, levels: usize) -> &T {
        let links = self.links(key, Order::is_le);
        let next = links.iter().take(height(key));
        let next = next.map(|link| AtomicPtr::new(link.load(Ordering::Acquire))).collect();
        let node = Box::into_raw(Box::new(Node { key: key.into(), value, next }));
        for link in links.iter().take(height(key).min(levels)) {
            // ORDERING: release, after the node is filled.
            link.store(node, Ordering::Release);
        }
        // SAFETY: the node lives until the list is dropped.
        unsafe { &(*node).value }
    }

    /// The values with this key.
    pub(crate) fn at(&self, key: &str) -> impl Iterator<Item = &T> {
        let [lowest, ..] = self.links(key, Order::is_lt);
        nodes(lowest).take_while(move |node| *node.key == *key).map(|node| &node.value)
    }

    /// All values in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let [lowest, ..] = &self.first;
        nodes(lowest).map(|node| &node.value)
    }

    /// The links of each level after the nodes whose keys are before the key.
    fn links(&self, key: &str, is_before: fn(Order) -> bool) -> [&AtomicPtr<Node<T>>; LEVELS] {
        let mut found = self.first.each_ref();
        let mut row = &self.first[..];
        for level in (0..LEVELS).rev() {
            // A node that is reached on one level has all levels below.
            while let Some(link) = row.get(level) {
                found[level] = link;
                match node(link).filter(|node| is_before((self.compare)(&node.key, key))) {
                    Some(node) => row = &node.next,
                    None => break,
                }
            }
        }
        found
    }
}

/// The number of levels of a node: half of the nodes have one, a quarter has two.
fn height(key: &str) -> usize {
    let hash = crc32fast::hash(key.as_bytes());
    (hash.trailing_ones() as usize + 1).min(LEVELS)
}

fn node<T>(link: &AtomicPtr<Node<T>>) -> Option<&Node<T>> {
    let pointer = link.load(Ordering::Acquire);
    // SAFETY: null, or a node of the list that `link` belongs to, which lives as long as the list.
    unsafe { pointer.as_ref() }
}

fn nodes<T>(mut link: &AtomicPtr<Node<T>>) -> impl Iterator<Item = &Node<T>> {
    std::iter::from_fn(move || {
        let node = node(link)?;
        link = node.next.first()?;
        Some(node)
    })
}

impl<T> Drop for SortedList<T> {
    fn drop(&mut self) {
        let mut next = *self.first[0].get_mut();
        while !next.is_null() {
            // SAFETY: from `Box::into_raw`, once in the lowest level, and `self` is borrowed exclusively.
            let mut node = unsafe { Box::from_raw(next) };
            next = node.next.first_mut().map_or(ptr::null_mut(), |next| *next.get_mut());
        }
    }
}

// SAFETY: a list lends `&T` only, and moves a `T` only when it is inserted or dropped.
unsafe impl<T: Send + Sync> Send for SortedList<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for SortedList<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicUsize;

    proptest! {
        #[test]
        fn values_are_found_by_their_keys_and_sorted(keys in proptest::collection::vec("[ab]{0,4}", 0..40)) {
            let list = SortedList::new(str::cmp);
            for (at, key) in keys.iter().enumerate() {
                prop_assert_eq!(list.insert(key, (key.clone(), at)), &(key.clone(), at));
            }
            let mut sorted: Vec<(String, usize)> =
                keys.iter().enumerate().map(|(at, key)| (key.clone(), at)).collect();
            sorted.sort();
            prop_assert_eq!(list.iter().cloned().collect::<Vec<_>>(), sorted.clone());
            for key in ["", "a", "ab", "bb", "c"] {
                let same = sorted.iter().filter(|(other, _)| other == key).cloned();
                prop_assert_eq!(list.at(key).cloned().collect::<Vec<_>>(), same.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn ten_thousand_keys_in_any_order_take_some_comparisons_each() {
        static COMPARED: AtomicUsize = AtomicUsize::new(0);
        fn counted(one: &str, other: &str) -> Order {
            COMPARED.fetch_add(1, Ordering::Relaxed);
            one.cmp(other)
        }
        for order in [|at: usize| at, |at| 9_999 - at, |at| at * 7_919 % 10_000] {
            COMPARED.store(0, Ordering::Relaxed);
            let list = SortedList::new(counted);
            for at in 0..10_000 {
                list.insert(&format!("family_{:05}", order(at)), ());
            }
            let compared = COMPARED.load(Ordering::Relaxed);
            assert!(compared < 10_000 * 50, "{compared} comparisons");
        }
    }

    #[test]
    fn a_child_that_is_forked_during_an_insertion_finds_a_whole_list_and_inserts_into_it() {
        let keys = || (0..200).map(|at| format!("{:03}", at * 77 % 200));
        let tall = keys().find(|key| height(key) > 3).unwrap();
        for levels in 1..=height(&tall) {
            let value = std::sync::Arc::new(());
            let list = SortedList::new(str::cmp);
            let insert = |key: &str| _ = list.insert(key, (key.to_owned(), value.clone()));
            keys().filter(|key| *key < tall).for_each(|key| insert(&key));
            list.insert_on(&tall, (tall.clone(), value.clone()), levels);
            keys().filter(|key| *key > tall).for_each(|key| insert(&key));
            insert(&tall);
            let found: Vec<_> = list.iter().map(|(key, _)| key.clone()).collect();
            let mut expected: Vec<_> = keys().chain([tall.clone()]).collect();
            expected.sort();
            assert_eq!(found, expected);
            assert!(keys().all(|key| list.at(&key).count() == 1 + usize::from(key == tall)));
            drop(list);
            assert_eq!(std::sync::Arc::strong_count(&value), 1);
        }
    }

    #[test]
    fn a_list_drops_its_values_and_is_read_while_it_grows() {
        let value = std::sync::Arc::new(());
        let list = SortedList::new(str::cmp);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..2_000).for_each(|at| _ = list.insert(&at.to_string(), value.clone()));
            });
            while list.iter().count() < 2_000 {}
        });
        assert_eq!(list.at("77").count(), 1);
        drop(list);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }
}
