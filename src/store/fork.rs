//! Fork detection, and structures that survive a fork at any instruction.
//!
//! Each process has an *epoch*, kept in a page that the kernel wipes in forked children
//! (`MADV_WIPEONFORK`), so a child sees 0 there, also after a raw `clone`. What belongs to one
//! process is stored together with its epoch and counts only while that is the current one. An
//! epoch is never used again further down the line of children, as it is one more than any before.
//!
//! A child may be forked while other threads of the parent are in the middle of anything. Every
//! structure here is changed by single atomic stores, so the child finds it whole; locks are made
//! anew for each epoch, so the child finds them free.
//!
//! See: madvise(2), MADV_WIPEONFORK (Linux 4.14).
#![expect(unsafe_code, reason = "pointers that are published between threads")]

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use crate::file::map::fetch;
use crate::logging::Deferred;

/// The epoch of a value that no process has set.
const NO_EPOCH: u64 = u64::MAX;

/// What is wiped in a child.
#[repr(C, align(64))]
struct Page {
    /// 0 where this process has not drawn its epoch yet.
    epoch: AtomicU64,
    /// Each the token of one thread, 0 where that owns nothing; written by that thread. See `thread`.
    owners: [AtomicU64; MAX_WORDS],
}

/// A process has up to sixteen owners, and its children go on behind their words.
const MAX_WORDS: usize = 2000;

impl Page {
    const fn new() -> Page {
        Page { epoch: AtomicU64::new(0), owners: [const { AtomicU64::new(0) }; MAX_WORDS] }
    }
}

/// Stands in for the page until it is mapped: its epoch stays 0, so nothing is current.
static NO_PAGE: Page = Page::new();

static PAGE: AtomicPtr<Page> = AtomicPtr::new((&raw const NO_PAGE).cast_mut());

/// The highest epoch that this process or a forebear of it has drawn. Not wiped.
static LAST_EPOCH: AtomicU64 = AtomicU64::new(0);

#[inline]
fn page() -> &'static Page {
    // ORDERING: relaxed, as both pages hold nothing but an atomic that starts at 0.
    let page = PAGE.load(Ordering::Relaxed);
    // SAFETY: points to `NO_PAGE` or to a page that is never unmapped and holds a valid `Page`.
    unsafe { &*page }
}

/// The epoch of this process, or 0 where it has none yet.
#[inline]
fn seen_epoch() -> u64 {
    page().epoch.load(Ordering::Relaxed)
}

/// A word for the token of a thread, which a forked child finds 0.
pub(super) fn owner_word(number: usize) -> Option<&'static AtomicU64> {
    page().owners.get(number)
}

/// The epoch of this process, drawn if need be.
pub(crate) fn epoch() -> u64 {
    let seen = seen_epoch();
    if seen != 0 {
        return seen;
    }
    if ptr::eq(page(), &raw const NO_PAGE) {
        map_page();
    }
    let drawn = LAST_EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    // Of several threads that draw, the first one's is taken.
    match page().epoch.compare_exchange(0, drawn, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => drawn,
        Err(other) => other,
    }
}

#[cfg(target_os = "linux")]
fn map_page() {
    let len = size_of::<Page>();
    // SAFETY: asks for new private memory; no existing mapping is touched.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return use_heap_page();
    }
    // SAFETY: the range is the mapping made above.
    let advised = unsafe { libc::madvise(address, len, libc::MADV_WIPEONFORK) };
    if advised != 0 {
        // SAFETY: as above; nobody knows the address.
        unsafe { libc::munmap(address, len) };
        return use_heap_page();
    }
    let claimed = publish_page(address.cast());
    if !claimed {
        // SAFETY: as above; another thread's page was taken.
        unsafe { libc::munmap(address, len) };
    }
}

#[cfg(not(target_os = "linux"))]
fn map_page() {
    use_heap_page();
}

