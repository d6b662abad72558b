//! The append-only list: `AppendList` in `fork_safe/append_list.rs`. The address of a node is its index.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use crate::model_bounded;

/// The null address.
const NULL: usize = 0;

struct Node {
    /// Stored relaxed, which orders as little as a store to plain memory.
    value: AtomicU64,
    next: AtomicUsize,
}

struct List {
    head: AtomicUsize,
    near_end: AtomicUsize,
    /// The memory of the nodes; each is used by one push.
    nodes: Vec<Node>,
    /// The ordering with which a node is linked: `AcqRel` in the source.
    link: Ordering,
}

impl List {
    fn new(nodes: usize, link: Ordering) -> List {
        let node = |_| Node { value: AtomicU64::new(0), next: AtomicUsize::new(NULL) };
        let (head, near_end) = (AtomicUsize::new(NULL), AtomicUsize::new(NULL));
        List { head, near_end, nodes: (0..nodes).map(node).collect(), link }
    }

    fn node(&self, address: usize) -> Option<&Node> {
        address.checked_sub(1).map(|at| &self.nodes[at])
    }

    /// Appends the node at this address; its value is the same number.
    fn push(&self, address: usize) {
        self.nodes[address - 1].value.store(address as u64, Ordering::Relaxed);
        let near_end = self.near_end.load(Ordering::Acquire);
        let mut link = self.node(near_end).map_or(&self.head, |node| &node.next);
        loop {
            match link.compare_exchange(NULL, address, self.link, Ordering::Acquire) {
                Ok(_) => {
                    self.near_end.store(address, Ordering::Release);
                    return;
                }
                Err(next) => link = &self.nodes[next - 1].next,
            }
        }
    }

    fn read(&self) -> Vec<u64> {
        let mut link = &self.head;
        let values = std::iter::from_fn(|| {
            let node = self.node(link.load(Ordering::Acquire))?;
            link = &node.next;
            Some(node.value.load(Ordering::Relaxed))
        });
        let values: Vec<_> = values.collect();
        assert!(values.iter().all(|&value| value != 0), "a node is incomplete");
        values
    }
}

/// Two threads push two values each, and a third one reads. The values of each thread must be in its order.
fn push_and_read(link: Ordering) {
    model_bounded(3, move || {
        let list = Arc::new(List::new(4, link));
        let threads: Vec<_> = [[1, 2], [3, 4]]
            .map(|own| {
                let list = list.clone();
                thread::spawn(move || own.into_iter().for_each(|address| list.push(address)))
            })
            .into();
        let early = list.read();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let all = list.read();
        assert!(all.starts_with(&early), "appended values keep their position");
        let own = |thread: [u64; 2]| all.iter().filter(move |value| thread.contains(value));
        assert!(own([1, 2]).eq(&[1, 2]) && own([3, 4]).eq(&[3, 4]), "{all:?}");
        assert_eq!(all.len(), 4);
    });
}

#[test]
fn threads_that_append_at_once_lose_nothing_and_keep_their_order() {
    push_and_read(Ordering::AcqRel);
}

#[test]
#[should_panic(expected = "a node is incomplete")]
fn linking_a_node_without_release_shows_an_incomplete_node() {
    push_and_read(Ordering::Acquire);
}
