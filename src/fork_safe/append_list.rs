//! A list that only grows, and is read without a lock.
#![expect(unsafe_code, reason = "addresses that are published between threads")]

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A list that only grows. Readers need no lock.
pub(crate) struct AppendList<T> {
    head: AtomicPtr<Node<T>>,
    /// A node near the end, where the search for the end begins; null while the list is empty.
    near_end: AtomicPtr<Node<T>>,
    marker: PhantomData<T>,
}

struct Node<T> {
    value: T,
    next: AtomicPtr<Node<T>>,
}

impl<T: Send + Sync> AppendList<T> {
    pub(crate) const fn new() -> AppendList<T> {
        let (head, near_end) = (AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut()));
        AppendList { head, near_end, marker: PhantomData }
    }

    /// Appends a value and returns a reference to it.
    pub(crate) fn push(&self, value: T) -> &T {
        let node = Box::into_raw(Box::new(Node { value, next: AtomicPtr::new(ptr::null_mut()) }));
        let near_end = self.near_end.load(Ordering::Acquire);
        // SAFETY: null, or a node of this list, which lives as long as the list.
        let mut link = unsafe { near_end.as_ref() }.map_or(&self.head, |node| &node.next);
        loop {
            let empty = ptr::null_mut();
            // ORDERING: release, after the node is filled; acquire, to follow a node of another thread.
            match link.compare_exchange(empty, node, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.near_end.store(node, Ordering::Release);
                    // SAFETY: the node lives until the list is dropped.
                    return unsafe { &(*node).value };
                }
                // SAFETY: not null, so a node of this list, which lives as long as the list.
                Err(next) => link = unsafe { &(*next).next },
            }
        }
    }

    /// Iterates over all values in the order in which they were appended.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut link = &self.head;
        std::iter::from_fn(move || {
            let node = link.load(Ordering::Acquire);
            // SAFETY: null, or a node of this list, which lives as long as the list.
            let node = unsafe { node.as_ref() }?;
            link = &node.next;
            Some(&node.value)
        })
    }
}

impl<T> Drop for AppendList<T> {
    fn drop(&mut self) {
        let mut next = *self.head.get_mut();
        while !next.is_null() {
            // SAFETY: from `Box::into_raw`, linked once, and `self` is borrowed exclusively.
            let mut node = unsafe { Box::from_raw(next) };
            next = *node.next.get_mut();
        }
    }
}

// SAFETY: a list lends `&T` only, and moves a `T` only when it is pushed or dropped.
unsafe impl<T: Send + Sync> Send for AppendList<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for AppendList<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_append_at_once_lose_nothing_and_keep_their_order() {
        let list = AppendList::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let list = &list;
                scope.spawn(move || (0..500).for_each(|at| _ = list.push((thread, at))));
            }
        });
        for thread in 0..4 {
            let own: Vec<_> =
                list.iter().filter(|(t, _)| *t == thread).map(|(_, at)| *at).collect();
            assert_eq!(own, (0..500).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_list_drops_its_values() {
        let value = std::sync::Arc::new(());
        let list = AppendList::new();
        list.push(value.clone());
        list.push(value.clone());
        drop(list);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }
}