/// Where the kernel wipes no pages, libc's fork handlers do it; a raw `clone` is not seen then.
fn use_heap_page() {
    let page = Box::into_raw(Box::new(Page::new()));
    if publish_page(page) {
        #[cfg(unix)]
        // SAFETY: the handler stores to an atomic, and is never unloaded.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(wipe)) };
    } else {
        // SAFETY: made above, and nobody else has seen it.
        drop(unsafe { Box::from_raw(page) });
    }
}

#[cfg(unix)]
extern "C" fn wipe() {
    page().epoch.store(0, Ordering::Relaxed);
    page().owners.iter().for_each(|owner| owner.store(0, Ordering::Relaxed));
}

fn publish_page(page: *mut Page) -> bool {
    let before = (&raw const NO_PAGE).cast_mut();
    PAGE.compare_exchange(before, page, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

thread_local! {
    /// The epoch of the process in which this thread is in the slow path, else 0.
    static INSIDE: Cell<u64> = const { Cell::new(0) };
}

/// Proof that this thread has entered the slow path.
///
/// A signal handler, or an allocator that records, can interrupt the slow path in the same thread. It cannot enter: it
/// would wait for the lock of its own thread.
pub struct Inside(());

/// Enters the slow path; `None` if this thread is in it already.
pub(crate) fn enter() -> Option<Inside> {
    let epoch = epoch();
    if INSIDE.get() == epoch {
        return None;
    }
    INSIDE.set(epoch);
    Some(Inside(()))
}

/// Whether this thread is in the slow path.
pub(crate) fn is_inside() -> bool {
    INSIDE.get() == epoch()
}

impl Inside {
    /// Takes the lock of the slow path. A child that is forked while another thread holds it finds it free.
    pub(crate) fn lock(self) -> SlowPath {
        static LOCK: PerProcess<Mutex<()>> = PerProcess::new();
        let lock = LOCK.get_or_create(|| Mutex::new(()));
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        SlowPath { _guard: guard, inside: self, _lines: Deferred::begin() }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(0);
    }
}

/// The lock of the slow path, held. What its thread logs meanwhile is passed on after its release.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct SlowPath {
    // Dropped in the order of the fields: a hook that takes a line may enter the slow path.
    _guard: MutexGuard<'static, ()>,
    inside: Inside,
    _lines: Deferred,
}

impl SlowPath {
    pub(crate) fn inside(&self) -> &Inside {
        &self.inside
    }
}

/// Enters the slow path and takes its lock; `None` if this thread is in it already.
pub(crate) fn lock() -> Option<SlowPath> {
    enter().map(Inside::lock)
}

/// An address that is set once or more and never freed.
pub(crate) struct StaticRef<T: 'static> {
    pointer: AtomicPtr<T>,
    marker: PhantomData<&'static T>,
}

impl<T: Sync> StaticRef<T> {
    pub(crate) const fn empty() -> StaticRef<T> {
        StaticRef { pointer: AtomicPtr::new(ptr::null_mut()), marker: PhantomData }
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // ORDERING: acquire, to see what the address was published after.
        let pointer = self.pointer.load(Ordering::Acquire);
        // SAFETY: null, or an address from a `&'static T` that `set` or `set_once` stored.
        unsafe { pointer.as_ref() }
    }

    pub(crate) fn set(&self, value: &'static T) {
        self.pointer.store(ptr::from_ref(value).cast_mut(), Ordering::Release);
    }

    pub(crate) fn clear(&self) {
        self.pointer.store(ptr::null_mut(), Ordering::Release);
    }

    /// Has what is there brought near: the beginning of it.
    #[inline]
    pub(crate) fn fetch(&self) {
        const LINE: usize = 64;
        const MAX_LINES: usize = 4;
        let start = self.pointer.load(Ordering::Relaxed);
        for line in 0..size_of::<T>().div_ceil(LINE).min(MAX_LINES) {
            fetch(start.wrapping_byte_add(line * LINE));
        }
    }

    /// Takes the address that another one has.
    pub(crate) fn copy(&self, other: &StaticRef<T>) {
        if let Some(value) = other.get() {
            self.set(value);
        }
    }

    /// Sets the address if there is none; gives the one that holds.
    pub(crate) fn set_once(&self, value: &'static T) -> &'static T {
        let new = ptr::from_ref(value).cast_mut();
        let empty = ptr::null_mut();
        match self.pointer.compare_exchange(empty, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => value,
            // SAFETY: not null, so an address that an earlier call stored.
            Err(other) => unsafe { &*other },
        }
    }
}

/// A value in its place, behind a tag that is set once, after it.
pub(crate) struct Tagged<T> {
    tag: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// The tag of a place without a value.
const NO_TAG: u64 = u64::MAX;

impl<T: Sync> Tagged<T> {
    pub(crate) const fn empty() -> Tagged<T> {
        let value = UnsafeCell::new(MaybeUninit::uninit());
        Tagged { tag: AtomicU64::new(NO_TAG), value }
    }

    /// The value, if it has this tag. `NO_TAG` is none.
    #[inline]
    pub(crate) fn get(&self, tag: u64) -> Option<&T> {
        // ORDERING: acquire, so that the value is there.
        if self.tag.load(Ordering::Acquire) == tag && tag != NO_TAG {
            let value = self.value.get().cast::<T>();
            // SAFETY: the tag was stored after the value, which is never written again. `MaybeUninit<T>` has
            // the layout of `T`.
            Some(unsafe { &*value })
        } else {
            None
        }
    }

    /// The value, whatever its tag is.
    #[inline]
    pub(crate) fn any(&self) -> Option<&T> {
        self.get(self.tag.load(Ordering::Relaxed))
    }

    /// Puts a value in, if there is none yet; else gives it back. Called under [`lock`].
    pub(crate) fn fill(&self, tag: u64, value: T, _lock: &SlowPath) -> Result<&T, T> {
        if self.tag.load(Ordering::Relaxed) != NO_TAG || tag == NO_TAG {
            return Err(value);
        }
        let place = self.value.get();
        // SAFETY: nobody reads the place before the tag is set, and the lock keeps other writers away.
        let value = unsafe { (*place).write(value) };
        self.tag.store(tag, Ordering::Release);
        Ok(value)
    }
}

// SAFETY: hands out `&T` only, and takes values from any thread.
unsafe impl<T: Send + Sync> Sync for Tagged<T> {}

/// An address that counts in the process that set it, and in no child of it.
///
/// Set by one thread at a time, under [`lock`]; read by all.
pub(crate) struct Bound<T: 'static> {
    epoch: AtomicU64,
    value: StaticRef<T>,
    /// What `value` was before it was cleared.
    former: StaticRef<T>,
}

impl<T: Sync> Bound<T> {
    pub(crate) const fn empty() -> Bound<T> {
        let (value, former) = (StaticRef::empty(), StaticRef::empty());
        Bound { epoch: AtomicU64::new(NO_EPOCH), value, former }
    }

    /// What was set in this process.
    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // ORDERING: acquire, so that the value is at least as new as its epoch.
        if self.epoch.load(Ordering::Acquire) == seen_epoch() { self.value.get() } else { None }
    }

    /// Has what was set last brought near.
    #[inline]
    pub(crate) fn fetch(&self) {
        self.value.fetch();
    }

    /// What was set last, in this process or in a forebear. The caller touches no mapped memory through
    /// it but for what bears a token of this process.
    #[inline]
    pub(crate) fn inherited(&self) -> Option<&'static T> {
        self.value.get()
    }

    /// Puts the value aside, if it is of this process. Called under [`lock`].
    pub(crate) fn clear(&self) {
        if let Some(value) = self.get() {
            self.former.set(value);
            // ORDERING: release, after the former value. No epoch is the complement of another.
            self.epoch.store(!epoch(), Ordering::Release);
        }
        self.value.clear();
    }

    /// What was put aside in this process, and nothing was set since.
    pub(crate) fn former(&self) -> Option<&'static T> {
        if self.epoch.load(Ordering::Acquire) == !seen_epoch() { self.former.get() } else { None }
    }

    pub(crate) fn set(&self, value: &'static T, _lock: &SlowPath) {
        self.value.set(value);
        // ORDERING: release, after the value.
        self.epoch.store(epoch(), Ordering::Release);
    }
}

/// A value that each process makes for itself.
///
/// What the parent made stays in the child's memory, untouched and unused.
pub(crate) struct PerProcess<T: 'static> {
    current: StaticRef<Epochal<T>>,
}

struct Epochal<T> {
    epoch: u64,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { current: StaticRef::empty() }
    }

    /// This process's value. Threads that race make several, of which one is taken.
    pub(crate) fn get_or_create(&self, create: impl Fn() -> T) -> &'static T {
        let epoch = epoch();
        loop {
            let seen = self.current.get();
            if let Some(current) = seen.filter(|current| current.epoch == epoch) {
                return &current.value;
            }
            let new = Box::leak(Box::new(Epochal { epoch, value: create() }));
            let before = seen.map_or(ptr::null_mut(), |seen| ptr::from_ref(seen).cast_mut());
            let swapped = self.current.pointer.compare_exchange(
                before,
                ptr::from_mut(new),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if swapped.is_ok() {
                return &new.value;
            }
        }
    }
}

/// A list that only grows, readable at any time without a lock.
pub(crate) struct AppendList<T> {
    head: AtomicPtr<Node<T>>,
    /// A node near the end, from which the end is found; null in a list that was empty just now.
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

    /// Appends at the end, and gives the value in its place.
    pub(crate) fn push(&self, value: T) -> &T {
        let node = Box::into_raw(Box::new(Node { value, next: AtomicPtr::new(ptr::null_mut()) }));
        let near_end = self.near_end.load(Ordering::Acquire);
        // SAFETY: null, or a node of this list, which lives as long as the list.
        let mut link = unsafe { near_end.as_ref() }.map_or(&self.head, |node| &node.next);
        loop {
            let empty = ptr::null_mut();
            // ORDERING: release, after the node is filled; acquire, to follow another's node.
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

    /// All values, in the order in which they were appended.
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
            // SAFETY: from `Box::into_raw`, linked once, and nobody else holds the list now.
            let mut node = unsafe { Box::from_raw(next) };
            next = *node.next.get_mut();
        }
    }
}

// SAFETY: a list hands out `&T` only, and moves `T` only where it is dropped or pushed.
unsafe impl<T: Send + Sync> Send for AppendList<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for AppendList<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_stays_the_same_within_a_process() {
        let first = epoch();
        assert!(first > 0);
        assert_eq!(std::thread::spawn(epoch).join().unwrap(), first);
    }

    #[test]
    fn a_bound_value_counts_from_when_it_is_set() {
        static WORD: AtomicU64 = AtomicU64::new(5);
        let bound = Bound::empty();
        assert!(bound.get().is_none());
        bound.set(&WORD, &lock().unwrap());
        assert!(ptr::eq(bound.get().unwrap(), &raw const WORD));
    }

    #[test]
    fn a_thread_enters_the_slow_path_once_at_a_time() {
        let held = lock();
        assert!(held.is_some() && lock().is_none() && enter().is_none());
        let other = std::thread::spawn(|| lock().is_some());
        drop(held);
        assert!(other.join().unwrap());
        let inside = enter();
        assert!(lock().is_none());
        drop(inside.map(Inside::lock));
        assert!(lock().is_some());
    }

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
    fn a_list_drops_what_it_holds() {
        let value = std::sync::Arc::new(());
        let list = AppendList::new();
        list.push(value.clone());
        list.push(value.clone());
        drop(list);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }
}
